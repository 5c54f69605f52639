# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `session` going inside Blender: fetches events in a timer, carries out effects, listens to Blender's handlers.

All of it runs on the main thread. Nothing starts by being registered: the first event that needs the network makes the
connection's thread, and the timer runs only while there is something to wait for.
"""

from __future__ import annotations

import functools
import shlex
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import msgspec
from bpy.app.handlers import persistent

from . import editor, icons, local_server, notes, preferences, results, session
from ._shared import client, errors, keys, messages, reporting, scene
from .background import Background, Found
from .connection import Connection
from .live_preview import Overlay
from .pictures import Preview, curve_picture

BUDGET_S = 0.003
"""How long one tick may go on taking events; what is left waits for the next."""
BUSY_S, IDLE_S = 0.1, 0.5
CURVE_EVERY_S = 0.5

ENDS = {
    "finished": "Assistive texture ready.",
    "cancelled": "Cancelled; the best so far is kept.",
    "interrupted": "Interrupted; the last preview is kept.",
}

MEASURED = "Measured as it is."

CHECKED = ("finished", "early")
"""The outcomes that are worth a check; who cancels is in a hurry."""

AGAIN = 'blender -b {} --python-expr "import bpy; bpy.ops.assistive.start(); bpy.ops.wm.save_mainfile()"'
"""How to do a job of the panel once more: its settings are in the file."""

Work = Callable[[], None]


def _again() -> str:
    return AGAIN.format(shlex.quote(Path(bpy.data.filepath).name or "SAVED.blend"))


@dataclass(frozen=True)
class _HandedIn:
    """The job that this session has handed in last, with its object's `session_uid`."""

    job_id: str
    uid: int


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
        self._durable: set[str] = set()
        self._later: deque[Work] = deque()
        self._backgrounds: dict[str, Background] = {}
        self._encoding = 0
        self._curve_drawn = 0.0
        self.file = _file_token()

    # --- for operators and panels -------------------------------------------------------------------------------------

    def dispatch(self, event: session.Event) -> None:
        """Let `event` happen, and see to it that what follows is fetched."""
        self._take(event)
        if not bpy.app.timers.is_registered(_tick) and self.busy():
            bpy.app.timers.register(_tick, first_interval=BUSY_S, persistent=True)
        editor.redraw()

    def start(
        self,
        ticket: session.Ticket,
        job: messages.Job,
        obj: bpy.types.Object,
        address: str,
        background: Background | None = None,
    ) -> None:
        """Hand in `job` about `obj`. The `background` is to render what the job asks for, and to check its result."""
        self.message = None
        if background is not None:
            self._backgrounds[job.id] = background
        icons.clear()
        self._hide_preview(session.HidePreview())
        self._handed_in = _HandedIn(ticket.job_id, obj.session_uid)
        is_image = isinstance(job.scene.texture, scene.UvTexture)
        if not bpy.app.background:
            self._overlay = Overlay(obj, job.scene.mesh, image=is_image)
        self._connect().triangles = None if is_image else job.scene.mesh.triangles
        self.dispatch(session.RunAsked(ticket, job, address, start=keys.is_local(address)))

    def busy(self) -> bool:
        """Whether there is anything to wait for."""
        return self.state.server.status != "off" or self.has_work()

    def has_work(self) -> bool:
        """Whether there is a job, or a result on its way into the file."""
        return self.state.run is not None or bool(self._later) or self._encoding > 0 or bool(self._backgrounds)

    def checking(self) -> str | None:
        """How far the Blender in the background is, in its words; None while there is none."""
        return next((each.progress() for each in self._backgrounds.values() if each.running), None)

    def stop_checks(self) -> None:
        """End every Blender in the background, and drop what it was to find."""
        for job_id in list(self._backgrounds):
            self._backgrounds.pop(job_id).stop()
        editor.redraw()

    def tick(self) -> None:
        """Take what has come in, as far as the budget goes. Also for scripts, as timers do not fire in background."""
        began, before = time.perf_counter(), self._shown()
        self._fetch(began + BUDGET_S)
        self._look_after_backgrounds()
        done = self._do_later()
        self._draw_curve()
        # Not for a mere sign of life: what is drawn anew loses its tooltip.
        if done or self._shown() != before:
            editor.redraw()
        self.ticks.append(time.perf_counter() - began)

    def _shown(self) -> tuple[Any, ...]:
        """What the panels show, to see whether it has changed."""
        return self.state, self.message, id(self._preview), self.checking()

    def close(self) -> None:
        """End everything: the thread, a server that was started here, the overlay."""
        self._hide_preview(session.HidePreview())
        self.stop_checks()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- the pump -----------------------------------------------------------------------------------------------------

    def _fetch(self, until: float) -> None:
        taken = 0
        while self._connection is not None and (not taken or time.perf_counter() < until):
            event = self._connection.next_event()
            if event is None:
                break
            self._take(event)
            taken += 1

    def _take(self, event: session.Event) -> None:
        self.state, effects = session.transition(self.state, event)
        for effect in effects:
            self._attempt(functools.partial(EFFECTS[type(effect)], self, effect))

    def _do_later(self) -> bool:
        """One piece of work that changes the file, unless Blender is rendering it just now."""
        if not self._later or bpy.app.is_job_running("RENDER"):
            return False
        self._attempt(self._later.popleft())
        return True

    def _attempt(self, work: Work) -> None:
        """Do `work`. Whatever goes wrong is said and goes no further: a timer that raises is not called again."""
        try:
            work()
        except Exception as error:  # the boundary
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}. The system console has the details."
            self.message = session.Report("ERROR", said)

    def _look_after_backgrounds(self) -> None:
        """Take what has been found, and let go of what is waited for in vain."""
        for job_id, background in list(self._backgrounds.items()):
            running = self.state.run is not None and self.state.run.ticket.job_id == job_id
            pending = running or self._encoding > 0 or bool(self._later)
            if background.ended() or not (background.running or pending):
                del self._backgrounds[job_id]
                self._attempt(functools.partial(self._take_check, job_id, background))

    def _take_check(self, job_id: str, background: Background) -> None:
        """Put what a check has found to its result, if there is one."""
        try:
            listed = any(item.name == job_id for owner in bpy.data.scenes for item in owner.assistive.results)
            found = background.found() if background.running and listed else None
        except errors.JobFailed as error:
            self.message = session.Report("WARNING", f"The result is not checked. {error}")
            return
        finally:
            background.stop()
        if found is not None:
            self._later.append(functools.partial(self._keep_check, job_id, found))

    def _keep_check(self, job_id: str, found: Found) -> None:
        results.attach_check(job_id, found.report, found.sheet, found.worst)
        warning = found.report["check"]["warning"]
        if warning is not None:
            self.message = session.Report("WARNING", warning)

    def _draw_curve(self) -> None:
        run, now = self.state.run, time.monotonic()
        if run is not None and run.curve.steps and now - self._curve_drawn > CURVE_EVERY_S:
            self._curve_drawn = now
            icons.show("curve", curve_picture(run.curve.steps, run.curve.mean, run.curve.low, run.step))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = Connection()
        return self._connection

    def _network(self, effect: session.Network) -> None:
        connection = self._connect()
        if isinstance(effect, session.Connect):
            connection.make_server = _server_maker()
        connection.do(effect)

    def _remember(self, effect: session.Remember) -> None:
        ticket = effect.ticket
        self._tickets[ticket.job_id] = ticket
        if ticket.settings.blender_every:  # it may ask for pictures as soon as it runs
            self._follow(ticket.job_id)
        if effect.durable:
            self._durable.add(ticket.job_id)
            if ticket.file == bpy.data.filepath:  # a file without a name can't be opened again
                notes.write(ticket)

    def _follow(self, job_id: str) -> None:
        """Let the Blender in the background see to this job, if it was asked for one."""
        if job_id in self._backgrounds:
            self._backgrounds[job_id].start(self.state.server.address)

    def renamed(self, file: str) -> None:
        """The open file is called `file` from now on; so its jobs are noted down, where their server outlives us."""
        before, self.file = self.file, file
        for job_id, ticket in list(self._tickets.items()):
            if ticket.file == before:
                moved = msgspec.structs.replace(ticket, file=file)
                self._remember(session.Remember(moved, durable=job_id in self._durable))
        self.dispatch(session.FileSaved(file))

    def opened(self) -> None:
        """Another file is open, or the same again."""
        self.stop_checks()
        self.file, self.message = _file_token(), None
        self._later.clear()  # what was still to come into the last file is at its server, and offered with it
        self.dispatch(session.FileOpened(self.file, self._offers()))

    def _forget(self, effect: session.Forget) -> None:
        self.forget(effect.job_id)

    def forget(self, job_id: str) -> None:
        """Never offer this job again."""
        self._tickets.pop(job_id, None)
        notes.drop(job_id)

    def _offers(self) -> tuple[session.Ticket, ...]:
        """The jobs of the open file that a server may still have, and the file has no result of."""
        listed = {item.name for owner in bpy.data.scenes for item in owner.assistive.results}
        known = {ticket.job_id: ticket for ticket in notes.read()} | self._tickets
        return tuple(ticket for ticket in known.values() if ticket.file == self.file and ticket.job_id not in listed)

    def _show_preview(self, effect: session.ShowPreview) -> None:
        preview = self._connection.take_preview() if self._connection is not None else None
        if preview is None:
            return
        self._preview = preview
        icons.show("worst", preview.worst)
        known = self._handed_in
        if self._overlay is not None and known is not None and known.job_id == effect.ticket.job_id:
            self._overlay.show(texels=preview.texels, colors=preview.colors)
            editor.redraw("WINDOW")

    def _object(self, ticket: session.Ticket) -> bpy.types.Object | None:
        """The object of a job, whatever it is called by now; None when it is gone."""
        known = self._handed_in
        named = bpy.data.objects.get(ticket.object)
        if known is None or known.job_id != ticket.job_id:
            return named
        return editor.object_by_uid(known.uid) or named  # opening the file again gives objects other numbers

    def _hide_preview(self, _effect: session.HidePreview) -> None:
        if self._overlay is not None:
            self._overlay.hide()
        self._overlay = self._preview = None
        editor.redraw("WINDOW")

    def _keep_result(self, effect: session.KeepResult) -> None:
        ticket, command = effect.ticket, _again()
        self._keep(
            ticket,
            lambda: results.kept_of(
                effect.result,
                ticket.settings,
                job_id=ticket.job_id,
                object_name=ticket.object,
                uv_map=ticket.uv_map,
                collect_s=ticket.collect_s,
                own_rig=ticket.own_rig,
                left_out=ticket.left_out,
                command=command,
                placement=ticket.placement,
                sheet=None,
            ),
        )

    def _keep_preview(self, effect: session.KeepPreview) -> None:
        preview, ticket = self._preview, effect.ticket
        if preview is None:
            return
        self._keep(
            ticket,
            lambda: results.interrupted(
                preview.message,
                ticket.settings,
                target=ticket.settings.target,
                object_name=ticket.object,
                uv_map=ticket.uv_map,
            ),
        )

    def _keep(self, ticket: session.Ticket, make: Callable[[], results.Kept]) -> None:
        """Put what `make` makes into the file; it is made on a thread, as encoding a large texture takes a second."""

        def encode() -> None:
            try:
                self._later.append(functools.partial(self._add_result, ticket, make()))
            finally:
                self._encoding -= 1

        self._encoding += 1
        threading.Thread(target=encode, name="assistive encoder").start()

    def _keep_sheet(self, effect: session.KeepSheet) -> None:
        self._later.append(functools.partial(results.attach_sheet, effect.job_id, effect.sheet))

    def _add_result(self, ticket: session.Ticket, kept: results.Kept) -> None:
        owner = bpy.data.scenes.get(ticket.scene) or bpy.context.scene
        results.add(owner, kept, self._object(ticket))
        push_undo(f"Assistive {kept.target}")
        if kept.report.get("outcome") in CHECKED:
            self._follow(kept.job_id)
        figures = reporting.figures_of(kept.report)
        said = f"{kept.target}: {figures[0].before_mean:.2f} → {figures[0].after_mean:.2f}" if figures else kept.target
        end = ENDS.get(str(kept.report.get("outcome")), ENDS["finished"])
        self._report(session.Report("INFO", f"{end if kept.report.get('steps') else MEASURED} {said}"))

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
    session.KeepSheet: Runtime._keep_sheet,
    session.KeepPreview: Runtime._keep_preview,
    session.Report: Runtime._report,
}


