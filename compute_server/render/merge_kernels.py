"""Views that are drawn many times: what the samples of a pixel have in common is made one, once.

The samples of a pixel look at nearly the same texels. As one list of texels, with the light in their weights, they are
drawn sooner; and with the same weights texel by texel, each texel's gradient is one sum, that nobody else adds to.
Compiled for the CPU; equal to the operator of ``sampling`` by test.
"""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import flat
from .excerpt import Excerpt
from .sampling_kernels import listed
from .taps import Merged, MipLayout, MipTaps, Taps, Transport, Weights
from .vectors import NOTHING, fma, load, prefetch, prefetch_row, store

#: About so many are looked at at once.
SAMPLES = 1 << 16
#: The cache fetches weights, and the colours that they are of, so many ahead.
AHEAD = 128
_f, _u = np.float32, np.uint64


def merged(transport: Transport) -> Merged:
    """`transport` with one list of texels for each pixel. Some rows of pixels at a time for each thread: all texels of
    each sample take several times the memory."""
    cuts = _cuts(transport)
    with ThreadPoolExecutor(nb.get_num_threads(), "merge") as threads:
        parts = list(threads.map(functools.partial(_merged_part, transport), cuts[:-1], cuts[1:]))
    texel, weight, pixel, count = (torch.cat([part[i] for part in parts]) for i in range(4))
    forth = Weights(row=pixel, start=_starts(count), column=texel, weight=weight.view(-1, 3))
    return Merged(forth=forth, back=_transposed(forth), base=transport.base)


def excerpted(views: Merged, layout: MipLayout) -> Merged:
    """`views` of a texture's whole pool as views of that excerpt of it which they look at."""
    excerpt = Excerpt.around(views.back.row, layout.starts)
    forth = dataclasses.replace(views.forth, column=excerpt.rows(views.forth.column))
    back = dataclasses.replace(views.back, row=excerpt.rows(views.back.row))
    return dataclasses.replace(views, forth=forth, back=back, excerpt=excerpt)


def _starts(count: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)])


def _transposed(weights: Weights) -> Weights:
    column, order = torch.sort(weights.column, stable=True)
    row, count = torch.unique_consecutive(column, return_counts=True)
    return Weights(
        row=row,
        start=_starts(count),
        column=weights.row.repeat_interleave(weights.start.diff()).index_select(0, order),
        weight=weights.weight.index_select(0, order),
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
    run: Any = _multiply
    run(*_arrays(views.forth), flat(pool), flat(views.base), flat(picture), nb.get_num_threads())
    return picture


def scatter(grad: Tensor, views: Merged, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]`` from that of the pictures."""
    result, nothing = torch.empty(texels, 3), np.empty(0, np.float32)
    run: Any = _multiply
    run(*_arrays(views.back), flat(grad), nothing, flat(result), nb.get_num_threads())
    return result


def _arrays(weights: Weights) -> tuple[np.ndarray, ...]:
    return flat(weights.row), flat(weights.start), flat(weights.column), flat(weights.weight)


@nb.njit(cache=True, parallel=True, nogil=True)
def _multiply(row, start, column, weight, colors, base, result, parts):  # type: ignore[no-untyped-def]
    """`result` becomes `base`, or 0 if that is empty, plus the matrix times `colors`. Each thread takes rows with as
    many weights as the others'."""
    rows, count = row.shape[0], column.shape[0]
    for part in nb.prange(parts):
        first = 0 if part == 0 else np.searchsorted(start[:-1], count * part // parts)
        last = rows if part == parts - 1 else np.searchsorted(start[:-1], count * (part + 1) // parts)
        done = _u(0) if part == 0 else _u(3) * _u(row[first]) if first < rows else _u(result.shape[0])
        end = _u(3) * _u(row[last]) if last < rows else _u(result.shape[0])
        for i in range(_u(first), _u(last)):
            to = _u(3) * _u(row[i])
            _fill(base, result, done, to)
            color = load(base, to) if base.shape[0] else NOTHING
            for q in range(_u(start[i]), _u(start[i + _u(1)])):
                prefetch(weight, _u(3) * (q + _u(AHEAD)))
                prefetch_row(colors, column, q + _u(AHEAD))
                color = fma(load(weight, _u(3) * q), load(colors, _u(3) * _u(column[q])), color)
            store(result, to, color)
            done = to + _u(3)
        _fill(base, result, done, end)


@nb.njit(cache=True, inline="always")
def _fill(base, result, begin, end):  # type: ignore[no-untyped-def]
    """What is in no row stays as it is."""
    if base.shape[0]:
        for i in range(begin, end):
            result[i] = base[i]
    else:
        for i in range(begin, end):
            result[i] = _f(0)
