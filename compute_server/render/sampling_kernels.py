"""Texture sampling compiled for the CPU, equal to the torch functions of ``sampling`` by test.

Where trilinear taps lie and what they weigh is worked out for a block of samples at a time, in a loop with nothing to
choose inside, which takes several samples at once; texels are then fetched sample by sample, each as a vector.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import BLOCK, PIECE, flat, log2, mix
from .gradient_pools import GradientPools, add, begin, reach, reach_four
from .taps import MipLayout, MipTaps, Taps, Transport
from .vectors import NOTHING, alike, fma, load, prefetch, prefetch_run, store

#: Texels are fetched so many samples ahead.
LOOK = 16
_f, _i, _u = np.float32, np.int32, np.uint64


def mip_places(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Tensor:
    """Stands for ``sampling.mip_places_reference``."""
    height, width = layout.sizes[0]
    place = torch.empty(len(uv), 3)
    bits = flat(footprint).view(np.int32)
    finest, top = _f(math.log2(height * width)), _f(len(layout.sizes) - 1)
    _mip_places(flat(uv), bits, finest, top, flat(place))
    return place


@nb.njit(cache=True, parallel=True, nogil=True)
def _mip_places(uv, bits, finest, top, place):  # type: ignore[no-untyped-def]
    count = bits.shape[0]
    for block in nb.prange((count + PIECE - 1) // PIECE):
        begin, end = block * PIECE, min((block + 1) * PIECE, count)
        _find_places(uv[2 * begin : 2 * end], bits[begin:end], finest, top, place[3 * begin : 3 * end])


@nb.njit(cache=True)
def _find_places(uv, bits, finest, top, place):  # type: ignore[no-untyped-def]
    for p in range(bits.shape[0]):
        u, v = uv[2 * p], uv[2 * p + 1]
        place[3 * p], place[3 * p + 1] = u - np.floor(u), v - np.floor(v)
        level = _f(0.5) * (log2(bits[p]) + finest)
        place[3 * p + 2] = min(max(level, _f(0)), top)


def gather(pool: Tensor, transport: Transport) -> Tensor:
    """Stands for ``sampling.accumulate_reference``."""
    picture = torch.empty(transport.base.shape)
    run: Any = _gather_mips if isinstance(transport.taps, MipTaps) else _gather
    width = transport.base.shape[2]
    run(flat(pool), *_arrays(transport), width, flat(transport.base), flat(picture))
    return picture


def scatter(grad: Tensor, transport: Transport, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]`` from that of the pictures."""
    pools = GradientPools.of(texels, transport.layout)
    run: Any = _scatter_mips if isinstance(transport.taps, MipTaps) else _scatter
    run(flat(grad), *_arrays(transport), *pools.arrays)
    return pools.summed()


def _arrays(transport: Transport) -> tuple[Any, ...]:
    taps, rest = transport.taps, (flat(transport.light), flat(transport.pixel))
    if isinstance(taps, MipTaps):
        return (flat(taps.place), *map(_i, taps.layout.sizes[0]), *rest)
    return (taps.index.numpy(), taps.weight.numpy(), *rest)


@nb.njit(cache=True, parallel=True, nogil=True)
def _gather(pool, index, weight, light, pixel, width, base, picture):  # type: ignore[no-untyped-def]
    pieces = _pieces(pixel)
    for piece in nb.prange(pieces):
        first, end = _begin(piece, pieces, pixel, width, base, picture)
        for p in range(first, end):
            color = NOTHING
            for k in range(_u(index.shape[1])):
                color = fma(alike(weight[p, k]), load(pool, _u(3) * _u(index[p, k])), color)
            _add(picture, pixel[p], color, light, p)


