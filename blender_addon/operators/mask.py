# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes and paints the vertex group that says where the texture may change. What a job reads of it: see `collect`."""

from __future__ import annotations

from typing import Any

import bmesh
import bpy

from .._shared import errors
from .common import allowed, reported, usable_object, why_not_usable

MASK = "Assistive Mask"


class _MaskOperator:
    """When a mask can be made or painted."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """For a mesh object whose mesh is of this file."""
        reason = why_not_usable(context) or cls.why_not(context, usable_object(context))
        return allowed(cls, reason)

    @classmethod
    def why_not(cls, _context: Any, obj: Any) -> str | None:
        """Why `obj` can have no new weights, as a sentence; None when it can."""
        if not (obj.is_editable and obj.data.is_editable) or obj.data.override_library is not None:
            return f"The mesh of {obj.name!r} is linked from another file; make it local first."
        return None


class ASSISTIVE_OT_new_mask(_MaskOperator, bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Add a mask to the object: nothing may change yet, or in Edit Mode what is selected"""

    bl_idname = "assistive.new_mask"
    bl_label = "New Mask"
    bl_options = {"REGISTER", "UNDO"}

    @reported
    def execute(self, context: Any) -> set[str]:
        """Adds a vertex group and chooses it as the mask."""
        _add_mask(context, usable_object(context))
        return {"FINISHED"}


class ASSISTIVE_OT_paint_mask(_MaskOperator, bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Paint where the texture may change, on a new mask if none is chosen; when painting, go back to Object Mode"""

    bl_idname = "assistive.paint_mask"
    bl_label = "Paint Mask"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def why_not(cls, context: Any, obj: Any) -> str | None:
        """Blender paints only what is seen."""
        if not obj.visible_get(view_layer=context.view_layer):
            return f"Object {obj.name!r} is hidden; show it first."
        return super().why_not(context, obj)

    @reported
    def execute(self, context: Any) -> set[str]:
        """Enters Weight Paint on the mask of the chosen object, from any mode of any object; or leaves it."""
        obj = usable_object(context)
        if obj.mode == "WEIGHT_PAINT" and obj == context.view_layer.objects.active:
            bpy.ops.object.mode_set(mode="OBJECT")
            return {"FINISHED"}
        group = _chosen_mask(context, obj)
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        _make_active(context, obj)
        obj.vertex_groups.active = group
        bpy.ops.object.mode_set(mode="WEIGHT_PAINT")
        return {"FINISHED"}


def _chosen_mask(context: Any, obj: Any) -> Any:
    """The vertex group of `obj` that is chosen as the mask, or a new one when none is.

    Raises :class:`InvalidInput` when the object has no group of that name.
    """
    name = context.scene.assistive.mask
    if not name:
        return _add_mask(context, obj)
    group = obj.vertex_groups.get(name)
    if group is None:
        raise errors.InvalidInput(
            f"Object {obj.name!r} has no vertex group {name!r}.", hint="Choose another mask, or make a new one."
        )
    return group


def _add_mask(context: Any, obj: Any) -> Any:
    """A new vertex group on `obj`, chosen as the mask: empty, or with what is selected while `obj` is being edited."""
    group = obj.vertex_groups.new(name=MASK)
    if obj.mode == "EDIT":
        _add_selection(obj.data, group.index)
    obj.data.update_tag()  # a group without weights is not evaluated otherwise
    context.scene.assistive.mask = group.name
    return group


def _add_selection(mesh: Any, group: int) -> None:
    """Give the selected vertices of a mesh in Edit Mode the weight 1 in the vertex group with the index `group`."""
    edited = bmesh.from_edit_mesh(mesh)
    weights = edited.verts.layers.deform.verify()
    for vertex in edited.verts:
        if vertex.select:
            vertex[weights][group] = 1.0
    bmesh.update_edit_mesh(mesh, loop_triangles=False, destructive=False)


def _make_active(context: Any, obj: Any) -> None:
    """Make `obj` the active and the only selected object."""
    objects = context.view_layer.objects
    for other in list(objects.selected):
        other.select_set(False)
    obj.select_set(True)
    objects.active = obj


CLASSES = (ASSISTIVE_OT_new_mask, ASSISTIVE_OT_paint_mask)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
