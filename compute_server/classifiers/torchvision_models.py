"""Every ImageNet-1k classifier of torchvision by its own name, and the ImageNet labels from its metadata.

Never downloads: weights are read from where torchvision would have put them.
"""

from __future__ import annotations

from typing import Any

import torchvision.models
from torch import nn

from compute_server.classifiers.folding import prepared
from compute_server.classifiers.spec import CLASS_COUNT, ClassifierSpec, checkpoints_folder, reading_weights, rgb


def labels() -> tuple[str, ...]:
    """The 1000 ImageNet-1k class names, by class index. A few names occur twice ("crane", "maillot")."""
    return tuple(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def listed() -> list[ClassifierSpec]:
    """Specs of every torchvision model that has ImageNet-1k weights."""
    return [spec for name in names() if (spec := find(name)) is not None]


def names() -> list[str]:
    """Every name that `find` may know. Quantised, detection and video models live in other torchvision modules."""
    return list(torchvision.models.list_models(module=torchvision.models))


def find(name: str) -> ClassifierSpec | None:
    """The spec of `name`, None when torchvision has no ImageNet-1k classifier of that name."""
    weights = _weights(name)
    if weights is None:
        return None
    preprocessing = weights.transforms()
    path = checkpoints_folder() / weights.url.rsplit("/", 1)[-1]
    return ClassifierSpec(
        name=name,
        size=int(preprocessing.crop_size[0]),
        mean=rgb(preprocessing.mean),
        std=rgb(preprocessing.std),
        license=weights.meta.get("license", "BSD-3-Clause"),
        source=f"torchvision {type(weights).__name__}.{weights.name}, {weights.url}",
        weights=str(path),
        available=path.is_file(),
    )


def how_to_get(spec: ClassifierSpec) -> str:
    """A sentence that says how the weights come onto this machine."""
    url = _weights(spec.name).url
    return f"With internet: curl -fL --create-dirs -o '{spec.weights}' '{url}'; without, copy the file there."


def network(spec: ClassifierSpec) -> nn.Module:
    """The prepared network with its weights, on the CPU. The file must be there, or torchvision would download it."""
    with reading_weights(spec):
        model: nn.Module = torchvision.models.get_model(spec.name, weights=_weights(spec.name))
    return prepared(model)


def _weights(name: str) -> Any:
    """torchvision's default ImageNet-1k weights (a member of its WeightsEnum), or None."""
    if name not in names():
        return None
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return weights if len(weights.meta.get("categories", ())) == CLASS_COUNT else None
