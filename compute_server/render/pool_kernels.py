"""From a texture's parameters to its pool of linear colours and back, compiled for the CPU in few passes over memory.

Stands for ``TextureModel.pool_reference``, equal to it and its gradient by test. Colours are decoded a block at a time,
so that what lies between two loops stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .color_kernels import decoded, decoded_slope
from .taps import MipLayout
from .vectors import alike, fma, load, store

BLOCK = 1024
_f, _u = np.float32, np.uint64


@dataclass(frozen=True)
class Parameters:
    """Which texel is which parameter's: ``own [K]`` is the texel of each, ``padding [Q]`` those that follow one, by
    parameter, and ``first [K + 1]`` where each one's begin; ``follow [N]`` is the parameter of a texel, −1 if it has
    none. All int32.

    Of blocks of BLOCK parameters, ``in_a_row`` says whether their own texels follow one another, and ``free`` whether
    the mask holds none back; of blocks of texels, ``plain`` whether they are free parameters in a row: mostly so, and
    then nothing else of this need be read.
    """

    own: np.ndarray
    padding: np.ndarray
    first: np.ndarray
    follow: np.ndarray
    in_a_row: np.ndarray
    free: np.ndarray
    plain: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, source: np.ndarray, weight: np.ndarray, texels: int) -> Parameters:
        """Of texels `target` with the values of parameters `source`, whose mask is `weight [K]`; the first of them are
        the parameters' own."""
        parameters = len(weight)
        follow = np.full(texels, -1, np.int32)
        follow[target] = source
        own = target[:parameters].astype(np.int32)
        padding, followed = target[parameters:], source[parameters:]
        order = np.argsort(followed, kind="stable")
        first = np.searchsorted(followed[order], np.arange(parameters + 1))
        in_a_row, free = np.empty(_blocks(parameters), np.bool_), np.empty(_blocks(parameters), np.bool_)
        plain = np.empty(_blocks(texels), np.bool_)
        _look_at_blocks(own, follow, weight, in_a_row, free, plain)
        return cls(own, padding[order].astype(np.int32), first.astype(np.int32), follow, in_a_row, free, plain)


def _blocks(count: int) -> int:
    return (count + BLOCK - 1) // BLOCK


def build(
    theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, original: Tensor, layout: MipLayout
) -> Tensor:
    """The pool ``[M, 3]`` of Θ ``[K, 3]``: masked by ``weight [K, 1]`` about `start`, clipped, decoded, and in the
    places of the linear `original` ``[N, 3]``, with its mip levels."""
    pool = torch.empty(layout.starts[-1], 3)
    run: Any = _place_texels
    run(*_masked(theta, start, weight), where.follow, where.plain, original.numpy(), True, pool.numpy(), _threads())
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
    arrays = *_masked(theta, start, weight), *_owners(where)
    run: Any = _to_parameters
    run(grad.numpy(), coarse, sizes[0, 1], *arrays, True, result.numpy(), _threads())
    return result


def encoded(theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, original: Tensor) -> Tensor:
    """The texture ``[N, 3]`` of Θ as :func:`build` has it, but display-encoded, as `original` is."""
    result = torch.empty(original.shape)
    run: Any = _place_texels
    run(*_masked(theta, start, weight), where.follow, where.plain, original.numpy(), False, result.numpy(), _threads())
    return result


def encoded_gradient(grad: Tensor, theta: Tensor, start: Tensor, weight: Tensor, where: Parameters) -> Tensor:
    """The gradient of Θ from that of the texture ``[N, 3]``, for :func:`encoded`."""
    result = torch.empty(theta.shape)
    arrays = *_masked(theta, start, weight), *_owners(where)
    run: Any = _to_parameters
    run(grad.numpy(), np.empty((0, 3), np.float32), len(grad), *arrays, False, result.numpy(), _threads())
    return result


