"""The CPU rasterizer: a scanline kernel compiled by numba, one view per thread, and views left over in bands of rows.

The same homogeneous edge functions as the NumPy reference (``raster_numpy.py`` explains them), with a depth buffer. In
each row a division finds the span between the edges, the edge functions themselves say where it ends exactly, and
nothing branches inside: a branch for each sample would take most of the time. Indices are unsigned where they are many,
which spares numba its test for negative ones. Compiled code is cached on disk; the first call on a machine takes some
seconds.
"""

from __future__ import annotations

import functools
import itertools

import numba as nb
import numpy as np
import torch

from .geometry import Geometry
from .rasterizer import Visibility

#: Samples on a side of the tiles that say what is hidden.
TILE = 4


class NumbaRasterizer:
    """See :class:`~compute_server.render.rasterizer.Rasterizer`; computes on the CPU whatever the device."""

    name = "numba"

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device."""
        positions, triangles = geometry.on_host
        bands, order = _bands(len(matrices), height, nb.get_num_threads())
        begins = (bands[:, 0] * height + bands[:, 1]) * width
        triangle, barycentric, sample, counts = _rasterize(
            positions, triangles, np.ascontiguousarray(matrices, np.float64), bands, begins, height, width
        )
        triangle, barycentric, sample = _together(triangle, barycentric, sample, begins[order], counts[order])
        of_view = np.bincount(bands[:, 0], counts, len(matrices)).astype(np.int64)
        view_start = np.concatenate([[0], np.cumsum(of_view)])
        return Visibility(
            triangle=_moved(triangle, geometry.device),
            barycentric=_moved(barycentric, geometry.device),
            sample=_moved(sample, geometry.device),
            view_start=torch.from_numpy(view_start),
            height=height,
            width=width,
        )


@functools.cache
def _bands(views: int, height: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """What is drawn, so that consecutive shares of the same size keep all threads busy: whole views, and those left
    over in no more bands than there are threads, since all of the geometry is looked at for each band. View, first row
    and the row after the last, ``[B, 3]``; and their order by view and row ``[B]``."""
    whole, left = views // threads, views % threads
    cuts = [height * i // (threads // left) for i in range(threads // left + 1)] if left else []
    parts = [(threads * whole + i, first, end) for i in range(left) for first, end in itertools.pairwise(cuts)]
    bands = [
        band
        for thread in range(threads)
        for band in (*((thread * whole + i, 0, height) for i in range(whole)), *parts[thread : thread + 1])
    ]
    table = np.array(bands, np.int64).reshape(-1, 3)
    return table, np.lexsort((table[:, 1], table[:, 0]))


def _moved(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """`values` on `device`; to a GPU from pinned memory, so that nobody waits for it."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@nb.njit(cache=True)
def _project(positions, matrix, height, width, top, clip, at):  # type: ignore[no-untyped-def]
    """Clip coordinates `clip` [V, 4], and where vertices beyond the near plane lie among the samples, `at` [V, 3]
    (column, row after row `top`, and depth; NaN for the others)."""
    for vertex in range(np.uint64(positions.shape[0])):
        x, y, z = positions[vertex, 0], positions[vertex, 1], positions[vertex, 2]
        for row in range(np.uint64(4)):
            clip[vertex, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + matrix[row, 3]
        at[vertex, 0] = at[vertex, 1] = at[vertex, 2] = np.nan
        if clip[vertex, 3] > 0.0 and clip[vertex, 2] + clip[vertex, 3] >= 0.0:
            at[vertex, 2] = clip[vertex, 2] / clip[vertex, 3]
            at[vertex, 0] = (clip[vertex, 0] / clip[vertex, 3] + 1.0) * 0.5 * width - 0.5
            at[vertex, 1] = (1.0 - clip[vertex, 1] / clip[vertex, 3]) * 0.5 * height - 0.5 - top


@nb.njit(cache=True, inline="always")
def _edges(clip, a, b, c):  # type: ignore[no-untyped-def]
    """(∂x, ∂y, constant) of each corner's weight over w in NDC, times |det|: nine numbers, and |det|.

    The inverse of the matrix whose rows are the (x, y, w) of corners `a`, `b` and `c`, by cross products, and never
    divided: so a shared edge has the very same numbers with opposite sign in both triangles, and no sample falls
    between them.
    """
    x_a, y_a, w_a = clip[a, 0], clip[a, 1], clip[a, 3]
    x_b, y_b, w_b = clip[b, 0], clip[b, 1], clip[b, 3]
    x_c, y_c, w_c = clip[c, 0], clip[c, 1], clip[c, 3]
    a_x, a_y, a_1 = y_b * w_c - w_b * y_c, w_b * x_c - x_b * w_c, x_b * y_c - y_b * x_c
    b_x, b_y, b_1 = y_c * w_a - w_c * y_a, w_c * x_a - x_c * w_a, x_c * y_a - y_c * x_a
    c_x, c_y, c_1 = y_a * w_b - w_a * y_b, w_a * x_b - x_a * w_b, x_a * y_b - y_a * x_b
    det = x_a * a_x + y_a * a_y + w_a * a_1
    if det < 0.0:
        return -a_x, -a_y, -a_1, -b_x, -b_y, -b_1, -c_x, -c_y, -c_1, -det
    return a_x, a_y, a_1, b_x, b_y, b_1, c_x, c_y, c_1, det


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
def _near_box(a, b, c, height, width):  # type: ignore[no-untyped-def]
    """The columns (low, high) and rows (low, high) that a triangle across the near plane covers; NaN-free, and beyond
    the frame by no more than one sample."""
    corners, box = np.empty((3, 4)), np.array([np.inf, -np.inf, np.inf, -np.inf])
    corners[0], corners[1], corners[2] = a, b, c
    _clipped_box(corners, box)
    box[:] = np.minimum(np.maximum(box, -2.0), 2.0)
    return (
        (box[0] + 1.0) * 0.5 * width - 0.5,
        (box[1] + 1.0) * 0.5 * width - 0.5,
        (1.0 - box[3]) * 0.5 * height - 0.5,
        (1.0 - box[2]) * 0.5 * height - 0.5,
    )


@nb.njit(cache=True)
def _sample_grid(height, width):  # type: ignore[no-untyped-def]
    """NDC of sample columns [W] (x) and rows [H] (y, row 0 at the top)."""
    return (np.arange(width) + 0.5) * 2.0 / width - 1.0, 1.0 - (np.arange(height) + 0.5) * 2.0 / height


@nb.njit(cache=True, inline="always")
def _box(clip, at, a, b, c, first, rows, height, width):  # type: ignore[no-untyped-def]
    """Columns (left, right) and rows (top, bottom) of the samples that a triangle may cover, an ulp or two beyond
    included; empty where left > right or top > bottom. Rows are those of a band of so many, from row `first` on."""
    x_a, x_b, x_c, y_a, y_b, y_c = at[a, 0], at[b, 0], at[c, 0], at[a, 1], at[b, 1], at[c, 1]
    low, high, upper, lower = min(x_a, x_b, x_c), max(x_a, x_b, x_c), min(y_a, y_b, y_c), max(y_a, y_b, y_c)
    if np.isnan(x_a + x_b + x_c):
        low, high, upper, lower = _near_box(clip[a], clip[b], clip[c], height, width)
        upper, lower = upper - first, lower - first
    left, right = max(np.ceil(low - 1e-6), 0.0), min(np.floor(high + 1e-6), width - 1.0)
    top, bottom = max(np.ceil(upper - 1e-6), 0.0), min(np.floor(lower + 1e-6), rows - 1.0)
    return left, right, top, bottom


@nb.njit(cache=True, inline="always")
def _bound(slope, half):  # type: ignore[no-untyped-def]
    """Three numbers for an edge function that rises by `slope` along a row: it is 0 at constant · first columns from
    the middle; the second and the third make that no bound to the left or to the right, where it bounds the other
    side."""
    return -half / (slope or 1.0), (0.0 if slope > 0.0 else -np.inf), (0.0 if slope < 0.0 else np.inf)


@nb.njit(cache=True, inline="always")
def _draw_triangle(index, clip, a, b, c, box, x, y, depth, winner):  # type: ignore[no-untyped-def]
    """Depth-test one triangle into `depth` and `winner` [rows, W], within its `box`."""
    a_x, a_y, a_1, b_x, b_y, b_1, c_x, c_y, c_1, det = _edges(clip, a, b, c)
    if det == 0.0:
        return
    left, right, top, bottom = box
    z_a, z_b, z_c = clip[a, 2] / det, clip[b, 2] / det, clip[c, 2] / det
    z_x, z_y = a_x * z_a + b_x * z_b + c_x * z_c, a_y * z_a + b_y * z_b + c_y * z_c
    z_1 = a_1 * z_a + b_1 * z_b + c_1 * z_c
    half = 0.5 * x.shape[0]
    middle = half - 0.5
    per_a, low_a, high_a = _bound(a_x, half)
    per_b, low_b, high_b = _bound(b_x, half)
    per_c, low_c, high_c = _bound(c_x, half)
    for row in range(np.uint64(top), np.uint64(bottom + 1)):
        a_r, b_r, c_r = a_y * y[row] + a_1, b_y * y[row] + b_1, c_y * y[row] + c_1
        met_a, met_b, met_c = a_r * per_a + middle, b_r * per_b + middle, c_r * per_c + middle
        low = max(left, np.ceil(max(met_a + low_a, met_b + low_b, met_c + low_c) - 1e-7))
        high = min(right, np.floor(min(met_a + high_a, met_b + high_b, met_c + high_c) + 1e-7))
        if not low <= high:
            continue
        first, last = np.uint64(low), np.uint64(high)
        # Each edge function rises or falls along a row, rounded or not: between two samples inside all are inside.
        while first <= last and not _inside(x[first], a_x, a_r, b_x, b_r, c_x, c_r):
            first += np.uint64(1)
        while last > first and not _inside(x[last], a_x, a_r, b_x, b_r, c_x, c_r):
            last -= np.uint64(1)
        z_r = z_y * y[row] + z_1
        for column in range(first, last + np.uint64(1)):
            z, before, who = z_x * x[column] + z_r, depth[row, column], winner[row, column]
            nearer = (z >= -1.0) & (z <= 1.0) & (z < before)
            depth[row, column] = z if nearer else before
            winner[row, column] = index if nearer else who


@nb.njit(cache=True, inline="always")
def _inside(x, a_x, a_r, b_x, b_r, c_x, c_r):  # type: ignore[no-untyped-def]
    e_a, e_b, e_c = a_x * x + a_r, b_x * x + b_r, c_x * x + c_r
    return e_a >= 0.0 and e_b >= 0.0 and e_c >= 0.0 and e_a + e_b + e_c > 0.0


@nb.njit(cache=True, inline="always")
def _faces_away(at, a, b, c):  # type: ignore[no-untyped-def]
    """Whether a triangle's corners come clockwise; never where one lies before the near plane (NaN)."""
    x, y = at[a, 0], at[a, 1]
    return (at[b, 0] - x) * (at[c, 1] - y) - (at[b, 1] - y) * (at[c, 0] - x) > 0.0


@nb.njit(cache=True)
def _farthest(depth, farthest):  # type: ignore[no-untyped-def]
    """The greatest depth in each tile of TILE × TILE samples."""
    farthest[:] = -np.inf
    for row in range(np.uint64(depth.shape[0])):
        tiles = farthest[row // np.uint64(TILE)]
        for column in range(np.uint64(depth.shape[1])):
            tile = column // np.uint64(TILE)
            tiles[tile] = max(tiles[tile], depth[row, column])


@nb.njit(cache=True, inline="always")
def _hidden(at, a, b, c, box, farthest):  # type: ignore[no-untyped-def]
    """Whether all that lies in the tiles of a triangle's box is nearer than the triangle."""
    left, right, top, bottom = box
    near = min(at[a, 2], at[b, 2], at[c, 2])
    for row in range(np.uint64(top) // np.uint64(TILE), np.uint64(bottom) // np.uint64(TILE) + np.uint64(1)):
        for column in range(np.uint64(left) // np.uint64(TILE), np.uint64(right) // np.uint64(TILE) + np.uint64(1)):
            if not farthest[row, column] < near:
                return False
    return True


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _rasterize(positions, triangles, matrices, bands, begins, height, width):  # type: ignore[no-untyped-def]
    """Triangle, barycentrics and sample index of every covered sample; those of each band begin where the band does
    among all samples, at `begins` [B], and the last result, [B], says how many they are."""
    size = matrices.shape[0] * height * width
    triangle, barycentric = np.empty(size, np.int32), np.empty((size, 2), np.float32)
    sample, counts = np.empty(size, np.int32), np.empty(bands.shape[0], np.int64)
    x, y = _sample_grid(height, width)
    for at_band in nb.prange(bands.shape[0]):
        view, first, end = bands[at_band]
        clip, at = np.empty((positions.shape[0], 4)), np.empty((positions.shape[0], 3))
        _project(positions, matrices[view], height, width, first, clip, at)
        winner = np.full((end - first, width), -1, np.int32)
        rows = y[first:end].copy()
        _draw(clip, at, triangles, x, rows, np.float64(first), height, winner)
        begin = begins[at_band]
        part = slice(begin, begin + (end - first) * width)
        counts[at_band] = _pack(winner, clip, triangles, x, rows, triangle[part], barycentric[part], sample[part])
        sample[begin : begin + counts[at_band]] += begin
    return triangle, barycentric, sample, counts


@nb.njit(cache=True, inline="always")
def _draw(clip, at, triangles, x, y, first, height, winner):  # type: ignore[no-untyped-def]
    """`winner` [rows, W], −1 before, becomes the index of the nearest triangle.

    What faces away comes second: of a closed body most of it is hidden by then, and a look at a few tiles tells.
    """
    rows, width = winner.shape
    depth = np.full((rows, width), np.inf)
    away, many = np.empty(triangles.shape[0], np.int32), np.uint64(0)
    for index in range(np.uint64(triangles.shape[0])):
        a, b, c = np.uint64(triangles[index, 0]), np.uint64(triangles[index, 1]), np.uint64(triangles[index, 2])
        box = _box(clip, at, a, b, c, first, rows, height, width)
        if not (box[0] <= box[1] and box[2] <= box[3]):
            continue
        if _faces_away(at, a, b, c):
            away[many] = index
            many += np.uint64(1)
        else:
            _draw_triangle(index, clip, a, b, c, box, x, y, depth, winner)
    farthest = np.empty((rows // TILE + 1, width // TILE + 1))
    _farthest(depth, farthest)
    for i in range(many):
        index = away[i]
        a, b, c = np.uint64(triangles[index, 0]), np.uint64(triangles[index, 1]), np.uint64(triangles[index, 2])
        box = _box(clip, at, a, b, c, first, rows, height, width)
        if not _hidden(at, a, b, c, box, farthest):
            _draw_triangle(index, clip, a, b, c, box, x, y, depth, winner)


@nb.njit(cache=True, inline="always")
def _pack(winner, clip, triangles, x, y, triangle, barycentric, sample):  # type: ignore[no-untyped-def]
    """Write what is known of one view's covered samples, in order; how many they are."""
    cursor, last = np.uint64(0), -1
    a_x = a_y = a_1 = b_x = b_y = b_1 = c_x = c_y = c_1 = 0.0
    for row in range(np.uint64(winner.shape[0])):
        for column in range(np.uint64(winner.shape[1])):
            index = winner[row, column]
            if index < 0:
                continue
            if index != last:
                a, b, c = triangles[index]
                a_x, a_y, a_1, b_x, b_y, b_1, c_x, c_y, c_1, _ = _edges(clip, np.uint64(a), np.uint64(b), np.uint64(c))
                last = index
            e_a = a_x * x[column] + (a_y * y[row] + a_1)
            e_b = b_x * x[column] + (b_y * y[row] + b_1)
            e_c = c_x * x[column] + (c_y * y[row] + c_1)
            scale = 1.0 / (e_a + e_b + e_c)
            triangle[cursor] = index
            barycentric[cursor, 0] = e_a * scale
            barycentric[cursor, 1] = e_b * scale
            sample[cursor] = np.int32(row * np.uint64(winner.shape[1]) + column)
            cursor += np.uint64(1)
    return np.int64(cursor)


@nb.njit(cache=True, parallel=True, nogil=True)
def _together(triangle, barycentric, sample, begin, counts):  # type: ignore[no-untyped-def]
    """What :func:`_rasterize` gives, without the gaps between bands, which are in order of view and row here."""
    end, total = np.cumsum(counts), counts.sum()
    triangle_out, sample_out = np.empty(total, np.int32), np.empty(total, np.int32)
    barycentric_out = np.empty((total, 2), np.float32)
    for band in nb.prange(counts.shape[0]):
        to, part = slice(end[band] - counts[band], end[band]), slice(begin[band], begin[band] + counts[band])
        triangle_out[to], sample_out[to], barycentric_out[to] = triangle[part], sample[part], barycentric[part]
    return triangle_out, barycentric_out, sample_out
