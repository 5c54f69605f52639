"""How Θ moves, compiled for the CPU: each reads and writes a texture once; ``steppers`` has the torch equals."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .render.compiled import flat

#: Values that are summed up together.
BLOCK = 4096


def children(parent: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each of `count` blocks, by block, and where each block's begin, int32."""
    order = torch.argsort(parent, stable=True)
    first = torch.searchsorted(parent[order], torch.arange(count + 1))
    return order.to(torch.int32).numpy(), first.to(torch.int32).numpy()


def block_sums(values: Tensor, order: np.ndarray, first: np.ndarray) -> Tensor:
    """Σ of `values [K, 3]` over the cells of each block, ``[L, 3]``."""
    result = torch.empty(len(first) - 1, 3)
    _block_sums(values.contiguous().numpy(), order, first, result.numpy())
    return result


def add_parents(far: Tensor, parent: Tensor, above: Tensor) -> Tensor:
    """`far [K, 3]`, which is changed, plus how far the block of each goes, of ``above [L, 3]``."""
    _add_parents(far.numpy(), parent.numpy(), above.numpy())
    return far


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
    for block in nb.prange(result.shape[0]):
        r, g, b = np.float32(0), np.float32(0), np.float32(0)
        for at in range(np.uint64(first[block]), np.uint64(first[block + 1])):
            cell = np.uint64(order[at])
            r += values[cell, 0]
            g += values[cell, 1]
            b += values[cell, 2]
        result[block, 0], result[block, 1], result[block, 2] = r, g, b


@nb.njit(cache=True, parallel=True, nogil=True)
def _add_parents(far, parent, above):  # type: ignore[no-untyped-def]
    for cell in nb.prange(far.shape[0]):
        block = np.uint64(parent[cell])
        far[cell, 0] += above[block, 0]
        far[cell, 1] += above[block, 1]
        far[cell, 2] += above[block, 2]
