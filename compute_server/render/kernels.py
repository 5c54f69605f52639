"""From visible samples to surfaces and pixels, compiled for the CPU: each kernel is the equal of a torch function of
``gbuffer`` or ``renderer``, by test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import pieces

if TYPE_CHECKING:
    from .geometry import Geometry
    from .rasterizer import Visibility

_f = np.float32


def interpolate(
    geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stands for ``gbuffer.interpolate_reference``."""
    arrays = _interpolate(
        visibility.triangle.numpy(),
        visibility.barycentric.numpy(),
        pieces(visibility.view_start),
        geometry.positions.numpy(),
        geometry.triangles.numpy(),
        geometry.normals.numpy(),
        geometry.uv.numpy(),
        np.ascontiguousarray(matrices, np.float64),
        np.ascontiguousarray(eyes, np.float64),
        visibility.width * visibility.height / 4,
    )
    position, normal, uv, footprint = (torch.from_numpy(array) for array in arrays)
    return position, normal, uv, footprint


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _interpolate(  # type: ignore[no-untyped-def]
    triangle, barycentric, pieces, positions, triangles, normals, uv, matrices, eyes, to_samples
):
    """Neighbouring samples mostly share a triangle: what is linear across it is kept as c + b_a · a + b_b · b in local
    numbers, which stay in registers, and set anew when the triangle changes."""
    count = triangle.shape[0]
    position_out, normal_out = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    uv_out, footprint_out = np.empty((count, 2), np.float32), np.empty(count, np.float32)
    corner_normals = normals.reshape(-1, 3)  # a view of a row costs more than all that is done with it
    for piece in nb.prange(pieces.shape[0]):
        view, begin, end = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        m = matrices[view]
        e_x, e_y, e_z, e_w = _f(eyes[view, 0]), _f(eyes[view, 1]), _f(eyes[view, 2]), _f(eyes[view, 3])
        last, scale, w_a, w_b, w_c = np.int32(-1), _f(0), _f(0), _f(0), _f(0)
        x_a = y_a = z_a = x_b = y_b = z_b = x_c = y_c = z_c = _f(0)
        i_a = j_a = k_a = i_b = j_b = k_b = i_c = j_c = k_c = _f(0)
        u_a = v_a = u_b = v_b = u_c = v_c = _f(0)
        for p in range(np.uint64(begin), np.uint64(end)):
            if triangle[p] != last:
                last = triangle[p]
                t = np.uint64(last)
                a, b, c = np.uint64(triangles[t, 0]), np.uint64(triangles[t, 1]), np.uint64(triangles[t, 2])
                x_a, y_a, z_a, x_b, y_b, z_b, x_c, y_c, z_c = _linear(positions, a, b, c)
                first = np.uint64(3) * t
                i_a, j_a, k_a, i_b, j_b, k_b, i_c, j_c, k_c = _linear(
                    corner_normals, first, first + np.uint64(1), first + np.uint64(2)
                )
                u_c, v_c = uv[t, 2, 0], uv[t, 2, 1]
                u_a, v_a, u_b, v_b = uv[t, 0, 0] - u_c, uv[t, 0, 1] - v_c, uv[t, 1, 0] - u_c, uv[t, 1, 1] - v_c
                w_a, w_b, w_c, det = _depths(m, positions, a, b, c)
                scale = _f(abs(u_a * v_b - v_a * u_b) / max(abs(det) * to_samples, 1e-30))
            b_a, b_b = barycentric[p, 0], barycentric[p, 1]
            w = w_c + b_a * w_a + b_b * w_b
            footprint_out[p] = scale * w * w * w
            x, y, z = x_c + b_a * x_a + b_b * x_b, y_c + b_a * y_a + b_b * y_b, z_c + b_a * z_a + b_b * z_b
            i, j, k = i_c + b_a * i_a + b_b * i_b, j_c + b_a * j_a + b_b * j_b, k_c + b_a * k_a + b_b * k_b
            facing = i * (e_x - e_w * x) + j * (e_y - e_w * y) + k * (e_z - e_w * z)
            unit = _f(1) / max(np.sqrt(i * i + j * j + k * k), _f(1e-12))
            unit = -unit if facing < 0 else unit
            position_out[p, 0], position_out[p, 1], position_out[p, 2] = x, y, z
            normal_out[p, 0], normal_out[p, 1], normal_out[p, 2] = i * unit, j * unit, k * unit
            uv_out[p, 0], uv_out[p, 1] = u_c + b_a * u_a + b_b * u_b, v_c + b_a * v_a + b_b * v_b
    return position_out, normal_out, uv_out, footprint_out


@nb.njit(cache=True, inline="always")
def _linear(v, a, b, c):  # type: ignore[no-untyped-def]
    """Of three rows of ``v [N, 3]``: the first less the third, the second less the third, the third."""
    x, y, z = v[c, 0], v[c, 1], v[c, 2]
    return v[a, 0] - x, v[a, 1] - y, v[a, 2] - z, v[b, 0] - x, v[b, 1] - y, v[b, 2] - z, x, y, z


