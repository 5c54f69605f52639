# SPDX-License-Identifier: GPL-3.0-or-later
"""What matters of a result's texture, drawn over its object in the viewport. Nothing of it is in a material.

Dark blue is what hardly matters, yellow what matters most.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent

from . import editor, results
from .collect.mesh import evaluated, read_mask, read_mesh
from .live_preview import Overlay
from .pictures import packed

COLORS = np.array([(20, 20, 60), (120, 30, 120), (230, 80, 60), (255, 240, 120)])
"""From what does not matter to what matters most, display-encoded."""

_shown: dict[str, Overlay] = {}
"""The overlay that is drawn, by its job's id: one at most."""


def is_on(item: Any) -> bool:
    """Whether it is drawn what matters in a list's `item`."""
    return item.name in _shown


def show(context: Any, item: Any, obj: Any) -> None:
    """Draw on `obj` which parts of the texture of a list's `item` matter.

    Raises :class:`InvalidInput` where that is not known, or there are no faces.
    """
    texels = packed(tinted(results.importance_of(item)))
    with evaluated(context, obj) as (result, mesh):
        surface = read_mesh(result, mesh, uv_map=item.uv_map, mask=read_mask(result, mesh, None, invert=False))
    hide()
    overlay = Overlay(obj, surface, image=True)
    overlay.show(texels=texels)
    _shown[item.name] = overlay
    editor.redraw("WINDOW")


def hide() -> None:
    """Draw nothing any more."""
    while _shown:
        _shown.popitem()[1].hide()
    editor.redraw("WINDOW")


def tinted(picture: np.ndarray) -> np.ndarray:
    """A grey picture [H, W, 3] uint8 in colours that the shading of the object leaves apart."""
    steps = np.linspace(0, 255, len(COLORS))
    table = np.stack([np.interp(np.arange(256), steps, COLORS[:, channel]) for channel in range(3)], axis=1)
    return np.asarray(table.round().astype(np.uint8)[picture[..., 0]])


@persistent  # type: ignore[untyped-decorator]
def _on_load(*_: Any) -> None:
    hide()


def _listeners() -> editor.Listeners:
    return ((bpy.app.handlers.load_pre, _on_load),)


def register() -> None:
    """Listens to Blender; draws nothing yet."""
    editor.listen(_listeners())


def unregister() -> None:
    """Takes away what is drawn."""
    editor.stop_listening(_listeners())
    hide()
