"""Job files, and textures that were made of them: what the commands that look at a job again have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.scene import Scene, UvTexture
from shared.wire import load_message

from .classifiers import Classifier, loaded
from .imagefile import read_picture
from .problem import Problem


def read_job(path: Path) -> m.Job:
    """The job in a file that the add-on's ``collect`` has written. Raises :class:`InvalidInput` for any other file."""
    message = load_message(path)
    if not isinstance(message, m.Submit):
        raise InvalidInput(f"{path} holds {type(message).__name__}, not a job.")
    return message.job


def judges(problem: Problem, names: Sequence[str] | None) -> list[Classifier]:
    """The classifiers called `names`; None: those that the job trains on or measures with."""
    settings = problem.job.settings
    chosen = names or (*settings.models, *settings.held_out_models)
    return [loaded(name, problem.device) for name in dict.fromkeys(chosen)]


def before_after(problem: Problem, path: Path | None) -> dict[str, Tensor]:
    """The job's own texture ``[N, 3] uint8``, and the one in the file `path` if there is one."""
    original = problem.texture.original
    if path is None:
        return {"before": original}
    return {"before": original, "after": read_texture(path, problem.job.scene).to(original)}


def read_texture(path: Path, scene: Scene) -> Tensor:
    """A texture of the object, as ``run`` and the add-on write it: ``[N, 3] uint8``."""
    if not isinstance(scene.texture, UvTexture):
        raise InvalidInput(f"The object of this job has vertex colours; {path} cannot be put on it.")
    picture = read_picture(path).color
    if picture.shape != scene.texture.image.shape:
        sizes = [f"{shape[1]} × {shape[0]}" for shape in (picture.shape, scene.texture.image.shape)]
        raise InvalidInput(
            f"{path} has {sizes[0]} pixels; the texture of this job has {sizes[1]}.",
            hint="Name the texture.png that was made of this very job.",
        )
    return torch.from_numpy(picture[::-1].copy().reshape(-1, 3))
