"""From a texture's parameters to its pool of linear colours and back, compiled for the CPU in few passes over memory.

Stands for ``TextureModel.pool_reference``, equal to it and its gradient by test. Colours are decoded a block at a time,
so that what lies between two loops stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .color_kernels import decoded, decoded_slope
from .taps import MipLayout

BLOCK = 1024
_f = np.float32


@dataclass(frozen=True)
class Parameters:
    """Which texel is which parameter's: ``own [K]`` is the texel of each, ``padding [Q]`` those that follow one, by
    parameter, and ``first [K + 1]`` where each one's begin; ``follow [N]`` is the parameter of a texel, −1 if it has
    none. All int32."""

    own: np.ndarray
    padding: np.ndarray
    first: np.ndarray
    follow: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, source: np.ndarray, parameters: int, texels: int) -> Parameters:
        """Of texels `target` with the values of parameters `source`; the first of them are the parameters' own."""
        follow = np.full(texels, -1, np.int32)
        follow[target] = source
        padding, followed = target[parameters:], source[parameters:]
        order = np.argsort(followed, kind="stable")
        first = np.searchsorted(followed[order], np.arange(parameters + 1))
        return cls(
            target[:parameters].astype(np.int32), padding[order].astype(np.int32), first.astype(np.int32), follow
        )


def build(
    theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, original: Tensor, layout: MipLayout
) -> Tensor:
    """The pool ``[M, 3]`` of Θ ``[K, 3]``: masked by ``weight [K, 1]`` about `start`, clipped, decoded, and in the
    places of the linear `original` ``[N, 3]``, with its mip levels."""
    pool = torch.empty(layout.starts[-1], 3)
    arrays = theta.numpy(), start.numpy(), weight.view(-1).numpy(), where.follow, original.numpy()
    _decode_texels(*arrays, pool.numpy(), nb.get_num_threads())
    _build_levels(pool.numpy(), *_levels(layout))
    return pool


def gradient(
    grad: Tensor, theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, layout: MipLayout
) -> Tensor:
    """The gradient of Θ from that of its pool ``[M, 3]``, for :func:`build`."""
    sizes, starts = _levels(layout)
    coarse = np.empty((starts[-1] - starts[1], 3), np.float32)
    _sum_levels(grad.numpy(), sizes, starts, coarse)
    result = torch.empty(theta.shape)
    arrays = theta.numpy(), start.numpy(), weight.view(-1).numpy(), where.own, where.padding, where.first
    _to_parameters(grad.numpy(), coarse, sizes[0, 1], *arrays, result.numpy(), nb.get_num_threads())
    return result


def _levels(layout: MipLayout) -> tuple[np.ndarray, np.ndarray]:
    return np.array(layout.sizes), np.array(layout.starts)


@nb.njit(cache=True, parallel=True, nogil=True)
def _decode_texels(theta, start, weight, follow, original, pool, parts):  # type: ignore[no-untyped-def]
    texels = follow.shape[0]
    blocks = (texels + BLOCK - 1) // BLOCK
    for part in nb.prange(parts):
        values = np.zeros(3 * BLOCK, np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, count = block * BLOCK, min(BLOCK, texels - block * BLOCK)
            for i in range(count):
                k = np.uint64(max(follow[begin + i], 0))
                for channel in range(3):
                    values[3 * i + channel] = _masked(theta[k, channel], start[k, channel], weight[k])
            for i in range(3 * BLOCK):
                values[i] = decoded(values[i])
            for i in range(count):
                for channel in range(3):
                    there = values[3 * i + channel]
                    pool[begin + i, channel] = original[begin + i, channel] if follow[begin + i] < 0 else there


@nb.njit(cache=True)
def _masked(theta, start, weight):  # type: ignore[no-untyped-def]
    return min(max(start + weight * (theta - start), _f(0)), _f(1))


@nb.njit(cache=True, parallel=True, nogil=True)
def _build_levels(pool, sizes, starts):  # type: ignore[no-untyped-def]
    for level in range(1, sizes.shape[0]):
        columns, below = sizes[level, 1], sizes[level - 1, 1]
        for row in nb.prange(sizes[level, 0]):
            to = np.uint64(starts[level] + row * columns)
            low = np.uint64(starts[level - 1] + 2 * row * below)
            high = low + np.uint64(below)
            for column in range(np.uint64(columns)):
                at = np.uint64(2) * column
                for channel in range(3):
                    left = pool[low + at, channel] + pool[high + at, channel]
                    right = pool[low + at + np.uint64(1), channel] + pool[high + at + np.uint64(1), channel]
                    pool[to + column, channel] = _f(0.25) * (left + right)


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum_levels(grad, sizes, starts, coarse):  # type: ignore[no-untyped-def]
    """`coarse` becomes the gradient of all levels but the finest, each with what comes to it by the coarser ones."""
    levels = sizes.shape[0]
    for level in range(levels - 1, 0, -1):
        columns = sizes[level, 1]
        for row in nb.prange(sizes[level, 0]):
            at = np.uint64(starts[level] + row * columns)
            to = at - np.uint64(starts[1])
            above = np.uint64(0)
            if level + 1 < levels:
                above = np.uint64(starts[level + 1] - starts[1] + (row // 2) * sizes[level + 1, 1])
            for column in range(np.uint64(columns)):
                for channel in range(3):
                    total = grad[at + column, channel]
                    if level + 1 < levels:
                        total += _f(0.25) * coarse[above + (column >> np.uint64(1)), channel]
                    coarse[to + column, channel] = total


@nb.njit(cache=True)
def _add_texel(grad, coarse, width, texel, values, at):  # type: ignore[no-untyped-def]
    """Add the gradient of one texel, with what comes to it by the level above, to ``values[at : at + 3]``."""
    row = np.uint32(texel) // np.uint32(width)
    column = np.uint32(texel) - row * np.uint32(width)
    above = np.uint64((row >> np.uint32(1)) * (np.uint32(width) >> np.uint32(1)) + (column >> np.uint32(1)))
    for channel in range(3):
        total = grad[np.uint64(texel), channel]
        if coarse.shape[0]:
            total += _f(0.25) * coarse[above, channel]
        values[at + channel] += total


@nb.njit(cache=True, parallel=True, nogil=True)
def _to_parameters(  # type: ignore[no-untyped-def]
    grad, coarse, width, theta, start, weight, own, padding, first, result, parts
):
    parameters = own.shape[0]
    blocks = (parameters + BLOCK - 1) // BLOCK
    for part in nb.prange(parts):
        values, sums = np.zeros(3 * BLOCK, np.float32), np.empty(3 * BLOCK, np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, count = block * BLOCK, min(BLOCK, parameters - block * BLOCK)
            sums[:] = _f(0)
            for i in range(count):
                k = begin + i
                _add_texel(grad, coarse, width, own[k], sums, 3 * i)
                for q in range(first[k], first[k + 1]):
                    _add_texel(grad, coarse, width, padding[q], sums, 3 * i)
                for channel in range(3):
                    values[3 * i + channel] = start[k, channel] + weight[k] * (theta[k, channel] - start[k, channel])
            for i in range(3 * BLOCK):
                inside = values[i] >= _f(0) and values[i] <= _f(1)
                sums[i] = sums[i] * decoded_slope(values[i]) if inside else _f(0)
            for i in range(count):
                for channel in range(3):
                    result[begin + i, channel] = sums[3 * i + channel] * weight[begin + i]
