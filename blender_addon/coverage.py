# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the object a mask leaves free, for a panel that is drawn many times a second: measured in a timer, and
only when the mesh has changed."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import collect, editor

DELAY_S = 0.3
"""A brush stroke changes a mesh many times a second; what it has come to is measured once it rests."""

Question = tuple[int, str, bool]

_measured: dict[Question, float] = {}
_asked: dict[Question, None] = {}


def share(obj: bpy.types.Object, mask: str, *, invert: bool) -> float | None:
    """The share (0 to 1) of the surface of `obj` that the vertex group `mask` ("" for all of it) leaves free.

    None while it has not been measured; the panel is drawn again once it has.
    """
    question = (obj.session_uid, mask, invert)
    if question not in _measured:
        _asked[question] = None
        _measure_later()
    return _measured.get(question)


def measure() -> None:
    """Answer what has been asked."""
    for uid, mask, invert in list(_asked):
        obj = editor.object_by_uid(uid)
        if obj is not None and obj.type == "MESH":
            _measured[uid, mask, invert] = collect.coverage(obj, mask or None, invert=invert)
    _asked.clear()
    editor.redraw()


def _measure_later() -> None:
    if bpy.app.timers.is_registered(measure):
        bpy.app.timers.unregister(measure)
    bpy.app.timers.register(measure, first_interval=DELAY_S)


@persistent  # type: ignore[untyped-decorator]
def _forget(*_: Any) -> None:
    _measured.clear()


@persistent  # type: ignore[untyped-decorator]
def _on_change(_scene: Any, depsgraph: Any) -> None:
    """Measure again what a change of a mesh or an object may have changed; until then the old figure stands."""
    if not _measured:
        return
    changed = {u.id.original.session_uid for u in depsgraph.updates if u.is_updated_geometry or u.is_updated_transform}
    stale = [question for question in _measured if question[0] in changed]
    if stale:
        _asked.update(dict.fromkeys(stale))
        _measure_later()


def _listeners() -> editor.Listeners:
    all_handlers = bpy.app.handlers
    return (
        (all_handlers.depsgraph_update_post, _on_change),
        (all_handlers.load_post, _forget),
        (all_handlers.undo_post, _forget),
        (all_handlers.redo_post, _forget),
    )


def register() -> None:
    """Listens to changes."""
    editor.listen(_listeners())


def unregister() -> None:
    """Listens no more."""
    editor.stop_listening(_listeners())
    if bpy.app.timers.is_registered(measure):
        bpy.app.timers.unregister(measure)
    _measured.clear()
    _asked.clear()