def _masked(theta: Tensor, start: Tensor, weight: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return theta.numpy(), start.numpy(), weight.view(-1).numpy()


def _owners(where: Parameters) -> tuple[np.ndarray, ...]:
    return where.own, where.padding, where.first, where.in_a_row, where.free


def _threads() -> int:
    return int(nb.get_num_threads())


def _levels(layout: MipLayout) -> tuple[np.ndarray, np.ndarray]:
    return np.array(layout.sizes), np.array(layout.starts)


@nb.njit(cache=True, parallel=True, nogil=True)
def _place_texels(theta, start, weight, follow, plain, original, linear, pool, parts):  # type: ignore[no-untyped-def]
    texels = follow.shape[0]
    blocks = plain.shape[0]
    for part in nb.prange(parts):
        values, weights = np.zeros((BLOCK, 3), np.float32), np.zeros(BLOCK, np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, count = _u(block * BLOCK), _u(min(BLOCK, texels - block * BLOCK))
            k = _u(max(follow[begin], 0))
            if plain[block]:
                _clip(theta[k : k + count].reshape(-1), linear, pool[begin : begin + count].reshape(-1))
                continue
            for i in range(count):
                k = _u(max(follow[begin + i], 0))
                weights[i] = weight[k]
                values[i, 0], values[i, 1], values[i, 2] = theta[k, 0], theta[k, 1], theta[k, 2]
            if not _all_free(weights[:count]):
                for i in range(count):
                    k = _u(max(follow[begin + i], 0))
                    _mask(values[i], start[k], weight[k])
            _clip(values.reshape(-1), linear, values.reshape(-1))
            for i in range(count):
                texel = begin + i
                fixed = follow[texel] < 0
                for channel in range(3):  # to assign a row takes three times as long
                    pool[texel, channel] = original[texel, channel] if fixed else values[i, channel]


@nb.njit(cache=True)
def _clip(values, linear, result):  # type: ignore[no-untyped-def]
    """Values in [0, 1], and made linear if they are to be."""
    if linear:
        _decode(values, result)
    else:
        for i in range(values.shape[0]):
            result[i] = min(max(values[i], _f(0)), _f(1))


@nb.njit(cache=True)
def _decode(values, result):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        result[i] = decoded(min(max(values[i], _f(0)), _f(1)))


@nb.njit(cache=True)
def _look_at_blocks(own, follow, weight, in_a_row, free, plain):  # type: ignore[no-untyped-def]
    """See :class:`Parameters`."""
    for block in range(free.shape[0]):
        in_a_row[block] = _consecutive(own[block * BLOCK : (block + 1) * BLOCK])
        free[block] = _all_free(weight[block * BLOCK : (block + 1) * BLOCK])
    for block in range(plain.shape[0]):
        numbers = follow[block * BLOCK : (block + 1) * BLOCK]
        plain[block] = _consecutive(numbers) and _all_free(weight[numbers[0] : numbers[0] + numbers.shape[0]])


@nb.njit(cache=True)
def _consecutive(numbers):  # type: ignore[no-untyped-def]
    """Whether each of `numbers`, the first of which may be negative, is one more than that before it."""
    gaps = np.int32(0)
    for i in range(numbers.shape[0]):
        gaps |= numbers[i] - numbers[0] - np.int32(i)
    return numbers[0] >= 0 and gaps == 0


@nb.njit(cache=True)
def _all_free(weights):  # type: ignore[no-untyped-def]
    """Whether the mask holds nothing back of a block: mostly so, but along the edges of a mask."""
    held = False
    for i in range(weights.shape[0]):
        held |= weights[i] != _f(1)
    return not held


@nb.njit(cache=True, inline="always")
def _mask(values, start, weight):  # type: ignore[no-untyped-def]
    """Let `values` of one texel go only as far from `start` as its mask says."""
    for channel in range(3):
        values[channel] = start[channel] + weight * (values[channel] - start[channel])


@nb.njit(cache=True, parallel=True, nogil=True)
def _build_levels(pool, sizes, starts):  # type: ignore[no-untyped-def]
    for level in range(1, sizes.shape[0]):
        columns, below = sizes[level, 1], sizes[level - 1, 1]
        for row in nb.prange(sizes[level, 0]):
            to = _u(starts[level] + row * columns)
            low = _u(starts[level - 1] + 2 * row * below)
            high = low + _u(below)
            for column in range(_u(columns)):
                at = _u(2) * column
                for channel in range(3):
                    left = pool[low + at, channel] + pool[high + at, channel]
                    right = pool[low + at + _u(1), channel] + pool[high + at + _u(1), channel]
                    pool[to + column, channel] = _f(0.25) * (left + right)


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum_levels(grad, sizes, starts, coarse):  # type: ignore[no-untyped-def]
    """`coarse` becomes the gradient of all levels but the finest, each with what comes to it by the coarser ones."""
    levels = sizes.shape[0]
    for level in range(levels - 1, 0, -1):
        columns = sizes[level, 1]
        for row in nb.prange(sizes[level, 0]):
            at = _u(starts[level] + row * columns)
            to = at - _u(starts[1])
            above = _u(0)
            if level + 1 < levels:
                above = _u(starts[level + 1] - starts[1] + (row // 2) * sizes[level + 1, 1])
            for column in range(_u(columns)):
                for channel in range(3):
                    total = grad[at + column, channel]
                    if level + 1 < levels:
                        total += _f(0.25) * coarse[above + (column >> _u(1)), channel]
                    coarse[to + column, channel] = total


@nb.njit(cache=True, inline="always")
def _add_texel(grad, coarse, width, texel, sums, at):  # type: ignore[no-untyped-def]
    """Add the gradient of one texel, with what comes to it by the level above, to ``sums[at]``."""
    row = np.uint32(texel) // np.uint32(width)
    column = np.uint32(texel) - row * np.uint32(width)
    above = _u((row >> np.uint32(1)) * (np.uint32(width) >> np.uint32(1)) + (column >> np.uint32(1)))
    r, g, b = grad[_u(texel), 0], grad[_u(texel), 1], grad[_u(texel), 2]
    if coarse.shape[0]:
        r += _f(0.25) * coarse[above, 0]
        g += _f(0.25) * coarse[above, 1]
        b += _f(0.25) * coarse[above, 2]
    sums[at, 0] += r
    sums[at, 1] += g
    sums[at, 2] += b


@nb.njit(cache=True, parallel=True, nogil=True)
def _to_parameters(  # type: ignore[no-untyped-def]
    grad, coarse, width, theta, start, weight, own, padding, first, in_a_row, free, linear, result, parts
):
    parameters, blocks = own.shape[0], free.shape[0]
    for part in nb.prange(parts):
        masked = np.empty((BLOCK, 3), np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, end = block * BLOCK, min((block + 1) * BLOCK, parameters)
            sums, values = result[begin:end], theta[begin:end]
            _sum_texels(grad, coarse, width, own[begin:end], in_a_row[block], padding, first[begin : end + 1], sums)
            if not free[block]:
                values = masked[: end - begin]
                values[:] = theta[begin:end]
                for i in range(end - begin):
                    _mask(values[i], start[begin + i], weight[begin + i])
            if linear:
                _times_slope(sums.reshape(-1), values.reshape(-1))
            else:
                _keep_inside(sums.reshape(-1), values.reshape(-1))
            if not free[block]:
                for i in range(end - begin):
                    for channel in range(3):
                        sums[i, channel] *= weight[begin + i]


@nb.njit(cache=True)
def _sum_texels(grad, coarse, width, own, in_a_row, padding, first, sums):  # type: ignore[no-untyped-def]
    """`sums` becomes the gradients of parameters: those of their own texels, and of their padding."""
    if in_a_row:
        _copy_texels(grad.reshape(-1), coarse.reshape(-1), _u(width), _u(own[0]), sums.reshape(-1))
    else:
        for i in range(_u(own.shape[0])):
            sums[i, 0] = sums[i, 1] = sums[i, 2] = _f(0)
            _add_texel(grad, coarse, width, own[i], sums, i)
    if first[0] == first[-1]:
        return
    for i in range(_u(own.shape[0])):
        for q in range(first[i], first[i + _u(1)]):
            _add_texel(grad, coarse, width, padding[q], sums, i)


@nb.njit(cache=True)
def _copy_texels(grad, coarse, width, texel, sums):  # type: ignore[no-untyped-def]
    """`sums` becomes the gradients of consecutive texels from `texel` on, by rows, as :func:`_add_texel` has them."""
    if not coarse.shape[0]:
        for i in range(_u(sums.shape[0])):
            sums[i] = grad[_u(3) * texel + i]
        return
    done, count = _u(0), _u(sums.shape[0]) // _u(3)
    while done < count:
        row = (texel + done) // width
        column = texel + done - row * width
        above = (row >> _u(1)) * (width >> _u(1)) + (column >> _u(1))
        many = min(width - column, count - done)
        _copy_row(grad, _u(3) * (texel + done), coarse, _u(3) * above, column & _u(1), many, sums, _u(3) * done)
        done += many


@nb.njit(cache=True)
def _copy_row(grad, at, coarse, above, second, many, sums, to):  # type: ignore[no-untyped-def]
    """The part of :func:`_copy_texels` that lies in one row: two texels, of which the first may be the `second`, take
    their share of each on the level above."""
    quarter, end = alike(_f(0.25)), to + _u(3) * many
    while to < end:
        share = load(coarse, above)
        if not second:
            store(sums, to, fma(quarter, share, load(grad, at)))
            to, at = to + _u(3), at + _u(3)
        if to < end:
            store(sums, to, fma(quarter, share, load(grad, at)))
            to, at = to + _u(3), at + _u(3)
        above, second = above + _u(3), _u(0)


@nb.njit(cache=True)
def _times_slope(sums, values):  # type: ignore[no-untyped-def]
    """Multiply by the slope of the transfer function, and by nothing where values are clipped."""
    for i in range(sums.shape[0]):
        slope = decoded_slope(values[i])
        sums[i] *= slope if values[i] >= _f(0) and values[i] <= _f(1) else _f(0)


@nb.njit(cache=True)
def _keep_inside(sums, values):  # type: ignore[no-untyped-def]
    """Multiply by nothing where values are clipped."""
    for i in range(sums.shape[0]):
        sums[i] = sums[i] if (values[i] >= _f(0)) & (values[i] <= _f(1)) else _f(0)
