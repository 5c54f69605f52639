# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel of an add-on that lacks a package: says which, and what to do. Imports nothing of the rest."""

from __future__ import annotations

import platform
from typing import Any

import bpy

from . import missing_packages


class ASSISTIVE_PT_missing(bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """What keeps the add-on from working"""

    bl_label = "Assistive Signals"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Assistive"

    def draw(self, _context: Any) -> None:
        """The packages, and the way out."""
        column = self.layout.column(align=True)
        column.alert = True
        column.label(text=f"Missing for Python {platform.python_version()}:", icon="ERROR")
        for name in missing_packages():
            column.label(text={"zmq": "pyzmq"}.get(name, name), icon="BLANK1")
        column = self.layout.column(align=True)
        column.label(text="Install the extension's zip for this")
        column.label(text="Python: build_addon.py --python 3.X")


def register() -> None:
    """Adds the panel."""
    bpy.utils.register_class(ASSISTIVE_PT_missing)


def unregister() -> None:
    """Takes it away."""
    bpy.utils.unregister_class(ASSISTIVE_PT_missing)
