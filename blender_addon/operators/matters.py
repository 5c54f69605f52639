# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows on the object which parts of the chosen result's texture matter, and writes that as a picture."""

from __future__ import annotations

from typing import Any

import bpy
from bpy_extras.io_utils import ExportHelper

from .. import matters_view, results
from .common import allowed, reported
from .results import NO_RESULT, chosen_result, export, file_name, object_of, why_not_fitting


def why_not_known(context: Any) -> str | None:
    """Why it is not known what matters, as a sentence; None when it is."""
    item = chosen_result(context)
    if item is None:
        return NO_RESULT
    return "Of this result it is not known what matters" if item.importance is None else None


def why_not_shown(context: Any) -> str | None:
    """Why it can't be shown on an object."""
    item = chosen_result(context)
    reason = why_not_known(context)
    if reason is not None or matters_view.is_on(item):
        return reason
    obj = object_of(context, item)
    return f"{item.object_name!r} has been deleted" if obj is None else _why_not_fitting(item, obj)


def _why_not_fitting(item: Any, obj: Any) -> str | None:
    if item.uv_map not in obj.data.uv_layers:
        return f"The UV map {item.uv_map!r} of this result is not on {obj.data.name!r}"
    return why_not_fitting(item, obj.data)


class ASSISTIVE_OT_show_matters(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Show on the object which parts of the chosen result's texture matter to the classifiers, or hide that again"""

    bl_idname = "assistive.show_matters"
    bl_label = "Show What Matters"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where it is known, and there is an object to show it on; hiding is always possible."""
        return allowed(cls, why_not_shown(context))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Shows or hides it, in all viewports."""
        item = chosen_result(context)
        if matters_view.is_on(item):
            matters_view.hide()
        elif bpy.app.background:
            self.report({"ERROR"}, "There is no viewport to show it in.")
            return {"CANCELLED"}
        else:
            matters_view.show(context, item, object_of(context, item))
        return {"FINISHED"}


class ASSISTIVE_OT_export_matters(bpy.types.Operator, ExportHelper):  # type: ignore[misc]  # noqa: N801
    """Write which parts of the chosen result's texture matter into a PNG file: in its layout, white matters most"""

    bl_idname = "assistive.export_matters"
    bl_label = "Export What Matters"
    bl_options = {"REGISTER"}

    filename_ext = ".png"
    filter_glob: bpy.props.StringProperty(default="*.png", options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Where it is known."""
        return allowed(cls, why_not_known(context))

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Asks where to, beside the .blend at first."""
        self.filepath = bpy.path.abspath(f"//{file_name(chosen_result(context))} what matters.png")
        return set(super().invoke(context, event))

    @reported
    def execute(self, context: Any) -> set[str]:
        """Writes it to `filepath`, whole or not at all."""
        path = export(self.filepath, results.importance_png_of(chosen_result(context)))
        self.report({"INFO"}, f"Written: {path}")
        return {"FINISHED"}


CLASSES = (ASSISTIVE_OT_show_matters, ASSISTIVE_OT_export_matters)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
