"""A thread for what is too large to be looked at between two answers: it reads messages, and takes jobs into the book.

The messages of one client stay in order: while one of them is here, so are those that follow it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq

from shared import errors
from shared import messages as m
from shared.limits import Limits, check_limits
from shared.scene import check_scene
from shared.wire import Frame, byte_count, join, unpack

from .ledger import Ledger, Room
from .waiting import job_work

#: Messages above so many bytes are read here.
LARGE = 1 << 20


@dataclass(frozen=True)
class Taken:
    """A message that has been read, or why it could not be. A job in it has been taken into the book."""

    client: bytes
    number: int
    message: m.Message | None
    error: errors.AssistiveError | None = None


@dataclass(frozen=True)
class _Arrival:
    client: bytes
    owner: str
    number: int
    parts: list[Frame]


class Intake:
    """The thread. ``socket`` can be polled: it becomes readable when :meth:`take` has something."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], home: Path, room: Room, limits: Limits) -> None:
        self._home = home
        self._room = room
        self._limits = limits
        self._arrivals: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        self._taken: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._under_way: Counter[bytes] = Counter()
        address = f"inproc://intake-{id(self)}"
        self.socket = context.socket(zmq.PAIR)
        self.socket.bind(address)
        self._bell = context.socket(zmq.PAIR)
        self._bell.connect(address)
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def concerns(self, client: bytes, parts: Sequence[Frame], kind: str) -> bool:
        """Whether a message is to be read here; any that came in pieces is."""
        return byte_count(parts) > LARGE or kind == "Submit" or (client in self._under_way and kind != "Hello")

    def put(self, client: bytes, owner: str, number: int, parts: list[Frame]) -> None:
        """Have a message read, which empties `parts`; a job in it is booked for `owner`."""
        self._under_way[client] += 1
        self._arrivals.put(_Arrival(client, owner, number, parts))

    def take(self) -> Taken:
        """The next that has been read; there is one for each message on ``socket``."""
        self.socket.recv()
        taken = self._taken.get()
        self._under_way[taken.client] -= 1
        self._under_way += Counter()  # drops those at zero
        return taken

    def close(self) -> None:
        """End the thread after what it has at hand."""
        self._arrivals.put(None)
        self._thread.join(30)
        self._bell.close(linger=0)
        self.socket.close(linger=0)

    def _run(self) -> None:
        ledger = Ledger(self._home)
        while (arrival := self._arrivals.get()) is not None:
            self._taken.put(self._read(ledger, arrival))
            del arrival  # a large message is let go before the next is waited for
            self._bell.send(b"")
        ledger.close()

    def _read(self, ledger: Ledger, arrival: _Arrival) -> Taken:
        try:
            frames = join(arrival.parts)
            message = unpack(frames, reader="the server", sender="the add-on").message
            check_limits(message, self._limits)
            if isinstance(message, m.Submit):
                self._book(ledger, arrival, message, frames)
                message = m.Watch(message.job.id)  # all that is left to do
            return Taken(arrival.client, arrival.number, message)
        except errors.AssistiveError as error:
            return Taken(arrival.client, arrival.number, None, error)
        except Exception as error:  # the boundary: no message of one client may end the server for all
            logging.exception("A message could not be taken in.")
            failure = errors.JobFailed(f"The server failed with {type(error).__name__}: {error}.")
            return Taken(arrival.client, arrival.number, None, failure)

    def _book(self, ledger: Ledger, arrival: _Arrival, submit: m.Submit, frames: list[Frame]) -> None:
        job = submit.job
        if ledger.find(job.id) is None:
            check_scene(job.scene)
            work = job_work(job.settings)
            ledger.add(job, frames, arrival.owner, priority=submit.priority, work=work, room=self._room)
