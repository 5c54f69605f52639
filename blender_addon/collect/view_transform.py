# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene does to linear colours before they are seen: applied to pictures by Blender itself, and read as a table.

View transform, look, exposure, gamma, curves, and any colour configuration: whatever Blender does when it saves a
render in this scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bpy
import numpy as np

from .._shared import scene

NAME = "Assistive colours"
SIZE = 81
"""Nodes of the table along each channel: within 4/255 in every view and look that was tried, which 33 are not."""
TOE = 2.0**-6.5
BRIGHTEST = 2.0**6
"""Where the table ends at an exposure of 0, unless colours stop changing before that."""
DIRECTIONS = np.array([(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)], np.float32)
SETTLED = 1e-4
WIDTH = 1024

Develop = Callable[[np.ndarray], np.ndarray]
"""From linear Rec.709 [..., 3] float32 to display-encoded colours of the same shape, float32 in [0, 1]."""


def read_view_transform(context: Any) -> scene.ViewTransform | None:
    """The view of the context's scene as a table; None for the Standard view with nothing changed."""
    settings = context.scene.view_settings
    if is_standard(context.scene):
        return None
    toe, brightest = TOE * 2.0**-settings.exposure, BRIGHTEST * 2.0**-settings.exposure
    with developing(context.scene) as develop:
        top = _end(develop, brightest)
        levels = toe * ((1 + top / toe) ** np.linspace(0, 1, SIZE) - 1)
        grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
        table = np.rint(develop(grid.astype(np.float32)) * 65535).astype(np.uint16)
    return scene.ViewTransform(name=_name(settings), toe=toe, top=top, table=table)


def is_standard(owner: Any) -> bool:
    """Whether scene `owner` shows colours by the plain sRGB curve."""
    settings = owner.view_settings
    plain = settings.view_transform == "Standard" and settings.look == "None"
    neutral = settings.exposure == 0.0 and settings.gamma == 1.0 and not settings.use_curve_mapping
    balanced = not getattr(settings, "use_white_balance", False)  # from Blender 4.3 on
    return plain and neutral and balanced and owner.display_settings.display_device == "sRGB"


def _name(settings: Any) -> str:
    return settings.view_transform if settings.look == "None" else f"{settings.view_transform}, {settings.look}"


def _end(develop: Develop, brightest: float) -> float:
    """The level beyond which no colour changes any more, at most `brightest`."""
    levels = brightest * 2.0 ** np.linspace(-16, 0, WIDTH, dtype=np.float32)
    ramps = develop(levels[:, None, None] * DIRECTIONS)
    moving = np.flatnonzero(np.abs(ramps - ramps[-1]).max(axis=(1, 2)) > SETTLED)
    return float(levels[min(moving[-1] + 1, WIDTH - 1)]) if len(moving) else brightest


@contextmanager
def developing(owner: Any) -> Iterator[Develop]:
    """What scene `owner` does to linear colours, while the block runs; nothing of it stays in the file."""
    stage = owner.copy()  # the artist's scene says which format it saves in
    try:
        _save_as_deep_png(stage.render)
        with TemporaryDirectory() as folder:
            yield lambda linear: _develop(linear, stage, Path(folder) / "colors.png")
    finally:
        bpy.data.batch_remove([stage])


def _save_as_deep_png(render: Any) -> None:
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # from Blender 5.0 on
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = "PNG", "RGB", "16", 0
    settings.color_management = "FOLLOW_SCENE"
    render.dither_intensity = 0.0


def _develop(linear: np.ndarray, stage: Any, path: Path) -> np.ndarray:
    count = linear.size // 3
    height = max(1, math.ceil(count / WIDTH))
    pixels = np.ones((height * WIDTH, 4), np.float32)
    pixels[:count, :3] = linear.reshape(-1, 3)
    made = [bpy.data.images.new(NAME, WIDTH, height, float_buffer=True)]
    try:
        made[0].pixels.foreach_set(pixels.ravel())
        made[0].save_render(str(path), scene=stage)
        made.append(bpy.data.images.load(str(path)))
        made[1].colorspace_settings.is_data = True
        shown = np.empty(height * WIDTH * made[1].channels, np.float32)
        made[1].pixels.foreach_get(shown)
    finally:
        bpy.data.batch_remove(made)
    return np.ascontiguousarray(shown.reshape(height * WIDTH, -1)[:count, :3]).reshape(linear.shape)
