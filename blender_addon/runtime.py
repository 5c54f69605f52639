# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `session` going inside Blender: fetches events in a timer, carries out effects, listens to Blender's handlers.

All of it runs on the main thread. Nothing starts by being registered: the first event that needs the network makes the
connection's thread, and the timer runs only while there is something to wait for.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import icons, local_server, notes, preferences, results, session
from ._shared import client, errors, messages, scene
from .connection import Connection
from .live_preview import Overlay
from .pictures import Preview, curve_picture

BUDGET_S = 0.003
"""How long one tick may go on taking events; what is left waits for the next."""
BUSY_S, IDLE_S = 0.1, 0.5
CURVE_EVERY_S = 0.5
LOOPBACK = ("tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://")

Work = Callable[[], None]


@dataclass(frozen=True)
class _HandedIn:
    """The job that this session has handed in last: its object's `session_uid`, and its mesh as it was collected."""

    job_id: str
    uid: int
    mesh: scene.Mesh


class Runtime:
    """The session of this Blender. ``ticks`` has the seconds of main-thread work of the last ticks."""

    def __init__(self) -> None:
        self.state = session.State()
        self.message: session.Report | None = None
        self.ticks: deque[float] = deque(maxlen=4096)
        self._connection: Connection | None = None
        self._handed_in: _HandedIn | None = None
        self._overlay: Overlay | None = None
        self._preview: Preview | None = None
        self._tickets: dict[str, session.Ticket] = {}
        self._later: deque[Work] = deque()
        self._encoding = 0
        self._curve_drawn = 0.0

    # --- for operators and panels -------------------------------------------------------------------------------------

    def dispatch(self, event: session.Event) -> None:
        """Let `event` happen, and see to it that what follows is fetched."""
        self._take(event)
        if not bpy.app.timers.is_registered(_tick) and self.busy():
            bpy.app.timers.register(_tick, first_interval=BUSY_S, persistent=True)
        _redraw()

    def start(self, ticket: session.Ticket, job: messages.Job, obj: bpy.types.Object, address: str) -> None:
        """Hand in `job` about `obj`."""
        self.message = None
        icons.clear()
        self._handed_in = _HandedIn(ticket.job_id, obj.session_uid, job.scene.mesh)
        self.dispatch(session.RunAsked(ticket, job, address))

    def busy(self) -> bool:
        """Whether there is anything to wait for."""
        return self.state.server.status != "off" or self.has_work()

    def has_work(self) -> bool:
        """Whether there is a job, or a result on its way into the file."""
        return self.state.run is not None or bool(self._later) or self._encoding > 0

    def tick(self) -> None:
        """Take what has come in, as far as the budget goes. Also for scripts, as timers do not fire in background."""
        began = time.perf_counter()
        changed = self._fetch(began + BUDGET_S) or self._do_later()
        self._draw_curve()
        if changed:
            _redraw()
        self.ticks.append(time.perf_counter() - began)

    def close(self) -> None:
        """End everything: the thread, a server that was started here, the overlay."""
        self._hide_preview(session.HidePreview())
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- the pump -----------------------------------------------------------------------------------------------------

    def _fetch(self, until: float) -> bool:
        connection = self._connection
        taken = 0
        while connection is not None and not connection.events.empty() and (not taken or time.perf_counter() < until):
            self._take(connection.events.get_nowait())
            taken += 1
        return taken > 0

    def _take(self, event: session.Event) -> None:
        self.state, effects = session.transition(self.state, event)
        for effect in effects:
            EFFECTS[type(effect)](self, effect)

    def _do_later(self) -> bool:
        """One piece of work that changes the file, unless Blender is rendering it just now."""
        if not self._later or bpy.app.is_job_running("RENDER"):
            return False
        self._later.popleft()()
        return True

    def _draw_curve(self) -> None:
        run, now = self.state.run, time.monotonic()
        if run is not None and run.curve.steps and now - self._curve_drawn > CURVE_EVERY_S:
            self._curve_drawn = now
            icons.show("curve", curve_picture(run.curve.steps, run.curve.mean, run.curve.low, run.steps))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _network(self, effect: session.Network) -> None:
        if self._connection is None:
            self._connection = Connection()
        if isinstance(effect, session.Connect):
            self._connection.make_server = _server_maker()
        self._connection.do(effect)

    def _remember(self, effect: session.Remember) -> None:
        self._tickets[effect.ticket.job_id] = effect.ticket
        if effect.durable:
            notes.write(effect.ticket)

    def _forget(self, effect: session.Forget) -> None:
        self.forget(effect.job_id)

    def forget(self, job_id: str) -> None:
        """Never offer this job again."""
        self._tickets.pop(job_id, None)
        notes.drop(job_id)

    def offers(self, file: str) -> tuple[session.Ticket, ...]:
        """The jobs of `file` that a server may still have."""
        known = {ticket.job_id: ticket for ticket in notes.read()} | self._tickets
        return tuple(ticket for ticket in known.values() if ticket.file == file)

    def _show_preview(self, effect: session.ShowPreview) -> None:
        preview = self._connection.take_preview() if self._connection is not None else None
        if preview is None:
            return
        self._preview = preview
        icons.show("worst", preview.worst)
        if self._overlay is None:
            self._overlay = self._new_overlay(effect.ticket)
        if self._overlay is not None and not bpy.app.background:
            self._overlay.show(preview)

    def _new_overlay(self, ticket: session.Ticket) -> Overlay | None:
        """The overlay for a job that was handed in by this session, whose mesh is known."""
        known, obj = self._handed_in, self._object(ticket)
        return Overlay(obj, known.mesh) if known is not None and known.job_id == ticket.job_id and obj else None

    def _object(self, ticket: session.Ticket) -> bpy.types.Object | None:
        """The object of a job, whatever it is called by now; None when it is gone."""
        known = self._handed_in
        named = bpy.data.objects.get(ticket.object)
        if known is None or known.job_id != ticket.job_id:
            return named
        same = (obj for obj in bpy.data.objects if obj.session_uid == known.uid)
        return next(same, named)  # opening the file again gives objects other numbers

    def _hide_preview(self, _effect: session.HidePreview) -> None:
        if self._overlay is not None:
            self._overlay.hide()
        self._overlay = self._preview = None

    def _keep_result(self, effect: session.KeepResult) -> None:
        ticket = effect.ticket
        kept = results.kept_of(
            effect.result,
            ticket.settings,
            job_id=ticket.job_id,
            object_name=ticket.object,
            uv_map=ticket.uv_map,
            collect_s=ticket.collect_s,
            own_rig=ticket.own_rig,
            sheet=effect.sheet,
        )
        self._later.append(functools.partial(self._add_result, ticket, kept))

    def _keep_preview(self, effect: session.KeepPreview) -> None:
        preview, ticket = self._preview, effect.ticket
        if preview is None:
            return

        def encode() -> None:  # takes a second for a large texture
            kept = results.interrupted(
                preview.message,
                ticket.settings,
                target=ticket.settings.target,
                object_name=ticket.object,
                uv_map=ticket.uv_map,
            )
            self._later.append(functools.partial(self._add_result, ticket, kept))
            self._encoding -= 1

        self._encoding += 1
        threading.Thread(target=encode, name="assistive encoder").start()

    def _add_result(self, ticket: session.Ticket, kept: results.Kept) -> None:
        owner = bpy.data.scenes.get(ticket.scene) or bpy.context.scene
        if ticket.file != bpy.data.filepath:  # another file was opened in the meantime: it stays noted down
            return
        results.add(owner, kept, self._object(ticket))
        push_undo(f"Assistive {kept.target}")
        figures = results.figures_of(kept.report)
        said = f"{kept.target}: {figures[0].before_mean:.2f} → {figures[0].after_mean:.2f}" if figures else kept.target
        self._report(session.Report("INFO", f"Assistive texture ready. {said}"))

    def _report(self, effect: session.Report) -> None:
        self.message = effect


