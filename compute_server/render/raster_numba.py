"""The CPU rasterizer: a scanline kernel compiled by numba, one view per thread.

The same homogeneous edge functions as the NumPy reference (``raster_numpy.py`` explains them), with bounding boxes
and a depth buffer. Compiled code is cached on disk; the first call on a machine takes some seconds.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import torch

from .geometry import Geometry
from .rasterizer import Visibility


class NumbaRasterizer:
    """See :class:`~compute_server.render.rasterizer.Rasterizer`; computes on the CPU whatever the device."""

    name = "numba"

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device."""
        positions = geometry.positions.cpu().numpy()
        triangles = geometry.triangles.cpu().numpy()
        winner = _rasterize(positions, triangles, np.ascontiguousarray(matrices, np.float64), height, width)
        view_start = np.concatenate([[0], np.cumsum(_count(winner))])
        triangle, barycentric, sample = _pack(
            winner, view_start, positions, triangles, np.ascontiguousarray(matrices, np.float64)
        )
        return Visibility(
            triangle=torch.from_numpy(triangle).to(geometry.device),
            barycentric=torch.from_numpy(barycentric).to(geometry.device),
            sample=torch.from_numpy(sample).to(geometry.device),
            view_start=torch.from_numpy(view_start),
            height=height,
            width=width,
        )


