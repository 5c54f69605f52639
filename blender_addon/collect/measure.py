# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that tell an artist before a job how it will go: how much may change, how much texture is used twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from .mesh import group_weights, triangle_vertices, values

GRID = 256
"""Texels along an edge of the texture that :func:`shared_texels` looks at."""
MOST_ROWS = 4_000_000
"""Rows of texels, over all triangles, beyond which it looks at a coarser one."""
MOST_TILES = 8
"""How many repetitions of the texture a triangle is followed over."""
EDGE = 0.01
"""How far a triangle must reach over the middle of a texel to count, in texels."""


def coverage(obj: Any, mask: str | None, *, invert: bool) -> float:
    """The share (0 to 1) of the surface of `obj` that vertex group `mask` leaves free; 0 for an unknown group.

    Of the mesh without its modifiers, so that a panel can ask at any time. Never raises for a mesh object.
    """
    mesh = obj.data
    free = np.ones(len(mesh.vertices), np.float32) if mask is None else group_weights(obj, mesh, mask)
    if free is None or len(mesh.polygons) == 0:
        return 0.0
    triangles = triangle_vertices(mesh)
    linear = np.array(obj.matrix_world, np.float64)[:3, :3]
    a, b, c = (values(mesh.vertices, "co", (len(mesh.vertices), 3)) @ linear.T)[triangles].transpose(1, 0, 2)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    shares = (1 - free if invert else free)[triangles].mean(axis=1)
    return float(shares @ areas / areas.sum()) if areas.sum() > 0 else 0.0


def shared_texels(uv: np.ndarray) -> float:
    """The share (0 to 1) of the used texture that is shown more than once; `uv` is [T, 3, 2], the texture repeats.

    Neighbours that share an edge show no texel together. Measured at `GRID`² texels (coarser where triangles overlap
    so often that it would take long).
    """
    finite = np.asarray(uv, np.float64)[np.isfinite(uv).all(axis=(1, 2))]
    size = GRID
    heights = np.ptp(finite[..., 1], axis=1).clip(0, MOST_TILES)
    while size > 1 and (heights * size).sum() > MOST_ROWS:
        size //= 2
    counts = _times_shown(finite * size, size)
    used = np.count_nonzero(counts)
    return float(np.count_nonzero(counts > 1) / used) if used else 0.0


def _times_shown(uv: np.ndarray, size: int) -> np.ndarray:
    """How often triangles (coordinates [T, 3, 2] in texels) show the middles of [size, size] texels."""
    by_height = np.take_along_axis(uv, np.argsort(uv[..., 1], axis=1)[..., None], axis=1)
    first = np.ceil(by_height[:, 0, 1] - 0.5 + EDGE).astype(np.int64)
    beyond = np.ceil(by_height[:, 2, 1] - 0.5 - EDGE).astype(np.int64)
    rows = (beyond - first).clip(0, MOST_TILES * size)
    triangle = np.repeat(np.arange(len(uv)), rows)
    row = np.arange(len(triangle)) - np.repeat(np.cumsum(rows) - rows, rows) + first[triangle]
    left, right = _span(by_height, triangle, row + 0.5)
    start = np.ceil(left - 0.5 + EDGE).astype(np.int64)
    length = (np.ceil(right - 0.5 - EDGE).astype(np.int64) - start).clip(0, MOST_TILES * size)
    return _add_spans(row % size, start % size, length, size)


def _span(by_height: np.ndarray, triangle: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the lines at heights `y` [N] enter and leave triangles whose corners are sorted by height: two [N]."""
    low, middle, high = by_height.transpose(1, 0, 2)
    slopes = [_slope(*edge) for edge in ((low, middle), (middle, high), (low, high))]
    upper = y > middle[triangle, 1]
    from_x = np.where(upper, middle[triangle, 0], low[triangle, 0])
    from_y = np.where(upper, middle[triangle, 1], low[triangle, 1])
    bent = from_x + (y - from_y) * np.where(upper, slopes[1][triangle], slopes[0][triangle])
    straight = low[triangle, 0] + (y - low[triangle, 1]) * slopes[2][triangle]
    return np.minimum(bent, straight), np.maximum(bent, straight)


def _slope(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far edges between points [T, 2] go across for each step up, [T]. No line is asked to cross a level one."""
    across, up = (high - low).T
    return np.asarray(across / np.where(up > 0, up, 1.0))


def _add_spans(row: np.ndarray, start: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """How many spans cover each of [size, size] texels; a span goes on at the start of its row."""
    width = 2 * size + 1
    rounds, rest = length // size, length % size
    begins = np.bincount(row * width + start, minlength=size * width)
    ends = np.bincount(row * width + start + rest, minlength=size * width)
    covered = np.cumsum((begins - ends).reshape(size, width), axis=1)
    every = np.bincount(row, rounds, minlength=size)[:, None]
    return np.asarray(covered[:, :size] + covered[:, size : 2 * size] + every)
