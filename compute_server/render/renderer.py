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

from . import gbuffer, lights
from .color import from_bytes, srgb_decode, srgb_encode
from .geometry import Geometry, clip_from_world, eye_points
from .rasterizer import Rasterizer
from .sampling import MipLayout, Transport, accumulate, uv_taps, vertex_taps


@dataclass(frozen=True)
class Renderer:
    """Draws one object. ``layout`` is the mip layout of its UV texture, or None for vertex colours; ``encode`` is the
    view transform, from scene-linear to display-encoded colours of any shape ``[…, 3]``."""

    geometry: Geometry
    rasterizer: Rasterizer
    layout: MipLayout | None
    encode: Callable[[Tensor], Tensor] = srgb_encode

    def prepare(self, views: Sequence[View], size: int, samples: int = 4) -> Transport:
        """All that `views` need but the texture: pictures of `size` × `size`, `samples` (a square number) per pixel."""
        side = math.isqrt(samples)
        cameras = [view.camera for view in views]
        matrices, eyes = clip_from_world(cameras), eye_points(cameras)
        visible = self.rasterizer.rasterize(self.geometry, matrices, size * side, size * side)
        surface = gbuffer.build(self.geometry, visible, matrices, eyes)
        pixel = _pixels(visible.sample, size, side)
        taps = vertex_taps(self.geometry, surface) if self.layout is None else uv_taps(surface, self.layout)
        return Transport(
            taps=taps,
            light=_light(views, surface, visible.view_start).mul_(1 / (math.pi * samples)),
            pixel=pixel,
            view_start=visible.view_start,
            base=_backdrop(views, size, pixel, samples, self.geometry.device),
        )


    def draw(self, pool: Tensor, transport: Transport) -> Tensor:
        """Display-encoded pictures ``[N, H, W, 3]`` in [0, 1], row 0 at the top, of a linear pool ``[M, 3]``."""
        return self.encode(accumulate(pool, transport))


def _pixels(sample: Tensor, size: int, side: int) -> Tensor:
    """Pixel index in [N, size, size] of each sample index in [N, size·side, size·side]."""
    if side == 1:
        return sample
    row = torch.div(sample, size * side, rounding_mode="floor")
    column = sample - row * (size * side)
    return torch.div(row, side, rounding_mode="floor") * size + torch.div(column, side, rounding_mode="floor")


def _light(views: Sequence[View], surface: gbuffer.GBuffer, view_start: Tensor) -> Tensor:
    """Irradiance [P, 3], each view in its own light."""
    bounds = view_start.tolist()
    return torch.cat(
        [
            lights.irradiance(view.lights, surface.position[start:end], surface.normal[start:end])
            for view, start, end in zip(views, bounds[:-1], bounds[1:], strict=True)
        ]
    )


def _backdrop(views: Sequence[View], size: int, pixel: Tensor, samples: int, device: torch.device) -> Tensor:
    """The uncovered part of each view's background, linear, [N, size, size, 3]."""
    hits = torch.bincount(pixel, minlength=len(views) * size * size)
    uncovered = 1 - hits.to(torch.float32) / samples
    return _backgrounds(views, size).to(device).mul_(uncovered.reshape(len(views), size, size, 1))


def _backgrounds(views: Sequence[View], size: int) -> Tensor:
    """Background pictures, decoded and then stretched over the frame, linear [N, size, size, 3]."""
    shapes = {view.background.shape for view in views}
    if len(shapes) > 1:
        return torch.cat([_backgrounds([view], size) for view in views])
    pictures = srgb_decode(from_bytes(torch.from_numpy(np.stack([view.background for view in views]))))
    shrinks = max(pictures.shape[1:3]) > size  # the filter that skips nothing costs four times as much
    # By planes: torch's channels-last kernel takes three times as long with three channels.
    planes = pictures.permute(0, 3, 1, 2).contiguous()
    stretched = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=shrinks)
    return stretched.permute(0, 2, 3, 1).contiguous()
