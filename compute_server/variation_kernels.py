"""Total variation of a texture compiled for the CPU; stands for ``objectives.total_variation_reference``, by test."""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .render.compiled import flat

_f, _u = np.float32, np.uint64


def total_variation(image: Tensor, covered: Tensor) -> tuple[Tensor, Tensor]:
    """That of an image ``[H, W, 3]``, of which ``covered [H, W]`` counts, and its gradient ``[H, W, 3]``."""
    gradient = torch.empty(image.shape)
    rows, columns, channels = image.shape
    sums, pairs = np.empty(rows), np.empty(rows, np.int64)
    _vary(flat(image), covered.numpy(), columns, flat(gradient), sums, pairs)
    count = channels * max(int(pairs.sum()), 1)
    return torch.tensor(sums.sum() / count, dtype=torch.float32), gradient.div_(count)


@nb.njit(cache=True, parallel=True, nogil=True)
def _vary(image, covered, columns, gradient, sums, pairs):  # type: ignore[no-untyped-def]
    """Row by row, so that sums come out the same in every run: Σ of differences to the right and below, and how many
    pairs of texels they are of."""
    rows, across = covered.shape[0], 3 * columns
    for row in nb.prange(rows):
        here = slice(row * across, (row + 1) * across)
        gradient[here] = 0
        total, many = _along(image[here], covered[row], gradient[here])
        if row + 1 < rows:
            below = slice((row + 1) * across, (row + 2) * across)
            more, others = _between(image[here], image[below], covered[row], covered[row + 1], gradient[here])
            total, many = total + more, many + others
        if row > 0:
            above = slice((row - 1) * across, row * across)
            _between(image[here], image[above], covered[row], covered[row - 1], gradient[here])
        sums[row], pairs[row] = total, many


@nb.njit(cache=True)
def _along(row, covered, gradient):  # type: ignore[no-untyped-def]
    """Differences between neighbours in a row; the gradient goes to both."""
    total, many = 0.0, 0
    for column in range(_u(covered.shape[0] - 1)):
        if covered[column] and covered[column + _u(1)]:
            many += 1
            for at in range(_u(3) * column, _u(3) * column + _u(3)):
                difference = row[at] - row[at + _u(3)]
                total += abs(difference)
                gradient[at] += _sign(difference)
                gradient[at + _u(3)] -= _sign(difference)
    return total, many


@nb.njit(cache=True)
def _between(row, other, covered, covered_other, gradient):  # type: ignore[no-untyped-def]
    """Differences between a row and one next to it; the gradient goes to the first, the other has its own turn."""
    total, many = 0.0, 0
    for column in range(_u(covered.shape[0])):
        if covered[column] and covered_other[column]:
            many += 1
            for at in range(_u(3) * column, _u(3) * column + _u(3)):
                difference = row[at] - other[at]
                total += abs(difference)
                gradient[at] += _sign(difference)
    return total, many


@nb.njit(cache=True, inline="always")
def _sign(value):  # type: ignore[no-untyped-def]
    return _f(value > 0) - _f(value < 0)
