"""A client of the compute server: requests that wait for their answer, and the events of watched jobs.

One client belongs to one thread. It survives connections that break and a server that restarts: ZeroMQ reconnects by
itself, a request that may have been lost is sent again (each means the same when it comes twice), and
:meth:`Client.wait` asks again for its job until the server has been silent for too long.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar, cast

import zmq

from . import messages as m
from .errors import InvalidInput, ServerUnreachable, from_data
from .keys import Credentials, credentials, fingerprint, is_local, known_servers
from .limits import check_size
from .version import VERSION
from .wire import Envelope, byte_count, join, pack, split, unpack

DEFAULT_PORT = 5765
DEFAULT_ADDRESS = f"tcp://127.0.0.1:{DEFAULT_PORT}"

#: Events that the client itself holds until they are asked for; more wait at the server, which keeps the newest.
HELD = 100
#: How often a request that waits looks whether the connection has been lost meanwhile.
LOOK_S = 0.25
#: An answer to whether a job is still there may take so long.
WATCH_S = 5.0

ReplyType = TypeVar("ReplyType", bound=m.Reply)


def parse_address(text: str) -> str:
    """`text` as a ZeroMQ address: takes ``host``, ``host:port``, ``tcp://host:port`` and ``ipc://…``.

    Raises :class:`InvalidInput` that says what is wrong with anything else.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    if separator and scheme not in ("tcp", "ipc"):
        raise InvalidInput(f"The address {text!r} starts with {scheme}://.", hint="Use tcp://HOST:PORT.")
    if scheme == "ipc" and rest:
        return f"ipc://{rest}"
    host, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    if not colon:
        host, port = rest, str(DEFAULT_PORT)
    if not host or "/" in host:
        raise InvalidInput(f"The address {text!r} names no host.", hint="Use tcp://HOST:PORT.")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise InvalidInput(f"The address {text!r} has no valid port.", hint="Ports go from 1 to 65535.")
    return f"tcp://{host}:{port}"


#: Options of both ends: a peer that is gone without a word is noticed by the system within a minute, however slow a
#: transfer is.
NOTICE_LOSS = (
    (zmq.TCP_KEEPALIVE, 1),
    (zmq.TCP_KEEPALIVE_IDLE, 30),
    (zmq.TCP_KEEPALIVE_INTVL, 10),
    (zmq.TCP_KEEPALIVE_CNT, 3),
    (zmq.TCP_MAXRT, 60_000),
)


