# SPDX-License-Identifier: GPL-3.0-or-later
"""The confidence sphere of the chosen result: show it, look from one of its cells, make its weakest cells cameras."""

from __future__ import annotations

from typing import Any

import bpy
import msgspec
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Vector

from .. import editor, sphere, sphere_view
from .._shared import errors, scene
from ..collect import bounding_sphere, rigs
from ..collect.cameras import read_cameras
from ..collect.find import CAMERAS, find_collection
from .common import allowed, reported
from .results import NO_RESULT, chosen_result
from .rigs import DISPLAY_SIZE, new_collection, surface

WEAK = "weak,"
"""What the names of cameras of weak cells begin with."""
PICKING = "Click a cell: look from there    Esc: end"


def why_no_sphere(context: Any) -> str | None:
    """Why the chosen result has no sphere, as a sentence; None when it has."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    if sphere_view.around_of(item) is None:
        return "This result was not looked at from all around"
    there = item.object is not None and item.object.users_scene
    return None if there else f"{item.object_name!r} has been deleted"


def surveyed(context: Any) -> tuple[sphere.Around, Any]:
    """The survey of the chosen result, and its object. Raises :class:`InvalidInput` where it has none."""
    reason = why_no_sphere(context)
    item = chosen_result(context)
    around = sphere_view.around_of(item)
    if reason is not None or around is None:
        raise errors.InvalidInput(f"{reason}.")
    return around, item.object


class ASSISTIVE_OT_show_sphere(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Show around the object from where the chosen result is recognised, or hide that again"""

    bl_idname = "assistive.show_sphere"
    bl_label = "Show Sphere"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where there is a survey to show; hiding is always possible."""
        return allowed(cls, None if sphere_view.is_on() else why_no_sphere(context))

    def execute(self, _context: Any) -> set[str]:
        """Shows or hides it, in all viewports."""
        if sphere_view.is_on():
            sphere_view.hide()
        elif bpy.app.background:
            self.report({"ERROR"}, "There is no viewport to show it in.")
            return {"CANCELLED"}
        else:
            sphere_view.show()
        return {"FINISHED"}


class ASSISTIVE_OT_pick_view(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Click cells of the sphere to look at the object from there, until Esc; when picking, end it"""

    bl_idname = "assistive.pick_view"
    bl_label = "Pick View"
    bl_options = {"REGISTER"}

    cell: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Cell", description="Counted by elevation, then azimuth", min=0, options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """While the sphere is shown."""
        reason = why_no_sphere(context)
        if reason is None and not (sphere_view.is_on() or bpy.app.background):
            reason = "Show the sphere first"
        return allowed(cls, reason)

    @reported
    def execute(self, context: Any) -> set[str]:
        """Looks from `cell` in the viewport of the context."""
        around, obj = surveyed(context)
        count = around.confidence[0, 0, 0].size
        if self.cell >= count:
            raise errors.InvalidInput(f"There is no cell {self.cell}.", hint=f"They go from 0 to {count - 1}.")
        if context.space_data is None or context.space_data.type != "VIEW_3D":
            raise errors.InvalidInput("There is no viewport to look with.", hint="Call it in a 3D viewport.")
        sphere_view.look_from(context.space_data.region_3d, around, obj, self.cell)
        return {"FINISHED"}

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Waits for clicks; a second time it ends that."""
        if sphere_view.view.picking:
            sphere_view.view.picking = False
            return {"FINISHED"}
        sphere_view.view.picking = True
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(PICKING)
        editor.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        """Marks the cell under the mouse, and looks from one that is clicked; all else is Blender's."""
        if not sphere_view.view.picking or why_no_sphere(context) is not None:
            self.cancel(context)
            return {"FINISHED", "PASS_THROUGH"}
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self.cancel(context)
            return {"FINISHED"}
        if event.type not in {"MOUSEMOVE", "LEFTMOUSE"}:
            return {"PASS_THROUGH"}
        found = _viewport_at(context, event.mouse_x, event.mouse_y)
        cell = _cell_under(context, found[1], event) if found is not None else None
        if cell != sphere_view.view.marked:
            sphere_view.view.marked = cell
            editor.redraw("WINDOW")
        if event.type == "MOUSEMOVE" or event.value != "PRESS" or found is None or cell is None:
            return {"PASS_THROUGH"}
        around, obj = surveyed(context)
        sphere_view.look_from(found[0].region_3d, around, obj, cell)
        editor.redraw("WINDOW")
        return {"RUNNING_MODAL"}

    def cancel(self, context: Any) -> None:
        """Leaves nothing behind."""
        sphere_view.view.picking, sphere_view.view.marked = False, None
        context.workspace.status_text_set(None)
        editor.redraw()
        editor.redraw("WINDOW")


