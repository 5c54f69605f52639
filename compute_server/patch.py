"""``getPatch`` of the paper's Algorithm 1: what was free of a texture, cut out of it, with its place and its size."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared.messages import Patch

from .sites import STEEP
from .texel_surface import TexelSurface
from .texture import TextureModel

MM = 1000.0


def get_patch(model: TextureModel, texture: Tensor, surface: TexelSurface, unit: float) -> Patch:
    """The free part of an 8-bit `texture` ``[N, 3]`` of a UV texture `model`; `surface` is that of all its texels, in
    units of so many metres."""
    height, width = model.shape[:2]
    opaque = torch.zeros(height * width, dtype=torch.uint8)
    opaque[model.target.cpu()] = 255
    rows, columns = (torch.nonzero(opaque.reshape(height, width).amax(dim=side)).reshape(-1) for side in (1, 0))
    bottom, left = int(rows[0]), int(columns[0])
    tall, wide = int(rows[-1]) + 1 - bottom, int(columns[-1]) + 1 - left
    rgba = torch.cat([texture.cpu(), opaque[:, None]], dim=1).reshape(height, width, 4)
    rgba = rgba[bottom : bottom + tall, left : left + wide]
    free = _free(model, surface)
    across, along = _extent(free)
    return Patch(
        png=_png(rgba.numpy()[::-1]),
        box=(left, bottom, wide, tall),
        uv=(left / width, bottom / height, (left + wide) / width, (bottom + tall) / height),
        width_mm=across * unit * MM,
        height_mm=along * unit * MM,
        area_mm2=float(free.area.sum()) * (unit * MM) ** 2,
    )


def _free(model: TextureModel, surface: TexelSurface) -> TexelSurface:
    """The places of the free texels, without padding."""
    free = torch.zeros(len(model.original), dtype=torch.bool)
    free[model.target[: len(model.start)].cpu()] = True
    return surface.only(free[surface.texel])


def _extent(free: TexelSurface) -> tuple[float, float]:
    """Width and height of places of the surface, in metres, in the plane that they face on average; the upper edge is
    where +Z is."""
    if len(free.texel) == 0:
        return 0.0, 0.0
    out = torch.nn.functional.normalize((free.area[:, None] * free.normal).sum(dim=0), dim=0)
    upwards = torch.tensor([0.0, 0.0, 1.0]) if abs(float(out[2])) < STEEP else torch.tensor([0.0, 1.0, 0.0])
    up = torch.nn.functional.normalize(upwards - out * (upwards @ out), dim=0)
    sides = (free.position @ torch.linalg.cross(up, out), free.position @ up)
    margin = float(free.area.median().sqrt())  # positions are those of the texels' centres
    width, height = (float(side.max() - side.min()) + margin for side in sides)
    return width, height


def _png(picture: np.ndarray) -> np.ndarray:
    """An RGBA picture, row 0 at the top, as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)
