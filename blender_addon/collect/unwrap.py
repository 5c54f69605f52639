# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives an object a UV map made for jobs. Never touches a UV map of the artist's.

The map is a layer on the object's mesh data: objects that share the data get it too, and look as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy
import numpy as np

from .._shared import errors
from .find import check_mesh_is_own
from .mesh import corner_uvs, corner_vertices, values

UV_MAP = "AssistiveUV"
MARGINS = (1 / 128, 1 / 256, 1 / 512, 1 / 2048, 0.0)
"""Space between islands, as a part of the texture (4 texels at 512), and what is tried where there are too many."""
ENOUGH = 0.15
"""The part of the texture that must be covered for a margin to be good."""
ANGLE_LIMIT = math.radians(66.0)


def add_uv_map(context: Any, obj: Any) -> str:
    """Add the UV map :data:`UV_MAP` to the mesh of `obj` by smart project, unless it is there, and give its name.

    Selection, active object and mode are as before afterwards. Raises :class:`InvalidInput` for linked mesh data.
    """
    if UV_MAP in obj.data.uv_layers:
        return UV_MAP
    check_mesh_is_own(obj, "a new UV map")
    with _object_mode(context):
        uvs = _project(context, obj)
        layer = obj.data.uv_layers.new(name=UV_MAP, do_init=False)
        if layer is None:
            raise errors.InvalidInput(f"Object {obj.name!r} has no room for another UV map.", hint="Remove one.")
        layer.uv.foreach_set("vector", uvs.reshape(-1))
        name = str(layer.name)
        obj.data.update()
    context.view_layer.update()
    return name


def _project(context: Any, obj: Any) -> np.ndarray:
    """Smart-projected coordinates [L, 2] float32 of the mesh of `obj`, with as much margin as its islands allow."""
    best, most = np.zeros((len(obj.data.loops), 2), np.float32), -1.0
    for margin in MARGINS:
        uvs = _project_once(context, obj.data, margin)
        if uvs.shape != best.shape:
            raise errors.InvalidInput(
                f"The mesh of {obj.name!r} has faces that Blender drops in Edit Mode.",
                hint="Enter and leave Edit Mode once, or unwrap it yourself.",
            )
        covered = _covered(obj.data, uvs)
        if covered > most:
            best, most = uvs, covered
        if most >= ENOUGH:
            break
    return best


def _covered(data: Any, uvs: np.ndarray) -> float:
    """The part of the texture that faces with corners at `uvs` [L, 2] cover; 0 when they go beyond it."""
    if uvs.min() < -1e-3 or uvs.max() > 1.001:
        return 0.0
    starts = values(data.polygons, "loop_start", (len(data.polygons),), "int32")
    following = np.arange(1, len(uvs) + 1)
    following[np.append(starts[1:], len(uvs)) - 1] = starts
    x, y = uvs.T.astype(np.float64)
    return float(np.abs(np.add.reduceat(x * y[following] - y * x[following], starts)).sum() / 2)


def _project_once(context: Any, data: Any, margin: float) -> np.ndarray:
    """Coordinates [L, 2] of one smart project; with more islands than the margin leaves room for, they go beyond 1."""
    mesh = _bare_copy(data)
    copy = bpy.data.objects.new(UV_MAP, mesh)
    context.scene.collection.objects.link(copy)
    try:
        context.view_layer.objects.active = copy
        copy.select_set(True)
        # Without an area: a viewport in local view would not show the copy, and operators would skip it.
        with context.temp_override(area=None, region=None, active_object=copy, object=copy, selected_objects=[copy]):
            bpy.ops.object.mode_set(mode="EDIT")
            bpy.ops.mesh.select_all(action="SELECT")
            bpy.ops.uv.smart_project(
                angle_limit=ANGLE_LIMIT, island_margin=margin, margin_method="FRACTION" if margin else "SCALED"
            )
            bpy.ops.object.mode_set(mode="OBJECT")
        return corner_uvs(mesh, UV_MAP)
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)


def _bare_copy(data: Any) -> Any:
    """A mesh with the surface of mesh `data` and an empty UV map.

    Selection, hidden faces, materials and modifiers of the original stay out of the unwrapping that way.
    """
    mesh = bpy.data.meshes.new(UV_MAP)
    starts = values(data.polygons, "loop_start", (len(data.polygons),), "int32")
    for items, attribute, array in (
        (mesh.vertices, "co", values(data.vertices, "co", (len(data.vertices), 3))),
        (mesh.loops, "vertex_index", _welded_corners(data, starts)),
        (mesh.polygons, "loop_start", starts),
    ):
        items.add(len(array))
        items.foreach_set(attribute, array.reshape(-1))
    mesh.update(calc_edges=True)
    mesh.uv_layers.new(name=UV_MAP)
    return mesh


def _welded_corners(data: Any, starts: np.ndarray) -> np.ndarray:
    """The vertex [L] int32 of each face corner, where vertices at one place count as one.

    Imported meshes are often split along their edges, and every face would be an island of its own.
    """
    corners = corner_vertices(data)
    places = values(data.vertices, "co", (len(data.vertices), 3)) + np.float32(0.0)  # -0 is 0
    _, first, inverse = np.unique(places.view("V12").reshape(-1), return_index=True, return_inverse=True)
    welded = first[inverse][corners].astype(np.int32)
    faces = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(corners)))
    order = np.lexsort((welded, faces))
    repeats = (np.diff(welded[order]) == 0) & (np.diff(faces[order]) == 0)
    collapsed = np.isin(faces, faces[order][1:][repeats])
    return np.where(collapsed, corners, welded)


@contextmanager
def _object_mode(context: Any) -> Iterator[None]:
    """Object mode with nothing selected, while the block runs; then mode, selection and active object as before."""
    objects = context.view_layer.objects
    active, selected = objects.active, [obj for obj in objects if obj.select_get()]
    mode = active.mode if active is not None else "OBJECT"
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for obj in selected:
        obj.select_set(False)
    try:
        yield
    finally:
        for obj in selected:
            obj.select_set(True)
        objects.active = active
        if mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)
