"""From a texture's parameters to its pool of linear colours and back, compiled for the CPU in few passes over memory.

Stands for ``TextureModel.pool_reference``, equal to it and its gradient by test. Colours are decoded a chunk at a time,
and gradients put together a block of parameters at a time, so that what lies between two loops stays in the cache.
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

#: So many parameters are taken together; not the blocks of an excerpt, which are of texels.
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
    the mask holds none back. Texels are made row by row, of `width` texels, and each row in chunks of CHUNK: ``plain``
    says of these whether they are free parameters in a row. Mostly so, and then nothing else of this need be read.
    """

    own: np.ndarray
    padding: np.ndarray
    first: np.ndarray
    follow: np.ndarray
    in_a_row: np.ndarray
    free: np.ndarray
    plain: np.ndarray
    width: int

    @classmethod
    def of(cls, target: np.ndarray, source: np.ndarray, weight: np.ndarray, layout: MipLayout) -> Parameters:
        """Of texels `target` with the values of parameters `source`, whose mask is `weight [K]`; the first of them are
        the parameters' own."""
        parameters, texels = len(weight), layout.starts[1]
        # Without a second level rows make no difference.
        width = layout.sizes[0][1] if len(layout.sizes) > 1 else CHUNK
        follow = np.full(texels, -1, np.int32)
        follow[target] = source
        own = target[:parameters].astype(np.int32)
        padding, followed = target[parameters:], source[parameters:]
        order = np.argsort(followed, kind="stable")
        first = np.searchsorted(followed[order], np.arange(parameters + 1))
        in_a_row, free = (np.empty(-(-parameters // BLOCK), np.bool_) for _ in range(2))
        plain = np.empty(-(-texels // width) * -(-width // CHUNK), np.bool_)
        _look_at_blocks(own, follow, weight, in_a_row, free, plain, width)
        return cls(own, padding[order].astype(np.int32), first.astype(np.int32), follow, in_a_row, free, plain, width)


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
    _place(theta, start, weight, where, original, True, excerpt, len(sizes) > 1, pool)
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
    _place(theta, start, weight, where, original, False, whole, False, result)
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
    halves: bool,
    pool: Tensor,
) -> None:
    """Write the finest level of a pool, and the second if it `halves`. Not `linear` only where the excerpt is all."""
    run: Any = _place_texels
    masked = flat(theta), flat(start), flat(weight)
    owners = where.follow, where.plain, where.width, flat(original)
    run(*masked, *owners, linear, flat(excerpt.slot), excerpt.kept, halves, flat(pool), nb.get_num_threads())


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
    masked = flat(theta), flat(start), flat(weight)
    owners = where.own, where.padding, where.first, where.in_a_row, where.free
    run: Any = _to_parameters
    run(flat(grad), coarse, width, flat(excerpt.slot), *masked, *owners, linear, flat(result), nb.get_num_threads())
    return result


def _levels(layout: MipLayout, excerpt: Excerpt) -> tuple[np.ndarray, np.ndarray]:
    """The sizes of levels, and where each begins in an excerpt."""
    starts = np.array(layout.starts)
    starts[1:] += excerpt.kept - excerpt.finest
    return np.array(layout.sizes), starts


@nb.njit(cache=True, parallel=True, nogil=True)
def _place_texels(  # type: ignore[no-untyped-def]
    theta, start, weight, follow, plain, width, original, linear, slot, kept, halves, pool, parts
):
    """Chunk by chunk, of two rows in turn if the pool `halves`: `made` has both until the second level's texels are
    made of them. `kept` is where that level begins."""
    texels, across = follow.shape[0], (width + CHUNK - 1) // CHUNK
    rows = 2 if halves else 1
    pairs = (texels + rows * width - 1) // (rows * width)
    for part in nb.prange(parts):
        made, sums = np.zeros(3 * rows * CHUNK, np.float32), np.empty(3 * CHUNK, np.float32)
        for pair in range(pairs * part // parts, pairs * (part + 1) // parts):
            for column in range(0, width, CHUNK):
                for row in range(rows):
                    begin = (rows * pair + row) * width + column
                    count = min(CHUNK, width - column, texels - begin)
                    values = made[3 * row * CHUNK : 3 * (row * CHUNK + count)]
                    numbers = follow[begin : begin + count]
                    if not plain[(rows * pair + row) * across + column // CHUNK]:
                        _make_chunk(theta, start, weight, numbers, original, linear, values, begin, slot, pool)
                    elif linear:
                        _decode_parameters(theta, numbers[0], values, begin, slot, pool)
                    else:
                        _clip(theta, _u(3 * numbers[0]), pool, _u(3 * begin), _u(3 * count))
                if halves:
                    to = kept + pair * width // 2 + column // 2
                    _halve(made, _u(0), _u(CHUNK), _u(min(CHUNK, width - column)), sums, pool, _u(to))


@nb.njit(cache=True)
def _make_chunk(  # type: ignore[no-untyped-def]
    theta, start, weight, follow, original, linear, values, begin, slot, pool
):
    """`values` of texels from `begin` on some of which are held back, or follow others or none; the excerpt gets
    them."""
    _masked(theta, start, weight, follow, values)
    if linear:
        _decode(values, _u(0), values, _u(0), _u(values.shape[0]))
    else:
        _clip(values, _u(0), values, _u(0), _u(values.shape[0]))
    _restore(original, _u(3 * begin), follow, values)
    _to_excerpt(values, _u(begin), slot, pool)


@nb.njit(cache=True)
def _decode_parameters(theta, first, values, begin, slot, pool):  # type: ignore[no-untyped-def]
    """Linear `values` of free parameters from `first` on, which are those of the texels from `begin` on; what the
    excerpt has of them is written there too, in the same loop: memory is slow, and has to be kept busy."""
    at, texel, end = _u(0), _u(begin), _u(begin) + _u(values.shape[0]) // _u(3)
    while texel < end:
        upto = _block_end(texel, end)
        count = _u(3) * (upto - texel)
        prefetch_run(theta, _u(3) * _u(first) + at, count)
        if slot[texel >> _u(BITS)] >= 0:
            _decode_and_keep(theta, _u(3) * _u(first) + at, values, at, pool, _u(3) * _row(slot, texel), count)
        else:
            _decode(theta, _u(3) * _u(first) + at, values, at, count)
        at, texel = at + count, upto


@nb.njit(cache=True)
def _decode_and_keep(theta, first, values, at, pool, to, count):  # type: ignore[no-untyped-def]
    """As :func:`_decode`, and written to the pool too."""
    for i in range(count):
        value = decoded(min(max(theta[first + i], _f(0)), _f(1)))
        values[at + i] = value
        pool[to + i] = value


@nb.njit(cache=True)
def _decode(given, start, values, at, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        values[at + i] = decoded(min(max(given[start + i], _f(0)), _f(1)))


@nb.njit(cache=True)
def _clip(given, start, values, at, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        values[at + i] = min(max(given[start + i], _f(0)), _f(1))


@nb.njit(cache=True)
def _masked(theta, start, weight, follow, values):  # type: ignore[no-untyped-def]
    """`values` of consecutive texels, by the parameters that they `follow`, with the mask. Those that follow none get
    any colour: see :func:`_restore`."""
    held = False
    for i in range(_u(follow.shape[0])):
        k = _u(max(follow[i], 0))
        held |= weight[k] != _f(1)
        store(values, _u(3) * i, load(theta, _u(3) * k))
    if held:
        for i in range(_u(follow.shape[0])):
            k = _u(max(follow[i], 0))
            store(values, _u(3) * i, _mask(theta, start, weight, k))


@nb.njit(cache=True, inline="always")
def _mask(theta, start, weight, k):  # type: ignore[no-untyped-def]
    """A parameter goes only as far from `start` as its mask says."""
    first = load(start, _u(3) * k)
    return fma(alike(weight[k]), fma(alike(_f(-1)), first, load(theta, _u(3) * k)), first)


@nb.njit(cache=True)
def _restore(original, at, follow, values):  # type: ignore[no-untyped-def]
    """Give texels that follow no parameter their original colour; the first's begins at number `at` of `original`."""
    for i in range(_u(follow.shape[0])):
        if follow[i] < 0:
            store(values, _u(3) * i, load(original, at + _u(3) * i))


@nb.njit(cache=True)
def _to_excerpt(values, begin, slot, pool):  # type: ignore[no-untyped-def]
    """Write the texels from `begin` on to where the excerpt has them."""
    done, end = begin, begin + _u(values.shape[0]) // _u(3)
    while done < end:
        upto = _block_end(done, end)
        if slot[done >> _u(BITS)] >= 0:
            to, at = _u(3) * _row(slot, done), _u(3) * (done - begin)
            for i in range(_u(3) * (upto - done)):
                pool[to + i] = values[at + i]
        done = upto


@nb.njit(cache=True, inline="always")
def _block_end(texel, end):  # type: ignore[no-untyped-def]
    """Where the texels of an excerpt's block that come after `texel` end, or are to end."""
    return min(end, ((texel >> _u(BITS)) + _u(1)) << _u(BITS))


@nb.njit(cache=True, inline="always")
def _row(slot, texel):  # type: ignore[no-untyped-def]
    """Where a texel of the finest level lies in an excerpt that has it."""
    return (_u(slot[texel >> _u(BITS)]) << _u(BITS)) + (texel & _u((1 << BITS) - 1))


@nb.njit(cache=True)
def _halve(values, low, high, width, sums, result, to):  # type: ignore[no-untyped-def]
    """Texels of the level above, from texel `to` on, from two rows of `width` texels, which begin at texels `low` and
    `high`; `sums` has room for a row."""
    for i in range(_u(3) * width):
        sums[i] = values[_u(3) * low + i] + values[_u(3) * high + i]
    quarter = alike(_f(0.25))
    for column in range(width >> _u(1)):
        left = fma(quarter, load(sums, _u(6) * column), NOTHING)
        store(result, _u(3) * (to + column), fma(quarter, load(sums, _u(6) * column + _u(3)), left))


@nb.njit(cache=True)
def _look_at_blocks(own, follow, weight, in_a_row, free, plain, width):  # type: ignore[no-untyped-def]
    """See :class:`Parameters`."""
    for block in range(free.shape[0]):
        in_a_row[block] = _consecutive(own[block * BLOCK : (block + 1) * BLOCK])
        free[block] = _all_free(weight[block * BLOCK : (block + 1) * BLOCK])
    across = (width + CHUNK - 1) // CHUNK
    for number in range(plain.shape[0]):
        row, column = number // across, number % across * CHUNK
        numbers = follow[row * width + column : row * width + min(column + CHUNK, width)]
        plain[number] = _consecutive(numbers) and _all_free(weight[numbers[0] : numbers[0] + numbers.shape[0]])


@nb.njit(cache=True)
def _consecutive(numbers):  # type: ignore[no-untyped-def]
    """Whether `numbers` are those of parameters (not −1), each one more than that before it."""
    gaps = np.int32(0)
    for i in range(numbers.shape[0]):
        gaps |= numbers[i] - numbers[0] - np.int32(i)
    return numbers[0] >= 0 and gaps == 0


@nb.njit(cache=True)
def _all_free(weights):  # type: ignore[no-untyped-def]
    """Whether the mask holds back none of these: mostly so, but along its edges."""
    held = False
    for i in range(weights.shape[0]):
        held |= weights[i] != _f(1)
    return not held


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


@nb.njit(cache=True, parallel=True, nogil=True)
def _to_parameters(  # type: ignore[no-untyped-def]
    grad, coarse, width, slot, theta, start, weight, own, padding, first, in_a_row, free, linear, result, parts
):
    parameters, blocks = own.shape[0], free.shape[0]
    for part in nb.prange(parts):
        masked, shares = np.empty(3 * BLOCK, np.float32), np.empty(3 * BLOCK, np.float32)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            begin, end = block * BLOCK, min((block + 1) * BLOCK, parameters)
            followed = first[begin] != first[end]
            # Then one loop does all.
            sloped, done = linear and free[block] and not followed, begin
            while done < end:
                upto = end if in_a_row[block] else _run_end(own, done, end)
                texel, at, count = _u(own[done]), _u(3 * done), _u(3 * (upto - done))
                _spread_rows(coarse, _u(width), texel, shares, count)
                _sum_run(shares, grad, slot, texel, theta, result, at, count, sloped)
                done = upto
            if sloped:
                continue
            sums, values = result[3 * begin : 3 * end], theta[3 * begin : 3 * end]
            if followed:
                _sum_padding(grad, coarse, width, slot, padding, first[begin : end + 1], sums)
            if not free[block]:
                values = masked[: 3 * (end - begin)]
                _apply_mask(theta, start, weight, _u(begin), values, sums)
            if linear:
                _times_slope(sums, values)
            else:
                _nothing_where_clipped(sums, values)


@nb.njit(cache=True)
def _run_end(own, begin, end):  # type: ignore[no-untyped-def]
    """Where the texels that follow one another end, of those from parameter `begin` on and before `end`."""
    at = begin + 1
    while at < end and own[at] == own[at - 1] + 1:
        at += 1
    return at


@nb.njit(cache=True)
def _spread_rows(coarse, width, texel, shares, count):  # type: ignore[no-untyped-def]
    """The first `count` numbers of `shares` become what comes to consecutive texels from `texel` on by the level above,
    if there is one."""
    done, texels = _u(0), count // _u(3)
    if not coarse.shape[0]:
        shares[:count] = 0
        return
    while done < texels:
        row = (texel + done) // width
        column = texel + done - row * width
        first = (row >> _u(1)) * (width >> _u(1)) + (column >> _u(1))
        many = min(width - column, texels - done)
        _spread(coarse, first, column & _u(1), many, shares, done)
        done += many


@nb.njit(cache=True)
def _sum_run(shares, grad, slot, texel, theta, result, at, count, sloped):  # type: ignore[no-untyped-def]
    """`count` numbers of `result`, from number `at` on, become the gradients of consecutive texels from `texel` on:
    their `shares` of the level above, and what comes to themselves; if they are to be `sloped`, times the slope of the
    transfer function, in the same loop."""
    done, end = _u(0), texel + count // _u(3)
    while texel < end:
        upto = _block_end(texel, end)
        many = _u(3) * (upto - texel)
        prefetch_run(result, at, many)
        if sloped:
            prefetch_run(theta, at, many)
        if slot[texel >> _u(BITS)] >= 0:
            own = _u(3) * _row(slot, texel)
            prefetch_run(grad, own, many)
            if sloped:
                _add_times_slope(shares, done, grad, own, theta, result, at, many)
            else:
                _add_own(shares, done, grad, own, result, at, many)
        elif sloped:
            _shares_times_slope(shares, done, theta, result, at, many)
        else:
            for i in range(many):
                result[at + i] = shares[done + i]
        done, at, texel = done + many, at + many, upto


@nb.njit(cache=True)
def _add_own(shares, done, grad, own, result, at, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        result[at + i] = shares[done + i] + grad[own + i]


@nb.njit(cache=True)
def _add_times_slope(shares, done, grad, own, theta, result, at, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        result[at + i] = (shares[done + i] + grad[own + i]) * _slope(theta[at + i])


@nb.njit(cache=True)
def _shares_times_slope(shares, done, theta, result, at, count):  # type: ignore[no-untyped-def]
    """Of texels that the excerpt leaves out."""
    for i in range(count):
        result[at + i] = shares[done + i] * _slope(theta[at + i])


@nb.njit(cache=True)
def _sum_padding(grad, coarse, width, slot, padding, first, sums):  # type: ignore[no-untyped-def]
    """Add the gradients of all texels that follow others to `sums`."""
    for i in range(_u(first.shape[0] - 1)):
        if first[i] == first[i + _u(1)]:
            continue
        color = load(sums, _u(3) * i)
        for q in range(_u(first[i]), _u(first[i + _u(1)])):
            color = _with_texel(grad, coarse, width, slot, padding[q], color)
        store(sums, _u(3) * i, color)


@nb.njit(cache=True, inline="always")
def _with_texel(grad, coarse, width, slot, texel, color):  # type: ignore[no-untyped-def]
    """`color` and the gradient of one texel, with what comes to it by the level above."""
    if coarse.shape[0]:
        # Of 32 bits: a longer division takes several times as long.
        row = np.uint32(texel) // np.uint32(width)
        column = np.uint32(texel) - row * np.uint32(width)
        above = _u((row >> np.uint32(1)) * (np.uint32(width) >> np.uint32(1)) + (column >> np.uint32(1)))
        color = fma(alike(_f(0.25)), load(coarse, _u(3) * above), color)
    if slot[_u(texel) >> _u(BITS)] >= 0:
        color = fma(alike(_f(1)), load(grad, _u(3) * _row(slot, _u(texel))), color)
    return color


@nb.njit(cache=True)
def _apply_mask(theta, start, weight, begin, values, sums):  # type: ignore[no-untyped-def]
    """`values` become the parameters from `begin` on with their mask; `sums` are multiplied by it."""
    for i in range(_u(values.shape[0] // 3)):
        k = begin + i
        store(values, _u(3) * i, _mask(theta, start, weight, k))
        store(sums, _u(3) * i, fma(alike(weight[k]), load(sums, _u(3) * i), NOTHING))


@nb.njit(cache=True)
def _times_slope(sums, values):  # type: ignore[no-untyped-def]
    for i in range(sums.shape[0]):
        sums[i] *= _slope(values[i])


@nb.njit(cache=True, inline="always")
def _slope(value):  # type: ignore[no-untyped-def]
    """That of the transfer function; none where it clips."""
    slope = decoded_slope(value)
    return slope if value >= _f(0) and value <= _f(1) else _f(0)


@nb.njit(cache=True)
def _nothing_where_clipped(sums, values):  # type: ignore[no-untyped-def]
    """Multiply by nothing where values are clipped."""
    for i in range(sums.shape[0]):
        sums[i] = sums[i] if (values[i] >= _f(0)) & (values[i] <= _f(1)) else _f(0)
