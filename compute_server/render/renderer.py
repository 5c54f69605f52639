"""From views to pictures: what is fixed is prepared once as a :class:`Transport`, what depends on the texture is drawn.

``prepare`` (visibility, surface, light, taps, background) has no gradients; ``draw`` (accumulate, encode) is
differentiable with respect to the texture's pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.scene import View

from . import gbuffer, kernels
from .color import from_bytes, srgb_decode, srgb_encode
from .geometry import Geometry, clip_from_world, eye_points
from .lighting import Lighting
from .merge_kernels import excerpted, merged
from .on_gpu import uploaded
from .rasterizer import Rasterizer
from .sampling import accumulate, mip_taps, vertex_taps
from .taps import MipLayout, MipTaps, Prepared, Taps, Transport


@dataclass(frozen=True)
class Renderer:
    """Draws one object. ``layout`` is the mip layout of its UV texture, or None for vertex colours; ``encode`` is the
    view transform, from scene-linear to display-encoded colours of any shape ``[…, 3]``."""

    geometry: Geometry
    rasterizer: Rasterizer
    layout: MipLayout | None
    lighting: Lighting
    encode: Callable[[Tensor], Tensor] = srgb_encode

    def prepare(self, views: Sequence[View], size: int | tuple[int, int], samples: int = 4) -> Transport:
        """All that `views` need but the texture: pictures of `size` (an edge, or height and width), with `samples` (a
        square number) per pixel."""
        height, width = (size, size) if isinstance(size, int) else size
        side = math.isqrt(samples)
        cameras = [view.camera for view in views]
        matrices, eyes = clip_from_world(cameras), eye_points(cameras)
        visible = self.rasterizer.rasterize(self.geometry, matrices, height * side, width * side)
        surface = gbuffer.build(self.geometry, visible, matrices, eyes)
        pixel = _pixels(visible.sample, width, side)
        taps: Taps | MipTaps
        taps = vertex_taps(self.geometry, surface) if self.layout is None else mip_taps(surface, self.layout)
        reflected = self.lighting.reflect(views, surface, visible.view_start, eyes, 1 / samples)
        base = _backdrop(views, height, width, pixel, visible.view_start, samples)
        if reflected.added is not None:
            base.view(-1, 3).index_add_(0, pixel.long(), reflected.added)
        return Transport(
            taps=taps,
            light=reflected.scale,
            pixel=pixel,
            view_start=visible.view_start,
            base=base,
        )

    def prepare_kept(self, views: Sequence[View], size: int | tuple[int, int], samples: int = 4) -> Prepared:
        """As :meth:`prepare`, for views that are drawn many times: less time goes into drawing them, more
        into preparing, and they take three to six times the memory."""
        transport = self.prepare(views, size, samples)
        # On a GPU, and with one sample for each pixel, there is nothing to gain.
        if samples == 1 or self.geometry.device.type != "cpu":
            return transport
        return merged(transport) if self.layout is None else excerpted(merged(transport), self.layout)

    def draw(self, pool: Tensor, transport: Prepared) -> Tensor:
        """Display-encoded pictures ``[N, H, W, 3]`` in [0, 1], row 0 at the top, of a linear pool ``[M, 3]``, or of the
        excerpt of it that `transport` asks for."""
        return self.encode(accumulate(pool, transport))


def _pixels(sample: Tensor, width: int, side: int) -> Tensor:
    """Pixel index in [N, H, W] of each sample index in [N, H·side, W·side]."""
    if side == 1:
        return sample
    return (kernels.pixels if sample.device.type == "cpu" else pixels_reference)(sample, width, side)


def pixels_reference(sample: Tensor, width: int, side: int) -> Tensor:
    """Pixels in torch."""
    row = torch.div(sample, width * side, rounding_mode="floor")
    column = sample - row * (width * side)
    return torch.div(row, side, rounding_mode="floor") * width + torch.div(column, side, rounding_mode="floor")


def _backdrop(
    views: Sequence[View], height: int, width: int, pixel: Tensor, view_start: Tensor, samples: int
) -> Tensor:
    """The uncovered part of each view's background, linear, [N, H, W, 3]: pictures are decoded and then stretched over
    the frame."""
    pictures = [view.background for view in views]
    if len({picture.shape for picture in pictures}) > 1:
        bounds, area = view_start.tolist(), height * width
        parts = enumerate(zip(views, bounds[:-1], bounds[1:], strict=True))
        return torch.cat(
            [
                _backdrop([view], height, width, pixel[start:end] - at * area, torch.tensor([0, end - start]), samples)
                for at, (view, start, end) in parts
            ]
        )
    linear = srgb_decode(from_bytes(uploaded(np.stack(pictures), torch.uint8, pixel.device)))
    if pixel.device.type != "cpu" or linear.shape[1] > height or linear.shape[2] > width:
        return backdrop_reference(linear, height, width, pixel, samples)
    return kernels.backdrop(linear, height, width, pixel, view_start, samples)


def backdrop_reference(pictures: Tensor, height: int, width: int, pixel: Tensor, samples: int) -> Tensor:
    """The backdrop in torch, of linear `pictures` ``[N, h, w, 3]``."""
    # Not `bincount`, for which the host waits on a GPU.
    hits = torch.zeros(len(pictures) * height * width, device=pixel.device)
    hits.index_add_(0, pixel, torch.ones_like(pixel, dtype=torch.float32))
    uncovered = 1 - hits / samples
    # The filter that skips nothing costs four times as much.
    shrinks = pictures.shape[1] > height or pictures.shape[2] > width
    # By planes: torch's channels-last kernel takes three times as long with three channels.
    planes = pictures.permute(0, 3, 1, 2).contiguous()
    stretched = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", antialias=shrinks)
    frames = stretched.permute(0, 2, 3, 1).contiguous()
    return frames.mul_(uncovered.reshape(len(pictures), height, width, 1))
