# SPDX-License-Identifier: GPL-3.0-or-later
"""What several modules need of the running Blender: its viewports, its handlers, and objects found again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bpy

Listeners = Iterable[tuple[list[Any], Callable[..., None]]]
"""Lists of `bpy.app.handlers`, and what is to be called from each."""


def redraw(region: str = "UI") -> None:
    """Have the side panels of all 3D viewports drawn again, or what they show ("WINDOW")."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for part in area.regions:
                    if part.type == region:
                        part.tag_redraw()


def listen(listeners: Listeners) -> None:
    """Have Blender call each listener."""
    for handlers, listener in listeners:
        handlers.append(listener)


def stop_listening(listeners: Listeners) -> None:
    """Undo :func:`listen`; what is not listened to is passed over."""
    for handlers, listener in listeners:
        if listener in handlers:
            handlers.remove(listener)


def object_by_uid(uid: int) -> bpy.types.Object | None:
    """The object with this `session_uid`, which stays the same when the object is renamed."""
    return next((obj for obj in bpy.data.objects if obj.session_uid == uid), None)
