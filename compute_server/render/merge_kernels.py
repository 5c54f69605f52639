"""Views that are drawn many times: what the samples of a pixel have in common is made one, once.

The samples of a pixel look at nearly the same texels. As one list of texels, with the light in their weights, they are
drawn sooner, and their gradient scattered sooner still. Compiled for the CPU; equal to the operator of ``sampling`` by
test.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import PIECE, flat
from .gradient_pools import GradientPools, add, begin, reach
from .sampling_kernels import listed
from .taps import Merged, MipTaps, Taps, Transport
from .vectors import fma, load, store

#: About so many are looked at at once.
SAMPLES = 1 << 16
_u = np.uint64


def merged(transport: Transport) -> Merged:
    """`transport` with one list of texels for each pixel. Some rows of pixels at a time for each thread: all texels of
    each sample take several times the memory."""
    cuts = _cuts(transport)
    with ThreadPoolExecutor(nb.get_num_threads(), "merge") as threads:
        parts = list(threads.map(functools.partial(_merged_part, transport), cuts[:-1], cuts[1:]))
    index, weight, pixel, count = (torch.cat([part[i] for part in parts]) for i in range(4))
    return Merged(
        index=index,
        weight=weight.view(-1, 3),
        pixel=pixel,
        start=torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)]),
        base=transport.base,
        layout=transport.layout,
    )


def _cuts(transport: Transport) -> list[int]:
    """Where samples are cut into parts, of which each begins with a row of pixels: the first of them, and their end."""
    width = transport.base.shape[2]
    row = torch.div(transport.pixel, width, rounding_mode="floor")  # samples come row by row
    starts = torch.searchsorted(row, row[::SAMPLES].contiguous())
    return [*torch.unique_consecutive(starts).tolist(), len(row)] if len(row) else [0, 0]


def _merged_part(transport: Transport, first: int, end: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of some samples: texels ``[Q]`` and their weights ``[3 Q]``, pixels and how many texels each has ``[C]``."""
    taps, light, pixel = transport.taps, transport.light[first:end], transport.pixel[first:end]
    if isinstance(taps, MipTaps):
        taps = listed(MipTaps(taps.place[first:end], taps.layout))
    else:
        taps = Taps(taps.index[first:end], taps.weight[first:end])
    # Not torch's, which would have threads of its own in each of these.
    covered, samples = np.unique(pixel.numpy(), return_counts=True)
    order = np.argsort(pixel.numpy(), kind="stable")
    size = taps.index.numel()
    index, weight, count = np.empty(size, np.int32), np.zeros(3 * size, np.float32), np.empty(len(covered), np.int64)
    run: Any = _merge
    many = run(order, samples, taps.index.numpy(), taps.weight.numpy(), flat(light), index, weight, count)
    found = (index[:many].copy(), weight[: 3 * many].copy(), covered, count)
    index_of, weight_of, pixel_of, count_of = (torch.from_numpy(values) for values in found)
    return index_of, weight_of, pixel_of, count_of


@nb.njit(cache=True, nogil=True)
def _merge(order, samples, index, weight, light, to_index, to_weight, count):  # type: ignore[no-untyped-def]
    """Write the texels of each pixel once; how many they are in all. `order` has the samples pixel by pixel, so many
    `samples` of each; what weighs nothing is left out."""
    p, many = 0, 0
    for i in range(samples.shape[0]):
        first = many
        for sample in order[p : p + samples[i]]:
            for k in range(index.shape[1]):
                w = weight[sample, k]
                if w == 0:
                    continue
                at = first
                while at < many and to_index[at] != index[sample, k]:
                    at += 1
                if at == many:
                    to_index[at] = index[sample, k]
                    many += 1
                for channel in range(3):
                    to_weight[3 * at + channel] += w * light[3 * sample + channel]
        p += samples[i]
        count[i] = many - first
    return many


def gather(pool: Tensor, views: Merged) -> Tensor:
    """Stands for ``sampling.accumulate_reference``."""
    picture = torch.empty(views.base.shape)
    run: Any = _gather
    run(flat(pool), *_arrays(views), flat(views.base), flat(picture))
    return picture


def scatter(grad: Tensor, views: Merged, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]`` from that of the pictures."""
    pools = GradientPools.of(texels, views.layout)
    run: Any = _scatter
    run(flat(grad), *_arrays(views), *pools.arrays)
    return pools.summed()


def _arrays(views: Merged) -> tuple[np.ndarray, ...]:
    return flat(views.index), flat(views.weight), flat(views.pixel), flat(views.start)


@nb.njit(cache=True, parallel=True, nogil=True)
def _gather(pool, index, weight, pixel, start, base, picture):  # type: ignore[no-untyped-def]
    count = pixel.shape[0]
    pieces = max(1, (count + PIECE - 1) // PIECE)
    for piece in nb.prange(pieces):
        first, last = piece * PIECE, min((piece + 1) * PIECE, count)
        # What no sample covers stays as it is, and the cache holds the rest when it is added to.
        low = 0 if piece == 0 else 3 * pixel[first]
        high = base.shape[0] if piece == pieces - 1 else 3 * pixel[last]
        picture[low:high] = base[low:high]
        for i in range(_u(first), _u(last)):
            at = _u(3) * _u(pixel[i])
            color = load(picture, at)
            for q in range(_u(start[i]), _u(start[i + _u(1)])):
                color = fma(load(weight, _u(3) * q), load(pool, _u(3) * _u(index[q])), color)
            store(picture, at, color)


@nb.njit(cache=True, parallel=True, nogil=True)
def _scatter(grad, index, weight, pixel, start, result, others, cleared, large):  # type: ignore[no-untyped-def]
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = begin(part, result, others, cleared, large)
        for i in range(_u(count * part // parts), _u(count * (part + 1) // parts)):
            color = load(grad, _u(3) * _u(pixel[i]))
            for q in range(_u(start[i]), _u(start[i + _u(1)])):
                texel = _u(index[q])
                reach(pool, mine, large, texel)
                add(pool, texel, load(weight, _u(3) * q), color)
