"""Texture sampling compiled for the CPU, equal to the torch functions of ``sampling`` by test.

Where trilinear taps lie and what they weigh is worked out for a block of samples at a time, in a loop with nothing to
choose inside, which takes several samples at once; texels are then fetched sample by sample. Gradients are summed up
in as many parts as there are threads, in a fixed order, so that they come out the same in every run.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import BLOCK, PIECE, flat, log2, mix
from .taps import MipLayout, MipTaps, Transport

#: Each thread that scatters has a pool of its own; for large textures fewer threads take part.
MAX_SCATTER_BYTES = 256 << 20
#: Levels of more texels are cleared in blocks of 2^BLOCK_BITS, when something first comes to one: most of a large
#: texture is not looked at in one step.
LARGE_LEVEL = 1 << 18
BLOCK_BITS = 7
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


@nb.njit(cache=True, fastmath={"contract"})
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
    colors, view_start = pool.detach().contiguous().numpy(), transport.view_start.numpy()
    base = transport.base.contiguous().view(-1, 3).numpy()
    run(colors, *_arrays(transport), view_start, base, picture.view(-1, 3).numpy())
    return picture


def scatter(grad: Tensor, transport: Transport, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]`` from that of the pictures."""
    parts = max(1, min(nb.get_num_threads(), MAX_SCATTER_BYTES // (12 * texels)))
    result, others = torch.empty(texels, 3), torch.empty(parts - 1, texels, 3)
    cleared = np.zeros((parts, (texels >> BLOCK_BITS) + 1), np.bool_)
    into: tuple[Any, ...] = (result.numpy(), others.numpy(), cleared)
    arguments: list[Any] = [grad.reshape(-1, 3).numpy(), *_arrays(transport), *into]
    run: Any = _scatter
    if isinstance(transport.taps, MipTaps):
        run = _scatter_mips
        arguments.extend(_large_levels(transport.taps.layout))
    run(*arguments)
    _sum_pools(*into)
    return result


def _large_levels(layout: MipLayout) -> tuple[int, int]:
    """How many levels are so large that it pays to look which of their blocks have been cleared; and where they end."""
    many = sum(rows * columns > LARGE_LEVEL for rows, columns in layout.sizes)
    return many, layout.starts[many]


def _arrays(transport: Transport) -> tuple[Any, ...]:
    taps, rest = transport.taps, (transport.light.numpy(), transport.pixel.numpy())
    if isinstance(taps, MipTaps):
        return (flat(taps.place), *map(_i, taps.layout.sizes[0]), *rest)
    return (taps.index.numpy(), taps.weight.numpy(), *rest)


@nb.njit(cache=True, parallel=True, nogil=True)
def _gather(pool, index, weight, light, pixel, view_start, base, picture):  # type: ignore[no-untyped-def]
    for view in nb.prange(view_start.shape[0] - 1):
        _begin(view, view_start.shape[0] - 1, base, picture)
        for p in range(view_start[view], view_start[view + 1]):
            r, g, b = _f(0), _f(0), _f(0)
            for k in range(index.shape[1]):
                w, texel = weight[p, k], index[p, k]
                r += w * pool[texel, 0]
                g += w * pool[texel, 1]
                b += w * pool[texel, 2]
            picture[pixel[p], 0] += r * light[p, 0]
            picture[pixel[p], 1] += g * light[p, 1]
            picture[pixel[p], 2] += b * light[p, 2]


@nb.njit(cache=True)
def _begin(view, views, base, picture):  # type: ignore[no-untyped-def]
    """One of so many views begins as what no sample covers; from now on the cache holds it."""
    pixels = base.shape[0] // views
    whole = slice(view * pixels, (view + 1) * pixels)
    picture[whole] = base[whole]


@nb.njit(cache=True, parallel=True, nogil=True)
def _scatter(grad, index, weight, light, pixel, result, others, cleared):  # type: ignore[no-untyped-def]
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = result if part == 0 else others[part - 1], cleared[part]
        for p in range(count * part // parts, count * (part + 1) // parts):
            at = pixel[p]
            r, g, b = grad[at, 0] * light[p, 0], grad[at, 1] * light[p, 1], grad[at, 2] * light[p, 2]
            for k in range(index.shape[1]):
                texel, w = _u(index[p, k]), weight[p, k]
                _clear(pool, mine, texel >> _u(BLOCK_BITS))
                pool[texel, 0] += w * r
                pool[texel, 1] += w * g
                pool[texel, 2] += w * b


@nb.njit(cache=True, parallel=True, nogil=True, fastmath={"contract"})
def _gather_mips(  # type: ignore[no-untyped-def]
    pool, place, rows, columns, light, pixel, view_start, base, picture
):
    for view in nb.prange(view_start.shape[0] - 1):
        _begin(view, view_start.shape[0] - 1, base, picture)
        index, weight = np.empty(8 * BLOCK, np.int32), np.empty(8 * BLOCK, np.float32)
        end = _u(view_start[view + 1])
        for begin in range(_u(view_start[view]), end, _u(BLOCK)):
            many = min(_u(BLOCK), end - begin)
            _find_taps(place, begin, many, rows, columns, index, weight)
            for k in range(many):
                p = begin + k
                at, w = _taps(index, weight, k)
                r, g, b = _mixed(pool, at, w)
                if _between_levels(place, p):
                    at, w = _taps(index, weight, k + _u(4 * BLOCK))
                    more_r, more_g, more_b = _mixed(pool, at, w)
                    r, g, b = r + more_r, g + more_g, b + more_b
                to = _u(pixel[p])
                picture[to, 0] += r * light[p, 0]
                picture[to, 1] += g * light[p, 1]
                picture[to, 2] += b * light[p, 2]


@nb.njit(cache=True, fastmath={"contract"})
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


@nb.njit(cache=True, fastmath={"contract"})
def _find_four(uv, rows, columns, corners, weights):  # type: ignore[no-untyped-def]
    for k in range(_u(uv.shape[0] // 2)):
        u, v = uv[_u(2) * k], uv[_u(2) * k + _u(1)]
        found, shares = _bilinear(u - np.floor(u), v - np.floor(v), _f(1), _i(0), rows, columns)
        for tap in range(4):
            corners[_u(tap * BLOCK) + k] = found[tap]
            weights[_u(tap * BLOCK) + k] = shares[tap]


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


@nb.njit(cache=True)
def _mixed(pool, at, w):  # type: ignore[no-untyped-def]
    """The colour of four taps."""
    return (
        w[0] * pool[at[0], 0] + w[1] * pool[at[1], 0] + w[2] * pool[at[2], 0] + w[3] * pool[at[3], 0],
        w[0] * pool[at[0], 1] + w[1] * pool[at[1], 1] + w[2] * pool[at[2], 1] + w[3] * pool[at[3], 1],
        w[0] * pool[at[0], 2] + w[1] * pool[at[1], 2] + w[2] * pool[at[2], 2] + w[3] * pool[at[3], 2],
    )


@nb.njit(cache=True, parallel=True, nogil=True, fastmath={"contract"})
def _scatter_mips(  # type: ignore[no-untyped-def]
    grad, place, rows, columns, light, pixel, result, others, cleared, large, large_end
):
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = result if part == 0 else others[part - 1], cleared[part]
        small = _u(large_end) >> _u(BLOCK_BITS)
        pool[small << _u(BLOCK_BITS) :] = 0
        mine[small:] = True
        index, weight = np.empty(8 * BLOCK, np.int32), np.empty(8 * BLOCK, np.float32)
        end = _u(count * (part + 1) // parts)
        for begin in range(_u(count * part // parts), end, _u(BLOCK)):
            many = min(_u(BLOCK), end - begin)
            _find_taps(place, begin, many, rows, columns, index, weight)
            for k in range(many):
                p = begin + k
                to = _u(pixel[p])
                r, g, b = grad[to, 0] * light[p, 0], grad[to, 1] * light[p, 1], grad[to, 2] * light[p, 2]
                lower = place[_u(3) * p + _u(2)]
                at, w = _taps(index, weight, k)
                if lower < large:
                    _clear_blocks(pool, mine, at)
                _add(pool, at, w, r, g, b)
                if _between_levels(place, p):
                    at, w = _taps(index, weight, k + _u(4 * BLOCK))
                    if lower + 1 < large:
                        _clear_blocks(pool, mine, at)
                    _add(pool, at, w, r, g, b)


@nb.njit(cache=True)
def _add(pool, at, w, r, g, b):  # type: ignore[no-untyped-def]
    """Give four taps their shares of a colour."""
    for k in range(4):
        pool[at[k], 0] += w[k] * r
        pool[at[k], 1] += w[k] * g
        pool[at[k], 2] += w[k] * b


@nb.njit(cache=True)
def _clear_blocks(pool, cleared, at):  # type: ignore[no-untyped-def]
    """Clear the blocks of four taps where that has not been done."""
    bits = np.uint64(BLOCK_BITS)
    if not (cleared[at[0] >> bits] & cleared[at[1] >> bits] & cleared[at[2] >> bits] & cleared[at[3] >> bits]):
        for k in range(4):
            _clear(pool, cleared, at[k] >> bits)


@nb.njit(cache=True)
def _clear(pool, cleared, block):  # type: ignore[no-untyped-def]
    if not cleared[block]:
        cleared[block] = True
        pool[block << np.uint64(BLOCK_BITS) : (block + np.uint64(1)) << np.uint64(BLOCK_BITS)] = 0


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum_pools(result, others, cleared):  # type: ignore[no-untyped-def]
    """Clear the blocks of `result` that have not been `cleared`, and add those of `others` that have."""
    for block in nb.prange(cleared.shape[1]):
        begin = block << BLOCK_BITS
        end = min(begin + (1 << BLOCK_BITS), result.shape[0])
        if not cleared[0, block]:
            result[begin:end] = 0
        for part in range(others.shape[0]):
            if cleared[part + 1, block]:
                for texel in range(begin, end):
                    for channel in range(3):
                        result[texel, channel] += others[part, texel, channel]
