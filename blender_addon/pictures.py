# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel and the viewport show of a running job, as arrays ready for Blender. No bpy: the connection's thread
prepares them, so that the main thread has only to hand them over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._shared import messages, scene

LARGEST = 2048
"""Previews of larger textures are thinned out; a viewport shows no more."""
EDGE = 256
"""Edge of a panel picture in pixels."""


@dataclass(frozen=True)
class Preview:
    """A preview ``message``: the texture of a running job, and the view that is recognised least.

    ``texels`` [H, W] float32, row 0 at the bottom: each holds red + 256 · green + 65536 · blue of 8 bits each. One
    float instead of four is a quarter of the upload, the one thing that has to happen on the main thread (2048²: 8 ms
    against 24 ms; a PNG in an image datablock takes some 70 ms to decode and upload). ``colors`` [T, 3, 3] float32 in
    [0, 1] of vertex textures, for the corners of triangles. ``worst`` [EDGE, EDGE, 4] float32, row 0 at the bottom.
    """

    message: messages.Preview
    texels: np.ndarray | None
    colors: np.ndarray | None
    worst: np.ndarray


def prepare(preview: messages.Preview, triangles: np.ndarray | None) -> Preview:
    """`preview` as Blender takes it; vertex colours are shown on `triangles` [T, 3], or not at all."""
    texture = preview.texture
    return Preview(
        message=preview,
        texels=packed(texture.image) if isinstance(texture, scene.UvTexture) else None,
        colors=_corner_colors(texture, triangles),
        worst=panel_picture(preview.worst_view),
    )


def _corner_colors(texture: scene.Texture, triangles: np.ndarray | None) -> np.ndarray | None:
    if triangles is None or not isinstance(texture, scene.VertexTexture):
        return None
    return np.asarray((texture.colors / np.float32(255))[triangles])


def packed(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] uint8 as ``texels`` of a :class:`Preview`."""
    stride = -(-max(image.shape[:2]) // LARGEST)
    thinned = image[::stride, ::stride].astype(np.float32)
    return np.asarray(thinned @ np.array([1, 256, 65536], np.float32))  # exact: it stays below 2 ** 24


def panel_picture(picture: np.ndarray) -> np.ndarray:
    """`picture` [H, W, 3] uint8, row 0 at the top, as [EDGE, EDGE, 4] float32, row 0 at the bottom."""
    height, width, _ = picture.shape
    rows = (np.arange(EDGE) * height // EDGE)[::-1]
    columns = np.arange(EDGE) * width // EDGE
    result = np.ones((EDGE, EDGE, 4), np.float32)
    result[..., :3] = picture[rows[:, None], columns] / np.float32(255)
    return result


MEAN = (0.42, 0.76, 1.0)
LOW = (1.0, 0.62, 0.30)
GRID = (0.5, 0.5, 0.5)
THICKNESS = 3.0


def curve_picture(steps: Sequence[int], mean: Sequence[float], low: Sequence[float], last: int) -> np.ndarray:
    """Confidence from 0 to 1 over steps 0 to `last`, as [EDGE, EDGE, 4] float32, row 0 (confidence 0) at the bottom.

    The mean of each step's views is drawn over the least of them; without a point there is only the grid.
    """
    picture = np.zeros((EDGE, EDGE, 4), np.float32)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        picture[round(level * (EDGE - 1)), :] = (*GRID, 0.35)
    if len(steps) > 0:
        for values, color in ((low, LOW), (mean, MEAN)):
            _draw(picture, np.asarray(steps, float), np.asarray(values, float), max(last, 1), color)
    return picture


def _draw(
    picture: np.ndarray, steps: np.ndarray, values: np.ndarray, last: int, color: tuple[float, float, float]
) -> None:
    """A line through the points; every column shows all values between its neighbours, so that no jump is lost."""
    columns = np.arange(EDGE)
    heights = np.interp(columns / (EDGE - 1) * last, steps, values, left=np.nan, right=np.nan) * (EDGE - 1)
    before = np.fmin(heights, np.append(heights[:1], heights[:-1]))
    after = np.fmax(heights, np.append(heights[:1], heights[:-1]))
    rows = np.arange(EDGE)[:, None]
    inside = (rows >= before - THICKNESS / 2) & (rows <= after + THICKNESS / 2)
    picture[inside] = (*color, 1.0)
