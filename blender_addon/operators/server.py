# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to a compute server, starts one on this machine, and lets go of it. What happens then: see `session`."""

from __future__ import annotations

from typing import Any

import bpy

from .. import preferences, runtime, session
from .common import reported


def _server_is_off(cls: Any) -> bool:
    if runtime.state().server.status == "off":
        return True
    cls.poll_message_set("There is a server already; stop it or disconnect first.")
    return False


class ASSISTIVE_OT_start_server(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Start a compute server on this machine, unless one answers at the address already. It ends with Blender"""

    bl_idname = "assistive.start_server"
    bl_label = "Start Local Server"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is none."""
        return _server_is_off(cls)

    @reported
    def execute(self, context: Any) -> set[str]:
        """Looks for one, then starts one; does not wait for it."""
        address = runtime.checked_address(preferences.preferences(context).address)
        runtime.current().dispatch(session.ConnectAsked(address, start=True))
        return {"FINISHED"}


class ASSISTIVE_OT_connect(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Use the compute server at the address"""

    bl_idname = "assistive.connect"
    bl_label = "Connect"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is none."""
        return _server_is_off(cls)

    @reported
    def execute(self, context: Any) -> set[str]:
        """Asks it who it is; does not wait for the answer."""
        address = runtime.checked_address(preferences.preferences(context).address)
        runtime.current().dispatch(session.ConnectAsked(address, start=False))
        return {"FINISHED"}


class ASSISTIVE_OT_stop_server(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Stop the server if it was started here, or disconnect from it. The last preview of a running job is kept"""

    bl_idname = "assistive.stop_server"
    bl_label = "Stop"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is one."""
        if runtime.state().server.status != "off":
            return True
        cls.poll_message_set("There is no server.")
        return False

    def execute(self, _context: Any) -> set[str]:
        """Lets go of it."""
        runtime.current().dispatch(session.StopAsked())
        return {"FINISHED"}


CLASSES = (ASSISTIVE_OT_start_server, ASSISTIVE_OT_connect, ASSISTIVE_OT_stop_server)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
