"""How Θ moves, compiled for the CPU: each reads and writes a texture once; ``steppers`` has the torch equals."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .render.compiled import flat
from .render.vectors import NOTHING, alike, fma, load, prefetch_row, store

#: Values that are summed up together.
BLOCK = 4096
#: The cache fetches cells so many ahead.
AHEAD = 64
_f, _u = np.float32, np.uint64


def children(parent: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each of `count` blocks, by block, and where each block's begin, int32."""
    order = torch.argsort(parent, stable=True)
    first = torch.searchsorted(parent[order], torch.arange(count + 1))
    return order.to(torch.int32).numpy(), first.to(torch.int32).numpy()


def block_sums(values: Tensor, order: np.ndarray, first: np.ndarray) -> Tensor:
    """Σ of `values [K, 3]` over the cells of each block, ``[L, 3]``."""
    result = torch.empty(len(first) - 1, 3)
    _block_sums(flat(values), order, first, flat(result))
    return result


def add_blocks(far: Tensor, order: np.ndarray, first: np.ndarray, above: Tensor) -> Tensor:
    """`far [K, 3]` plus how far the block of each goes, of ``above [L, 3]``; it takes the place of `far` in memory."""
    result = far.contiguous()
    _add_blocks(flat(result), order, first, flat(above))
    return result


def sign(gradient: Tensor, alpha: float) -> Tensor:
    """−α · sign ∇; it takes the gradient's place in memory."""
    result = gradient.contiguous()
    _sign(flat(result), np.float32(alpha))
    return result


def mean_size(values: Tensor) -> float:
    """The mean of |values|; the same in every run, however many threads there are."""
    return float(_block_sizes(flat(values)).sum()) / values.numel()


def momentum(velocity: Tensor, gradient: Tensor, size: float, decay: float, alpha: float) -> Tensor:
    """Stands for ``steppers.momentum_reference``; the result takes the gradient's place in memory."""
    result = gradient.contiguous()
    _momentum(flat(velocity), flat(result), np.float32(size), np.float32(decay), np.float32(alpha))
    return result


def moved(theta: Tensor, by: Tensor, start: Tensor, epsilon: float) -> Tensor:
    """Stands for ``steppers.project`` in the ball of the greatest change, of ``theta + by``; the result takes the place
    of `by` in memory."""
    result = by.contiguous()
    # Where no ball is, its middle makes no difference, and a large texture takes a third less time without.
    middle = theta if math.isinf(epsilon) else start
    _moved(flat(theta), flat(middle), flat(result), np.float32(epsilon))
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _block_sizes(values):  # type: ignore[no-untyped-def]
    """Σ |values| of each block, float64."""
    sums = np.empty((values.shape[0] + BLOCK - 1) // BLOCK)
    for block in nb.prange(sums.shape[0]):
        sums[block] = _sum_sizes(values[block * BLOCK : (block + 1) * BLOCK])
    return sums


@nb.njit(cache=True, fastmath={"reassoc", "nsz", "contract"})
def _sum_sizes(values):  # type: ignore[no-untyped-def]
    """Σ |values| in float32, several at a time: few enough for it."""
    total = np.float32(0)
    for i in range(values.shape[0]):
        total += abs(values[i])
    return total


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _momentum(velocity, values, size, decay, alpha):  # type: ignore[no-untyped-def]
    """`values` are the gradient, and become the step."""
    none = np.float32(0)
    for i in nb.prange(values.shape[0]):
        v = velocity[i] * decay + values[i] / size
        velocity[i] = v
        values[i] = -alpha if v > none else alpha if v < none else none


@nb.njit(cache=True, parallel=True, nogil=True)
def _moved(theta, middle, values, epsilon):  # type: ignore[no-untyped-def]
    """`values` are how far Θ goes, and become where it is then."""
    none, one = np.float32(0), np.float32(1)
    for i in nb.prange(values.shape[0]):
        value = min(max(theta[i] + values[i], middle[i] - epsilon), middle[i] + epsilon)
        values[i] = min(max(value, none), one)


@nb.njit(cache=True, parallel=True, nogil=True)
def _block_sums(values, order, first, result):  # type: ignore[no-untyped-def]
    for block in nb.prange(first.shape[0] - 1):
        total = NOTHING
        for at in range(_u(first[block]), _u(first[block + 1])):
            prefetch_row(values, order, at + _u(AHEAD))
            total = fma(alike(_f(1)), load(values, _u(3) * _u(order[at])), total)
        store(result, _u(3 * block), total)


@nb.njit(cache=True, parallel=True, nogil=True)
def _add_blocks(far, order, first, above):  # type: ignore[no-untyped-def]
    for block in nb.prange(first.shape[0] - 1):
        color = load(above, _u(3 * block))
        for at in range(_u(first[block]), _u(first[block + 1])):
            prefetch_row(far, order, at + _u(AHEAD))
            cell = _u(3) * _u(order[at])
            store(far, cell, fma(alike(_f(1)), color, load(far, cell)))


@nb.njit(cache=True, parallel=True, nogil=True)
def _sign(values, alpha):  # type: ignore[no-untyped-def]
    none = _f(0)
    for i in nb.prange(values.shape[0]):
        values[i] = -alpha if values[i] > none else alpha if values[i] < none else none