EFFECTS: Mapping[type, Callable[[Runtime, Any], None]] = {
    **dict.fromkeys(
        (session.Connect, session.Disconnect, session.Submit, session.Watch, session.Cancel), Runtime._network
    ),
    session.Remember: Runtime._remember,
    session.Forget: Runtime._forget,
    session.ShowPreview: Runtime._show_preview,
    session.HidePreview: Runtime._hide_preview,
    session.KeepResult: Runtime._keep_result,
    session.KeepPreview: Runtime._keep_preview,
    session.Report: Runtime._report,
}


def checked_address(text: str) -> str:
    """`text` as an address that may be used. Raises :class:`InvalidInput` that says what is wrong with it."""
    address = client.parse_address(text)
    if not address.startswith(LOOPBACK) and not bpy.app.online_access:
        raise errors.InvalidInput(
            f"{address} is not on this machine, and Blender may not go online.",
            hint="Allow Online Access in Preferences > System, or use a server on this machine.",
        )
    return address


def _server_maker() -> Callable[[], local_server.LocalServer]:
    """What makes a server on this machine, by the preferences as they are now; the connection's thread calls it."""
    chosen = preferences.preferences(bpy.context)
    try:
        command = local_server.server_command(chosen.command)
    except errors.ServerUnreachable as error:
        reason = error

        def refuse() -> local_server.LocalServer:
            raise reason

        return refuse
    return functools.partial(local_server.LocalServer, command=command, device=chosen.device)


