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
from .compiled import flat
from .excerpt import BITS, Excerpt
from .taps import MipLayout
from .vectors import NOTHING, alike, fma, load, prefetch_run, store, store_twice

BLOCK = 1024
#: So many texels of two rows are made at once: they stay in the innermost cache until the level above has been made.
CHUNK = 512
#: Levels of fewer texels are made by one thread: to wake the others takes longer.
SHARED_OUT = 1 << 13
_f, _u = np.float32, np.uint64


@dataclass(frozen=True)
class Parameters:
    """Which texel is which parameter's: ``own [K]`` is the texel of each, ``padding [Q]`` those that follow one, by
    parameter, and ``first [K + 1]`` where each one's begin; ``follow [N]`` is the parameter of a texel, −1 if it has
    none. All int32.

    Of blocks of BLOCK parameters, ``in_a_row`` says whether their own texels follow one another, and ``free`` whether
    the mask holds none back; of bands of `band` texels, ``plain`` whether they are free parameters in a row: mostly so,
    and then nothing else of this need be read.
    """

    own: np.ndarray
    padding: np.ndarray
    first: np.ndarray
    follow: np.ndarray
    in_a_row: np.ndarray
    free: np.ndarray
    plain: np.ndarray
    band: int

    @classmethod
    def of(cls, target: np.ndarray, source: np.ndarray, weight: np.ndarray, layout: MipLayout) -> Parameters:
        """Of texels `target` with the values of parameters `source`, whose mask is `weight [K]`; the first of them are
        the parameters' own."""
        parameters, texels, band = len(weight), layout.starts[1], _band(layout)
        follow = np.full(texels, -1, np.int32)
        follow[target] = source
        own = target[:parameters].astype(np.int32)
        padding, followed = target[parameters:], source[parameters:]
        order = np.argsort(followed, kind="stable")
        first = np.searchsorted(followed[order], np.arange(parameters + 1))
        in_a_row, free = (np.empty(_pieces(parameters, BLOCK), np.bool_) for _ in range(2))
        plain = np.empty(_pieces(texels, band), np.bool_)
        _look_at_blocks(own, follow, weight, in_a_row, free, plain, band)
        return cls(own, padding[order].astype(np.int32), first.astype(np.int32), follow, in_a_row, free, plain, band)


