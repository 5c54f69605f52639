"""The gradient of pictures through a network's first convolution (its stem), compiled for the CPU.

Stands for ``torch.ops.aten.convolution_backward``, equal to it by test. That one is made for many channels in and out;
with three of them it takes as long as six forward passes. And only here is it known that the gradient of some pixels is
all that is asked for: those that the object covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor, nn

from compute_server.classifiers.site_kernels import Window
from compute_server.render.compiled import flat

#: Pixels of one row, a stride apart, whose gradients are summed up together: weights are read once for all of them.
TOGETHER = 4
_f, _u = np.float32, np.uint64


@dataclass(frozen=True)
class Stem:
    """A convolution of pictures, its weights arranged for the way back.

    Pixels at the same place between two strides have the same weights. For the place in row `y` and column `x`,
    ``weight[first[y, x]:]`` holds ``[down[y], 3, across[x], C]``: rows of features from the nearest upward, columns
    from left to right. `before` is how many rows and columns of padding the first weight reaches over.
    """

    weight: np.ndarray
    first: np.ndarray
    down: np.ndarray
    across: np.ndarray
    before: tuple[int, int]

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Stem | None:
        """None: `conv` is not of a kind that this is for."""
        plain = conv.in_channels == 3 and conv.groups == 1 and conv.dilation == (1, 1)
        if not plain or conv.stride[0] != conv.stride[1] or isinstance(conv.padding, str):
            return None
        window = Window.of(conv)
        weight, step = window.weight, window.step[0]
        places = [(y, x) for y in range(step) for x in range(step)]
        parts = [weight[:, :, y::step, x::step][..., ::-1].transpose(2, 1, 3, 0).ravel() for y, x in places]
        ends = np.cumsum([len(part) for part in parts])
        return cls(
            weight=np.concatenate(parts),
            first=np.concatenate([[0], ends[:-1]]).reshape(step, step),
            down=np.array([len(range(y, weight.shape[2], step)) for y in range(step)]),
            across=np.array([len(range(x, weight.shape[3], step)) for x in range(step)]),
            before=window.before,
        )

    def input_gradient(self, grad: Tensor, size: Sequence[int], needed: np.ndarray | None) -> Tensor:
        """The gradient of pictures ``[N, 3, H, W]`` of `size`, channels-last, from that of the features `grad`
        ``[N, C, h, w]``. Where `needed` (bool ``[N, H, W]``; None: everywhere) is false it may be right or 0."""
        count, channels, rows, columns = grad.shape
        result = torch.empty(count, *size, 3)
        asked = np.ones(count * size[0] * size[1], np.bool_) if needed is None else needed.reshape(-1)
        run: Any = _input_gradient
        arrays = flat(grad.permute(0, 2, 3, 1)), asked, flat(result), self.weight, self.first, self.down, self.across
        run(*arrays, *self.before, *size, rows, columns, channels)
        return result.permute(0, 3, 1, 2)


@nb.njit(cache=True, parallel=True, nogil=True)
def _input_gradient(  # type: ignore[no-untyped-def]
    grad, needed, result, weight, first, down, across, above, left, height, width, rows, columns, channels
):
    step = first.shape[0]
    for line in nb.prange(needed.shape[0] // width):
        view, y = line // height, line % height
        result[3 * line * width : 3 * (line + 1) * width] = 0
        if not needed[line * width : (line + 1) * width].any():
            continue
        below, place = (y + above) // step, (y + above) % step
        # The rows of features that this row of pixels reaches, of those that there are.
        low, high = max(0, below - rows + 1), min(down[place], below + 1)
        start = (view * rows + below) * columns
        for x in range(step):
            weights = first[place, (x + left) % step]
            many = across[(x + left) % step]
            _row(
                grad, needed, result, weight, weights, many, x, step, left, line * width, width,
                start, columns, channels, low, high,
            )  # fmt: skip


@nb.njit(cache=True)
def _row(  # type: ignore[no-untyped-def]
    grad, needed, result, weight, weights, many, x, step, left, line, width, start, columns, channels, low, high
):
    """The pixels of one row from `x` on, a step apart."""
    size, one, two, three = _u(many * channels), _u(step), _u(2 * step), _u(3 * step)
    while x < width:
        last = (x + left) // step
        begin, pixel = last - many + 1, _u(line + x)
        inside = begin >= 0 and last + TOGETHER <= columns and x + (TOGETHER - 1) * step < width
        if not inside:
            if needed[pixel]:
                skipped = max(0, -begin)  # columns of features that there are not
                there = max(0, min(last + 1, columns) - begin - skipped)
                for j in range(low, high):
                    at = _u((start - j * columns + begin + skipped) * channels)
                    w = _u(weights) + _u(3 * j) * size + _u(skipped * channels)
                    _add(result, pixel, _dot(grad, at, weight, w, size, _u(there * channels)))
            x += step
            continue
        if needed[pixel] | needed[pixel + one] | needed[pixel + two] | needed[pixel + three]:
            for j in range(low, high):
                at, w = _u((start - j * columns + begin) * channels), _u(weights) + _u(3 * j) * size
                a, b, c, d = _four(grad, at, _u(channels), weight, w, size)
                _add(result, pixel, a)
                _add(result, pixel + one, b)
                _add(result, pixel + two, c)
                _add(result, pixel + three, d)
        x += TOGETHER * step


@nb.njit(cache=True, inline="always")
def _add(result, pixel, color):  # type: ignore[no-untyped-def]
    to = _u(3) * pixel
    result[to] += color[0]
    result[to + _u(1)] += color[1]
    result[to + _u(2)] += color[2]


@nb.njit(cache=True, fastmath={"reassoc", "nsz", "contract"})
def _dot(grad, at, weight, w, size, many):  # type: ignore[no-untyped-def]
    """Of one pixel and one row of features: what comes to its three channels."""
    r = g = b = _f(0)
    for i in range(many):
        slope = grad[at + i]
        r += slope * weight[w + i]
        g += slope * weight[w + size + i]
        b += slope * weight[w + size + size + i]
    return r, g, b


@nb.njit(cache=True, fastmath={"reassoc", "nsz", "contract"})
def _four(grad, at, step, weight, w, size):  # type: ignore[no-untyped-def]
    """:func:`_dot` of four pixels, whose features lie a `step` apart."""
    a_r = a_g = a_b = b_r = b_g = b_b = c_r = c_g = c_b = d_r = d_g = d_b = _f(0)
    second, third, fourth = at + step, at + _u(2) * step, at + _u(3) * step
    greens, blues = w + size, w + size + size
    for i in range(size):
        red, green, blue = weight[w + i], weight[greens + i], weight[blues + i]
        a, b, c, d = grad[at + i], grad[second + i], grad[third + i], grad[fourth + i]
        a_r, a_g, a_b = a_r + a * red, a_g + a * green, a_b + a * blue
        b_r, b_g, b_b = b_r + b * red, b_g + b * green, b_b + b * blue
        c_r, c_g, c_b = c_r + c * red, c_g + c * green, c_b + c * blue
        d_r, d_g, d_b = d_r + d * red, d_g + d * green, d_b + d * blue
    return (a_r, a_g, a_b), (b_r, b_g, b_b), (c_r, c_g, c_b), (d_r, d_g, d_b)
