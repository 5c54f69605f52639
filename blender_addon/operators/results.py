# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with the chosen result of the list: put it on its object and take it off, mark its materials as
assets, export it, read its report, delete it. How results are kept: see `results`."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.io_utils import ExportHelper

from .. import apply, results
from .._shared import compare_page, errors, report_files, report_page, reporting
from ..collect.unwrap import UV_MAP, add_uv_map
from .common import allowed, reported

NO_RESULT = "There is no result yet"
AUTHOR = "Assistive Signals for Blender"


def chosen_result(context: Any) -> Any:
    """The chosen item of the scene's list of results, or None."""
    settings = context.scene.assistive
    return settings.results[settings.result_index] if 0 <= settings.result_index < len(settings.results) else None


def object_of(context: Any, item: Any) -> Any:
    """The object of a result, or the active mesh object once that has been deleted (the list alone keeps it then)."""
    if item is not None and item.object is not None and item.object.users_scene:
        return item.object
    active = context.view_layer.objects.active
    return active if active is not None and active.type == "MESH" else None


# --- why a button is grey ---------------------------------------------------------------------------------------------


def why_not_paintable(obj: Any, item: Any) -> str | None:
    """Why no material of a result's object can be changed, as a sentence; None when it can."""
    if obj is None:
        gone = f"{item.object_name!r} has been deleted; make" if item is not None else "Make"
        return f"{gone} a mesh object active"
    if obj.library is not None:
        return f"{obj.name!r} is linked from another file; make it local or a library override"
    return f"Leave Edit Mode of {obj.name!r} first" if obj.mode == "EDIT" else None


def why_not_fitting(item: Any, mesh: bpy.types.Mesh) -> str | None:
    """Why a result does not fit a mesh (any more), as a sentence; None when it does."""
    if item.image is None:
        return "The image of this result has been deleted"
    made_for_jobs = item.uv_map == UV_MAP and mesh.library is None  # and can be made again
    if item.kind == "UV" and item.uv_map not in mesh.uv_layers and not made_for_jobs:
        return f"The UV map {item.uv_map!r} of this result is not on {mesh.name!r}"
    if item.kind == "VERTEX" and results.vertex_count(item) != len(mesh.vertices):
        return f"The {results.vertex_count(item)} colors do not fit the {len(mesh.vertices)} vertices of {mesh.name!r}"
    return None


def why_not_applicable(context: Any) -> str | None:
    """Why the chosen result can't be applied."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    obj = object_of(context, item)
    return why_not_paintable(obj, item) or why_not_fitting(item, obj.data)


def why_not_restorable(context: Any) -> str | None:
    """Why there is nothing to take off the object of the chosen result (or, without one, the active object)."""
    item = chosen_result(context)
    obj = object_of(context, item)
    reason = why_not_paintable(obj, item)
    if reason is None and apply.applied_result(obj) is None:
        return f"Nothing is applied to {obj.name!r}"
    return reason


def why_no_asset(context: Any) -> str | None:
    """Why the materials of the chosen result can't be marked."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    obj = object_of(context, item)
    return None if obj is not None and apply.applied_result(obj) == item.name else "Apply this result first"


def why_not_exportable(context: Any) -> str | None:
    """Why the chosen result is no image that could be written."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    if item.kind == "VERTEX":
        return "Vertex colors are no image; apply them and export the object"
    return "The image of this result has been deleted" if item.image is None else None


def why_no_result(context: Any) -> str | None:
    """Why there is no result to look at or delete."""
    return NO_RESULT if chosen_result(context) is None else None


def why_not_comparable(context: Any) -> str | None:
    """Why the chosen result can't be compared with another."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    return None if others_of(context, item) else "Tick another result to compare with, or make one for this target"


# --- on the object ----------------------------------------------------------------------------------------------------


