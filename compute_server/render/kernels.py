"""From visible samples to surfaces and pixels, compiled for the CPU: each kernel is the equal of a torch function of
``gbuffer`` or ``renderer``, by test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import flat, pieces
from .vectors import fma

if TYPE_CHECKING:
    from .geometry import Geometry
    from .rasterizer import Visibility

_f, _u = np.float32, np.uint64
#: So many numbers describe a triangle.
FACE = 28


def faces(positions: Tensor, triangles: Tensor, normals: Tensor, uv: Tensor) -> np.ndarray:
    """What is linear across each triangle, as c + b_a · a + b_b · b, flat ``[FACE · T] float32``: a, b and c of the
    position and of the normal, (x, y, z) each, and of u and v; the cross product of a and b of the position; and twice
    the area in UV."""
    result = np.empty(FACE * len(triangles), np.float32)
    _faces(positions.numpy(), triangles.numpy(), normals.numpy(), uv.numpy(), result)
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _faces(positions, triangles, normals, uv, result):  # type: ignore[no-untyped-def]
    for t in nb.prange(triangles.shape[0]):
        face = result[FACE * t : FACE * t + FACE]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for k in range(3):
            face[k], face[3 + k], face[6 + k] = _differences(positions[a, k], positions[b, k], positions[c, k])
            face[9 + k], face[12 + k], face[15 + k] = _differences(normals[t, 0, k], normals[t, 1, k], normals[t, 2, k])
        for k in range(2):
            face[18 + k], face[20 + k], face[22 + k] = _differences(uv[t, 0, k], uv[t, 1, k], uv[t, 2, k])
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            face[24 + k] = np.float64(face[i]) * face[3 + j] - np.float64(face[j]) * face[3 + i]
        face[27] = abs(np.float64(face[18]) * face[21] - np.float64(face[19]) * face[20])


@nb.njit(cache=True, inline="always")
def _differences(a, b, c):  # type: ignore[no-untyped-def]
    return a - c, b - c, c


def interpolate(
    geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stands for ``gbuffer.interpolate_reference``."""
    arrays = _interpolate(
        visibility.triangle.numpy(),
        flat(visibility.barycentric),
        pieces(visibility.view_start),
        geometry.faces,
        _views(matrices, eyes, visibility.width * visibility.height / 4),
    )
    position, normal, uv, footprint = (torch.from_numpy(array) for array in arrays)
    return position, normal, uv, footprint