@nb.njit(cache=True)
def _to_clip(positions, matrix):  # type: ignore[no-untyped-def]
    """[V, 4] float64 clip coordinates."""
    clip = np.empty((positions.shape[0], 4))
    for vertex in range(positions.shape[0]):
        x, y, z = positions[vertex, 0], positions[vertex, 1], positions[vertex, 2]
        for row in range(4):
            clip[vertex, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + matrix[row, 3]
    return clip


@nb.njit(cache=True)
def _edges(a, b, c, edges):  # type: ignore[no-untyped-def]
    """Rows of `edges` become (∂x, ∂y, constant) of each corner's weight over w in NDC, times |det|; returns |det|.

    The inverse of the matrix whose rows are the corners' (x, y, w), by cross products, and never divided: so a shared
    edge has the very same numbers with opposite sign in both triangles, and no sample falls between them.
    """
    edges[0, 0] = b[1] * c[3] - b[3] * c[1]
    edges[0, 1] = b[3] * c[0] - b[0] * c[3]
    edges[0, 2] = b[0] * c[1] - b[1] * c[0]
    edges[1, 0] = c[1] * a[3] - c[3] * a[1]
    edges[1, 1] = c[3] * a[0] - c[0] * a[3]
    edges[1, 2] = c[0] * a[1] - c[1] * a[0]
    edges[2, 0] = a[1] * b[3] - a[3] * b[1]
    edges[2, 1] = a[3] * b[0] - a[0] * b[3]
    edges[2, 2] = a[0] * b[1] - a[1] * b[0]
    det = a[0] * edges[0, 0] + a[1] * edges[0, 1] + a[3] * edges[0, 2]
    if det < 0.0:
        for row in range(3):
            for column in range(3):
                edges[row, column] = -edges[row, column]
    return abs(det)


@nb.njit(cache=True)
def _grow(box, x, y):  # type: ignore[no-untyped-def]
    box[0], box[1] = min(box[0], x), max(box[1], x)
    box[2], box[3] = min(box[2], y), max(box[3], y)


@nb.njit(cache=True)
def _clipped_box(corners, box):  # type: ignore[no-untyped-def]
    """Grow `box` (x low, high, y low, high in NDC) by the part of a triangle that lies beyond the near plane."""
    for i in range(3):
        p, q = corners[i], corners[(i + 1) % 3]
        near_p, near_q = p[2] + p[3], q[2] + q[3]
        if near_p >= 0.0 and p[3] > 0.0:
            _grow(box, p[0] / p[3], p[1] / p[3])
        if (near_p >= 0.0) != (near_q >= 0.0):
            t = near_p / (near_p - near_q)
            w = p[3] + t * (q[3] - p[3])
            if w > 0.0:
                _grow(box, (p[0] + t * (q[0] - p[0])) / w, (p[1] + t * (q[1] - p[1])) / w)


@nb.njit(cache=True)
def _sample_range(low, high, count):  # type: ignore[no-untyped-def]
    """First and last of `count` samples across NDC that lie between `low` and `high`, an ulp or two beyond included."""
    first = np.ceil((max(low, -1.0) + 1.0) * 0.5 * count - 0.5 - 1e-6)
    last = np.floor((min(high, 1.0) + 1.0) * 0.5 * count - 0.5 + 1e-6)
    return max(0, int(first)), min(count - 1, int(last))


@nb.njit(cache=True)
def _draw_triangle(index, corners, edges, det, span, x, y, depth, winner):  # type: ignore[no-untyped-def]
    """Depth-test one triangle into `depth` and `winner` [H, W], on rows and columns of `span`."""
    z_x = (edges[0, 0] * corners[0, 2] + edges[1, 0] * corners[1, 2] + edges[2, 0] * corners[2, 2]) / det
    z_y = (edges[0, 1] * corners[0, 2] + edges[1, 1] * corners[1, 2] + edges[2, 1] * corners[2, 2]) / det
    z_1 = (edges[0, 2] * corners[0, 2] + edges[1, 2] * corners[1, 2] + edges[2, 2] * corners[2, 2]) / det
    left, right, top, bottom = span
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            e0 = edges[0, 0] * x[column] + edges[0, 1] * y[row] + edges[0, 2]
            e1 = edges[1, 0] * x[column] + edges[1, 1] * y[row] + edges[1, 2]
            e2 = edges[2, 0] * x[column] + edges[2, 1] * y[row] + edges[2, 2]
            if e0 < 0.0 or e1 < 0.0 or e2 < 0.0 or e0 + e1 + e2 <= 0.0:
                continue
            z = z_x * x[column] + z_y * y[row] + z_1
            if -1.0 <= z <= 1.0 and z < depth[row, column]:
                depth[row, column] = z
                winner[row, column] = index


@nb.njit(cache=True)
def _sample_grid(height, width):  # type: ignore[no-untyped-def]
    """NDC of sample columns [W] (x) and rows [H] (y, row 0 at the top)."""
    return (np.arange(width) + 0.5) * 2.0 / width - 1.0, 1.0 - (np.arange(height) + 0.5) * 2.0 / height


@nb.njit(cache=True)
def _to_ndc(clip):  # type: ignore[no-untyped-def]
    """[V, 2] NDC of vertices beyond the near plane, NaN for the others."""
    ndc = np.full((clip.shape[0], 2), np.nan)
    for vertex in range(clip.shape[0]):
        if clip[vertex, 3] > 0.0 and clip[vertex, 2] + clip[vertex, 3] >= 0.0:
            ndc[vertex, 0] = clip[vertex, 0] / clip[vertex, 3]
            ndc[vertex, 1] = clip[vertex, 1] / clip[vertex, 3]
    return ndc


@nb.njit(cache=True, parallel=True)
def _rasterize(positions, triangles, matrices, height, width):  # type: ignore[no-untyped-def]
    """Index of the nearest triangle, [N, H, W] int32, −1 where there is none."""
    winner = np.full((matrices.shape[0], height, width), -1, np.int32)
    x, y = _sample_grid(height, width)
    for view in nb.prange(matrices.shape[0]):
        clip = _to_clip(positions, matrices[view])
        ndc = _to_ndc(clip)
        depth = np.full((height, width), np.inf)
        edges, corners, box = np.empty((3, 3)), np.empty((3, 4)), np.empty(4)
        for index in range(triangles.shape[0]):
            a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
            box[0], box[1], box[2], box[3] = np.inf, -np.inf, np.inf, -np.inf
            corners[0], corners[1], corners[2] = clip[a], clip[b], clip[c]
            if np.isnan(ndc[a, 0] + ndc[b, 0] + ndc[c, 0]):
                _clipped_box(corners, box)
            else:
                _grow(box, ndc[a, 0], ndc[a, 1])
                _grow(box, ndc[b, 0], ndc[b, 1])
                _grow(box, ndc[c, 0], ndc[c, 1])
            if not (box[0] <= 1.0 and box[1] >= -1.0 and box[2] <= 1.0 and box[3] >= -1.0):
                continue
            left, right = _sample_range(box[0], box[1], width)
            top, bottom = _sample_range(-box[3], -box[2], height)
            if left > right or top > bottom:
                continue
            det = _edges(corners[0], corners[1], corners[2], edges)
            if det != 0.0:
                _draw_triangle(index, corners, edges, det, (left, right, top, bottom), x, y, depth, winner[view])
    return winner


@nb.njit(cache=True, parallel=True)
def _count(winner):  # type: ignore[no-untyped-def]
    """Covered samples of each view, [N]."""
    counts = np.zeros(winner.shape[0], np.int64)
    for view in nb.prange(winner.shape[0]):
        counts[view] = (winner[view] >= 0).sum()
    return counts


@nb.njit(cache=True, parallel=True)
def _pack(winner, view_start, positions, triangles, matrices):  # type: ignore[no-untyped-def]
    """Triangle, barycentrics and sample index of every covered sample."""
    views, height, width = winner.shape
    triangle = np.empty(view_start[-1], np.int32)
    barycentric = np.empty((view_start[-1], 2), np.float32)
    sample = np.empty(view_start[-1], np.int32)
    x, y = _sample_grid(height, width)
    for view in nb.prange(views):
        clip = _to_clip(positions, matrices[view])
        edges, cursor, last = np.empty((3, 3)), view_start[view], -1
        for row in range(height):
            for column in range(width):
                index = winner[view, row, column]
                if index < 0:
                    continue
                if index != last:
                    a, b, c = triangles[index]
                    _edges(clip[a], clip[b], clip[c], edges)
                    last = index
                e0 = edges[0, 0] * x[column] + edges[0, 1] * y[row] + edges[0, 2]
                e1 = edges[1, 0] * x[column] + edges[1, 1] * y[row] + edges[1, 2]
                e2 = edges[2, 0] * x[column] + edges[2, 1] * y[row] + edges[2, 2]
                triangle[cursor] = index
                barycentric[cursor, 0] = e0 / (e0 + e1 + e2)
                barycentric[cursor, 1] = e1 / (e0 + e1 + e2)
                sample[cursor] = (view * height + row) * width + column
                cursor += 1
    return triangle, barycentric, sample
