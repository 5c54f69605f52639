# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the object a mask leaves free, for a panel that is drawn many times a second: measured only anew when a
mesh has changed."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import collect

_measured: dict[tuple[int, str, bool], float] = {}


def share(obj: bpy.types.Object, mask: str, *, invert: bool) -> float:
    """The share (0 to 1) of the surface of `obj` that the vertex group `mask` ("" for all of it) leaves free."""
    key = (obj.session_uid, mask, invert)
    if key not in _measured:
        _measured[key] = collect.coverage(obj, mask or None, invert=invert)
    return _measured[key]


@persistent  # type: ignore[untyped-decorator]
def _forget(*arguments: Any) -> None:
    """Whatever changes a mesh, or opens another file, may change a share."""
    depsgraph = arguments[1] if len(arguments) > 1 else None
    updates = getattr(depsgraph, "updates", None)
    if updates is None or any(update.is_updated_geometry for update in updates):
        _measured.clear()


def _handlers() -> tuple[list[Any], ...]:
    return (bpy.app.handlers.depsgraph_update_post, bpy.app.handlers.load_post, bpy.app.handlers.undo_post,
            bpy.app.handlers.redo_post)  # fmt: skip


def register() -> None:
    """Listens to changes."""
    for handlers in _handlers():
        handlers.append(_forget)


def unregister() -> None:
    """Listens no more."""
    for handlers in _handlers():
        handlers.remove(_forget)
    _measured.clear()
