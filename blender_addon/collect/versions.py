# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the data that is collected differs between Blender 4.2 and 5.2. Nothing else asks for the version."""

from __future__ import annotations

from typing import Any

import bpy


def node_tree(owner: Any) -> Any | None:
    """The node tree that a material, world or light renders with, or None when it renders without nodes."""
    always = bpy.app.version >= (5, 0) and not isinstance(owner, bpy.types.Light)
    return owner.node_tree if always or owner.use_nodes else None


def light_gain(light: Any) -> float:
    """The factor of a light's exposure; 1 before Blender 4.5, where lights have none."""
    return float(2.0 ** getattr(light, "exposure", 0.0))


def light_tint(light: Any) -> tuple[float, float, float]:
    """The linear colour of a light's temperature; white before Blender 4.5 and where it is not used."""
    if not getattr(light, "use_temperature", False):
        return (1.0, 1.0, 1.0)
    red, green, blue = light.temperature_color[:3]
    return (red, green, blue)


def is_normalized(light: Any) -> bool:
    """Whether a light's power is independent of its size, as it always was before Blender 4.5."""
    return bool(getattr(light, "normalize", True))


def look_all_around(camera: Any) -> None:
    """Make a panoramic camera equirectangular; the setting was Cycles' own before Blender 5.0."""
    owner = camera if hasattr(camera, "panorama_type") else camera.cycles
    owner.panorama_type = "EQUIRECTANGULAR"


EEVEE = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
"""What `render.engine` calls EEVEE."""
