# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to a compute server, starts one on this machine, and lets go of it. What happens then: see `session`."""

from __future__ import annotations

from typing import Any

import bpy

from .. import preferences, runtime, session
from .._shared import client, errors, keys
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

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """A server elsewhere that was never trusted is asked for first."""
        if _unknown(preferences.preferences(context).address):
            done: set[str] = bpy.ops.assistive.trust_server("INVOKE_DEFAULT")
            return done
        outcome: set[str] = self.execute(context)
        return outcome

    @reported
    def execute(self, context: Any) -> set[str]:
        """Asks it who it is; does not wait for the answer."""
        address = runtime.checked_address(preferences.preferences(context).address)
        runtime.current().dispatch(session.ConnectAsked(address, start=False))
        return {"FINISHED"}


def _unknown(text: str) -> bool:
    """Whether this is the address of a server elsewhere that was never trusted."""
    try:
        address = runtime.checked_address(text)
        return not keys.is_local(address) and address not in keys.known_servers()
    except errors.AssistiveError:
        return False  # what is wrong is said by `execute`


class ASSISTIVE_OT_trust_server(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Say that the server at the address is the right one, by its key, and connect to it"""

    bl_idname = "assistive.trust_server"
    bl_label = "Trust Server"

    key: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Its Key", description="What `assistive-server keys show` prints on the server", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is none."""
        return _server_is_off(cls)

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Asks for the key, and shows what to compare."""
        shown: set[str] = context.window_manager.invoke_props_dialog(self, width=520)
        return shown

    def draw(self, context: Any) -> None:
        """The key that is asked for, its fingerprint, and the one trusted so far."""
        layout, address = self.layout, preferences.preferences(context).address
        layout.label(text=f"{address}: paste what `assistive-server keys show` prints there.")
        layout.prop(self, "key")
        try:
            known = keys.known_servers().get(client.parse_address(address))
            given = keys.parse_key(self.key) if self.key else None
        except errors.AssistiveError as error:
            layout.label(text=str(error), icon="ERROR")
            return
        if given is not None:
            layout.label(text=f"Fingerprint: {keys.fingerprint(given)}", icon="LOCKED")
            layout.label(text="Trust it only if the server shows the same.")
        if known not in (None, given):
            layout.label(text=f"Trusted so far: {keys.fingerprint(known or '')}", icon="ERROR")

    @reported
    def execute(self, context: Any) -> set[str]:
        """Keeps the key in place of any other, and asks the server who it is."""
        address = runtime.checked_address(preferences.preferences(context).address)
        keys.trust(address, keys.parse_key(self.key))
        runtime.current().dispatch(session.ConnectAsked(address, start=False))
        return {"FINISHED"}


class ASSISTIVE_OT_copy_key(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Copy this computer's public key, for the owner of a server elsewhere to let you in by it"""

    bl_idname = "assistive.copy_key"
    bl_label = "Copy My Key"

    @reported
    def execute(self, context: Any) -> set[str]:
        """Puts it on the clipboard."""
        context.window_manager.clipboard = keys.own_pair().public
        self.report({"INFO"}, "Copied. On the server: assistive-server keys add NAME KEY")
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


CLASSES = (
    ASSISTIVE_OT_start_server,
    ASSISTIVE_OT_connect,
    ASSISTIVE_OT_trust_server,
    ASSISTIVE_OT_copy_key,
    ASSISTIVE_OT_stop_server,
)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