def push_undo(message: str) -> None:
    """An undo step for what no operator did. In background there is no undo, and no window to do it in."""
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.ed.undo_push(message=message)


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


# --- the one there is -------------------------------------------------------------------------------------------------

_runtime: Runtime | None = None


def current() -> Runtime:
    """The runtime of this Blender, made when it is first asked for."""
    global _runtime  # noqa: PLW0603
    if _runtime is None:
        _runtime = Runtime()
    return _runtime


def state() -> session.State:
    """The state of the session."""
    return _runtime.state if _runtime is not None else session.State()


def _tick() -> float | None:
    if _runtime is None or not _runtime.busy():
        return None
    _runtime.tick()
    return BUSY_S if _runtime.state.run is not None or _runtime.state.server.status != "on" else IDLE_S


@persistent  # type: ignore[untyped-decorator]
def _on_load(*_: Any) -> None:
    results.forget()
    runtime, file = current(), bpy.data.filepath
    runtime.dispatch(session.FileOpened(file, runtime.offers(file)))


@persistent  # type: ignore[untyped-decorator]
def _on_save(*_: Any) -> None:
    runtime = current()
    runtime.dispatch(session.FileSaved(bpy.data.filepath))
    for owner in bpy.data.scenes:
        for item in owner.assistive.results:
            runtime.forget(item.name)  # what is in a saved file need not be offered again


@persistent  # type: ignore[untyped-decorator]
def _on_undo(*_: Any) -> None:
    results.restore_all()


def _handlers() -> tuple[tuple[list[Any], Any], ...]:
    all_handlers = bpy.app.handlers
    return (
        (all_handlers.load_post, _on_load),
        (all_handlers.save_post, _on_save),
        (all_handlers.undo_post, _on_undo),
        (all_handlers.redo_post, _on_undo),
    )


def register() -> None:
    """Listens to Blender. Connects to nothing."""
    for handlers, handler in _handlers():
        handlers.append(handler)


def unregister() -> None:
    """Ends everything that has been started."""
    global _runtime  # noqa: PLW0603
    for handlers, handler in _handlers():
        handlers.remove(handler)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _runtime is not None:
        _runtime.close()
        _runtime = None
