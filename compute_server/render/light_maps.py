"""Irradiance that lies on the object's UV map: baked in Blender, or what of its surroundings each texel sees.

A map is ``[H, W, C]`` with row 0 at the bottom; texel centres lie at (i + ½) / size, and maps repeat as textures do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import sampling_kernels
from .geometry import Geometry
from .occlusion import Occlusion
from .panorama import HARMONICS, harmonics
from .rasterizer import Rasterizer

#: Rays that look for the surroundings from each texel or vertex.
AMBIENT_RAYS = 96
#: Edge in texels of the map of what surroundings are seen.
AMBIENT_SIZE = 192
#: Rays are traced this many at a time, which bounds memory.
CHUNK = 1 << 20


def sample(map_: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples ``[P, C]`` of a map ``[H, W, C]`` at ``uv [P, 2]``."""
    if uv.device.type == "cpu" and uv.dtype == torch.float32 and map_.shape[2] == 3:
        return sampling_kernels.sample_map(map_, uv)
    return sample_reference(map_, uv)


def sample_reference(map_: Tensor, uv: Tensor) -> Tensor:
    """:func:`sample` in torch."""
    rows, columns, channels = map_.shape
    flat = map_.reshape(-1, channels)
    x, y = uv[:, 0] * columns - 0.5, uv[:, 1] * rows - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    left, right = torch.remainder(x0, columns).long(), torch.remainder(x0 + 1, columns).long()
    low, high = torch.remainder(y0, rows).long() * columns, torch.remainder(y0 + 1, rows).long() * columns
    bottom = flat[low + left] * (1 - fx) + flat[low + right] * fx
    top = flat[high + left] * (1 - fx) + flat[high + right] * fx
    return bottom * (1 - fy) + top * fy


@dataclass(frozen=True)
class Ambient:
    """How the surroundings reach the surface past what hides them: ``transfer [S, 16]``, irradiance for each spherical
    harmonic of radiance, at the texels of a map of ``size``² or (``size`` None) at the vertices."""

    transfer: Tensor
    size: int | None

    def irradiance(self, geometry: Geometry, coefficients: Tensor, surface: Surface) -> Tensor:
        """Irradiance ``[P, 3]`` from surroundings with ``coefficients [16, 3]``."""
        values = (self.transfer @ coefficients).clamp_min_(0.0)
        if self.size is not None:
            return sample(values.reshape(self.size, self.size, 3), surface.uv)
        corners = values[geometry.triangles[surface.triangle]]
        return (corners * surface.weights[:, :, None]).sum(dim=1)


@dataclass(frozen=True)
class Surface:
    """Where samples lie on the object: ``uv [P, 2]``, ``triangle [P]`` and barycentric ``weights [P, 3]``."""

    uv: Tensor
    triangle: Tensor
    weights: Tensor


def ambient_texels(geometry: Geometry, rasterizer: Rasterizer, occlusion: Occlusion) -> Ambient:
    """What the middle of each texel sees; texels without surface are as their nearest neighbours with some."""
    size = AMBIENT_SIZE
    surface, texel = _rasterised(geometry, rasterizer, size)
    corners = geometry.positions[geometry.triangles[surface.triangle]]
    position = (corners * surface.weights[:, :, None]).sum(dim=1)
    normal = (geometry.normals[surface.triangle] * surface.weights[:, :, None]).sum(dim=1)
    found = _transfer(position, torch.nn.functional.normalize(normal, dim=1), occlusion)
    transfer = torch.zeros(size * size, HARMONICS)
    covered = torch.zeros(size * size, dtype=torch.bool)
    transfer[texel], covered[texel] = found, True
    return Ambient(_filled(transfer, covered, size).to(geometry.device), size)


def ambient_vertices(geometry: Geometry, occlusion: Occlusion) -> Ambient:
    """What each vertex sees, above the mean of its corners' normals."""
    normal = torch.zeros_like(geometry.positions)
    normal.index_add_(0, geometry.triangles.reshape(-1), geometry.normals.reshape(-1, 3))
    return Ambient(_transfer(geometry.positions, torch.nn.functional.normalize(normal, dim=1), occlusion), None)