def _views(matrices: np.ndarray, eyes: np.ndarray, to_samples: float) -> np.ndarray:
    """What :func:`_interpolate` asks of each view, ``[N, 9] float32``: the row of its matrix that gives w, the eye e,
    and a factor. Times n · (e − e_w · c), with n the cross product in :func:`faces` and c the last corner, that gives
    the determinant of the corners' (x, y, w) but for its sign, in samples.

    All three rows map e to 0, and so they do their cofactors, which are a multiple of it: by Cauchy and Binet the
    determinant is the same multiple of det(a, b, c, e)."""
    rows = matrices[:, [0, 1, 3]]
    cofactors = [np.linalg.det(np.delete(rows, column, axis=2)) for column in range(4)]
    scale = np.linalg.norm(cofactors, axis=0) / np.linalg.norm(eyes, axis=1) * to_samples
    seen: np.ndarray = np.concatenate([rows[:, 2], eyes, scale[:, None]], axis=1).astype(np.float32)
    return seen


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _interpolate(triangle, barycentric, pieces, faces, seen):  # type: ignore[no-untyped-def]
    """Neighbouring samples mostly share a triangle: what is linear across it is kept in local numbers, which stay in
    registers, and set anew when the triangle changes."""
    count = triangle.shape[0]
    position_out, normal_out = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    uv_out, footprint_out = np.empty((count, 2), np.float32), np.empty(count, np.float32)
    for piece in nb.prange(pieces.shape[0]):
        view, begin, end = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        m_x, m_y, m_z, m_w = seen[view, 0], seen[view, 1], seen[view, 2], seen[view, 3]
        e_x, e_y, e_z, e_w = seen[view, 4], seen[view, 5], seen[view, 6], seen[view, 7]
        to_det = seen[view, 8]
        last, scale, w_a, w_b, w_c = np.int32(-1), _f(0), _f(0), _f(0), _f(0)
        x_a = y_a = z_a = x_b = y_b = z_b = x_c = y_c = z_c = _f(0)
        i_a = j_a = k_a = i_b = j_b = k_b = i_c = j_c = k_c = _f(0)
        u_a = v_a = u_b = v_b = u_c = v_c = _f(0)
        for p in range(_u(begin), _u(end)):
            if triangle[p] != last:
                last = triangle[p]
                face = _u(FACE) * _u(last)
                x_a, y_a, z_a = _three(faces, face)
                x_b, y_b, z_b = _three(faces, face + _u(3))
                x_c, y_c, z_c = _three(faces, face + _u(6))
                i_a, j_a, k_a = _three(faces, face + _u(9))
                i_b, j_b, k_b = _three(faces, face + _u(12))
                i_c, j_c, k_c = _three(faces, face + _u(15))
                u_a, v_a, u_b = _three(faces, face + _u(18))
                v_b, u_c, v_c = _three(faces, face + _u(21))
                n_x, n_y, n_z = _three(faces, face + _u(24))
                w_a = m_x * x_a + m_y * y_a + m_z * z_a
                w_b = m_x * x_b + m_y * y_b + m_z * z_b
                w_c = m_x * x_c + m_y * y_c + m_z * z_c + m_w
                volume = n_x * (e_x - e_w * x_c) + n_y * (e_y - e_w * y_c) + n_z * (e_z - e_w * z_c)
                scale = faces[face + _u(27)] / max(abs(volume) * to_det, _f(1e-30))
            b_a, b_b = barycentric[_u(2) * p], barycentric[_u(2) * p + _u(1)]
            w = _across(b_a, b_b, w_a, w_b, w_c)
            footprint_out[p] = scale * w * w * w
            x, y = _across(b_a, b_b, x_a, x_b, x_c), _across(b_a, b_b, y_a, y_b, y_c)
            z = _across(b_a, b_b, z_a, z_b, z_c)
            i, j = _across(b_a, b_b, i_a, i_b, i_c), _across(b_a, b_b, j_a, j_b, j_c)
            k = _across(b_a, b_b, k_a, k_b, k_c)
            facing = _dot(i, j, k, fma(-e_w, x, e_x), fma(-e_w, y, e_y), fma(-e_w, z, e_z))
            unit = _f(1) / max(np.sqrt(_dot(i, j, k, i, j, k)), _f(1e-12))
            unit = -unit if facing < 0 else unit
            position_out[p, 0], position_out[p, 1], position_out[p, 2] = x, y, z
            normal_out[p, 0], normal_out[p, 1], normal_out[p, 2] = i * unit, j * unit, k * unit
            uv_out[p, 0], uv_out[p, 1] = _across(b_a, b_b, u_a, u_b, u_c), _across(b_a, b_b, v_a, v_b, v_c)
    return position_out, normal_out, uv_out, footprint_out


@nb.njit(cache=True, inline="always")
def _across(b_a, b_b, to_a, to_b, c):  # type: ignore[no-untyped-def]
    """What is linear across a triangle, by two barycentrics: at the third corner, and what the other two add to it."""
    return fma(b_b, to_b, fma(b_a, to_a, c))


@nb.njit(cache=True, inline="always")
def _dot(x, y, z, u, v, w):  # type: ignore[no-untyped-def]
    return fma(z, w, fma(y, v, x * u))


@nb.njit(cache=True, inline="always")
def _three(values, at):  # type: ignore[no-untyped-def]
    return values[at], values[at + _u(1)], values[at + _u(2)]


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
