"""Sums over blocks of texels and their way back, compiled for the CPU; ``steppers.Octaves`` has the torch equals."""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor


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


def add_parents(moved: Tensor, parent: Tensor, above: Tensor) -> Tensor:
    """`moved [K, 3]`, which is changed, plus what the block of each moves, of ``above [L, 3]``."""
    _add_parents(moved.numpy(), parent.numpy(), above.numpy())
    return moved


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
def _add_parents(moved, parent, above):  # type: ignore[no-untyped-def]
    for cell in nb.prange(moved.shape[0]):
        block = np.uint64(parent[cell])
        moved[cell, 0] += above[block, 0]
        moved[cell, 1] += above[block, 1]
        moved[cell, 2] += above[block, 2]
