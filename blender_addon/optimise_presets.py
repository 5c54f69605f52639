# SPDX-License-Identifier: GPL-3.0-or-later
"""Draft, Standard, Thorough and the artist's own, through Blender's preset system. Their values lie in `presets/`."""

from __future__ import annotations

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase

SUBDIR = "assistive_signals"
HOME = Path(__file__).parent
"""Blender looks for presets in a folder `presets` in here."""
VALUES = ("steps", "views", "samples", "held_out_views", "alpha", "bounded", "epsilon", "stepper", "objective",
          "norm", "ensemble", "augment", "smoothness", "octaves", "mined", "stop_early", "stop_at")  # fmt: skip


class ASSISTIVE_MT_presets(bpy.types.Menu):  # type: ignore[misc]  # noqa: N801
    """How much work a job does"""

    bl_label = "Presets"
    preset_subdir = SUBDIR
    preset_operator = "script.execute_preset"
    draw = bpy.types.Menu.draw_preset


class ASSISTIVE_OT_add_preset(AddPresetBase, bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Keep these settings as a preset, or remove one"""

    bl_idname = "assistive.add_preset"
    bl_label = "Add Preset"
    preset_menu = "ASSISTIVE_MT_presets"
    preset_subdir = SUBDIR
    preset_defines = ["assistive = bpy.context.scene.assistive"]
    preset_values = [f"assistive.{name}" for name in VALUES]


CLASSES = (ASSISTIVE_MT_presets, ASSISTIVE_OT_add_preset)


def register() -> None:
    """Adds the menu, and the presets that come with the add-on."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.utils.register_preset_path(str(HOME))


def unregister() -> None:
    """Takes them away."""
    bpy.utils.unregister_preset_path(str(HOME))
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
