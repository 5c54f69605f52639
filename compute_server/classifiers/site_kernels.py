"""Gradients at some of the places of features only, compiled for the CPU.

An object covers a part of a picture, and the first features of a network are the largest: what no covered pixel reaches
need not be carried back through them. Gradients of features are rows here, one for each site; equal by test to those
that torch finds at all places. For the convolutions that small networks begin with: depthwise and pointwise ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor, nn

from compute_server.render.compiled import flat

#: Sites that a thread takes at a time.
PIECE = 256
#: Products that are summed up at once; :func:`_add_products` names them.
TOGETHER = 3
_f, _i, _u = np.float32, np.int32, np.uint64


@dataclass(frozen=True)
class Sites:
    """Places of features ``[N, H, W]``: ``index [S] int32``, ascending, and for each place ``row [N · H · W] int32``
    which of them it is, −1 for none. `shape` is (N, H, W)."""

    index: np.ndarray
    row: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, chosen: np.ndarray) -> Sites:
        """Those that are `chosen`, bool ``[N, H, W]``."""
        count, height, width = chosen.shape
        index, row = np.empty(np.count_nonzero(chosen), np.int32), np.empty(chosen.size, np.int32)
        before = np.cumsum(np.count_nonzero(chosen, axis=(1, 2)), dtype=np.int32)
        _number(chosen.reshape(count, height * width), before, index, row)
        return cls(index, row, (count, height, width))


@dataclass(frozen=True)
class Window:
    """What a convolution looks at: with weights ``[O, I, h, w]``, which go a `step` farther for each output and begin
    `before` the first row and column of its input. ``[H, W]`` have ``[(H + more) // step + 1, …]`` outputs.

    Where padding was folded into a kernel, its first rows and columns are nothing; they are left out.
    """

    weight: np.ndarray
    step: tuple[int, int]
    before: tuple[int, int]
    more: tuple[int, int]

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Window:
        """That of `conv`, which is not dilated."""
        weight = conv.weight.detach().numpy()
        top, left = _leading_zeros(weight.any(axis=(0, 1, 3))), _leading_zeros(weight.any(axis=(0, 1, 2)))
        (pad_y, pad_x), (high, wide) = map(int, conv.padding), weight.shape[2:]
        return cls(
            weight=weight[:, :, top:, left:],
            step=(conv.stride[0], conv.stride[1]),
            before=(pad_y - top, pad_x - left),
            more=(2 * pad_y - high, 2 * pad_x - wide),
        )

    @property
    def looks_at_one(self) -> bool:
        """Whether each output looks at the one input at its own place."""
        alone = self.weight.shape[2:] == self.step == (1, 1)
        return alone and self.before == (0, 0) and self.more == (-1, -1)

    @functools.cached_property
    def of_each_channel(self) -> np.ndarray:
        """The weights of a depthwise convolution, ``[h · w + 1, C]`` and flat; the last ones are 0."""
        arranged = self.weight[:, 0].transpose(1, 2, 0).reshape(-1, len(self.weight))
        return np.append(arranged, np.zeros(len(self.weight), np.float32))

    def reached(self, needed: np.ndarray) -> np.ndarray:
        """The outputs, bool ``[N, …]``, that look at any of the `needed` inputs, bool ``[N, H, W]``, or at one that
        lies between two of them in a row."""
        shape = [(n + more) // step + 1 for n, more, step in zip(needed.shape[1:], self.more, self.step, strict=True)]
        result = np.zeros((len(needed), *shape), np.bool_)
        run: Any = _mark_reached
        run(needed, *self.weight.shape[2:], *self.step, *self.before, result)
        return result


def _leading_zeros(used: np.ndarray) -> int:
    return int(np.argmax(used)) if used.any() else 0


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether `conv` looks at one place at a time."""
    alone = (conv.kernel_size, conv.stride, conv.padding) == ((1, 1), (1, 1), (0, 0))
    return alone and conv.groups == 1


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether `conv` looks at one channel at a time."""
    return conv.groups == conv.in_channels == conv.out_channels and conv.dilation == (1, 1)


def rows(features: Tensor, sites: Sites) -> Tensor:
    """Those of features ``[N, C, H, W]`` at `sites`, ``[S, C]``."""
    everywhere = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return everywhere.index_select(0, torch.from_numpy(sites.index))


def everywhere(rows: Tensor, sites: Sites) -> Tensor:
    """A row for each place ``[N · H · W, C]``: those of `sites`, and 0 at the others."""
    return torch.zeros(len(sites.row), rows.shape[1]).index_copy_(0, torch.from_numpy(sites.index).long(), rows)


def clipped(rows: Tensor, sites: Sites, inside: Tensor | None) -> None:
    """Set to 0 what was clipped, in place: all that was not `inside` (bool ``[N, C, H, W]``, channels-last; None:
    nothing was)."""
    if inside is not None:
        _clip(flat(rows), sites.index, flat(inside.permute(0, 2, 3, 1)), rows.shape[1])


def depthwise(window: Window, rows: Tensor, at: Sites, to: Sites, inside: Tensor | None, *, everywhere: bool) -> Tensor:
    """The gradient of a depthwise convolution's input at the sites `to`, where that was not clipped (`inside`, see
    :func:`clipped`), from that of its output at the sites `at`. `everywhere`: see there."""
    channels = rows.shape[1]
    result = torch.zeros(len(to.row), channels) if everywhere else torch.empty(len(to.index), channels)
    kept = np.empty(0, np.bool_) if inside is None else flat(inside.permute(0, 2, 3, 1))
    run: Any = _depthwise
    places = *window.weight.shape[2:], *window.step, *window.before, *at.shape[1:], *to.shape[1:]
    run(flat(rows), at.row, window.of_each_channel, to.index, kept, everywhere, flat(result), channels, *places)
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _number(chosen, before, index, row):  # type: ignore[no-untyped-def]
    """See :class:`Sites`; `before` are how many there are up to the end of each view."""
    places = chosen.shape[1]
    for view in nb.prange(chosen.shape[0]):
        many, first = _u(before[view - 1] if view else 0), _u(view * places)
        for place in range(_u(places)):
            row[first + place] = _i(many) if chosen[view, place] else _i(-1)
            if chosen[view, place]:
                index[many] = first + place
                many += _u(1)


@nb.njit(cache=True, parallel=True, nogil=True)
def _mark_reached(needed, high, wide, step_y, step_x, above, left, result):  # type: ignore[no-untyped-def]
    count, height, width = needed.shape
    rows, columns = result.shape[1:]
    for view in nb.prange(count):
        for y in range(height):
            # The first and last of a row: between them all are taken, as most are needed.
            low, top = _u(0), _u(width)
            while low < top and not needed[view, y, low]:
                low += _u(1)
            if low == top:
                continue
            while not needed[view, y, top - _u(1)]:
                top -= _u(1)
            first_y, last_y = max(0, -((high - 1 - y - above) // step_y)), min(rows - 1, (y + above) // step_y)
            first_x = max(0, -((wide - 1 - np.int64(low) - left) // step_x))
            last_x = min(columns - 1, (np.int64(top) - 1 + left) // step_x)
            for row in range(first_y, last_y + 1):
                result[view, row, first_x : last_x + 1] = True


@nb.njit(cache=True, parallel=True, nogil=True)
def _clip(rows, index, inside, channels):  # type: ignore[no-untyped-def]
    for site in nb.prange(index.shape[0]):
        _clip_row(rows, _u(site * channels), inside, _u(index[site]) * _u(channels), _u(channels))


@nb.njit(cache=True)
def _clip_row(rows, row, inside, at, channels):  # type: ignore[no-untyped-def]
    for c in range(channels):
        rows[row + c] = rows[row + c] if inside[at + c] else _f(0)


@nb.njit(cache=True, parallel=True, nogil=True)
def _depthwise(  # type: ignore[no-untyped-def]
    rows, row_of, weight, index, inside, everywhere, result, channels, high, wide, step_y, step_x, above, left, h, w,
    height, width,
):  # fmt: skip
    sites, size, none = index.shape[0], _u(channels), high * wide
    for piece in nb.prange((sites + PIECE - 1) // PIECE):
        # Where the rows and weights begin that a site sums up; after the last of them come weights of 0, of any row
        # that there is.
        source, factor = np.zeros(none + TOGETHER, np.uint64), np.empty(none + TOGETHER, np.uint64)
        for site in range(piece * PIECE, min((piece + 1) * PIECE, sites)):
            place, many = np.int64(index[site]), 0
            line, x = place // width, place % width + left
            view, y = line // height, line % height + above
            # The last of the output's rows and columns that look here, each with its weight; divisions are slow.
            row, j = y // step_y, y % step_y
            while j < high and row >= 0:
                column, i = x // step_x, x % step_x
                begin = (view * h + row) * w
                while row < h and i < wide and column >= 0:
                    found = row_of[_u(begin + column)] if column < w else _i(-1)
                    if found >= 0:
                        source[_u(many)], factor[_u(many)] = _u(found) * size, _u(j * wide + i) * size
                        many += 1
                    column, i = column - 1, i + step_x
                row, j = row - 1, j + step_y
            to = _u(place if everywhere else site) * size
            if many == 0:
                _clear(result, to, size)
                continue
            for k in range(TOGETHER):
                factor[_u(many + k)] = _u(none) * size
            for k in range(0, many, TOGETHER):
                _add_products(rows, source, weight, factor, _u(k), result, to, size)
            if inside.shape[0]:
                _clip_row(result, to, inside, _u(place) * size, size)


@nb.njit(cache=True)
def _clear(values, to, size):  # type: ignore[no-untyped-def]
    for c in range(size):
        values[to + c] = _f(0)


@nb.njit(cache=True)
def _add_products(rows, source, weight, factor, k, result, to, size):  # type: ignore[no-untyped-def]
    """Of TOGETHER rows with their weights; the first of a site are not added to anything."""
    one, two = k + _u(1), k + _u(2)
    a, b, c = source[k], source[one], source[two]
    w_a, w_b, w_c = factor[k], factor[one], factor[two]
    for i in range(size):
        found = rows[a + i] * weight[w_a + i] + rows[b + i] * weight[w_b + i] + rows[c + i] * weight[w_c + i]
        result[to + i] = found if k == 0 else result[to + i] + found