def _rasterised(geometry: Geometry, rasterizer: Rasterizer, size: int) -> tuple[Surface, Tensor]:
    """The surface at the texels of the unit square that it covers, and those texels, on the CPU."""
    uv = geometry.uv.reshape(-1, 2).cpu()
    flat = Geometry(
        positions=torch.cat([uv, torch.zeros(len(uv), 1)], dim=1),
        triangles=torch.arange(len(uv)).reshape(-1, 3),
        normals=geometry.normals.cpu(),
        uv=geometry.uv.cpu(),
    )
    matrix = np.array([[2.0, 0, 0, -1], [0, -2.0, 0, 1], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    seen = rasterizer.rasterize(flat, matrix[None], size, size)
    first = seen.barycentric
    weights = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)
    surface = Surface(uv=torch.zeros(0, 2), triangle=seen.triangle.long(), weights=weights)
    return surface, seen.sample.long()


def _transfer(position: Tensor, normal: Tensor, occlusion: Occlusion) -> Tensor:
    """∫ V(ω) cosθ Y(ω) dω at points [S, 3] with unit normals, [S, 16]: π × the mean over cosine-distributed rays."""
    position, normal = position.cpu(), normal.cpu()
    disk = _spiral(AMBIENT_RAYS)
    across = _across(normal)
    up = torch.linalg.cross(normal, across)
    start = position + normal * occlusion.offset
    total = torch.zeros(len(position), HARMONICS)
    step = max(1, CHUNK // AMBIENT_RAYS)
    for begin in range(0, len(position), step):
        part = slice(begin, begin + step)
        turn = torch.remainder(torch.arange(begin, begin + len(position[part])) * 0.6180339887, 1.0) * (2 * math.pi)
        turned = _turned_disk(disk, turn)
        rays = (
            turned[..., :1] * across[part, None]
            + turned[..., 1:2] * up[part, None]
            + turned[..., 2:] * normal[part, None]
        )
        rays = rays.reshape(-1, 3)
        hidden = occlusion.hidden(start[part].repeat_interleave(AMBIENT_RAYS, dim=0), rays)
        seen = harmonics(rays) * (~hidden)[:, None]
        total[part] = seen.reshape(-1, AMBIENT_RAYS, HARMONICS).mean(dim=1) * math.pi
    return total


def _spiral(count: int) -> Tensor:
    """Points evenly over the unit disk, lifted onto the hemisphere: cosine-distributed directions [count, 3]."""
    number = torch.arange(count) + 0.5
    radius, angle = (number / count).sqrt(), number * math.pi * (3 - math.sqrt(5))
    height = (1 - number / count).sqrt()
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), height], dim=1)


def _turned_disk(points: Tensor, turn: Tensor) -> Tensor:
    cos, sin = torch.cos(turn)[:, None], torch.sin(turn)[:, None]
    x, y, z = points.unbind(dim=1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z.expand(len(turn), -1)], dim=2)


def _across(normal: Tensor) -> Tensor:
    helper = torch.where(normal[:, 2:].abs() > 0.9, torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 0, 1.0]]))
    return torch.nn.functional.normalize(torch.linalg.cross(helper, normal), dim=1)


def _filled(values: Tensor, covered: Tensor, size: int) -> Tensor:
    """Values [size², C] grown into texels without any, ring by ring, so that filtering at a border finds its own."""
    grid, there = values.reshape(size, size, -1), covered.reshape(size, size)
    for _ in range(size):
        if bool(there.all()) or not bool(there.any()):
            break
        total, count = torch.zeros_like(grid), torch.zeros(size, size)
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            neighbour = torch.roll(there, shift, axis)
            total += torch.roll(grid, shift, axis) * neighbour[..., None]
            count += neighbour
        new = ~there & (count > 0)
        grid = torch.where(new[..., None], total / count.clamp_min(1)[..., None], grid)
        there = there | new
    return grid.reshape(size * size, -1)
