# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the evaluated mesh of an object into world-space arrays. Changes nothing and knows no materials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._shared import errors, scene
from .find import nearest_first

LARGEST = 1e15
"""Coordinates (metres) beyond this count as infinite: their squares would be."""
SELECTED_FACES = ".select_poly"
"""The attribute in which Blender keeps which faces are selected; missing while none is."""


@contextmanager
def evaluated(context: Any, obj: Any) -> Iterator[tuple[Any, Any]]:
    """The evaluated object and its mesh with all modifiers (as the viewport has them), while the block runs."""
    if obj.mode == "EDIT":
        obj.update_from_editmode()
    result = obj.evaluated_get(context.evaluated_depsgraph_get())
    mesh = result.to_mesh()
    try:
        if len(mesh.polygons) == 0:
            raise errors.InvalidInput(
                f"Object {obj.name!r} has no faces.",
                hint="Choose an object with a surface. Geometry nodes have to realize their instances.",
            )
        yield result, mesh
    finally:
        result.to_mesh_clear()


def values(items: Any, attribute: str, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """One attribute of all `items` of a bpy collection as an array of `shape` and `dtype`."""
    buffer = np.empty(int(np.prod(shape)), dtype)
    items.foreach_get(attribute, buffer)
    return buffer.reshape(shape)


def read_mesh(obj: Any, mesh: Any, *, uv_map: str, mask: np.ndarray) -> scene.Mesh:
    """The shared mesh of an evaluated `obj`; texture coordinates of `uv_map` ("" for zeros), `mask` [V] float32."""
    corners = _triangle_corners(obj, mesh)
    positions = world_positions(obj, mesh)
    triangles = corner_vertices(mesh)[corners]
    return scene.Mesh(
        name=obj.name,
        positions=positions,
        triangles=triangles,
        normals=_corner_normals(mesh, _matrix(obj), positions, triangles, corners),
        uv=corner_uvs(mesh, uv_map)[corners] if uv_map else np.zeros((len(corners), 3, 2), np.float32),
        mask=mask,
    )


def triangle_uvs(obj: Any, mesh: Any, uv_map: str) -> np.ndarray:
    """The coordinates [T, 3, 2] float32 of a UV map of an evaluated `obj`, triangles as in :func:`read_mesh`."""
    uv: np.ndarray = corner_uvs(mesh, uv_map)[_triangle_corners(obj, mesh)]
    return uv


def triangle_vertices(mesh: Any) -> np.ndarray:
    """The vertices of each triangle of a mesh, [T, 3] int32."""
    mesh.calc_loop_triangles()
    return values(mesh.loop_triangles, "vertices", (len(mesh.loop_triangles), 3), "int32")


def _matrix(obj: Any) -> np.ndarray:
    return np.array(obj.matrix_world, np.float64)


def _triangle_corners(obj: Any, mesh: Any) -> np.ndarray:
    """The face corners of each triangle, [T, 3] int32, anticlockwise as seen from outside in world space."""
    mesh.calc_loop_triangles()
    corners = values(mesh.loop_triangles, "loops", (len(mesh.loop_triangles), 3), "int32")
    if np.linalg.det(_matrix(obj)[:3, :3]) < 0:  # a mirrored object would show its inside
        return np.ascontiguousarray(corners[:, ::-1])
    return corners


def world_positions(obj: Any, mesh: Any) -> np.ndarray:
    """The vertices of an evaluated `obj` in world space, [V, 3] float32, metres.

    Raises :class:`InvalidInput` that names the first one without a finite place.
    """
    matrix = _matrix(obj)
    local = values(mesh.vertices, "co", (len(mesh.vertices), 3))
    with np.errstate(invalid="ignore", over="ignore"):
        world = np.asarray(local @ matrix[:3, :3].T + matrix[:3, 3], np.float32)
    finite = (np.abs(world) < LARGEST).all(axis=1)  # false for NaN
    if not finite.all():
        first = int(np.argmin(finite))
        where = ", ".join(f"{value:g}" for value in world[first])
        raise errors.InvalidInput(
            f"Object {obj.name!r} has a vertex without a finite position: vertex {first} is at ({where}).",
            hint="Delete or move the vertex, or check the modifiers and the object's scale.",
        )
    return world


def _corner_normals(
    mesh: Any, matrix: np.ndarray, positions: np.ndarray, triangles: np.ndarray, corners: np.ndarray
) -> np.ndarray:
    """World-space unit normals [T, 3, 3] float32 of triangle corners; flat where a mesh gives none."""
    local = values(mesh.corner_normals, "vector", (len(mesh.loops), 3))
    normals: np.ndarray = (local @ _normal_matrix(matrix).T.astype(np.float32))[corners]
    lengths = np.sqrt(np.einsum("tcx,tcx->tc", normals, normals))
    bad = ~(lengths > 1e-20).all(axis=1)
    lengths[bad] = 1.0
    normals /= lengths[..., None]
    if bad.any():
        normals[bad] = _flat_normals(positions, triangles[bad])[:, None]
    return normals


def _normal_matrix(matrix: np.ndarray) -> np.ndarray:
    """The inverse transpose of a 4 × 4 matrix's linear part up to a positive factor, also where it is singular."""
    x, y, z = matrix[:3, :3].T
    cofactors: np.ndarray = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=1)
    cofactors /= np.abs(cofactors).max() or 1.0
    return -cofactors if np.linalg.det(matrix[:3, :3]) < 0 else cofactors


