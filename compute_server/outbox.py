"""What is still to be sent to each client. A slow one never holds up the server, nor makes it grow.

Of progress and previews only the newest of each job is kept. That a job has ended is kept as one name, until it is
sent: it is never dropped. Answers are few, as clients ask for them; whoever asks without listening loses the oldest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from shared.wire import Frame, split

#: Messages that the socket itself may hold for one client.
HIGH_WATER = 4
MAX_ANSWERS = 1000


@dataclass
class _Box:
    answers: deque[list[Frame]] = field(default_factory=lambda: deque(maxlen=MAX_ANSWERS))
    latest: dict[tuple[str, type], list[Frame]] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)


class Outbox:
    """The boxes of all clients of one ROUTER, which must be set to ROUTER_MANDATORY. `ending` gives the last event of a
    job, `gone` is told of clients that are no longer there."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        ending: Callable[[str], list[Frame] | None],
        gone: Callable[[bytes], None],
    ) -> None:
        self._socket = socket
        self._ending = ending
        self._gone = gone
        self._boxes: dict[bytes, _Box] = {}

    def __len__(self) -> int:
        return len(self._boxes)

    def answer(self, client: bytes, frames: list[Frame]) -> None:
        """The reply to a request."""
        self._box(client).answers.append(frames)
        self._send(client)

    def latest(self, client: bytes, job_id: str, kind: type, frames: list[Frame]) -> None:
        """An event that replaces an earlier one of its kind that has not been sent yet."""
        self._box(client).latest[job_id, kind] = frames
        self._send(client)

    def ended(self, client: bytes, job_id: str) -> None:
        """The client is to hear of this job's end."""
        box = self._box(client)
        box.latest = {key: frames for key, frames in box.latest.items() if key[0] != job_id}
        box.ended[job_id] = None
        self._send(client)

    def drop(self, client: bytes) -> None:
        """The client is to hear nothing more."""
        self._boxes.pop(client, None)

    def flush(self) -> None:
        """Send what can be sent now."""
        for client in list(self._boxes):
            self._send(client)

    def _box(self, client: bytes) -> _Box:
        return self._boxes.setdefault(client, _Box())

    def _send(self, client: bytes) -> None:
        box = self._boxes[client]
        try:
            while box.answers:
                self._post(client, box.answers[0])
                box.answers.popleft()
            while box.latest:
                key = next(iter(box.latest))
                self._post(client, box.latest[key])
                del box.latest[key]
            while box.ended:
                job_id = next(iter(box.ended))
                ending = self._ending(job_id)
                if ending is not None:
                    self._post(client, ending)
                del box.ended[job_id]
        except zmq.Again:
            return
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._gone(client)
        del self._boxes[client]

    def _post(self, client: bytes, frames: list[Frame]) -> None:
        self._socket.send_multipart([client, *split(frames)], zmq.NOBLOCK, copy=False)
