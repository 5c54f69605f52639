"""What a patch has to be better than: noise, a plain colour and a QR code in its very place, of its very size."""

from __future__ import annotations

import numpy as np
import segno
import torch
from torch import Tensor

from .flat_patch import on_object, patch_places
from .problem import Problem
from .views import generators

#: Texels for each module of the QR code, so that its edges are sharp on the object.
MODULE = 8


def control_textures(problem: Problem, texture: Tensor) -> dict[str, Tensor]:
    """Textures ``[N, 3] uint8`` that differ from the original in the same texels as `texture`, the one with the patch,
    does: noise as fine as the QR code, the patch's own mean colour, and a QR code that says what the target is."""
    place = patch_places(problem)
    code = _qr_code(problem.target.name)
    rng = generators(problem.job.settings.seed).sites
    noise = rng.random((*code.shape[:2], 3), dtype=np.float32)
    free = texture[problem.texture.target[: len(place)]]
    plain = (free.double().mean(dim=0) / 255).to(problem.texture.start)
    drawn = {
        "noise": on_object(_enlarged(noise).to(place), place),
        "plain colour": plain.expand_as(problem.texture.start),
        "QR code": on_object(_enlarged(code).to(place), place),
    }
    return {name: problem.texture.quantised(theta.to(problem.texture.start)) for name, theta in drawn.items()}


def _qr_code(text: str) -> np.ndarray:
    """A QR code with its quiet border, a pixel for each module, ``[S, S, 3] float32``."""
    rows = segno.make_qr(text, error="m").matrix_iter(border=1)
    dark = np.array([list(row) for row in rows], dtype=bool)
    return np.repeat(np.where(dark, 0.0, 1.0).astype(np.float32)[..., None], 3, axis=2)


def _enlarged(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.repeat(MODULE, axis=0).repeat(MODULE, axis=1))
