"""What a picture is made of: the texels that each sample mixes, and the light on it. Only data; see ``sampling``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .excerpt import Excerpt


@dataclass(frozen=True)
class MipLayout:
    """Where the levels of a mip pyramid lie in its flat pool: level l has ``sizes[l]`` and begins at ``starts[l]``."""

    sizes: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int, *, mips: bool = True) -> MipLayout:
        """The pyramid of an image; it ends where a side no longer halves evenly."""
        sizes = [(height, width)]
        while mips and all(side % 2 == 0 for side in sizes[-1]):
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        starts = [0]
        for rows, columns in sizes:
            starts.append(starts[-1] + rows * columns)
        return cls(tuple(sizes), tuple(starts))


@dataclass(frozen=True)
class Taps:
    """``index [P, K] int32`` into the pool and ``weight [P, K] float32``, summing to 1 over K."""

    index: Tensor
    weight: Tensor

    def listed(self) -> Taps:
        """As :meth:`MipTaps.listed`."""
        return self


@dataclass(frozen=True)
class MipTaps:
    """Trilinear taps (K = 8), told by where each sample looks: ``place [P, 3] float32`` holds u and v, wrapped into
    [0, 1], and the mip level. Bilinear on the two levels next to it; texel centres lie at (i + ½) / size."""

    place: Tensor
    layout: MipLayout

    def listed(self) -> Taps:
        """Each tap by itself; kept, for devices where that is what is needed."""
        return self._listed

    @functools.cached_property
    def _listed(self) -> Taps:
        uv, level = self.place[:, :2], self.place[:, 2]
        lower = level.floor()
        blend = level - lower
        sizes = torch.tensor(self.layout.sizes, device=uv.device)
        starts = torch.tensor(self.layout.starts, device=uv.device)
        upper = (lower + 1).clamp_max(len(self.layout.sizes) - 1)
        parts = [_bilinear(uv, *each, sizes, starts) for each in ((lower.long(), 1 - blend), (upper.long(), blend))]
        return Taps(torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1))


@dataclass(frozen=True)
class Transport:
    """The linear map from pool to picture: ``picture[pixel] = base[pixel] + Σ light · Σ_k weight_k · pool[index_k]``.

    ``light [P, 3]`` holds irradiance / π times the sample's share of its pixel; ``pixel [P] int32`` indexes [N, H, W]
    and stays within one view in each of ``view_start [N + 1]``'s ranges; ``base [N, H, W, 3]`` is the uncovered part
    of the background.
    """

    taps: Taps | MipTaps
    light: Tensor
    pixel: Tensor
    view_start: Tensor
    base: Tensor

    @property
    def layout(self) -> MipLayout | None:
        """That of the texture; None where taps are listed, as those of vertex colours are."""
        return self.taps.layout if isinstance(self.taps, MipTaps) else None

    @property
    def excerpt(self) -> None:
        """It is drawn from the whole pool."""
        return None

    @property
    def texels(self) -> int | None:
        """How many texels that pool has; None: listed taps do not say."""
        return None if self.layout is None else self.layout.starts[-1]


@dataclass(frozen=True)
class Weights:
    """A sparse matrix of colours, with a weight for each channel: in row ``row_i`` it has ``weight_q`` at column
    ``column_q``, where q goes from ``start_i`` to ``start_(i + 1)``. Rows without any are left out.

    ``row [C] int32``, ascending; ``start [C + 1] int64``; ``column [Q] int32``; ``weight [Q, 3] float32``.
    """

    row: Tensor
    start: Tensor
    column: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Merged:
    """A :class:`Transport` whose samples have been put together, light included: ``picture = base + forth · pool``,
    with pixels of [N, H, W] for rows and texels for columns; ``back`` is its transpose, for gradients. The pool is
    that of ``excerpt``, or the whole one where that is None."""

    forth: Weights
    back: Weights
    base: Tensor
    excerpt: Excerpt | None = None

    @property
    def texels(self) -> int | None:
        """How many texels its excerpt has; None: it does not say."""
        return None if self.excerpt is None else self.excerpt.size

    @property
    def pixel(self) -> Tensor:
        """Those that any sample covers, ``[C] int32``, each once."""
        return self.forth.row


#: What a renderer draws.
Prepared: TypeAlias = Transport | Merged


def _bilinear(uv: Tensor, level: Tensor, share: Tensor, sizes: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    size = sizes[level]
    x, y = uv[:, 0] * size[:, 1] - 0.5, uv[:, 1] * size[:, 0] - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    index, weight = [], []
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            column = torch.remainder(x0.long() + dx, size[:, 1])
            row = torch.remainder(y0.long() + dy, size[:, 0])
            index.append(starts[level] + row * size[:, 1] + column)
            weight.append(share * wx * wy)
    return torch.stack(index, 1).to(torch.int32), torch.stack(weight, 1)