def _band(layout: MipLayout) -> int:
    """So many texels are made at once: pairs of rows, of which the second level is made while they are in the cache."""
    if len(layout.sizes) == 1:
        return BLOCK
    pair = 2 * layout.sizes[0][1]
    return pair * max(1, BLOCK // pair)


def _pieces(count: int, size: int) -> int:
    return (count + size - 1) // size


def build(
    theta: Tensor,
    start: Tensor,
    weight: Tensor,
    where: Parameters,
    original: Tensor,
    layout: MipLayout,
    excerpt: Excerpt,
) -> Tensor:
    """An excerpt of the pool ``[M, 3]`` of Θ ``[K, 3]``: masked by ``weight [K, 1]`` about `start`, clipped, decoded,
    and in the places of the linear `original` ``[N, 3]``, with its mip levels."""
    sizes, starts = _levels(layout, excerpt)
    pool = torch.empty(starts[-1], 3)
    _place(theta, start, weight, where, original, True, excerpt, sizes[:2], pool)
    _build_levels(flat(pool), sizes, starts)
    return pool


def gradient(
    grad: Tensor,
    theta: Tensor,
    start: Tensor,
    weight: Tensor,
    where: Parameters,
    layout: MipLayout,
    excerpt: Excerpt,
) -> Tensor:
    """The gradient of Θ from that of the excerpt of its pool, for :func:`build`."""
    sizes, starts = _levels(layout, excerpt)
    coarse = np.empty(3 * (starts[-1] - starts[1]), np.float32)
    _sum_levels(flat(grad), sizes, starts, coarse)
    return _to_theta(grad, coarse, sizes[0, 1], theta, start, weight, where, True, excerpt)


def encoded(
    theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, original: Tensor, whole: Excerpt
) -> Tensor:
    """The texture ``[N, 3]`` of Θ as :func:`build` has it, but display-encoded, as `original` is."""
    result = torch.empty(original.shape)
    _place(theta, start, weight, where, original, False, whole, np.array([[1, len(original)]]), result)
    return result


def encoded_gradient(
    grad: Tensor, theta: Tensor, start: Tensor, weight: Tensor, where: Parameters, whole: Excerpt
) -> Tensor:
    """The gradient of Θ from that of the texture ``[N, 3]``, for :func:`encoded`."""
    none = np.empty(0, np.float32)
    return _to_theta(grad, none, len(grad), theta, start, weight, where, False, whole)


def _place(
    theta: Tensor,
    start: Tensor,
    weight: Tensor,
    where: Parameters,
    original: Tensor,
    linear: bool,
    excerpt: Excerpt,
    sizes: np.ndarray,
    pool: Tensor,
) -> None:
    """Write the finest level of a pool, and the second if there are two `sizes`."""
    run: Any = _place_texels
    masked = theta.numpy(), start.numpy(), flat(weight)
    owners = where.follow, where.plain, where.band, original.numpy()
    run(*masked, *owners, linear, flat(excerpt.slot), excerpt.kept, sizes, flat(pool), nb.get_num_threads())


def _to_theta(
    grad: Tensor,
    coarse: np.ndarray,
    width: int,
    theta: Tensor,
    start: Tensor,
    weight: Tensor,
    where: Parameters,
    linear: bool,
    excerpt: Excerpt,
) -> Tensor:
    result = torch.empty(theta.shape)
    masked = theta.numpy(), start.numpy(), flat(weight)
    owners = where.own, where.padding, where.first, where.in_a_row, where.free
    run: Any = _to_parameters
    run(flat(grad), coarse, width, flat(excerpt.slot), *masked, *owners, linear, result.numpy(), nb.get_num_threads())
    return result


def _levels(layout: MipLayout, excerpt: Excerpt) -> tuple[np.ndarray, np.ndarray]:
    """The sizes of levels, and where each begins in an excerpt."""
    starts = np.array(layout.starts)
    starts[1:] += excerpt.kept - excerpt.finest
    return np.array(layout.sizes), starts


@nb.njit(cache=True, parallel=True, nogil=True)
def _place_texels(  # type: ignore[no-untyped-def]
    theta, start, weight, follow, plain, band, original, linear, slot, kept, sizes, pool, parts
):
    texels, bands = follow.shape[0], plain.shape[0]
    halves = sizes.shape[0] > 1
    width, rows = (sizes[0, 1], 2) if halves else (band, 1)
    for part in nb.prange(parts):
        made, both = np.zeros((rows, CHUNK, 3), np.float32), np.empty(3 * CHUNK, np.float32)
        for number in range(bands * part // parts, bands * (part + 1) // parts):
            for pair in range(number * band, min((number + 1) * band, texels), rows * width):
                for column in range(0, min(width, texels - pair), CHUNK):
                    count = min(CHUNK, width - column, texels - pair - column)
                    for row in range(rows):
                        begin, values = pair + row * width + column, made[row, :count]
                        if plain[number] and linear:
                            _decode_parameters(theta.reshape(-1), follow[begin], values.reshape(-1), begin, slot, pool)
                            continue
                        numbers = follow[begin : begin + count]
                        _mixed(theta, start, weight, numbers, linear, original[begin : begin + count], values)
                        _keep(values.reshape(-1), _u(begin), slot, pool)
                    if halves:
                        to = kept + pair // 4 + column // 2
                        _halve(made.reshape(-1), _u(0), _u(CHUNK), _u(count), both, pool, _u(to))


@nb.njit(cache=True)
def _decode_parameters(theta, first, values, begin, slot, pool):  # type: ignore[no-untyped-def]
    """Linear `values` of free parameters from `first` on, which are those of the texels from `begin` on; what the
    excerpt has of them is written there too, in the same loop: memory is slow, and has to be kept busy."""
    at, texel, end = _u(0), _u(begin), _u(begin) + _u(values.shape[0]) // _u(3)
    while texel < end:
        block = texel >> _u(BITS)
        count = _u(3) * (min(end, (block + _u(1)) << _u(BITS)) - texel)
        prefetch_run(theta, _u(3) * _u(first) + at, count)
        if slot[block] >= 0:
            _decode_to_both(theta, _u(3) * _u(first) + at, values, at, pool, _u(3) * _row(slot, texel), count)
        else:
            _decode(theta, _u(3) * _u(first) + at, values, at, count)
        at, texel = at + count, (block + _u(1)) << _u(BITS)


@nb.njit(cache=True)
def _decode_to_both(theta, first, values, at, pool, to, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        value = decoded(min(max(theta[first + i], _f(0)), _f(1)))
        values[at + i] = value
        pool[to + i] = value


@nb.njit(cache=True)
def _decode(theta, first, values, at, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        values[at + i] = decoded(min(max(theta[first + i], _f(0)), _f(1)))


@nb.njit(cache=True)
def _mixed(theta, start, weight, follow, linear, original, values):  # type: ignore[no-untyped-def]
    """`values` of consecutive texels, some of which are fixed, held back, or follow others."""
    held = False
    for i in range(_u(values.shape[0])):
        k = _u(max(follow[i], 0))
        held |= weight[k] != _f(1)
        values[i, 0], values[i, 1], values[i, 2] = theta[k, 0], theta[k, 1], theta[k, 2]
    if held:
        for i in range(_u(values.shape[0])):
            k = _u(max(follow[i], 0))
            _mask(values[i], start[k], weight[k])
    if linear:
        _decode(values.reshape(-1), _u(0), values.reshape(-1), _u(0), _u(3 * values.shape[0]))
    else:
        _clip(values.reshape(-1))
    for i in range(_u(values.shape[0])):
        fixed = follow[i] < 0
        for channel in range(3):  # to assign a row takes three times as long
            values[i, channel] = original[i, channel] if fixed else values[i, channel]


@nb.njit(cache=True)
def _keep(values, begin, slot, pool):  # type: ignore[no-untyped-def]
    """Write the texels from `begin` on to where the excerpt has them."""
    done, end = begin, begin + _u(values.shape[0]) // _u(3)
    while done < end:
        block = done >> _u(BITS)
        upto = min(end, (block + _u(1)) << _u(BITS))
        if slot[block] >= 0:
            to, at = _u(3) * _row(slot, done), _u(3) * (done - begin)
            for i in range(_u(3) * (upto - done)):
                pool[to + i] = values[at + i]
        done = upto


@nb.njit(cache=True, inline="always")
def _row(slot, texel):  # type: ignore[no-untyped-def]
    """Where a texel of the finest level lies in an excerpt that has it."""
    return (_u(slot[texel >> _u(BITS)]) << _u(BITS)) + (texel & _u((1 << BITS) - 1))


@nb.njit(cache=True)
def _halve(values, low, high, width, both, result, to):  # type: ignore[no-untyped-def]
    """Texels of the level above, from texel `to` on, from two rows of `width` texels, which begin at texels `low` and
    `high`; `both` has room for a row."""
    for i in range(_u(3) * width):
        both[i] = values[_u(3) * low + i] + values[_u(3) * high + i]
    quarter = alike(_f(0.25))
    for column in range(width >> _u(1)):
        left = fma(quarter, load(both, _u(6) * column), NOTHING)
        store(result, _u(3) * (to + column), fma(quarter, load(both, _u(6) * column + _u(3)), left))


@nb.njit(cache=True)
def _clip(values):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        values[i] = min(max(values[i], _f(0)), _f(1))


@nb.njit(cache=True)
def _look_at_blocks(own, follow, weight, in_a_row, free, plain, band):  # type: ignore[no-untyped-def]
    """See :class:`Parameters`."""
    for block in range(free.shape[0]):
        in_a_row[block] = _consecutive(own[block * BLOCK : (block + 1) * BLOCK])
        free[block] = _all_free(weight[block * BLOCK : (block + 1) * BLOCK])
    for number in range(plain.shape[0]):
        numbers = follow[number * band : (number + 1) * band]
        plain[number] = _consecutive(numbers) and _all_free(weight[numbers[0] : numbers[0] + numbers.shape[0]])


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
    """All levels from the third on."""
    for level in range(2, sizes.shape[0]):
        if sizes[level, 0] * sizes[level, 1] >= SHARED_OUT:
            for row in nb.prange(sizes[level, 0]):
                _build_row(pool, sizes, starts, level, row)
        else:
            for row in range(sizes[level, 0]):
                _build_row(pool, sizes, starts, level, row)


@nb.njit(cache=True)
def _build_row(pool, sizes, starts, level, row):  # type: ignore[no-untyped-def]
    width = sizes[level - 1, 1]
    low, to = _u(starts[level - 1] + 2 * row * width), _u(starts[level] + row * (width // 2))
    _halve(pool, low, low + _u(width), _u(width), np.empty(3 * width, np.float32), pool, to)


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum_levels(grad, sizes, starts, coarse):  # type: ignore[no-untyped-def]
    """`coarse` becomes the gradient of all levels but the finest, each with what comes to it by the coarser ones."""
    for level in range(sizes.shape[0] - 1, 0, -1):
        if sizes[level, 0] * sizes[level, 1] >= SHARED_OUT:
            for row in nb.prange(sizes[level, 0]):
                _sum_level_row(grad, sizes, starts, coarse, level, row)
        else:
            for row in range(sizes[level, 0]):
                _sum_level_row(grad, sizes, starts, coarse, level, row)


@nb.njit(cache=True)
def _sum_level_row(grad, sizes, starts, coarse, level, row):  # type: ignore[no-untyped-def]
    width = sizes[level, 1]
    at = _u(starts[level] + row * width)
    to = at - _u(starts[1])
    if level + 1 < sizes.shape[0]:
        above = _u(starts[level + 1] - starts[1] + (row // 2) * (width // 2))
        _spread(coarse, above, _u(0), _u(width), coarse, to)
        _add(grad, _u(3) * at, _u(3 * width), coarse, _u(3) * to)
    else:
        for i in range(_u(3 * width)):
            coarse[_u(3) * to + i] = grad[_u(3) * at + i]


@nb.njit(cache=True)
def _spread(coarse, above, second, count, result, to):  # type: ignore[no-untyped-def]
    """Give each of `count` texels of a row, from texel `to` of `result` on, its share of the texel above it, of which
    the first is `above`; the first texel may be the `second` of the two below that."""
    quarter, end = alike(_f(0.25)), to + count
    if second and to < end:
        store(result, _u(3) * to, fma(quarter, load(coarse, _u(3) * above), NOTHING))
        above, to = above + _u(1), to + _u(1)
    pairs = (end - to) >> _u(1)
    for k in range(pairs):
        store_twice(result, _u(3) * to + _u(6) * k, fma(quarter, load(coarse, _u(3) * (above + k)), NOTHING))
    if to + _u(2) * pairs < end:
        store(result, _u(3) * (end - _u(1)), fma(quarter, load(coarse, _u(3) * (above + pairs)), NOTHING))


@nb.njit(cache=True)
def _add(values, at, count, result, to):  # type: ignore[no-untyped-def]
    for i in range(count):
        result[to + i] += values[at + i]


@nb.njit(cache=True, inline="always")
def _add_texel(grad, coarse, width, slot, texel, sums, at):  # type: ignore[no-untyped-def]
    """Add the gradient of one texel, with what comes to it by the level above, to ``sums[at]``."""
    color = load(sums, at)
    if coarse.shape[0]:
        row = np.uint32(texel) // np.uint32(width)
        column = np.uint32(texel) - row * np.uint32(width)
        above = _u((row >> np.uint32(1)) * (np.uint32(width) >> np.uint32(1)) + (column >> np.uint32(1)))
        color = fma(alike(_f(0.25)), load(coarse, _u(3) * above), color)
    if slot[_u(texel) >> _u(BITS)] >= 0:
        color = fma(alike(_f(1)), load(grad, _u(3) * _row(slot, _u(texel))), color)
    store(sums, at, color)


@nb.njit(cache=True, parallel=True, nogil=True)
def _to_parameters(  # type: ignore[no-untyped-def]
    grad, coarse, width, slot, theta, start, weight, own, padding, first, in_a_row, free, linear, result, parts
):
    parameters, blocks = own.shape[0], free.shape[0]
    for part in nb.prange(parts):
        masked, above = np.empty((BLOCK, 3), np.float32), np.empty(3 * BLOCK, np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, end = block * BLOCK, min((block + 1) * BLOCK, parameters)
            sums, values = result[begin:end].reshape(-1), theta[begin:end]
            followed = first[begin] != first[end]
            if in_a_row[block]:
                _spread_rows(coarse, _u(width), _u(own[begin]), above[: 3 * (end - begin)])
                if linear and free[block] and not followed:
                    _sum_free(above, grad, slot, _u(own[begin]), values.reshape(-1), sums)
                    continue
                _sum_row(above, grad, slot, _u(own[begin]), sums)
            else:
                _sum_texels(grad, coarse, width, slot, own[begin:end], sums)
            if followed:
                _sum_padding(grad, coarse, width, slot, padding, first[begin : end + 1], sums)
            if not free[block]:
                values = _masked(theta[begin:end], start[begin:end], weight[begin:end], masked[: end - begin], sums)
            if linear:
                _times_slope(sums, values.reshape(-1))
            else:
                _keep_inside(sums, values.reshape(-1))


@nb.njit(cache=True)
def _masked(theta, start, weight, values, sums):  # type: ignore[no-untyped-def]
    """Θ with its mask, written to `values`; what comes to it is a share of `sums`, which are changed."""
    values[:] = theta
    for i in range(_u(weight.shape[0])):
        _mask(values[i], start[i], weight[i])
        for channel in range(_u(3)):
            sums[_u(3) * i + channel] *= weight[i]
    return values


@nb.njit(cache=True)
def _sum_texels(grad, coarse, width, slot, own, sums):  # type: ignore[no-untyped-def]
    """`sums` becomes the gradients of texels `own`."""
    sums[:] = 0
    for i in range(_u(own.shape[0])):
        _add_texel(grad, coarse, width, slot, own[i], sums, _u(3) * i)


@nb.njit(cache=True)
def _sum_padding(grad, coarse, width, slot, padding, first, sums):  # type: ignore[no-untyped-def]
    """Add the gradients of all texels that follow others to `sums`."""
    for i in range(_u(first.shape[0] - 1)):
        for q in range(first[i], first[i + _u(1)]):
            _add_texel(grad, coarse, width, slot, padding[q], sums, _u(3) * i)


@nb.njit(cache=True)
def _spread_rows(coarse, width, texel, sums):  # type: ignore[no-untyped-def]
    """`sums` becomes what comes to consecutive texels from `texel` on by the level above, if there is one."""
    done, count = _u(0), _u(sums.shape[0]) // _u(3)
    if not coarse.shape[0]:
        sums[:] = 0
        return
    while done < count:
        row = (texel + done) // width
        column = texel + done - row * width
        above = (row >> _u(1)) * (width >> _u(1)) + (column >> _u(1))
        many = min(width - column, count - done)
        _spread(coarse, above, column & _u(1), many, sums, done)
        done += many


@nb.njit(cache=True)
def _sum_row(above, grad, slot, texel, sums):  # type: ignore[no-untyped-def]
    """`sums` becomes the gradients of consecutive texels from `texel` on: what comes from `above`, and their own."""
    sums[:] = above[: sums.shape[0]]
    at, count = _u(0), _u(sums.shape[0])
    while at < count:
        block = texel >> _u(BITS)
        many = min(_u(3) * (((block + _u(1)) << _u(BITS)) - texel), count - at)
        if slot[block] >= 0:
            _add(grad, _u(3) * _row(slot, texel), many, sums, at)
        at, texel = at + many, (block + _u(1)) << _u(BITS)


@nb.njit(cache=True)
def _sum_free(above, grad, slot, texel, values, sums):  # type: ignore[no-untyped-def]
    """As :func:`_sum_row`, times the slope of the transfer function at `values`, all in one loop."""
    at, count = _u(0), _u(sums.shape[0])
    while at < count:
        block = texel >> _u(BITS)
        many = min(_u(3) * (((block + _u(1)) << _u(BITS)) - texel), count - at)
        prefetch_run(values, at, many)
        prefetch_run(sums, at, many)
        if slot[block] >= 0:
            prefetch_run(grad, _u(3) * _row(slot, texel), many)
            _add_times_slope(above, grad, _u(3) * _row(slot, texel), values, sums, at, many)
        else:
            _other_times_slope(above, values, sums, at, many)
        at, texel = at + many, (block + _u(1)) << _u(BITS)


@nb.njit(cache=True)
def _add_times_slope(above, grad, first, values, sums, at, count):  # type: ignore[no-untyped-def]
    for i in range(at, at + count):
        slope = decoded_slope(values[i])
        total = above[i] + grad[first + (i - at)]
        sums[i] = total * (slope if values[i] >= _f(0) and values[i] <= _f(1) else _f(0))


@nb.njit(cache=True)
def _other_times_slope(above, values, sums, at, count):  # type: ignore[no-untyped-def]
    for i in range(at, at + count):
        slope = decoded_slope(values[i])
        sums[i] = above[i] * (slope if values[i] >= _f(0) and values[i] <= _f(1) else _f(0))


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
