# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns patches into a Blender mesh: welded, facing outward, with packed UVs and mask weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bmesh
import bpy
import numpy as np

from .packing import Place, pack
from .patches import Floats, Patch, Shell

UV_MAP = "UVMap"
MASK = "mask"
MARGIN = 1.0 / 256.0  # of the texture, on each side of an island: 4 texels at 1024
WELD_M = 1e-6
SHARP_ANGLE = math.radians(38.0)


@dataclass(frozen=True)
class _Layers:
    """Custom data that faces carry while the mesh is made."""

    uv: Any
    island: Any
    painted: Any


def build_mesh(name: str, shells: Sequence[Shell]) -> bpy.types.Mesh:
    """A new mesh of closed shells, one UV island per patch; vertex group 0 holds the mask."""
    bm = bmesh.new()
    try:
        layers = _Layers(
            uv=bm.loops.layers.uv.new(UV_MAP),
            island=bm.faces.layers.int.new("island"),
            painted=bm.faces.layers.int.new("painted"),
        )
        _add_shells(bm, shells, layers)
        bmesh.ops.recalc_face_normals(bm, faces=bm.faces[:])
        _unmirror_islands(bm, layers)
        _mark_edges(bm, layers)
        _weigh_vertices(bm, layers)
        bm.faces.layers.int.remove(bm.faces.layers.int["island"])
        bm.faces.layers.int.remove(bm.faces.layers.int["painted"])
        mesh = bpy.data.meshes.new(name)
        bm.to_mesh(mesh)
    finally:
        bm.free()
    return mesh


def _add_shells(bm: Any, shells: Sequence[Shell], layers: _Layers) -> None:
    placed = iter(enumerate(_placed_uvs([part for shell in shells for part in shell])))
    for shell in shells:
        vertices: list[Any] = []
        for part in shell:
            island, uv = next(placed)
            vertices += _add_patch(bm, part, uv, island, layers)
        # Shell by shell, so that shells that touch stay separate and manifold.
        bmesh.ops.remove_doubles(bm, verts=vertices, dist=WELD_M)
    inside_holes = [vertex for vertex in bm.verts if not vertex.link_faces]
    bmesh.ops.delete(bm, geom=inside_holes, context="VERTS")


def _placed_uvs(parts: Sequence[Patch]) -> list[Floats]:
    """The UVs [R, C, 2] of each patch on the texture."""
    local = [(part.uv - part.uv.min(axis=(0, 1))) * part.density for part in parts]
    sizes = [(float(uv[..., 0].max()), float(uv[..., 1].max())) for uv in local]
    scale, places = pack(sizes, margin=MARGIN)
    return [_place(uv * scale, place) for uv, place in zip(local, places, strict=True)]


def _place(uv: Floats, place: Place) -> Floats:
    if place.on_side:
        uv = np.stack([uv[..., 1].max() - uv[..., 1], uv[..., 0]], axis=-1)
    corner: Floats = np.array([place.u, place.v])
    return uv + corner


def _add_patch(bm: Any, part: Patch, uv: Floats, island: int, layers: _Layers) -> list[Any]:
    grid = [[bm.verts.new(point) for point in row] for row in part.points.tolist()]
    for row, column in np.argwhere(part.kept).tolist():
        corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
        face = bm.faces.new([grid[r][c] for r, c in corners])
        face.smooth = True
        face[layers.island] = island
        face[layers.painted] = int(part.painted[row, column])
        for loop, (r, c) in zip(face.loops, corners, strict=True):
            loop[layers.uv].uv = uv[r, c]
    return [vertex for row_vertices in grid for vertex in row_vertices]


def _unmirror_islands(bm: Any, layers: _Layers) -> None:
    """Mirrors, within their place, the islands that show their back, so that lettering on the texture reads."""
    islands: dict[int, list[Any]] = {}
    for face in bm.faces:
        islands.setdefault(face[layers.island], []).append(face)
    for faces in islands.values():
        if sum(_uv_area(face, layers) for face in faces) < 0.0:
            corners = [loop[layers.uv] for face in faces for loop in face.loops]
            across = [corner.uv.x for corner in corners]
            mirror = min(across) + max(across)
            for corner in corners:
                corner.uv.x = mirror - corner.uv.x


def _uv_area(face: Any, layers: _Layers) -> float:
    """Twice the signed area of a face on the texture."""
    corners = [loop[layers.uv].uv for loop in face.loops]
    return float(sum(corners[i - 1].cross(corners[i]) for i in range(len(corners))))


def _mark_edges(bm: Any, layers: _Layers) -> None:
    for edge in bm.edges:
        edge.smooth = edge.calc_face_angle() < SHARP_ANGLE
        edge.seam = not _uvs_meet(edge, layers)


def _uvs_meet(edge: Any, layers: _Layers) -> bool:
    """Whether both faces of an edge have the same UVs along it. They wind in opposite ways."""
    one, other = edge.link_loops
    return bool(
        one[layers.uv].uv == other.link_loop_next[layers.uv].uv
        and one.link_loop_next[layers.uv].uv == other[layers.uv].uv
    )


def _weigh_vertices(bm: Any, layers: _Layers) -> None:
    """Weight 1 where every face around is painted, so that the mask never reaches past the painted faces."""
    deform = bm.verts.layers.deform.verify()
    for vertex in bm.verts:
        vertex[deform][0] = float(all(face[layers.painted] for face in vertex.link_faces))
