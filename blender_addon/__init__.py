# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender add-on: registration only. Nothing that needs bpy is imported before `register` is called."""

from __future__ import annotations

import importlib
from typing import Any

NEEDED = ("msgspec", "zmq")
MODULES = (
    "preferences",
    "properties",
    "icons",
    "coverage",
    "runtime",
    "sphere_view",
    "matters_view",
    "operators.server",
    "operators.job",
    "operators.mask",
    "operators.targets",
    "operators.rigs",
    "operators.results",
    "operators.sphere",
    "operators.matters",
    "operators.images",
    "optimise_presets",
    "panels",
    "panels_sphere",
    "samples",
)

_registered: list[Any] = []
_commands: list[Any] = []


def register() -> None:
    """Adds the panel, the samples, and `blender --command assistive`; connects to nothing.

    Where a package is missing, as in a distribution's Blender whose Python the extension has no wheels for, all there
    is is a panel that says so.
    """
    import bpy

    missing = missing_packages()
    names = MODULES if not missing else ("missing",)
    try:
        for name in names:
            module = importlib.import_module(f".{name}", __package__)
            module.register()
            _registered.append(module)
    except Exception:
        unregister()  # what is half registered could never be taken away
        raise
    if not missing:
        from .commands import main

        _commands.append(bpy.utils.register_cli_command("assistive", main))


def missing_packages() -> list[str]:
    """Those of :data:`NEEDED` that cannot be imported, as they are not there or were built for another Python."""
    missing = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def unregister() -> None:
    """Takes everything of `register` back."""
    import bpy

    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    while _registered:
        _registered.pop().unregister()
