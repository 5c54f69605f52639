# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for a job that asks how Blender renders a texture it has not finished with: the straight-through mode.

Unlike the check, these show all that is rendered in the scene: what stands before the object hides it here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import apply, check
from ._shared import messages


def draw(
    context: Any,
    obj: Any,
    asked: messages.Draw,
    *,
    uv_map: str,
    samples: int,
    engine: check.Engine = "cycles",
    panoramas: np.ndarray | None,
    on_view: Callable[[int], None] | None = None,
) -> np.ndarray:
    """What `asked` wants to see: [K, S, S, 3] uint8, display-encoded. `obj` looks as before afterwards.

    Raises what :func:`apply.apply_texture` raises, and RuntimeError when Blender cannot render.
    """
    apply.apply_texture(context, obj, texture=asked.texture, png=None, uv_map=uv_map, name="step")
    try:
        return check.render_views(
            context,
            obj,
            asked.views,
            size=asked.size,
            samples=samples,
            engine=engine,
            panoramas=panoramas,
            neighbours="seen",
            on_view=on_view,
        )
    finally:
        apply.restore_original(obj, discard=True)
