"""Where on the surface each texel (or vertex) lies, and how much of it that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput

from .render.geometry import Geometry
from .render.rasterizer import Rasterizer, Visibility

#: UVs may repeat the texture this many times in all; more is taken for an error.
MAX_TILES = 256
#: Places nearer than this share of the surface's size are one.
COINCIDENT = 1e-4


@dataclass(frozen=True)
class TexelSurface:
    """The places of those texels that belong to one place only (mirrored and repeated UVs share theirs), in world
    space.

    ``texel [P] int64`` (flat index, or number of the vertex), ``position [P, 3]`` at its centre, unit ``normal
    [P, 3]``, ``area [P]`` in m².
    """

    texel: Tensor
    position: Tensor
    normal: Tensor
    area: Tensor

    def only(self, keep: Tensor) -> TexelSurface:
        """Those of the places that `keep [P] bool` says."""
        return TexelSurface(*(getattr(self, name)[keep] for name in ("texel", "position", "normal", "area")))


def vertex_surface(geometry: Geometry) -> TexelSurface:
    """The vertices, each with a third of the area of the triangles around it."""
    area, corners, count = triangle_areas(geometry), geometry.triangles.reshape(-1), len(geometry.positions)
    share = torch.zeros(count).index_add_(0, corners, area.repeat_interleave(3) / 3)
    weighted = (geometry.flat_normals * area[:, None]).repeat_interleave(3, 0)
    around = torch.zeros(count, 3).index_add_(0, corners, weighted)
    used = torch.nonzero(share > 0).reshape(-1)
    return TexelSurface(
        texel=used,
        position=geometry.positions[used],
        normal=torch.nn.functional.normalize(around[used], dim=1),
        area=share[used],
    )


def texel_surface(geometry: Geometry, rasterizer: Rasterizer, height: int, width: int) -> TexelSurface:
    """The texels of a ``[height, width]`` texture, row 0 at the bottom; `geometry` on the CPU."""
    number = torch.arange(len(geometry.triangles), dtype=torch.float32)
    depth = ((number + 0.5) / len(number)).repeat_interleave(3)[:, None]
    near = COINCIDENT * float(triangle_areas(geometry).sum()) ** 0.5
    found = []
    for tile in tiles(geometry.uv):
        # Of two triangles on one texel the first or the last is nearest, depending on where one looks from. Neighbours
        # that meet in a texel's centre are one place all the same.
        first, last = (in_uv_space(geometry, tile, toward, rasterizer, height, width) for toward in (depth, 1 - depth))
        here, there = _positions(geometry, first), _positions(geometry, last)
        found.append((first, here, (here - there).norm(dim=1) <= near))
    texel = torch.cat([seen.sample for seen, _, _ in found]).long()
    alone = torch.cat([single for _, _, single in found]) & (
        torch.bincount(texel, minlength=height * width)[texel] == 1
    )
    triangle = torch.cat([seen.triangle for seen, _, _ in found]).long()[alone]
    along = _tangents(geometry)[triangle]
    return TexelSurface(
        texel=texel[alone],
        position=torch.cat([position for _, position, _ in found])[alone],
        normal=geometry.flat_normals[triangle],
        area=torch.linalg.cross(along[:, 0], along[:, 1]).norm(dim=1) / (height * width),
    )


def _positions(geometry: Geometry, visible: Visibility) -> Tensor:
    """Where on the surface each sample lies, ``[P, 3]``."""
    two = visible.barycentric
    weights = torch.cat([two, 1 - two.sum(dim=1, keepdim=True)], dim=1)[:, :, None]
    return (geometry.positions[geometry.triangles[visible.triangle.long()]] * weights).sum(dim=1)


def in_uv_space(
    geometry: Geometry, tile: Tensor, depth: Tensor, rasterizer: Rasterizer, height: int, width: int
) -> Visibility:
    """Which triangle covers each texel centre of the copy of the unit square at `tile`; where several do, the one of
    least `depth` ``[3 T, 1]`` in (0, 1), given for every corner."""
    flat = Geometry(
        positions=torch.cat([geometry.uv.reshape(-1, 2) - tile, depth], dim=1),
        triangles=torch.arange(3 * len(geometry.triangles)).reshape(-1, 3),
        normals=geometry.normals,
        uv=geometry.uv,
    )
    matrix = np.array([[2.0, 0, 0, -1], [0, -2.0, 0, 1], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    return rasterizer.rasterize(flat, matrix[None], height, width)


def tiles(uv: Tensor) -> list[Tensor]:
    """The integer offsets of all copies of the unit square that the UVs ``[…, 2]`` reach into."""
    uv = uv.reshape(-1, 2)
    low, high = uv.amin(dim=0).floor(), torch.maximum(uv.amax(dim=0).ceil(), uv.amin(dim=0).floor() + 1)
    columns, rows = (int(value) for value in high - low)
    if columns * rows > MAX_TILES:
        raise InvalidInput(
            f"The UV map repeats the texture {columns} × {rows} times.",
            hint="Scale the UVs into the unit square, or remove the map to get a new one.",
        )
    return [low + torch.tensor([column, row]) for row in range(rows) for column in range(columns)]


def triangle_areas(geometry: Geometry) -> Tensor:
    """The areas of the triangles ``[T]``, m²."""
    a, b, c = geometry.positions[geometry.triangles].unbind(dim=1)
    doubled: Tensor = torch.linalg.cross(b - a, c - a).norm(dim=1)
    return doubled / 2


def _tangents(geometry: Geometry) -> Tensor:
    """∂P/∂u and ∂P/∂v of each triangle ``[T, 2, 3]``: metres for the width and the height of the texture."""
    corners = geometry.positions[geometry.triangles]
    edges = corners[:, 1:] - corners[:, :1]
    uv_edges = geometry.uv[:, 1:] - geometry.uv[:, :1]
    determinant = torch.linalg.det(uv_edges)
    safe = torch.where(determinant.abs() < 1e-12, torch.ones_like(determinant), determinant)
    inverse = torch.stack(
        [uv_edges[:, 1, 1], -uv_edges[:, 0, 1], -uv_edges[:, 1, 0], uv_edges[:, 0, 0]], dim=1
    ).reshape(-1, 2, 2)
    degenerate = (determinant.abs() < 1e-12)[:, None, None]
    tangents: Tensor = torch.matmul(inverse, edges) / safe[:, None, None]
    tangents[degenerate.reshape(-1)] = 0.0
    return tangents
