"""The view transform's look into its table compiled for the CPU, equal to ``view_transform.apply_reference`` by test.

Blender's AgX and Filmic come this way, every pixel of every step. Cells and weights are worked out for a block of
pixels at a time, in loops with nothing to choose inside, which take several at once; colours are then fetched pixel by
pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import BLOCK, corner_places, flat, log2, mix

if TYPE_CHECKING:
    from .view_transform import Table

_f, _i, _u = np.float32, np.int32, np.uint64


def look_up(linear: Tensor, table: Table) -> Tensor:
    """Stands for ``view_transform.apply_reference``."""
    result = torch.empty(linear.shape)
    _look_up(flat(linear), flat(table.colors), *_grid(table), flat(result))
    return result


def look_up_gradient(grad: Tensor, linear: Tensor, table: Table) -> Tensor:
    """The gradient of the linear colours from that of the encoded ones, for :func:`look_up`."""
    result = torch.empty(linear.shape)
    _look_up_gradient(flat(linear), flat(table.colors), *_grid(table), flat(grad), flat(result))
    return result


def _grid(table: Table) -> tuple[np.int32, np.float32, np.float32, np.float32]:
    return _i(table.size), _f(table.toe), _f(table.top), _f(table.scale)


@nb.njit(cache=True, parallel=True, nogil=True)
def _look_up(linear, colors, size, toe, top, scale, result):  # type: ignore[no-untyped-def]
    count = linear.shape[0] // 3
    for block in nb.prange((count + BLOCK - 1) // BLOCK):
        part = slice(3 * block * BLOCK, 3 * min((block + 1) * BLOCK, count))
        corners, weights, ranks = _found()
        _find_cells(linear[part], size, toe, top, scale, corners, weights, ranks)
        mix(colors, corners, weights, result[part])


@nb.njit(cache=True, parallel=True, nogil=True)
def _look_up_gradient(linear, colors, size, toe, top, scale, grad, result):  # type: ignore[no-untyped-def]
    count = linear.shape[0] // 3
    for block in nb.prange((count + BLOCK - 1) // BLOCK):
        part = slice(3 * block * BLOCK, 3 * min((block + 1) * BLOCK, count))
        corners, weights, ranks = _found()
        _find_cells(linear[part], size, toe, top, scale, corners, weights, ranks)
        _differences(colors, corners, ranks, grad[part], result[part])
        _times_slope(linear[part], toe, top, scale * _f(1 / np.log(2)), result[part])


@nb.njit(cache=True)
def _found():  # type: ignore[no-untyped-def]
    """Room for what :func:`_find_cells` finds."""
    return np.empty(4 * BLOCK, np.int32), np.empty(4 * BLOCK, np.float32), np.empty(3 * BLOCK, np.int32)


@nb.njit(cache=True, error_model="numpy")
def _find_cells(linear, size, toe, top, scale, corners, weights, ranks):  # type: ignore[no-untyped-def]
    """The four `corners` of the tetrahedron that a pixel's colour lies in, as indices of the table, and their
    `weights`; and of each channel its rank among the three by its share of the cell, 0 for the largest. The first
    corners of all pixels, then the second ones and so on."""
    many = linear.shape[0] // 3
    doublings = np.empty(3 * BLOCK, np.float32)
    bits = doublings.view(np.int32)
    for i in range(linear.shape[0]):
        doublings[i] = _f(1) + min(max(linear[i], _f(0)), top) / toe
    last = _i(size - _i(2))
    far, near = _i(size * size), size
    for k in range(many):
        at = 3 * k
        r, g, b = log2(bits[at]) * scale, log2(bits[at + 1]) * scale, log2(bits[at + 2]) * scale
        cell_r, cell_g, cell_b = _cell(r, last), _cell(g, last), _cell(b, last)
        r, g, b = r - _f(cell_r), g - _f(cell_g), b - _f(cell_b)
        # Of equal shares the earlier channel's comes first.
        rank_r, rank_g, rank_b = _i(g > r) + _i(b > r), _i(r >= g) + _i(b > g), _i(r >= b) + _i(g >= b)
        dark = _i(_i(cell_r * far) + _i(cell_g * near) + cell_b)
        one = (far if rank_r == 0 else _i(0)) + (near if rank_g == 0 else _i(0)) + (_i(1) if rank_b == 0 else _i(0))
        two = (far if rank_r < 2 else _i(0)) + (near if rank_g < 2 else _i(0)) + (_i(1) if rank_b < 2 else _i(0))
        corners[k], corners[BLOCK + k] = dark, _i(dark + one)
        corners[2 * BLOCK + k], corners[3 * BLOCK + k] = _i(dark + two), _i(dark + far + near + _i(1))
        most, least = max(r, g, b), min(r, g, b)
        middle = max(min(r, g), min(max(r, g), b))
        # What is no number stays none: the bits of one pass for a logarithm.
        nothing = _f(0) * (doublings[at] + doublings[at + 1] + doublings[at + 2])
        weights[k], weights[BLOCK + k] = _f(1) - most + nothing, most - middle
        weights[2 * BLOCK + k], weights[3 * BLOCK + k] = middle - least, least
        ranks[k], ranks[BLOCK + k], ranks[2 * BLOCK + k] = _i(rank_r), _i(rank_g), _i(rank_b)


@nb.njit(cache=True, inline="always")
def _cell(place, last):  # type: ignore[no-untyped-def]
    """Inside the table, whatever a colour that is no number may give."""
    return _i(max(min(_i(place), last), _i(0)))


@nb.njit(cache=True)
def _differences(colors, corners, ranks, grad, result):  # type: ignore[no-untyped-def]
    """`result` becomes how much ``grad · colour`` changes from corner to corner, each along the channel of its rank."""
    change = np.empty(3, np.float32)
    for k in range(_u(result.shape[0] // 3)):
        a, b, c, d = corner_places(corners, k)
        at = _u(3) * k
        g_r, g_g, g_b = grad[at], grad[at + _u(1)], grad[at + _u(2)]
        in_a, in_b = _dot(colors, a, g_r, g_g, g_b), _dot(colors, b, g_r, g_g, g_b)
        in_c, in_d = _dot(colors, c, g_r, g_g, g_b), _dot(colors, d, g_r, g_g, g_b)
        change[0], change[1], change[2] = in_b - in_a, in_c - in_b, in_d - in_c
        result[at] = change[_u(ranks[k])]
        result[at + _u(1)] = change[_u(ranks[k + _u(BLOCK)])]
        result[at + _u(2)] = change[_u(ranks[k + _u(2 * BLOCK)])]


@nb.njit(cache=True, inline="always")
def _dot(colors, at, r, g, b):  # type: ignore[no-untyped-def]
    return r * colors[at] + g * colors[at + _u(1)] + b * colors[at + _u(2)]


@nb.njit(cache=True, error_model="numpy")
def _times_slope(linear, toe, top, scale, result):  # type: ignore[no-untyped-def]
    """Multiply by how many cells a channel's place moves with its value; by nothing where it is clipped."""
    for i in range(result.shape[0]):
        x = linear[i]
        slope = scale / (toe + max(x, _f(0)))
        result[i] *= slope if (x >= _f(0)) & (x <= top) else _f(0)
