"""From a classifier's name to its spec and to a loaded classifier. Each family of models is one module."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from compute_server.classifiers import efficientnet_lite, own, timm_models, torchvision_models
from compute_server.classifiers.classifier import Classifier
from compute_server.classifiers.spec import ClassifierSpec
from shared.errors import MissingWeights, UnknownModel


class Family(Protocol):
    """What a module that provides models offers."""

    def listed(self) -> list[ClassifierSpec]:
        """Specs worth showing to a user, without making a network."""

    def names(self) -> list[str]:
        """Names to offer for a misspelt one."""

    def find(self, name: str) -> ClassifierSpec | None:
        """The spec of `name`, None when it is not of this family."""

    def how_to_get(self, spec: ClassifierSpec) -> str:
        """What to do when the weights of `spec` are missing."""

    def network(self, spec: ClassifierSpec) -> nn.Module:
        """The prepared network of `spec`, whose weights are there, on the CPU."""


_FAMILIES: tuple[Family, ...] = (efficientnet_lite, own, torchvision_models, timm_models)


def available() -> list[ClassifierSpec]:
    """Every classifier that is listed, whether its weights are here (`spec.available`) or not.

    `load` also takes timm's other models as "timm/NAME". Makes no network and reads no weights.
    """
    return [spec for family in _FAMILIES for spec in family.listed()]


@functools.lru_cache(maxsize=4)
def loaded(name: str, device: torch.device) -> Classifier:
    """As :func:`load`, once: the last four classifiers are kept, for jobs and short requests alike."""
    return load(name, device)


def load(name: str, device: torch.device | str = "cpu") -> Classifier:
    """The classifier `name`, frozen, with its weights, on `device`.

    Raises UnknownModel (offers the nearest names), MissingWeights (names the file and its folder) and InvalidInput
    (a timm model that is no ImageNet-1k classifier, or a weight file that cannot be used).
    """
    spec, family = find(name), _family(name)
    if not spec.available:
        raise _missing(spec, family)
    return Classifier(spec, family.network(spec), torch.device(device))


def find(name: str) -> ClassifierSpec:
    """The spec of `name`, whether its weights are here or not. Raises UnknownModel and InvalidInput as :func:`load`."""
    family = _family(name)
    spec = family.find(name)
    if spec is None:
        raise _unknown(name, family)
    return spec


def _family(name: str) -> Family:
    for family in (own, timm_models):
        if name.startswith(family.PREFIX):
            return family
    return efficientnet_lite if name in efficientnet_lite.names() else torchvision_models


def _unknown(name: str, family: Family) -> UnknownModel:
    candidates = [*(spec.name for spec in available()), *family.names()]
    nearest = difflib.get_close_matches(name.lower(), dict.fromkeys(candidates), n=3, cutoff=0.5)
    offer = f"Did you mean {' or '.join(nearest)}?" if nearest else f"The built-in default is {candidates[0]}."
    return UnknownModel(f"There is no classifier named {name!r}.", hint=offer)


def _missing(spec: ClassifierSpec, family: Family) -> MissingWeights:
    path = Path(spec.weights)
    missing = f"no file {path.name} in {path.parent}" if path.is_absolute() else f"no {spec.weights}"
    return MissingWeights(
        f"The weights of {spec.name} are not on this machine: {missing}.",
        hint=family.how_to_get(spec),
    )