class Client:
    """A connection to one server; usable as a context manager. All that it says and hears is encrypted.

    ``own`` are the keys to use; None: those of this user, and what is known of the server at `address`
    (:func:`shared.keys.credentials`, with its errors).
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 10.0, own: Credentials | None = None
    ) -> None:
        self.address = parse_address(address)
        self.timeout_s = timeout_s
        self._credentials = own or credentials(self.address)
        self._welcome: m.Welcome | None = None
        self._numbers = itertools.count(1)
        self._events: deque[m.Event] = deque()
        self._context = zmq.Context()
        self._cut = self._back = False
        self._socket = self._connect()
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket; unsent requests are dropped."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 0),
            (zmq.RCVHWM, HELD),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 2000),
            *NOTICE_LOSS,
            # A peer that is there and does nothing is noticed by ZeroMQ's own heartbeat, which waits for large frames.
            (zmq.HEARTBEAT_IVL, 10_000),
            (zmq.HEARTBEAT_TIMEOUT, 300_000),
        ):
            socket.setsockopt(option, value)
        try:
            self._credentials.secure(socket)
            socket.connect(self.address)
        except zmq.ZMQError as error:
            raise InvalidInput(f"The address {self.address!r} cannot be used: {error}.") from error
        return socket

    def send(self, message: m.Request) -> int:
        """Send `message` and wait for nothing; its reply will bear the number given here.

        Raises :class:`InvalidInput` for more than the server has said that it takes.
        """
        number = next(self._numbers)
        frames = pack(message, number)
        if self._welcome is not None and self._welcome.message_bytes is not None:
            check_size(byte_count(frames), self._welcome.message_bytes)
        self._socket.send_multipart(split(frames), copy=False)
        return number

    def reconnected(self) -> bool:
        """Whether the connection was lost and is there again since this was last asked: whatever was under way, either
        way, may have been lost with it."""
        while self._monitor.poll(0):
            from zmq.utils.monitor import recv_monitor_message  # late: it brings asyncio, a fifth of the start

            if recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED:
                self._cut = True
            else:
                self._back, self._cut = self._back or self._cut, False
        back, self._back = self._back, False
        return back

    def receive(self, timeout_s: float = 0.0) -> Envelope | None:
        """The next message, whatever it is, or None when none comes within `timeout_s`.

        For those who keep several requests open at once; the other methods wait for one answer at a time. Raises
        :class:`ProtocolMismatch` or :class:`InvalidInput` for what cannot be read.
        """
        if not self._socket.poll(max(0, round(timeout_s * 1000))):
            return None
        frames = join([frame.buffer for frame in self._socket.recv_multipart(copy=False)])
        envelope = unpack(frames, reader="the add-on", sender="the server")
        if isinstance(envelope.message, m.Welcome):
            self._welcome = envelope.message
        return envelope

    def request(self, message: m.Request, reply: type[ReplyType], *, timeout_s: float | None = None) -> ReplyType:
        """Send `message` and wait for its reply, which must be a `reply`.

        Events that arrive meanwhile are kept for :meth:`poll`. After a lost connection it is sent again. Raises
        :class:`ServerUnreachable` after `timeout_s`, or the server's own error.
        """
        number = self.send(message)
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            left = deadline - time.monotonic()
            envelope = self.receive(min(left, LOOK_S))
            if envelope is None:
                if left <= LOOK_S:
                    break
                if self.reconnected():
                    number = self.send(message)
            elif isinstance(envelope.message, m.Event):
                self._events.append(envelope.message)
            elif envelope.request == number:
                return self._expect(envelope.message, reply)
        raise self.no_answer()

    def no_answer(self) -> ServerUnreachable:
        """What is to be said when the server is silent. One that does not know our key is as silent as none at all."""
        if is_local(self.address) and self.address not in known_servers():
            hint = "Start it with `assistive-server serve`, or check the address."
        else:
            hint = (
                f"Check the address; the server's key has to be {fingerprint(self._credentials.server)} "
                "(`assistive-server keys show`), and it has to know yours: "
                f"`assistive-server keys add NAME {self._credentials.own.public}`."
            )
        return ServerUnreachable(f"No answer from {self.address}.", hint=hint)

    def _expect(self, message: m.Message, reply: type[ReplyType]) -> ReplyType:
        if isinstance(message, m.Refused):
            raise from_data(message.error)
        if not isinstance(message, reply):
            raise InvalidInput(f"The server answered {type(message).__name__}, not {reply.__name__}.")
        return cast(ReplyType, message)

    def poll(self, timeout_s: float = 0.0) -> m.Event | None:
        """The next event of a watched job, or None when none comes within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self._events:
            envelope = self.receive(deadline - time.monotonic())
            if envelope is None:
                return None
            if isinstance(envelope.message, m.Event):
                self._events.append(envelope.message)
        return self._events.popleft()

    def hello(self, *, timeout_s: float | None = None) -> m.Welcome:
        """Who is there; also checks that both sides speak the same protocol."""
        return self.request(m.Hello(VERSION), m.Welcome, timeout_s=timeout_s)

    def submit(self, job: m.Job, *, priority: int = 0) -> m.Accepted:
        """Hand `job` in and watch it. Handing in the same id again does no harm."""
        if self._welcome is None:
            self.hello()  # a server ends the connection of whoever sends it too large a frame
        return self.request(m.Submit(job, priority), m.Accepted, timeout_s=max(self.timeout_s, 60.0))

    def cancel(self, job_id: str) -> m.Accepted:
        """Ask for an end within one step; the best so far arrives as the job's result."""
        return self.request(m.Cancel(job_id), m.Accepted)

    def events(self, job_id: str, *, silence_s: float = 60.0, tick_s: float = 1.0) -> Iterator[m.Event | None]:
        """The events of a submitted job up to and including its `Ended`; None about every `tick_s` without one.

        While nothing comes, the job is asked for again (so a lost connection heals). Raises
        :class:`ServerUnreachable` when the server answers nothing for `silence_s`, and :class:`UnknownJob` when it has
        come back without the job.
        """
        silent_s = 0.0
        while True:
            event = self.poll(tick_s)
            if event is not None and event.job_id == job_id:
                silent_s = 0.0
                yield event
                if isinstance(event, m.Ended):
                    return
            else:
                silent_s = self._ask_again(job_id, silent_s + tick_s, silence_s)
                yield None

    def _ask_again(self, job_id: str, silent_s: float, silence_s: float) -> float:
        """How long the server has been silent by now. Only time spent asking counts: a laptop that slept did not."""
        asked = time.monotonic()
        try:
            self.request(m.Watch(job_id), m.Accepted, timeout_s=WATCH_S)
        except ServerUnreachable:
            silent_s += min(time.monotonic() - asked, WATCH_S)
            if silent_s > silence_s:
                raise
            return silent_s
        return 0.0

    def wait(
        self, job_id: str, *, on_event: Callable[[m.Event], None] | None = None, silence_s: float = 60.0
    ) -> m.Result:
        """Block until a submitted job has ended and give its result; its error is raised."""
        for event in self.events(job_id, silence_s=silence_s):
            if event is not None and on_event is not None:
                on_event(event)
            if isinstance(event, m.Ended):
                return outcome(event)
        raise AssertionError("events() ends only with Ended")


def outcome(ended: m.Ended) -> m.Result:
    """The result of an ended job, or its error, raised."""
    if ended.error is not None:
        raise from_data(ended.error)
    if ended.result is None:
        raise InvalidInput(f"Job {ended.job_id} ended with neither result nor error.")
    return ended.result
