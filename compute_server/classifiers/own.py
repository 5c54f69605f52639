"""Classifiers that this server's owner has registered (``own_models``), by the name "own/NAME"."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import nn

from compute_server.classifiers.folding import prepared
from compute_server.classifiers.spec import CLASS_COUNT, ClassifierSpec, reading_weights, rgb
from compute_server.own_models import OwnModel, configuration, registered
from shared.errors import InvalidInput

PREFIX = "own/"
EXPORTED = ".pt2"
#: A network is tried with as many pictures: one that was exported for a single number of them fails here.
TRIED = (1, 3)


def listed() -> list[ClassifierSpec]:
    """Specs of all that are registered."""
    return [_spec(name, model) for name, model in registered().items()]


def names() -> list[str]:
    """Every name that `find` knows."""
    return [PREFIX + name for name in registered()]


def find(name: str) -> ClassifierSpec | None:
    """The spec of `name` ("own/NAME"), None when no such model is registered."""
    model = registered().get(name.removeprefix(PREFIX))
    return None if model is None else _spec(name.removeprefix(PREFIX), model)


def how_to_get(spec: ClassifierSpec) -> str:
    """A sentence that says what the owner has to put right."""
    name = spec.name.removeprefix(PREFIX)
    return f"Provide what [models.{name}] in {configuration()} names, or remove it there."


def network(spec: ClassifierSpec) -> nn.Module:
    """The frozen network, tried with a few pictures. Raises :class:`InvalidInput` when it is no classifier of 1000
    classes that a gradient passes."""
    model = registered()[spec.name.removeprefix(PREFIX)]
    if model.entry:
        made = _from_entry(spec, model)
    else:
        with reading_weights(spec):
            made = _from_file(model)
    _try(spec, made)
    return made


def _spec(name: str, model: OwnModel) -> ClassifierSpec:
    return ClassifierSpec(
        name=PREFIX + name,
        size=model.size,
        mean=rgb(model.mean),
        std=rgb(model.std),
        license=model.license,
        source=f"registered by this server's owner, {model.entry or model.path().name}",
        weights=model.entry or str(model.path()),
        available=_installed(model.entry.partition(":")[0]) if model.entry else model.path().is_file(),
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _from_file(model: OwnModel) -> nn.Module:
    path = model.path()
    loaded: Any
    if path.suffix == EXPORTED:
        loaded = torch.export.load(path).module()  # in the mode that it was exported in
    else:
        loaded = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    for parameter in loaded.parameters():  # scripted modules have no `requires_grad_`
        parameter.requires_grad = False
    return loaded  # type: ignore[no-any-return]


def _from_entry(spec: ClassifierSpec, model: OwnModel) -> nn.Module:
    module, _, function = model.entry.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except Exception as error:  # the boundary to the owner's own code
        raise _unusable(spec, f"{model.entry} failed with {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise _unusable(spec, f"{model.entry} gave a {type(made).__name__}, not a torch.nn.Module")
    return prepared(made)


def _try(spec: ClassifierSpec, network: nn.Module) -> None:
    """See that the network does what the rest relies on."""
    for count in TRIED:
        pictures = torch.zeros(count, 3, spec.size, spec.size).contiguous(memory_format=torch.channels_last)
        pictures.requires_grad_()
        try:
            logits = network(pictures)
            shape = list(logits.shape)
            if shape == [count, CLASS_COUNT]:
                logits.sum().backward()
        except Exception as error:  # the boundary to the owner's own code
            reason = next(iter(str(error).splitlines()), "")
            raise _unusable(spec, f"with {count} pictures it fails with {type(error).__name__}: {reason}") from error
        if shape != [count, CLASS_COUNT]:
            raise _unusable(spec, f"it gives {shape} for {count} pictures, not [{count}, {CLASS_COUNT}] logits")
        if pictures.grad is None:
            raise _unusable(spec, "no gradient reaches its input")


def _unusable(spec: ClassifierSpec, reason: str) -> InvalidInput:
    return InvalidInput(f"The classifier {spec.name} cannot be used: {reason}.", hint=f"See {configuration()}.")
