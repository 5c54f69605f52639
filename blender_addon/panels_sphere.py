# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel of the confidence sphere, under the results. What it shows is kept in `sphere_view`, not in the file."""

from __future__ import annotations

from typing import Any

import bpy

from . import editor, sphere, sphere_view
from .operators.results import chosen_result
from .operators.sphere import why_no_sphere

WHEN = (
    ("BEFORE", "Before", "With the texture that the job began with"),
    ("AFTER", "After", "With the texture that the job has made"),
)
NONE = [("NONE", "None", "")]
_items: dict[str, list[tuple[str, str, str]]] = {}
"""Blender does not keep the texts of a list that is made anew each time; this does."""


def _names(kind: str) -> list[tuple[str, str, str]]:
    """The classifiers or the lights of the chosen result's survey."""
    around = sphere_view.around_of(chosen_result(bpy.context))
    names = getattr(around, kind) if around is not None else ()
    items = [(name, name, "") for name in names] or NONE
    if _items.get(kind) != items:
        _items[kind] = items
    return _items[kind]


def _models(_self: Any, _context: Any) -> list[tuple[str, str, str]]:
    return _names("models")


def _lights(_self: Any, _context: Any) -> list[tuple[str, str, str]]:
    return _names("lights")


def _shown() -> sphere.Shown | None:
    around = sphere_view.around_of(chosen_result(bpy.context))
    return sphere_view.shown_of(around) if around is not None else None


def _get_model(_self: Any) -> int:
    shown = _shown()
    return shown.model if shown is not None else 0


def _set_model(_self: Any, value: int) -> None:
    sphere_view.view.model = _names("models")[value][0]
    editor.redraw("WINDOW")


def _get_light(_self: Any) -> int:
    shown = _shown()
    return shown.light if shown is not None else 0


def _set_light(_self: Any, value: int) -> None:
    sphere_view.view.light = _names("lights")[value][0]
    editor.redraw("WINDOW")


def _get_when(_self: Any) -> int:
    return int(sphere_view.view.after)


def _set_when(_self: Any, value: int) -> None:
    sphere_view.view.after = bool(value)
    editor.redraw("WINDOW")


class ASSISTIVE_PG_sphere(bpy.types.PropertyGroup):  # type: ignore[misc]  # noqa: N801
    """What the confidence sphere shows; nothing of it is stored"""

    when: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Texture",
        description="With which texture",
        items=WHEN,
        get=_get_when,
        set=_set_when,
    )
    model: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Classifier",
        description="Who looks",
        items=_models,
        get=_get_model,
        set=_set_model,
    )
    light: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Light",
        description="In which light of the rig",
        items=_lights,
        get=_get_light,
        set=_set_light,
    )


class ASSISTIVE_PT_sphere(bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """From where the chosen result is recognised"""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Assistive"
    bl_label = "Confidence Sphere"
    bl_parent_id = "ASSISTIVE_PT_results"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With a result."""
        return chosen_result(context) is not None

    def draw(self, context: Any) -> None:
        """What is shown, and what can be done with it."""
        layout, on = self.layout, sphere_view.is_on()
        layout.operator(
            "assistive.show_sphere",
            text="Hide Sphere" if on else "Show Sphere",
            icon="HIDE_OFF" if on else "MESH_UVSPHERE",
            depress=on,
        )
        reason = why_no_sphere(context)
        if reason is not None:
            layout.label(text=reason, icon="INFO")
            return
        chosen = context.window_manager.assistive_sphere
        layout.row().prop(chosen, "when", expand=True)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(chosen, "model")
        column.prop(chosen, "light")
        around = sphere_view.around_of(chosen_result(context))
        if around is not None:
            mean, right = sphere.means(around, sphere_view.shown_of(around))
            layout.label(text=f"Mean {mean:.2f}, {right:.0%} recognised")
        column = layout.column(align=True)
        picking = sphere_view.view.picking
        column.operator(
            "assistive.pick_view",
            text="Stop Picking" if picking else "Pick View",
            icon="RESTRICT_SELECT_OFF",
            depress=picking,
        )
        column.operator("assistive.add_weak_views", icon="OUTLINER_OB_CAMERA")


CLASSES = (ASSISTIVE_PG_sphere, ASSISTIVE_PT_sphere)


def register() -> None:
    """Adds the panel and what it shows."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.WindowManager.assistive_sphere = bpy.props.PointerProperty(type=ASSISTIVE_PG_sphere)


def unregister() -> None:
    """Takes them away."""
    del bpy.types.WindowManager.assistive_sphere
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