def _viewport_at(context: Any, x: int, y: int) -> tuple[Any, Any] | None:
    """The space and the region of the 3D viewport at a place of the window, unless something lies over it there.

    In a quad view a click in any region turns the one that may be turned, which is that of the space."""
    for area in context.window.screen.areas:
        hit = [region for region in area.regions if _is_in(region, x, y)] if area.type == "VIEW_3D" else []
        if [region.type for region in hit] == ["WINDOW"]:
            return area.spaces.active, hit[0]
    return None


def _is_in(region: Any, x: int, y: int) -> bool:
    across, up = x - region.x, y - region.y
    return bool(0 <= across < region.width > 1 and 0 <= up < region.height > 1)


def _cell_under(context: Any, region: Any, event: Any) -> int | None:
    """The cell of the chosen result's sphere under the mouse."""
    around, obj = surveyed(context)
    place = (event.mouse_x - region.x, event.mouse_y - region.y)
    origin = view3d_utils.region_2d_to_origin_3d(region, region.data, place)
    direction = view3d_utils.region_2d_to_vector_3d(region, region.data, place)
    return sphere.pick(around, *sphere_view.ray_in(around, obj, origin, direction))


class ASSISTIVE_OT_add_weak_views(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Make cameras of the cells that are recognised least, as shown, so that the next job looks from there too"""

    bl_idname = "assistive.add_weak_views"
    bl_label = "Add Weak Views"
    bl_options = {"REGISTER", "UNDO"}

    count: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Count", description="So many cameras; neighbours of one are left out first", default=4, min=1, max=64
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """In Object Mode, with a survey."""
        return allowed(cls, "Only in Object Mode" if context.mode != "OBJECT" else why_no_sphere(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Adds them to the rig's collection, which is made (with the cameras a job would make up) if it is missing."""
        around, obj = surveyed(context)
        cells = sphere.weakest(around, sphere_view.shown_of(around), self.count)
        mesh = surface(context, obj)
        center, radius = bounding_sphere(mesh)
        points = mesh.positions[np.unique(mesh.triangles)]
        rig = _rig(context, points, center, radius)
        directions = _directions(around, obj, cells)
        there = read_cameras(context, rig) if _has_camera(rig) else ()
        cameras = rigs.like(there, center, directions) if there else rigs.framing(points, center, directions)
        for camera in cameras:
            _make(context, msgspec.structs.replace(camera, name=f"{WEAK} {camera.name}"), rig, radius)
        self.report({"INFO"}, f"Added {len(cameras)} cameras to the collection {rig.name!r}")
        return {"FINISHED"}


def _directions(around: sphere.Around, obj: Any, cells: list[int]) -> list[tuple[float, float]]:
    """Where cells are now as (elevation, azimuth) of :func:`rigs.framing`, in degrees."""
    turned = sphere_view.moved(around, obj).to_3x3()
    towards = [turned @ Vector(sphere.directions(*map(np.array, around.angles(cell))).tolist()) for cell in cells]
    return [rigs.direction(np.array(toward)) for toward in towards]


def _rig(context: Any, points: np.ndarray, center: scene.Vector, radius: float) -> Any:
    """The collection that the next job takes its cameras from, with what it would take without it."""
    settings = context.scene.assistive
    if settings.cameras == "COLLECTION" and settings.camera_collection is not None:
        return settings.camera_collection
    found = find_collection(context, CAMERAS)
    rig = found or new_collection(context, CAMERAS)
    if settings.cameras == "SCENE":  # they are the scene's as well
        return rig
    if not _has_camera(rig):
        for camera in rigs.default_cameras(points, center):
            _make(context, camera, rig, radius)
    settings.camera_collection, settings.cameras = rig, "COLLECTION"
    return rig


def _has_camera(collection: Any) -> bool:
    return any(obj.type == "CAMERA" for obj in collection.all_objects)


def _make(context: Any, camera: scene.Camera, collection: Any, radius: float) -> None:
    rigs.make_camera(context, camera, collection).data.display_size = DISPLAY_SIZE * radius


CLASSES = (ASSISTIVE_OT_show_sphere, ASSISTIVE_OT_pick_view, ASSISTIVE_OT_add_weak_views)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