def checked_address(text: str) -> str:
    """`text` as an address that may be used. Raises :class:`InvalidInput` that says what is wrong with it."""
    address = client.parse_address(text)
    if not keys.is_local(address) and not bpy.app.online_access:
        raise errors.InvalidInput(
            f"{address} is not on this machine, and Blender may not go online.",
            hint="Allow Online Access in Preferences > System, or use a server on this machine.",
        )
    return address


def _file_token() -> str:
    """What the open file is known by: its path, or something that no other file without a name shares."""
    return bpy.data.filepath or f"untitled {uuid.uuid4().hex}"


def _server_maker() -> Callable[[], local_server.LocalServer]:
    """What makes a server on this machine, by the preferences as they are now; the connection's thread calls it."""
    chosen = preferences.preferences(bpy.context)
    try:
        command = local_server.server_command(bpy.path.abspath(chosen.command))
    except errors.ServerUnreachable as error:
        reason = error

        def refuse() -> local_server.LocalServer:
            raise reason

        return refuse
    return functools.partial(local_server.LocalServer, command=command, device=chosen.device)


def push_undo(message: str) -> None:
    """An undo step for what no operator did. In background there is no undo, and no window to do it in.

    Not in the middle of an operator such as a move, whose half-way state it would keep: `results` copes without.
    """
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows or any(len(window.modal_operators) for window in windows):
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.ed.undo_push(message=message)


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
    current().opened()


@persistent  # type: ignore[untyped-decorator]
def _on_save(file: str = "", *_: Any) -> None:
    if file != bpy.data.filepath:  # a copy, or the startup file: what is open has not been saved
        return
    runtime = current()
    runtime.renamed(file)
    for owner in bpy.data.scenes:
        for job_id in (*(item.name for item in owner.assistive.results), *results.deleted(owner)):
            runtime.forget(job_id)  # what is in a saved file need not be offered again


@persistent  # type: ignore[untyped-decorator]
def _on_undo(*_: Any) -> None:
    results.restore_all()


def _listeners() -> editor.Listeners:
    all_handlers = bpy.app.handlers
    return (
        (all_handlers.load_post, _on_load),
        (all_handlers.save_post, _on_save),
        (all_handlers.undo_post, _on_undo),
        (all_handlers.redo_post, _on_undo),
    )


def register() -> None:
    """Listens to Blender. Connects to nothing."""
    editor.listen(_listeners())


def unregister() -> None:
    """Ends everything that has been started."""
    global _runtime  # noqa: PLW0603
    editor.stop_listening(_listeners())
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _runtime is not None:
        _runtime.close()
        _runtime = None