def _flat_normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Face normals [T, 3] of `triangles`; straight up for triangles without an area."""
    a, b, c = positions[triangles].astype(np.float64).transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1.0), (0.0, 0.0, 1.0))


def corner_vertices(mesh: Any) -> np.ndarray:
    """The vertex of each face corner, [L] int32."""
    return values(mesh.loops, "vertex_index", (len(mesh.loops),), "int32")


def corner_uvs(mesh: Any, uv_map: str) -> np.ndarray:
    """The coordinates of a UV map at each face corner, [L, 2] float32."""
    return values(mesh.uv_layers[uv_map].uv, "vector", (len(mesh.loops), 2))


def check_uvs(obj: Any, uv_map: str, uv: np.ndarray) -> None:
    """Raise :class:`InvalidInput` unless the triangles' coordinates [T, 3, 2] are finite and cover some texture."""
    if not is_usable(uv):
        raise errors.InvalidInput(
            f"The UV map {uv_map!r} of {obj.name!r} has no area, or holds NaN or infinity.",
            hint="Unwrap the object, or remove the map to have one made.",
        )


def is_usable(uv: np.ndarray) -> bool:
    """Whether triangles' coordinates [T, 3, 2] are finite and cover some texture."""
    return bool(np.isfinite(uv).all() and (uv != uv[:, :1]).any())


def render_uv_map(mesh: Any) -> str:
    """The name of the UV map that renders use, or "" without one."""
    names = [layer.name for layer in mesh.uv_layers if layer.active_render]
    return next(iter(names or [layer.name for layer in mesh.uv_layers]), "")


def read_mask(obj: Any, mesh: Any, name: str | None, *, invert: bool) -> np.ndarray:
    """The weights [V] float32 in [0, 1] of the vertex group `name` on an evaluated `obj`; ones without a name.

    Raises :class:`InvalidInput` for an unknown group (the others are listed) and when nothing may change.
    """
    weights = np.ones(len(mesh.vertices), np.float32) if name is None else _group_weights(obj, mesh, name)
    if invert:
        weights = 1 - weights
    if not weights.any():
        group = "the inverted empty mask" if name is None else f"vertex group {name!r}" + " (inverted)" * invert
        raise errors.InvalidInput(
            f"The mask of {obj.name!r} is empty: {group} has no weight above 0.",
            hint="Paint weights where the texture may change.",
        )
    return weights


def _group_weights(obj: Any, mesh: Any, name: str) -> np.ndarray:
    weights = group_weights(obj, mesh, name)
    if weights is None:
        names = nearest_first(name, [group.name for group in obj.vertex_groups])
        hint = f"Its vertex groups: {', '.join(map(repr, names))}." if names else "It has no vertex groups."
        raise errors.InvalidInput(f"Object {obj.name!r} has no vertex group {name!r}.", hint=hint)
    return weights


def group_weights(obj: Any, mesh: Any, name: str) -> np.ndarray | None:
    """The weights [V] float32 in [0, 1] of a vertex group of `obj`, or None when it has none of that name.

    A boolean attribute of the faces is a group too: what touches one of its faces has the weight 1; "selected" are the
    faces that are selected in Edit Mode.
    """
    # A group without weights may not have reached the evaluated object yet.
    group = obj.vertex_groups.get(name) or obj.original.vertex_groups.get(name)
    if group is not None:
        weights = _read_group(mesh, group.index)
    elif _is_weight(attribute := mesh.attributes.get(name)):  # geometry nodes turn groups into attributes
        weights = values(attribute.data, "value", (len(mesh.vertices),))
    elif _says_faces(attribute := mesh.attributes.get(SELECTED_FACES if name == "selected" else name)):
        weights = _read_faces(mesh, attribute)
    else:
        return None
    return np.clip(np.nan_to_num(weights), 0.0, 1.0)


def _is_weight(attribute: Any) -> bool:
    return attribute is not None and attribute.domain == "POINT" and attribute.data_type == "FLOAT"


def _says_faces(attribute: Any) -> bool:
    return attribute is not None and attribute.domain == "FACE" and attribute.data_type == "BOOLEAN"


def _read_faces(mesh: Any, attribute: Any) -> np.ndarray:
    """1 for the vertices of the faces that a boolean attribute names."""
    chosen = values(attribute.data, "value", (len(mesh.polygons),), "bool")
    counts = values(mesh.polygons, "loop_total", (len(mesh.polygons),), "int32")
    weights = np.zeros(len(mesh.vertices), np.float32)
    weights[corner_vertices(mesh)[np.repeat(chosen, counts)]] = 1.0
    return weights


def _read_group(mesh: Any, index: int) -> np.ndarray:
    """The weights of one vertex group; the one thing Blender has no bulk access for (0.7 s for a million vertices)."""
    weights = [0.0] * len(mesh.vertices)
    for number, vertex in enumerate(mesh.vertices):
        for element in vertex.groups:
            if element.group == index:
                weights[number] = element.weight
    return np.array(weights, np.float32)
