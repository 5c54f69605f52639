# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to the user and not to a file: where the compute server is and how it is started."""

from __future__ import annotations

from typing import Any

import bpy

from ._shared import client


class ASSISTIVE_preferences(bpy.types.AddonPreferences):  # type: ignore[misc]  # noqa: N801
    """Where the compute server is, and how one is started on this machine"""

    bl_idname = __package__

    address: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Address",
        description="Where a compute server listens: HOST, HOST:PORT or tcp://HOST:PORT",
        default=client.DEFAULT_ADDRESS.removeprefix("tcp://"),
    )
    command: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Command",
        description=(
            "What starts a compute server on this machine, such as /home/me/venv/bin/assistive-server. "
            "Empty: look for assistive-server on the path and in the active virtual environment"
        ),
        subtype="FILE_PATH",
    )
    device: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Device",
        description="What a server that is started here computes on",
        items=[
            ("auto", "Automatic", "The GPU where there is one"),
            ("cpu", "CPU", "The processor"),
            ("cuda", "CUDA", "An NVIDIA GPU"),
        ],
    )
    preview_rate: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Previews per Second",
        description="How often a running job sends its texture for the live preview",
        default=1.0,
        min=0.1,
        max=2.0,
    )

    def draw(self, _context: Any) -> None:
        """All of it."""
        column = self.layout.column()
        column.use_property_split = True
        for name in ("address", "command", "device", "preview_rate"):
            column.prop(self, name)


def preferences(context: Any) -> Any:
    """The user's preferences. Raises KeyError while the add-on is not enabled."""
    return context.preferences.addons[__package__].preferences


def register() -> None:
    """Adds the preferences."""
    bpy.utils.register_class(ASSISTIVE_preferences)


def unregister() -> None:
    """Takes them away."""
    bpy.utils.unregister_class(ASSISTIVE_preferences)
