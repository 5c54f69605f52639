"""timm's ImageNet-1k classifiers as "timm/NAME", with or without timm's tag; only a selection is listed.

Never downloads: weights are read from a `timm` folder beside torchvision's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from compute_server.classifiers.folding import prepared
from compute_server.classifiers.spec import CLASS_COUNT, ClassifierSpec, checkpoints_folder, reading_weights, rgb
from shared.errors import InvalidInput

PREFIX = "timm/"

# Architectures that torchvision lacks, or has with other weights; small enough for a laptop.
_LISTED = (
    "convnext_tiny",
    "deit3_small_patch16_224",
    "efficientnetv2_rw_s",
    "inception_resnet_v2",
    "inception_v4",
    "mixnet_s",
    "mobilenetv3_small_050",
    "nasnetalarge",
    "resnet10t",
    "resnet50",
    "tf_efficientnet_lite4",
    "vit_base_patch16_224",
    "xception41",
)


def listed() -> list[ClassifierSpec]:
    """Specs of a selection of timm's models; `find` knows many more."""
    return [spec for name in _LISTED if (spec := find(PREFIX + name)) is not None]


def names() -> list[str]:
    """Every name that `find` knows, with and without timm's tags."""
    import timm

    tagged = timm.list_pretrained()
    return [PREFIX + name for name in sorted({*tagged, *(name.split(".")[0] for name in tagged)})]


def find(name: str) -> ClassifierSpec | None:
    """The spec of "timm/NAME", None when timm has no pretrained model of that name.

    Raises InvalidInput for a model that is no ImageNet-1k classifier.
    """
    config = _config(name)
    if config is None:
        return None
    if config.num_classes != CLASS_COUNT or "in1k" not in (config.tag or ""):
        raise InvalidInput(
            f"{name} ({config.architecture}.{config.tag}) has {config.num_classes} outputs that are not the "
            f"{CLASS_COUNT} ImageNet-1k classes.",
            hint="Take a model whose tag contains 'in1k'.",
        )
    folder = checkpoints_folder() / "timm"
    stem = name.removeprefix(PREFIX)
    candidates = [folder / f"{stem}.safetensors", folder / f"{stem}.pth"]
    path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    return ClassifierSpec(
        name=name,
        size=int(config.input_size[-1]),
        mean=rgb(config.mean),
        std=rgb(config.std),
        license=config.license or "unknown",
        source=f"timm {config.architecture}.{config.tag}, {_url(config) or 'no public address known to timm'}",
        weights=str(path),
        available=path.is_file(),
    )


def how_to_get(spec: ClassifierSpec) -> str:
    """A sentence that says how the weights come onto this machine."""
    url = _url(_config(spec.name))
    if not url:
        return "timm knows no address to fetch it from; copy the file there."
    path = spec.weights.removesuffix(".safetensors") + (".pth" if url.endswith(".pth") else ".safetensors")
    return f"With internet: curl -fL --create-dirs -o '{path}' '{url}'; without, copy the file there."


def network(spec: ClassifierSpec) -> nn.Module:
    """The prepared network with its weights, on the CPU."""
    import timm
    from timm.layers.norm_act import BatchNormAct2d

    # timm's own way from the hub, with our file in the place of the download. `custom_load` is for NumPy files,
    # which nobody has under this name.
    from_file = {"file": spec.weights, "custom_load": False}
    with reading_weights(spec):
        model: nn.Module = timm.create_model(
            spec.name.removeprefix(PREFIX), pretrained=True, pretrained_cfg_overlay=from_file
        )
    opaque = import_module("timm.models").get_notrace_modules()
    return prepared(model, splits={BatchNormAct2d: _norm_then_activation}, opaque=opaque)


def _config(name: str) -> Any:
    """timm's PretrainedCfg of "timm/NAME", or None."""
    from timm.models import get_pretrained_cfg, is_model_pretrained

    bare = name.removeprefix(PREFIX)
    return get_pretrained_cfg(bare) if is_model_pretrained(bare) else None


def _url(config: Any) -> str:
    """Where timm would download from, or an empty string."""
    if not config.hf_hub_id:
        return config.url or ""
    return f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{config.hf_hub_filename or 'model.safetensors'}"


def _norm_then_activation(fused: Any) -> nn.Module:
    """timm's BatchNormAct2d as torch's own batch norm and what follows it."""
    norm = nn.BatchNorm2d(fused.num_features, eps=fused.eps, affine=fused.affine)
    norm.weight, norm.bias = fused.weight, fused.bias
    norm.running_mean, norm.running_var = fused.running_mean, fused.running_var
    # An nn.Identity between a convolution and its activation would keep the two apart.
    return nn.Sequential(norm, *(each for each in (fused.drop, fused.act) if type(each) is not nn.Identity)).eval()