class ASSISTIVE_OT_apply_result(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Put the chosen result on its object, as new materials; the original ones are kept"""

    bl_idname = "assistive.apply_result"
    bl_label = "Apply"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where the result fits an object that can be changed."""
        return allowed(cls, why_not_applicable(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Applies it; what was applied before is taken off."""
        item = chosen_result(context)
        obj = object_of(context, item)
        texture, png_file = results.texture_of(item)
        if item.kind == "UV" and item.uv_map not in obj.data.uv_layers:  # an undo has taken it away
            add_uv_map(context, obj)
        apply.apply_texture(
            context, obj, texture=texture, png=png_file, uv_map=item.uv_map, name=item.target, result_id=item.name
        )
        return {"FINISHED"}


class ASSISTIVE_OT_restore_original(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Put the object's original materials back; results stay in the list"""

    bl_idname = "assistive.restore_original"
    bl_label = "Restore Original"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where a result is applied."""
        return allowed(cls, why_not_restorable(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Takes it off; materials that are not in use elsewhere (or assets) are deleted."""
        apply.restore_original(object_of(context, chosen_result(context)), discard=True)
        return {"FINISHED"}


class ASSISTIVE_OT_mark_asset(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Mark the materials that the chosen result has made as assets, with what was measured as their description"""

    bl_idname = "assistive.mark_asset"
    bl_label = "Mark as Asset"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """While the result is applied."""
        return allowed(cls, why_no_asset(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Marks each of them once."""
        item = chosen_result(context)
        materials = _applied_materials(object_of(context, item))
        for material in materials:
            _mark(material, item)
        self.report({"INFO"}, f"Marked as assets: {', '.join(material.name for material in materials)}")
        return {"FINISHED"}


def _applied_materials(obj: Any) -> list[bpy.types.Material]:
    painted = [slot.material for slot in obj.material_slots if slot.material and apply.MEMORY in slot.material]
    return list(dict.fromkeys(painted))


def _mark(material: bpy.types.Material, item: Any) -> None:
    material.asset_mark()
    about = material.asset_data
    about.description = _description(item)
    about.author = AUTHOR
    for tag in ("assistive", item.target, *(row.model for row in results.figures(item))):
        about.tags.new(tag, skip_if_exists=True)
    if item.image is not None and item.image.preview is not None:
        _copy_preview(item.image.preview, material.preview_ensure())


def _description(item: Any) -> str:
    rows = [
        f"{row.model}{'' if row.trained else ' (not trained on)'} {row.before_mean:.2f} → {row.after_mean:.2f}"
        for row in results.figures(item)
    ]
    measured = f"; mean confidence on unseen views: {', '.join(rows)}" if rows else ""
    return f"Texture of {item.object_name}, to be seen as {item.target}{measured}"


def _copy_preview(source: Any, destination: Any) -> None:
    for pixels in ("image", "icon"):
        size = tuple(getattr(source, f"{pixels}_size"))
        values = np.empty(size[0] * size[1] * 4, dtype=np.float32)
        getattr(source, f"{pixels}_pixels_float").foreach_get(values)
        setattr(destination, f"{pixels}_size", size)
        getattr(destination, f"{pixels}_pixels_float").foreach_set(values)


# --- out of Blender ---------------------------------------------------------------------------------------------------


class ASSISTIVE_OT_export_texture(bpy.types.Operator, ExportHelper):  # type: ignore[misc]  # noqa: N801
    """Write the texture of the chosen result into a PNG file"""

    bl_idname = "assistive.export_texture"
    bl_label = "Export Texture"
    bl_options = {"REGISTER"}

    filename_ext = ".png"
    filter_glob: bpy.props.StringProperty(default="*.png", options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where the result is an image."""
        return allowed(cls, why_not_exportable(context))

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Asks where to, beside the .blend at first."""
        self.filepath = bpy.path.abspath(f"//{file_name(chosen_result(context))}.png")
        return set(super().invoke(context, event))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Writes it to `filepath`, whole or not at all."""
        path = export(self.filepath, results.png_of(chosen_result(context)))
        self.report({"INFO"}, f"Written: {path}")
        return {"FINISHED"}


class ASSISTIVE_OT_open_report(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Show all that was measured of the chosen result, and how it was made, in the web browser"""

    bl_idname = "assistive.open_report"
    bl_label = "Open Report"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="File", description="Write the page here and do not open it", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """While there is a result."""
        return allowed(cls, why_no_result(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Writes the page, to Blender's own temporary folder unless `filepath` is given."""
        item = chosen_result(context)
        temporary = Path(bpy.app.tempdir) / f"{file_name(item)} {item.name[:8]}.html"
        run = _run(item)
        _show(report_page.page(run.report, run.pictures, run.plots), self.filepath, temporary)
        return {"FINISHED"}


class ASSISTIVE_OT_compare_reports(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Show the chosen result beside those that are ticked (or all for the same target) in the web browser"""

    bl_idname = "assistive.compare_reports"
    bl_label = "Compare Reports"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="File", description="Write the page here and do not open it", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """While there is another result to compare with."""
        return allowed(cls, why_not_comparable(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Writes the page, to Blender's own temporary folder unless `filepath` is given."""
        item = chosen_result(context)
        runs = [_run(each) for each in (item, *others_of(context, item))]
        temporary = Path(bpy.app.tempdir) / f"{file_name(item)} comparison.html"
        _show(compare_page.compare_page(runs), self.filepath, temporary)
        return {"FINISHED"}


def others_of(context: Any, item: Any) -> list[Any]:
    """What `item` is compared with: the results that are ticked, or all others for the same target if none is."""
    others = [other for other in context.scene.assistive.results if other.name != item.name]
    return [other for other in others if other.ticked] or [other for other in others if other.target == item.target]


def _show(page: str, filepath: str, temporary: Path) -> None:
    """Write `page` to `filepath` if there is one, or else open it in the browser."""
    path = Path(bpy.path.abspath(filepath)) if filepath else temporary
    _write(path, page.encode())
    if not filepath:
        bpy.ops.wm.url_open(url=path.as_uri())


def _run(item: Any) -> report_files.Run:
    """What is kept of a result, as a page wants it."""
    files = {
        "texture": results.packed_file(item.image) if item.kind == "UV" else None,
        "views": results.packed_file(item.sheet),
        "check": results.packed_file(item.check),
        "importance": results.packed_file(item.importance),
    }
    pictures = {name: data for name, data in files.items() if data is not None}
    report = results.report_of(item)
    name = f"{item.object_name}, {reporting.local_time(item.created)}"
    return report_files.Run(name, report, pictures, results.plots_of(item))


def file_name(item: Any) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w\-. ]+", "_", f"{item.object_name} {item.target}").strip(" .")


def export(filepath: str, data: bytes) -> Path:
    """Write `data` to a path of Blender's, whole or not at all, and give it. Raises :class:`OutputFailed`."""
    path = Path(bpy.path.abspath(filepath))
    _write(path, data)
    return path


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".partial-{path.name}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        reason = error.strerror or str(error)
        raise errors.OutputFailed(f"{path} cannot be written: {reason}.", hint="Choose another folder.") from error


# --- the list ---------------------------------------------------------------------------------------------------------


class ASSISTIVE_OT_delete_result(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Take the chosen result off the list and out of the file; an object that it is applied to keeps it"""

    bl_idname = "assistive.delete_result"
    bl_label = "Delete Result"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """While there is a result."""
        return allowed(cls, why_no_result(context))

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Asks first."""
        asked = f"Delete the result “{chosen_result(context).target}”?"
        return set(context.window_manager.invoke_confirm(self, event, title=asked, confirm_text="Delete"))

    def execute(self, context: Any) -> set[str]:
        """Deletes it."""
        results.remove(context.scene, context.scene.assistive.result_index)
        return {"FINISHED"}


CLASSES = (
    ASSISTIVE_OT_apply_result,
    ASSISTIVE_OT_restore_original,
    ASSISTIVE_OT_mark_asset,
    ASSISTIVE_OT_export_texture,
    ASSISTIVE_OT_open_report,
    ASSISTIVE_OT_compare_reports,
    ASSISTIVE_OT_delete_result,
)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes everything of `register` back."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
