# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender add-on: registration only. Nothing that needs bpy is imported before `register` is called."""

from __future__ import annotations

from typing import Any

_commands: list[Any] = []


def register() -> None:
    """Adds the samples to the Add menu, and `blender --command assistive`."""
    import bpy

    from . import samples
    from .commands import main

    samples.register()
    _commands.append(bpy.utils.register_cli_command("assistive", main))


def unregister() -> None:
    """Takes everything of `register` back."""
    import bpy

    from . import samples

    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    samples.unregister()
