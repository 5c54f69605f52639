"""What is known of a classifier before its network exists, and how its weight file is found and read.

Knows no model library.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.errors import InvalidInput

CLASS_COUNT = 1000


@dataclass(frozen=True)
class ClassifierSpec:
    """A classifier's name, preprocessing and provenance; making one reads no weights."""

    name: str
    """What `load` takes: "efficientnet_lite0", "resnet50", "timm/inception_v4"."""
    size: int
    """Side of the square input, in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from display-encoded RGB in [0, 1]."""
    std: tuple[float, float, float]
    """Divides what is left after `mean`."""
    license: str
    """Licence of the weights as far as known, else of the code they come with."""
    source: str
    """One line: where the weights come from."""
    weights: str
    """Path at which the weights are looked for."""
    available: bool
    """The weights are on this machine."""


def rgb(values: tuple[float, ...] | list[float]) -> tuple[float, float, float]:
    """Three floats from a library's list of them."""
    red, green, blue = values
    return float(red), float(green), float(blue)


def checkpoints_folder() -> Path:
    """Where torch itself keeps downloaded weights (`TORCH_HOME` and `torch.hub.set_dir` move it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


@contextmanager
def reading_weights(spec: ClassifierSpec) -> Iterator[None]:
    """Turns what a truncated, foreign or mismatched weight file raises into `InvalidInput` that names the file."""
    try:
        yield
    except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidInput(
            f"The weight file {spec.weights} cannot be used as {spec.name}: {reason}",
            hint="It may be incomplete or belong to another model; remove it and fetch it again.",
        ) from error
