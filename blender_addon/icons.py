# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panel: a few icons whose pixels change. They live in a preview collection, not in the file."""

from __future__ import annotations

from typing import Any

import bpy.utils.previews
import numpy as np

_previews: list[Any] = []


def show(name: str, picture: np.ndarray) -> None:
    """Let the icon `name` be `picture` ([H, W, 4] float32, display-encoded, row 0 at the bottom)."""
    for previews in _previews:
        preview = previews.get(name) or previews.new(name)
        height, width, _ = picture.shape
        preview.image_size = (width, height)
        preview.image_pixels_float.foreach_set(picture.ravel())


def icon(name: str) -> int:
    """The number of the icon `name` for `template_icon`; 0 while it has no picture."""
    preview = _previews[0].get(name) if _previews else None
    return int(preview.icon_id) if preview is not None else 0


def clear() -> None:
    """No icon has a picture any more."""
    for previews in _previews:
        previews.clear()


def register() -> None:
    """Makes room for the pictures."""
    _previews.append(bpy.utils.previews.new())


def unregister() -> None:
    """Takes them away."""
    while _previews:
        bpy.utils.previews.remove(_previews.pop())