@nb.njit(cache=True, inline="always")
def _depths(m, positions, a, b, c):  # type: ignore[no-untyped-def]
    """w of the first and the second corner less that of the third, which comes next; and det(x, y, w of all three)."""
    x_a, y_a, w_a = _xyw(m, positions, a)
    x_b, y_b, w_b = _xyw(m, positions, b)
    x_c, y_c, w_c = _xyw(m, positions, c)
    det = x_a * (y_b * w_c - w_b * y_c) - y_a * (x_b * w_c - w_b * x_c) + w_a * (x_b * y_c - y_b * x_c)
    return _f(w_a - w_c), _f(w_b - w_c), _f(w_c), det


@nb.njit(cache=True, inline="always")
def _xyw(m, positions, vertex):  # type: ignore[no-untyped-def]
    """x, y and w of a vertex in clip space."""
    x, y, z = positions[vertex, 0], positions[vertex, 1], positions[vertex, 2]
    return (
        m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3],
        m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3],
        m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3],
    )


def pixels(sample: Tensor, width: int, side: int) -> Tensor:
    """Stands for ``renderer.pixels_reference``."""
    result = torch.empty(len(sample), dtype=torch.int32)
    _pixels(sample.numpy(), width, side, result.numpy(), nb.get_num_threads())
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _pixels(sample, width, side, result, parts):  # type: ignore[no-untyped-def]
    count, across = sample.shape[0], width * side
    # Samples come row by row: only the first of a row needs a division, and columns have a table.
    column = (np.arange(across) // side).astype(np.int32)
    for part in nb.prange(parts):
        begin, to = 0, np.int32(0)
        for p in range(np.uint64(count * part // parts), np.uint64(count * (part + 1) // parts)):
            at = np.int64(sample[p])
            if at >= begin + across or begin == 0:
                begin = at // across * across
                to = np.int32(at // across // side * width)
            result[p] = to + column[np.uint64(at - begin)]


def covered(pixel: Tensor, shape: torch.Size) -> Tensor:
    """Stands for ``sampling.covered_reference``."""
    result = torch.zeros(shape, dtype=torch.bool)
    _mark(pixel.numpy(), result.view(-1).numpy())
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _mark(pixel, result):  # type: ignore[no-untyped-def]
    for p in nb.prange(pixel.shape[0]):
        result[np.uint64(pixel[p])] = True


def backdrop(pictures: Tensor, height: int, width: int, pixel: Tensor, view_start: Tensor, samples: int) -> Tensor:
    """Stands for ``renderer.backdrop_reference`` of pictures no larger than the frame."""
    base = torch.empty(len(pictures), height, width, 3)
    _backdrop(pictures.numpy(), pixel.numpy(), view_start.numpy(), samples, base.numpy())
    return base


@nb.njit(cache=True, parallel=True, nogil=True)
def _backdrop(pictures, pixel, view_start, samples, base):  # type: ignore[no-untyped-def]
    _, height, width, _ = base.shape
    x0, x1, fx = _stretched(pictures.shape[2], width)
    y0, y1, fy = _stretched(pictures.shape[1], height)
    for view in nb.prange(base.shape[0]):
        hits = np.zeros(height * width, np.int32)
        begin = np.uint64(view * height * width)
        for p in range(np.uint64(view_start[view]), np.uint64(view_start[view + 1])):
            hits[np.uint64(pixel[p]) - begin] += 1
        picture, result = pictures[view], base[view]
        mixed = np.empty((pictures.shape[2], 3), np.float32)
        for row in range(np.uint64(height)):
            low, high, share = y0[row], y1[row], fy[row]
            for column in range(np.uint64(pictures.shape[2])):
                for channel in range(3):
                    near, far = picture[low, column, channel], picture[high, column, channel]
                    mixed[column, channel] = near + (far - near) * share
            for column in range(np.uint64(width)):
                uncovered = np.float32(1) - np.float32(hits[row * np.uint64(width) + column]) / np.float32(samples)
                left, right, share = x0[column], x1[column], fx[column]
                for channel in range(3):
                    near, far = mixed[left, channel], mixed[right, channel]
                    result[row, column, channel] = (near + (far - near) * share) * uncovered


@nb.njit(cache=True)
def _stretched(few, many):  # type: ignore[no-untyped-def]
    """For each of `many` pixels across, the two of `few` that it lies between, and how near it is to the second."""
    low, high, share = np.empty(many, np.uint64), np.empty(many, np.uint64), np.empty(many, np.float32)
    for i in range(many):
        place = max((i + 0.5) * few / many - 0.5, 0.0)
        low[i] = min(int(place), few - 1)
        high[i] = min(int(place) + 1, few - 1)
        share[i] = place - int(place)
    return low, high, share
