"""Texture sampling as a linear operator: each sample is a weighted sum of a few texels, its *taps*.

A texture is a flat *pool* of linear colours ``[M, 3]``: all mip levels of an image after one another, or the vertex
colours. Taps are found once for a G-buffer; :func:`accumulate` then carries pool to picture, and its adjoint carries
gradients back. Torch definitions run on any device; on the CPU compiled kernels take their place, equal by test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import kernels
from .gbuffer import GBuffer
from .geometry import Geometry


@dataclass(frozen=True)
class Taps:
    """``index [P, K] int32`` into the pool and ``weight [P, K] float32``, summing to 1 over K."""

    index: Tensor
    weight: Tensor


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


def build_pool(image: Tensor, layout: MipLayout) -> Tensor:
    """The flat mip pool ``[M, 3]`` of a linear image ``[H, W, 3]``; a level averages 2 × 2 texels of the one before."""
    levels = [image]
    for rows, columns in layout.sizes[1:]:
        fine = levels[-1]
        # Summing slices is several times faster here than a mean over a reshaped view.
        coarse = fine[0::2, 0::2] + fine[1::2, 0::2] + fine[0::2, 1::2] + fine[1::2, 1::2]
        levels.append((coarse * 0.25).reshape(rows, columns, 3))
    return torch.cat([level.reshape(-1, 3) for level in levels])


def uv_taps(gbuffer: GBuffer, layout: MipLayout) -> Taps:
    """Trilinear taps (K = 8): bilinear on the two levels nearest the footprint.

    Texel centres lie at (i + ½) / size, and the texture repeats.
    """
    if gbuffer.uv.device.type == "cpu":
        return Taps(*kernels.uv_taps(gbuffer.uv, gbuffer.footprint, layout.sizes, layout.starts))
    return uv_taps_reference(gbuffer.uv, gbuffer.footprint, layout)


def uv_taps_reference(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Taps:
    """:func:`uv_taps` in torch."""
    height, width = layout.sizes[0]
    level = 0.5 * torch.log2((footprint * (height * width)).clamp_min(1e-20))
    level = level.clamp(0.0, len(layout.sizes) - 1.0)
    lower = level.floor()
    blend = level - lower
    sizes = torch.tensor(layout.sizes, device=uv.device)
    starts = torch.tensor(layout.starts, device=uv.device)
    parts = [
        _bilinear(uv, which.long(), share, sizes, starts)
        for which, share in ((lower, 1 - blend), ((lower + 1).clamp_max(len(layout.sizes) - 1), blend))
    ]
    return Taps(torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1))


def _bilinear(uv: Tensor, level: Tensor, share: Tensor, sizes: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    size = sizes[level]
    repeated = uv - uv.floor()
    x, y = repeated[:, 0] * size[:, 1] - 0.5, repeated[:, 1] * size[:, 0] - 0.5
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


def vertex_taps(geometry: Geometry, gbuffer: GBuffer) -> Taps:
    """Barycentric taps (K = 3) on the corners' vertex colours."""
    first = gbuffer.visibility.barycentric
    weight = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)
    return Taps(geometry.triangles[gbuffer.visibility.triangle.long()].to(torch.int32), weight)


@dataclass(frozen=True)
class Transport:
    """The linear map from pool to picture: ``picture[pixel] = base[pixel] + Σ light · Σ_k weight_k · pool[index_k]``.

    ``light [P, 3]`` holds irradiance / π times the sample's share of its pixel; ``pixel [P] int32`` indexes [N, H, W]
    and stays within one view in each of ``view_start [N + 1]``'s ranges; ``base [N, H, W, 3]`` is the uncovered part
    of the background.
    """

    taps: Taps
    light: Tensor
    pixel: Tensor
    view_start: Tensor
    base: Tensor


def accumulate(pool: Tensor, transport: Transport) -> Tensor:
    """Linear pictures ``[N, H, W, 3]`` of a pool ``[M, 3]``; differentiable with respect to the pool."""
    if pool.device.type == "cpu" and pool.dtype == torch.float32:
        return _Accumulate.apply(pool, transport)  # type: ignore[no-any-return]
    return accumulate_reference(pool, transport)


def accumulate_reference(pool: Tensor, transport: Transport) -> Tensor:
    """:func:`accumulate` in torch."""
    taps = transport.taps
    albedo = (pool[taps.index.long()] * taps.weight[:, :, None].to(pool.dtype)).sum(dim=1)
    base = transport.base.to(pool.dtype)
    flat = base.reshape(-1, 3).index_add(0, transport.pixel.long(), albedo * transport.light.to(pool.dtype))
    return flat.reshape(base.shape)


class _Accumulate(torch.autograd.Function):
    """The compiled operator and its adjoint."""

    @staticmethod
    def forward(ctx: Any, pool: Tensor, transport: Transport) -> Tensor:
        ctx.transport, ctx.texels = transport, pool.shape[0]
        return kernels.gather(pool, transport)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return kernels.scatter(grad.contiguous(), ctx.transport, ctx.texels), None
