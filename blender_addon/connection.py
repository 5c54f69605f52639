# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thread that owns the socket to the server. It never touches bpy, and it never waits for more than one tick.

It takes what `session` calls network effects, and puts `session` events into a queue for the main thread to fetch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import session
from ._shared import client, errors, messages, version
from .local_server import LocalServer
from .pictures import Preview, prepare

#: How long the thread listens before it looks at its commands.
TICK_S = 0.05
#: How long it waits for a command while there is no connection.
IDLE_S = 0.5
HELLO_S = 5.0
#: Before a server is started here, one that may be there already gets this long to answer.
LOOK_S = 1.0
HEARTBEAT_S = 2.0
SILENCE_S = 8.0
#: Without news of its job for this long, the thread asks for it again: a lost connection heals that way.
WATCH_AGAIN_S = 5.0
#: While a request about a job is unanswered, as an upload may take its time.
UPLOAD_S = 120.0


@dataclass(frozen=True)
class _Quit:
    """End the thread."""


@dataclass
class _Opening:
    """A connection that has not answered yet."""

    until: float
    start: bool


Purpose = Literal["hello", "job", "cancel", "names", "sheet"]


class Connection:
    """A thread with a socket.

    ``make_server`` makes the process of a server on this machine, to be started here; ``triangles`` [T, 3] are those of
    the mesh whose vertex colours are previewed.
    """

    def __init__(self, make_server: Callable[[], LocalServer] = LocalServer) -> None:
        self.make_server = make_server
        self.triangles: np.ndarray | None = None
        self._events: queue.SimpleQueue[tuple[int, session.Event]] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[tuple[int, session.Network | _Quit]] = queue.SimpleQueue()
        self._wanted = self._serving = 0
        self._client: client.Client | None = None
        self._server: LocalServer | None = None
        self._opening: _Opening | None = None
        self._spawning = False
        self._asked: dict[int, tuple[Purpose, messages.Request]] = {}
        self._job_id = ""
        self._sheet_of = ""
        self._heard = self._told = self._beat = 0.0
        self._silent = False
        self._preview: Preview | None = None
        self._thread = threading.Thread(target=self._run, name="assistive connection", daemon=True)
        self._thread.start()

    # --- for the main thread ------------------------------------------------------------------------------------------

    def do(self, command: session.Network) -> None:
        """Have the thread do this, within a tick. What it still had to tell of an earlier server is dropped."""
        if isinstance(command, session.Connect | session.Disconnect):
            self._wanted += 1
        self._commands.put((self._wanted, command))

    def next_event(self, wait_s: float = 0.0) -> session.Event | None:
        """What has come in, one by one; None when there is nothing, or nothing comes within `wait_s`."""
        while True:
            try:
                serving, event = self._events.get(timeout=wait_s) if wait_s else self._events.get_nowait()
            except queue.Empty:
                return None
            if serving == self._wanted or isinstance(event, session.SheetDrawn):
                return event

    def take_preview(self) -> Preview | None:
        """The newest preview, once. Older ones are dropped, so that a busy Blender piles up none."""
        taken, self._preview = self._preview, None
        return taken

    def close(self, wait_s: float = 15.0) -> None:
        """End the thread, and with it a server that was started here."""
        self._commands.put((self._wanted, _Quit()))
        self._thread.join(wait_s)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if not self._obey():
                    break
                self._listen()
                self._look_after()
            except errors.AssistiveError as error:
                self._give_up(str(error))
            except Exception as error:  # the boundary: a thread that dies would leave a dead panel
                self._give_up(f"The connection failed with {type(error).__name__}: {error}.")
        self._let_go()

    def _give_up(self, problem: str) -> None:
        self._let_go()
        self._tell(session.Lost(problem))

    def _tell(self, event: session.Event) -> None:
        self._events.put((self._serving, event))

    def _obey(self) -> bool:
        """Do what is asked for; False when that is to end."""
        wait_s = 0.0 if self._client is not None or self._spawning else IDLE_S
        while True:
            try:
                given = self._commands.get(timeout=wait_s) if wait_s else self._commands.get_nowait()
            except queue.Empty:
                return True
            self._serving, command = given
            if isinstance(command, _Quit):
                return False
            COMMANDS[type(command)](self, command)
            wait_s = 0.0

    def _connect(self, command: session.Connect) -> None:
        self._let_go()
        try:
            self._open(command.address, LOOK_S if command.start else HELLO_S, start=command.start)
        except errors.ServerUnreachable:  # no server of this user's is there
            if not command.start:
                raise
            self._start_server()

    def _open(self, address: str, patience_s: float, *, start: bool) -> None:
        self._client = client.Client(address)
        self._heard = self._beat = time.monotonic()
        self._opening = _Opening(time.monotonic() + patience_s, start)
        self._send(messages.Hello(version.VERSION), "hello")

    def _disconnect(self, _command: session.Disconnect) -> None:
        self._let_go()

    def _submit(self, command: session.Submit) -> None:
        self._job_id = command.job.id
        self._send(messages.Submit(command.job), "job")

    def _watch(self, command: session.Watch) -> None:
        self._job_id = command.job_id
        self._send(messages.Watch(command.job_id), "job")

    def _cancel(self, command: session.Cancel) -> None:
        self._send(messages.Cancel(command.job_id), "cancel")

    def _send(self, message: messages.Request, purpose: Purpose) -> None:
        if self._client is not None:
            self._asked[self._client.send(message)] = purpose, message

    def _let_go(self) -> None:
        held, process = self._client, self._server
        self._client = self._server = self._opening = None
        self._spawning = self._silent = False
        self._asked.clear()
        self._job_id = self._sheet_of = ""
        if held is not None:
            held.close()
        if process is not None:
            process.stop()

    # --- what comes in ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._client is None:
            return
        envelope = self._client.receive(TICK_S)
        if envelope is None:
            return
        self._heard = time.monotonic()
        message = envelope.message
        purpose, _ = self._asked.pop(envelope.request, (None, None))
        if isinstance(message, messages.Refused):
            self._refused(message, purpose)
        elif isinstance(message, messages.Welcome):
            self._welcomed(message)
        elif isinstance(message, messages.Sheet):
            self._tell(session.SheetDrawn(self._sheet_of, message.png.tobytes()))
        elif isinstance(message, messages.Accepted | messages.Targets | messages.Models):
            self._tell(message)
        else:
            self._event(message)

    def _refused(self, message: messages.Refused, purpose: Purpose | None) -> None:
        error = errors.from_data(message.error)
        if purpose == "hello":
            raise error
        if purpose in ("job", "cancel"):
            self._tell(session.Failed(self._job_id, str(error)))

    def _welcomed(self, welcome: messages.Welcome) -> None:
        if self._opening is not None:
            assert self._client is not None
            self._opening = None
            self._tell(session.Connected(self._client.address, welcome, self._server is not None))
            self._ask_names()
        else:
            self._tell(session.Heard(welcome))
            if self._silent:
                self._ask_names()  # the first request may have been lost
        self._silent = False

    def _ask_names(self) -> None:
        self._send(messages.ListTargets(), "names")
        self._send(messages.ListModels(), "names")

    def _event(self, message: Any) -> None:
        if not isinstance(message, messages.Event) or message.job_id != self._job_id:
            return
        self._told = self._heard
        if isinstance(message, messages.Progress):
            self._tell(message)
        elif isinstance(message, messages.Preview):
            self._preview = prepare(message, self.triangles)
            self._tell(session.PreviewReady(message.job_id))
        elif isinstance(message, messages.Ended):
            self._end(message)

    def _end(self, message: messages.Ended) -> None:
        if message.result is not None:
            self._finish(message.job_id, message.result)
        else:
            problem = str(errors.from_data(message.error)) if message.error else "The job ended without a result."
            self._tell(session.Failed(message.job_id, problem))

    def _finish(self, job_id: str, result: messages.Result) -> None:
        """Tell of the result at once, and have a contact sheet drawn."""
        self._tell(session.Finished(job_id, result))
        self._job_id, self._sheet_of = "", job_id
        if len(result.pictures_after) > 0:
            trained = [name for name, figures in result.models.items() if figures.trained]
            model = next(iter(trained or result.models))
            target = "|".join(map(str, result.target.indices))
            sheet = messages.DrawSheet(result.pictures_before, result.pictures_after, model, target)
            self._send(sheet, "sheet")

    # --- what time brings ---------------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._server is not None:
            self._look_after_server(self._server)
        if self._opening is not None:
            self._look_after_opening(self._opening, now)
        elif self._client is not None:
            self._look_after_peer(now)

    def _look_after_server(self, server: LocalServer) -> None:
        if not self._spawning:
            server.check_alive()
        elif server.ready(wait_s=TICK_S):
            self._spawning = False
            self._open(server.address, HELLO_S, start=False)

    def _look_after_opening(self, opening: _Opening, now: float) -> None:
        if now < opening.until:
            return
        assert self._client is not None
        if not opening.start:
            raise self._client.no_answer()
        self._client.close()
        self._client = self._opening = None
        self._asked.clear()
        self._start_server()

    def _start_server(self) -> None:
        self._tell(session.Starting())
        self._server = self.make_server()
        self._server.start()
        self._spawning = True

    def _look_after_peer(self, now: float) -> None:
        if self._client is not None and self._client.reconnected():
            self._send_again()
        purposes = {purpose for purpose, _ in self._asked.values()}
        waits = "job" in purposes  # a large scene may be on its way, and all else behind it
        if now - self._heard > (UPLOAD_S if waits else SILENCE_S) and not self._silent:
            self._silent = True
            self._asked.clear()  # whatever was on its way may have been lost
            self._tell(session.Silent())
        unanswered = "hello" in purposes
        if now - self._beat > (SILENCE_S if unanswered else HEARTBEAT_S):
            self._beat = now
            self._send(messages.Hello(version.VERSION), "hello")
        if self._job_id and now - self._told > WATCH_AGAIN_S and not waits:
            self._told = now
            self._send(messages.Watch(self._job_id), "job")

    def _send_again(self) -> None:
        """The connection was lost for a moment: what was under way may have been, too. Each means the same twice."""
        lost = list(self._asked.values())
        self._asked.clear()
        for purpose, message in lost:
            self._send(message, purpose)
        if self._job_id and not any(purpose == "job" for purpose, _ in lost):
            self._send(messages.Watch(self._job_id), "job")


COMMANDS: Mapping[type, Callable[[Connection, Any], None]] = {
    session.Connect: Connection._connect,
    session.Disconnect: Connection._disconnect,
    session.Submit: Connection._submit,
    session.Watch: Connection._watch,
    session.Cancel: Connection._cancel,
}
