# SPDX-License-Identifier: GPL-3.0-or-later
"""What else stands in the artist's scene: as triangles that hide light, and as copies for a stage of our own."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .._shared import errors, scene
from .find import rendered_objects
from .mesh import triangle_vertices, values

LIMIT = 2_000_000
"""Triangles of the surroundings that are sent to a server."""
NO_BODIES = ("LIGHT", "CAMERA", "ARMATURE", "LATTICE", "SPEAKER", "LIGHT_PROBE")


def neighbours(context: Any, obj: Any) -> list[Any]:
    """The objects that a render shows besides `obj`, without lights and cameras."""
    return [other for other in rendered_objects(context) if other != obj and other.type not in NO_BODIES]


def read_surroundings(context: Any, obj: Any, limit: int = LIMIT) -> scene.Surroundings | None:
    """The triangles of all neighbours of `obj` that cast shadows, instances included; None when there are none.

    Raises :class:`InvalidInput` naming the largest when there are more than `limit`.
    """
    there = set(neighbours(context, obj))
    depsgraph = context.evaluated_depsgraph_get()
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []
    for instance in depsgraph.object_instances:
        owner = instance.parent if instance.is_instance else instance.object
        if owner.original not in there or not instance.object.original.visible_shadow:
            continue
        if instance.is_instance and instance.object.original == obj:
            continue
        part = _triangles(instance.object, np.array(instance.matrix_world, np.float64))
        if part is not None:
            parts.append((owner.original.name, *part))
    _check_size(parts, limit)
    if not parts:
        return None
    starts = np.cumsum([0, *(len(positions) for _, positions, _ in parts)])
    triangles = [indices + np.int32(start) for (_, _, indices), start in zip(parts, starts[:-1], strict=True)]
    return scene.Surroundings(
        positions=np.concatenate([positions for _, positions, _ in parts]), triangles=np.concatenate(triangles)
    )


def _triangles(evaluated: Any, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """World positions [V, 3] and triangles [T, 3] of an evaluated object; None for one without a surface."""
    if evaluated.type not in ("MESH", "CURVE", "SURFACE", "META", "FONT"):
        return None
    mesh = evaluated.to_mesh()
    try:
        if mesh is None or len(mesh.polygons) == 0:
            return None
        local = values(mesh.vertices, "co", (len(mesh.vertices), 3))
        world = np.asarray(local @ matrix[:3, :3].T + matrix[:3, 3], np.float32)
        return (world, triangle_vertices(mesh)) if np.isfinite(world).all() else None
    finally:
        evaluated.to_mesh_clear()


def _check_size(parts: list[tuple[str, np.ndarray, np.ndarray]], limit: int) -> None:
    total = sum(len(indices) for _, _, indices in parts)
    if total <= limit:
        return
    sizes: dict[str, int] = {}
    for name, _, indices in parts:
        sizes[name] = sizes.get(name, 0) + len(indices)
    largest = ", ".join(map(repr, sorted(sizes, key=lambda name: -sizes[name])[:3]))
    raise errors.InvalidInput(
        f"The surroundings have {total:,} triangles, more than {limit:,}. The largest: {largest}.",
        hint="Hide what casts no shadow on the object in renders, or use baked light.",
    )


def put_copies(context: Any, obj: Any, collection: Any, *, seen: bool) -> list[Any]:
    """Copies of the neighbours of `obj` where they stand now, linked to `collection`; cameras see them only if `seen`.

    They share their data with the artist's. Whoever asks for them removes them.
    """
    depsgraph = context.evaluated_depsgraph_get()
    copies = []
    for other in neighbours(context, obj):
        matrix = other.evaluated_get(depsgraph).matrix_world.copy()
        copy = other.copy()
        copy.animation_data_clear()
        copy.constraints.clear()
        copy.parent = None
        copy.matrix_world = matrix
        copy.hide_render = False
        if not seen:
            copy.visible_camera = False
        collection.objects.link(copy)
        copies.append(copy)
    return copies


def may_glow(objects: list[Any]) -> bool:
    """Whether a material on `objects` may give off light."""
    materials = {slot.material for obj in objects for slot in obj.material_slots if slot.material}
    return any(_glows(node) for material in materials if material.node_tree for node in material.node_tree.nodes)


def _glows(node: Any) -> bool:
    if node.bl_idname == "ShaderNodeEmission":
        return True
    if node.bl_idname == "ShaderNodeGroup" and node.node_tree is not None:
        return any(_glows(inner) for inner in node.node_tree.nodes)
    strength = node.inputs.get("Emission Strength") if isinstance(node, bpy.types.ShaderNode) else None
    return strength is not None and (strength.is_linked or strength.default_value > 0)