@nb.njit(cache=True)
def _pieces(pixel):  # type: ignore[no-untyped-def]
    """In so many pieces samples are drawn: many enough that threads have equal shares."""
    return max(1, pixel.shape[0] // (4 * PIECE))


@nb.njit(cache=True)
def _begin(piece, pieces, pixel, width, base, picture):  # type: ignore[no-untyped-def]
    """One of so many pieces: its pixels begin as what no sample covers, and from now on the cache holds them. Where its
    samples begin and end."""
    first, end = _row_start(pixel, piece, pieces, width), _row_start(pixel, piece + 1, pieces, width)
    low = _u(3 * width) * (_u(pixel[first]) // _u(width)) if piece > 0 and first < pixel.shape[0] else _u(0)
    high = _u(3 * width) * (_u(pixel[end]) // _u(width)) if end < pixel.shape[0] else _u(base.shape[0])
    if piece == 0 or first < pixel.shape[0]:
        picture[low:high] = base[low:high]
    return first, end


@nb.njit(cache=True)
def _row_start(pixel, piece, pieces, width):  # type: ignore[no-untyped-def]
    """Where the samples of a piece begin: with those of a row of pixels, as no other piece may add to these."""
    count = pixel.shape[0]
    at = _u(count * piece // pieces)
    while _u(0) < at < _u(count) and pixel[at] // width == pixel[at - _u(1)] // width:
        at += _u(1)
    return at


@nb.njit(cache=True)
def _add(picture, pixel, color, light, p):  # type: ignore[no-untyped-def]
    """Add what is seen of sample p: its colour in its light."""
    to = _u(3) * _u(pixel)
    store(picture, to, fma(color, load(light, _u(3) * p), load(picture, to)))


@nb.njit(cache=True, parallel=True, nogil=True)
def _scatter(grad, index, weight, light, pixel, result, others, cleared, large):  # type: ignore[no-untyped-def]
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = begin(part, result, others, cleared, large)
        for p in range(_u(count * part // parts), _u(count * (part + 1) // parts)):
            color = fma(load(grad, _u(3) * _u(pixel[p])), load(light, _u(3) * p), NOTHING)
            for k in range(_u(index.shape[1])):
                texel = _u(index[p, k])
                reach(pool, mine, large, texel)
                add(pool, texel, alike(weight[p, k]), color)


@nb.njit(cache=True, parallel=True, nogil=True)
def _gather_mips(  # type: ignore[no-untyped-def]
    pool, place, rows, columns, light, pixel, width, base, picture
):
    pieces = _pieces(pixel)
    for piece in nb.prange(pieces):
        begin, end = _begin(piece, pieces, pixel, width, base, picture)
        index, weight = np.empty(8 * BLOCK, np.int32), np.empty(8 * BLOCK, np.float32)
        for first in range(begin, end, _u(BLOCK)):
            many = min(_u(BLOCK), end - first)
            _prefetch_samples(place, light, pixel, first, many)
            _find_taps(place, first, many, rows, columns, index, weight)
            for k in range(many):
                p = first + k
                _prefetch_taps(pool, index, min(k + _u(LOOK), many - _u(1)))
                color = _mixed(pool, index, weight, k, NOTHING)
                if _between_levels(place, p):
                    color = _mixed(pool, index, weight, k + _u(4 * BLOCK), color)
                _add(picture, pixel[p], color, light, p)


@nb.njit(cache=True)
def _prefetch_samples(place, light, pixel, first, many):  # type: ignore[no-untyped-def]
    """Before `many` samples from `first` on are drawn: what is known of some that come after them."""
    prefetch_run(place, _u(3) * first, _u(3) * many)
    prefetch_run(light, _u(3) * first, _u(3) * many)
    prefetch_run(pixel, first, many)


@nb.njit(cache=True, inline="always")
def _prefetch_taps(pool, index, k):  # type: ignore[no-untyped-def]
    """Both rows of four taps on either level; neighbours mostly lie in the same line of the cache."""
    for tap in nb.literal_unroll((0, 2, 4, 6)):
        prefetch(pool, _u(3) * _u(index[k + _u(tap * BLOCK)]))


@nb.njit(cache=True)
def _mixed(pool, index, weight, k, color):  # type: ignore[no-untyped-def]
    """A colour and four of the taps that :func:`_find_taps` found, as much as they weigh."""
    at, w = _taps(index, weight, k)
    for tap in nb.literal_unroll((0, 1, 2, 3)):
        color = fma(alike(w[tap]), load(pool, _u(3) * at[tap]), color)
    return color


@nb.njit(cache=True)
def _find_taps(place, begin, many, rows, columns, index, weight):  # type: ignore[no-untyped-def]
    """Write where the taps of `many` samples lie in the pool of a texture of `rows` and `columns`, and what they weigh:
    the first taps of all, then the second ones and so on; four on the lower level, four on the one above."""
    for k in range(many):
        at = _u(3) * (begin + k)
        u, v, level = place[at], place[at + _u(1)], place[at + _u(2)]
        lower = _i(level)
        blend = level - _f(lower)
        for half, share in ((0, _f(1) - blend), (4, blend)):
            found, weights = _bilinear(u, v, share, _i(lower + (half >> 2)), rows, columns)
            for tap in range(4):
                index[_u((half + tap) * BLOCK) + k] = found[tap]
                weight[_u((half + tap) * BLOCK) + k] = weights[tap]


@nb.njit(cache=True, inline="always")
def _bilinear(u, v, share, level, rows, columns):  # type: ignore[no-untyped-def]
    """Indices and weights of the four taps on one level. All in 32 bits, of which a register holds twice as many;
    numba would widen each sum."""
    # A level has a quarter of the texels of the one before: all before it have (4 T − 4 T / 4^level) / 3.
    texels = _i(4 * rows * columns)
    start = _i(np.uint32(_i(texels - (texels >> _i(2 * level)))) // np.uint32(3))
    rows, columns = _i(rows >> level), _i(columns >> level)
    x, y = u * _f(columns) - _f(0.5), v * _f(rows) - _f(0.5)
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    # Wrapped by comparison: a remainder for each tap would take most of the time. −1 ≤ x0, y0 < size.
    left = _i(min(_i(x0), columns - 1)) if x0 >= 0 else _i(columns - 1)
    low = _i(min(_i(y0), rows - 1)) if y0 >= 0 else _i(rows - 1)
    right = _i(left + 1) if left + 1 < columns else _i(0)
    high = _i(low + 1) if low + 1 < rows else _i(0)
    low, high = _i(start + _i(low * columns)), _i(start + _i(high * columns))
    upward = share * fy
    rest = share - upward
    return (
        (_i(low + left), _i(low + right), _i(high + left), _i(high + right)),
        (rest - rest * fx, rest * fx, upward - upward * fx, upward * fx),
    )


@nb.njit(cache=True)
def _between_levels(place, p):  # type: ignore[no-untyped-def]
    level = place[_u(3) * p + _u(2)]
    return level > np.floor(level)


@nb.njit(cache=True)
def _taps(index, weight, k):  # type: ignore[no-untyped-def]
    """Four of the taps that :func:`_find_taps` found. Unsigned indices spare numba its test for negative ones."""
    k1, k2, k3 = k + _u(BLOCK), k + _u(2 * BLOCK), k + _u(3 * BLOCK)
    return (
        (_u(index[k]), _u(index[k1]), _u(index[k2]), _u(index[k3])),
        (weight[k], weight[k1], weight[k2], weight[k3]),
    )


@nb.njit(cache=True, parallel=True, nogil=True)
def _scatter_mips(  # type: ignore[no-untyped-def]
    grad, place, rows, columns, light, pixel, result, others, cleared, large
):
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = begin(part, result, others, cleared, large)
        index, weight = np.empty(8 * BLOCK, np.int32), np.empty(8 * BLOCK, np.float32)
        end = _u(count * (part + 1) // parts)
        for first in range(_u(count * part // parts), end, _u(BLOCK)):
            many = min(_u(BLOCK), end - first)
            _prefetch_samples(place, light, pixel, first, many)
            _find_taps(place, first, many, rows, columns, index, weight)
            for k in range(many):
                p = first + k
                _prefetch_taps(pool, index, min(k + _u(LOOK), many - _u(1)))
                color = fma(load(grad, _u(3) * _u(pixel[p])), load(light, _u(3) * p), NOTHING)
                _give(pool, mine, large, index, weight, k, color)
                if _between_levels(place, p):
                    _give(pool, mine, large, index, weight, k + _u(4 * BLOCK), color)


@nb.njit(cache=True, inline="always")
def _give(pool, cleared, large, index, weight, k, color):  # type: ignore[no-untyped-def]
    """Give four taps, which lie on one level, their shares of a colour."""
    at, w = _taps(index, weight, k)
    reach_four(pool, cleared, large, at)
    for tap in nb.literal_unroll((0, 1, 2, 3)):
        add(pool, at[tap], alike(w[tap]), color)


def listed(taps: MipTaps) -> Taps:
    """Stands for :meth:`MipTaps.listed`; keeps nothing, and uses one thread."""
    count = len(taps.place)
    index, weight = torch.empty(count, 8, dtype=torch.int32), torch.empty(count, 8)
    run: Any = _list
    run(flat(taps.place), *map(_i, taps.layout.sizes[0]), flat(index), flat(weight))
    return Taps(index, weight)


@nb.njit(cache=True, nogil=True)
def _list(place, rows, columns, to_index, to_weight):  # type: ignore[no-untyped-def]
    index, weight = np.zeros(8 * BLOCK, np.int32), np.empty(8 * BLOCK, np.float32)
    count = _u(place.shape[0] // 3)
    for first in range(_u(0), count, _u(BLOCK)):
        many = min(_u(BLOCK), count - first)
        _find_taps(place, first, many, rows, columns, index, weight)
        for k in range(many):
            above = _between_levels(place, first + k)
            for tap in range(_u(8)):
                to, at = _u(8) * (first + k) + tap, tap * _u(BLOCK) + k
                seen = above or tap < _u(4)  # there is no level above the last one
                to_index[to], to_weight[to] = (index[at], weight[at]) if seen else (_i(0), _f(0))


def sample_map(map_: Tensor, uv: Tensor) -> Tensor:
    """Stands for ``light_maps.sample_reference`` of three channels."""
    result = torch.empty(len(uv), 3)
    rows, columns, _ = map_.shape
    _sample_map(flat(map_), _i(rows), _i(columns), flat(uv), flat(result))
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _sample_map(colors, rows, columns, uv, result):  # type: ignore[no-untyped-def]
    count = uv.shape[0] // 2
    for block in nb.prange((count + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, count)
        corners, weights = np.empty(4 * BLOCK, np.int32), np.empty(4 * BLOCK, np.float32)
        _find_four(uv[2 * begin : 2 * end], rows, columns, corners, weights)
        mix(colors, corners, weights, result[3 * begin : 3 * end])


@nb.njit(cache=True)
def _find_four(uv, rows, columns, corners, weights):  # type: ignore[no-untyped-def]
    for k in range(_u(uv.shape[0] // 2)):
        u, v = uv[_u(2) * k], uv[_u(2) * k + _u(1)]
        found, shares = _bilinear(u - np.floor(u), v - np.floor(v), _f(1), _i(0), rows, columns)
        for tap in range(4):
            corners[_u(tap * BLOCK) + k] = found[tap]
            weights[_u(tap * BLOCK) + k] = shares[tap]
