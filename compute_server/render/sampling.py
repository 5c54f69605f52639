"""Texture sampling as a linear operator: each sample is a weighted sum of a few texels, its *taps*.

A texture is a flat *pool* of linear colours ``[M, 3]``: all mip levels of an image after one another, or the vertex
colours. Taps are found once for a G-buffer; :func:`accumulate` then carries pool to picture, and its adjoint carries
gradients back. Torch definitions run on any device; compiled kernels take their place, equal by test, on the CPU and
on a GPU that has Triton. They work trilinear taps out as they go: to read eight indices and weights takes longer than
to find them. Only for views that are drawn many times are taps listed, by pixel and by texel (``merge_kernels``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import kernels as pixel_kernels
from . import merge_kernels
from . import sampling_kernels as kernels
from .gbuffer import GBuffer
from .geometry import Geometry
from .on_gpu import kernels_for
from .taps import Merged, MipLayout, MipTaps, Prepared, Taps, Transport


def build_pool(image: Tensor, layout: MipLayout) -> Tensor:
    """The flat mip pool ``[M, 3]`` of a linear image ``[H, W, 3]``; a level averages 2 × 2 texels of the one before."""
    levels = [image]
    for _ in layout.sizes[1:]:
        levels.append(_halved(levels[-1]))
    return torch.cat([level.reshape(-1, 3) for level in levels])


def _halved(fine: Tensor) -> Tensor:
    if fine.is_cuda:  # one kernel, where slices and their gradients are a dozen
        return torch.nn.functional.avg_pool2d(fine.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
    # Summing slices is several times faster here than a mean over a reshaped view.
    return (fine[0::2, 0::2] + fine[1::2, 0::2] + fine[0::2, 1::2] + fine[1::2, 1::2]) * 0.25


def mip_taps(gbuffer: GBuffer, layout: MipLayout) -> MipTaps:
    """The taps of samples on the levels nearest their footprint. The texture repeats."""
    compiled = kernels_for(gbuffer.uv, kernels)
    find = mip_places_reference if compiled is None else compiled.mip_places
    return MipTaps(find(gbuffer.uv, gbuffer.footprint, layout), layout)


def mip_places_reference(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Tensor:
    """:attr:`MipTaps.place` of samples at ``uv [P, 2]``, in torch."""
    height, width = layout.sizes[0]
    level = 0.5 * torch.log2((footprint * (height * width)).clamp_min(1.0))
    return torch.cat([uv - uv.floor(), level.clamp_max(len(layout.sizes) - 1.0)[:, None]], dim=1)


def vertex_taps(geometry: Geometry, gbuffer: GBuffer) -> Taps:
    """Barycentric taps (K = 3) on the corners' vertex colours."""
    first = gbuffer.visibility.barycentric
    weight = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)
    return Taps(geometry.triangles[gbuffer.visibility.triangle.long()].to(torch.int32), weight)


def accumulate(pool: Tensor, transport: Prepared) -> Tensor:
    """Linear pictures ``[N, H, W, 3]`` of a pool ``[M, 3]``, which has to be float32 for merged samples; differentiable
    with respect to it. Raises ValueError for a pool of another size than `transport` says."""
    if transport.texels not in (None, len(pool)):
        raise ValueError(f"These views look at a pool of {transport.texels} texels, not of {len(pool)}.")
    if isinstance(transport, Merged):
        return _Compiled.apply(pool, transport)  # type: ignore[no-any-return]
    if pool.dtype != torch.float32:
        return accumulate_reference(pool, transport)
    operator = TapByTap if kernels_for(pool, kernels) is None else _Compiled
    return operator.apply(pool, transport)  # type: ignore[no-any-return]


def accumulate_reference(pool: Tensor, transport: Transport) -> Tensor:
    """:func:`accumulate` in torch."""
    taps = transport.taps.listed()
    albedo = (pool[taps.index.long()] * taps.weight[:, :, None].to(pool.dtype)).sum(dim=1)
    base = transport.base.to(pool.dtype)
    flat = base.reshape(-1, 3).index_add(0, transport.pixel.long(), albedo * transport.light.to(pool.dtype))
    return flat.reshape(base.shape)


def covered(transport: Prepared) -> Tensor:
    """The pixels that any sample covers, bool ``[N, H, W]``: only these depend on the pool."""
    find = pixel_kernels.covered if transport.pixel.device.type == "cpu" else covered_reference
    return find(transport.pixel, transport.base.shape[:3])


def covered_reference(pixel: Tensor, shape: torch.Size) -> Tensor:
    """:func:`covered` in torch."""
    found = torch.zeros(shape, dtype=torch.bool, device=pixel.device)
    found.view(-1).index_fill_(0, pixel.long(), True)
    return found


class _Compiled(torch.autograd.Function):
    """The compiled operator and its adjoint."""

    @staticmethod
    def forward(ctx: Any, pool: Tensor, transport: Prepared) -> Tensor:
        ctx.transport, ctx.texels = transport, pool.shape[0]
        if isinstance(transport, Merged):
            return merge_kernels.gather(pool, transport)
        return kernels_for(pool, kernels).gather(pool, transport)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if isinstance(ctx.transport, Merged):
            return merge_kernels.scatter(grad, ctx.transport, ctx.texels), None
        return kernels_for(grad, kernels).scatter(grad, ctx.transport, ctx.texels), None


class TapByTap(torch.autograd.Function):
    """The operator for a GPU without Triton: one tap of all samples after another, so that no more than a colour is
    held of each sample. (Autograd would keep all taps' colours, and sort their indices on the way back.)"""

    @staticmethod
    def forward(ctx: Any, pool: Tensor, transport: Transport) -> Tensor:
        """See :func:`accumulate`."""
        ctx.transport, ctx.texels = transport, pool.shape[0]
        taps = transport.taps.listed()
        albedo = torch.zeros_like(transport.light)
        for index, weight in zip(taps.index.unbind(1), taps.weight.unbind(1), strict=True):
            albedo.addcmul_(pool.index_select(0, index), weight[:, None])
        flat = transport.base.reshape(-1, 3).index_add(0, transport.pixel, albedo.mul_(transport.light))
        return flat.reshape(transport.base.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Its adjoint."""
        transport = ctx.transport
        taps = transport.taps.listed()
        lit = grad.reshape(-1, 3).index_select(0, transport.pixel).mul_(transport.light)
        result = grad.new_zeros(ctx.texels, 3)
        for index, weight in zip(taps.index.unbind(1), taps.weight.unbind(1), strict=True):
            result.index_add_(0, index, lit * weight[:, None])
        return result, None
