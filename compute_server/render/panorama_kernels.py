"""Looking into panoramas compiled for the CPU, equal to ``panorama.look_up_reference`` by test."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import BLOCK, atan2, flat, mix

_f, _i = np.float32, np.int32


def look_up(table: Tensor, direction: Tensor, turn: float) -> Tensor:
    """Stands for ``panorama.look_up_reference`` of three channels."""
    result = torch.empty(direction.shape)
    rows, columns, _ = table.shape
    circle = _f(math.cos(turn)), _f(math.sin(turn))
    _look_up(flat(table), _i(rows), _i(columns), flat(direction), *circle, flat(result))
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _look_up(table, rows, columns, direction, cos, sin, result):  # type: ignore[no-untyped-def]
    count = direction.shape[0] // 3
    for block in nb.prange((count + BLOCK - 1) // BLOCK):
        part = slice(3 * block * BLOCK, 3 * min((block + 1) * BLOCK, count))
        corners, weights = np.empty(4 * BLOCK, np.int32), np.empty(4 * BLOCK, np.float32)
        _find_corners(direction[part], rows, columns, cos, sin, corners, weights)
        mix(table, corners, weights, result[part])


@nb.njit(cache=True, error_model="numpy")
def _find_corners(direction, rows, columns, cos, sin, corners, weights):  # type: ignore[no-untyped-def]
    """The four pixels next to where each direction points, and their bilinear weights."""
    for k in range(direction.shape[0] // 3):
        d_x, d_y, z = direction[3 * k], direction[3 * k + 1], direction[3 * k + 2]
        x, y = d_x * cos + d_y * sin, d_y * cos - d_x * sin
        u = _f(0.5) - atan2(y, x) * _f(1 / (2 * math.pi))
        v = _f(0.5) + atan2(z, np.sqrt(x * x + y * y)) * _f(1 / math.pi)
        across = u * _f(columns) - _f(0.5)
        up = min(max(v * _f(rows) - _f(0.5), _f(0)), _f(rows - 1))
        # Inside the table, whatever a direction that is no number may give, and in a table of one row.
        left = _i(max(min(_i(np.floor(across)), columns - 1), -1))
        low = _i(max(min(_i(up), rows - 2), 0))
        f_x, f_y = across - _f(left), up - _f(low)
        right = _i(left + 1) if left + 1 < columns else _i(0)
        left = left if left >= 0 else _i(columns - 1)
        below = _i(low * columns)
        above = _i(below + columns) if rows > 1 else below
        corners[k], corners[BLOCK + k] = _i(below + left), _i(below + right)
        corners[2 * BLOCK + k], corners[3 * BLOCK + k] = _i(above + left), _i(above + right)
        weights[k], weights[BLOCK + k] = (_f(1) - f_x) * (_f(1) - f_y), f_x * (_f(1) - f_y)
        weights[2 * BLOCK + k], weights[3 * BLOCK + k] = (_f(1) - f_x) * f_y, f_x * f_y
