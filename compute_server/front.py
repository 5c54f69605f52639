"""The process that answers: holds the socket, imports no torch, never waits for the worker, a client or a large file.

Requests about jobs are answered here, of what the ledger says. What needs a classifier goes to the worker, and its
answer goes back to who asked. A worker that dies or hangs is started again, and its job goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import zmq

from shared import errors
from shared import messages as m
from shared.client import NOTICE_LOSS
from shared.limits import Limits, check_frames, check_header, check_limits
from shared.version import VERSION
from shared.wire import Frame, pack, peek, unpack

from . import orders, security
from .figures import Figures
from .intake import Intake, Taken
from .ledger import Entry, Ledger, Room, lock_home
from .outbox import HIGH_WATER, Outbox
from .waiting import RESUMED, Line, Pace, Waiter
from .worker_process import WorkerProcess

log = logging.getLogger(__name__)

#: How often the worker's health is looked at; and how often while a slow client still has something to get.
TICK_MS, BUSY_TICK_MS = 200, 20
#: A worker that dies this often in a row without finishing anything is not started again by itself.
MAX_RESTARTS = 3
#: A job that a worker has died on so often since its last checkpoint is not tried again.
MAX_ATTEMPTS = 2
#: How often old jobs are looked for.
PRUNE_EVERY_S = 60.0
#: When the server is ended, its worker has so long to finish a step.
PAUSE_S = 30.0


@dataclass(frozen=True)
class Policy:
    """What a server's owner may set. ``hang_s`` is how long a worker may give no sign of life; jobs that ended longer
    than ``keep_s`` ago are forgotten, and the oldest of those that hold more than ``keep_bytes``."""

    room: Room = field(default_factory=Room)
    limits: Limits = field(default_factory=Limits)
    hang_s: float = 600.0
    checkpoint_s: float = 30.0
    keep_s: float = 30 * 86400.0
    keep_bytes: int = 20 << 30


@dataclass
class Live:
    """A job that has not ended, and who is to be told of it."""

    entry: Entry
    state: Literal["queued", "running"] = "queued"
    watchers: set[bytes] = field(default_factory=set)
    began: float = 0.0
    eta_s: float | None = None
    draw: m.Draw | None = None


#: Requests that need torch: the worker answers them, between two steps of its job.
FOR_THE_WORKER = (m.ListModels, m.ListTargets, m.Classify, m.Assist, m.DrawSheet, m.DrawComparison)

NO_WORKER = errors.JobFailed(
    "The server's worker process cannot be kept running.", hint="Its log has the details; restart the server."
)


class Front:
    """The server's face. ``address`` is what it is bound to, with the real port.

    Its jobs are kept in `home`; None: in a folder that is removed in the end.
    """

    def __init__(
        self,
        bind: str,
        *,
        home: Path | None = None,
        device: str = "auto",
        rasterizer: str = "auto",
        policy: Policy | None = None,
    ) -> None:
        self._policy = policy or Policy()
        self._folder = tempfile.TemporaryDirectory(prefix="assistive-server-", ignore_cleanup_errors=True)
        self._lasting = home is not None
        home = home or Path(self._folder.name) / "home"
        security.check_bind(bind)
        self._context = zmq.Context()
        with contextlib.ExitStack() as undo:
            undo.callback(self._folder.cleanup)
            undo.callback(self._context.destroy, linger=0)
            self._door = security.Door(self._context)
            self._clients = self._bound(bind)
            self._lock = undo.enter_context(lock_home(home))
            self._ledger = Ledger(home)
            undo.pop_all()
        self.address = self._clients.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._announced = contextlib.ExitStack()
        self._announced.enter_context(security.announced(self.address, self._door.pair.public))
        self._outbox = Outbox(self._clients, self._ending, self._gone)
        self._intake = Intake(self._context, home, self._policy.room, self._policy.limits)
        arguments = ["--device", device, "--rasterizer", rasterizer, "--checkpoint-s", str(self._policy.checkpoint_s)]
        self._worker = WorkerProcess(self._context, Path(self._folder.name), arguments, self._door)
        self._device = ""
        self._live: dict[str, Live] = {}
        self._line = Line()
        self._pace = Pace()
        self._running: str | None = None
        self._asked: dict[int, tuple[bytes, int]] = {}
        self._numbers = itertools.count(1)
        self._deaths = self._lost = 0
        self._ended: Counter[str] = Counter()
        self._heard = time.monotonic()
        self._pruned = 0.0
        self._book_version = self._ledger.version()
        self._resume()

    def _bound(self, bind: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 1000),
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, 0),
            (zmq.MAXMSGSIZE, self._policy.limits.message_bytes),
            (zmq.ROUTER_MANDATORY, 1),
            *NOTICE_LOSS,
        ):
            socket.setsockopt(option, value)
        self._door.secure(socket)
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            raise _bind_error(bind, error) from error
        return socket

    def _resume(self) -> None:
        """Take up what an earlier server of this home has left."""
        self._ledger.sweep()
        for entry in self._ledger.unfinished():
            self._wait(entry)

    def figures(self) -> Figures:
        """How the server stands; any thread may ask."""
        busy = self._running is not None or bool(self._asked)
        return Figures(
            running=int(self._running is not None),
            waiting=len(self._line),
            ended=dict(self._ended),
            workers_lost=self._lost,
            clients_behind=len(self._outbox),
            silent_s=time.monotonic() - self._heard if busy else 0.0,
        )

    def serve(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Answer until `stopped` says so (asked about every 200 ms) or the process is interrupted."""
        try:
            while not stopped():
                self._turn()
        finally:
            self.close()

    def close(self) -> None:
        """Have the worker finish its step and write a checkpoint; end it, and let go of the address."""
        self._announced.close()
        if self._lasting and self._running is not None:
            self._worker.order(orders.Pause())
            self._worker.wait(PAUSE_S)
        self._worker.stop()
        self._intake.close()
        self._context.destroy(linger=1000)
        self._ledger.close()
        self._lock.close()
        self._folder.cleanup()

    def _turn(self) -> None:
        poller = zmq.Poller()
        for socket in (self._door.socket, self._clients, self._worker.socket, self._intake.socket):
            poller.register(socket, zmq.POLLIN)
        self._worker.flush()
        ready = dict(poller.poll(BUSY_TICK_MS if len(self._outbox) else TICK_MS))
        for client in self._door.refresh():
            self._gone(client)
            self._outbox.drop(client)
        if self._door.socket in ready:
            self._door.answer()
        if self._clients in ready:
            self._from_client()
        if self._intake.socket in ready:
            self._from_intake(self._intake.take())
        if self._worker.socket in ready:
            self._from_worker()
        self._outbox.flush()
        self._look_after_worker()
        self._look_into_book()
        self._start_next()

    # --- clients ----------------------------------------------------------------------------------------------------

    def _from_client(self) -> None:
        identity, *received = self._clients.recv_multipart(copy=False)
        client = identity.bytes
        if not self._door.admits(client, received[-1]):
            return
        parts: list[Frame] = [frame.buffer for frame in received]
        number = 0
        try:
            check_header(parts)
            preamble = peek(parts[0])
            number = preamble.request  # first: a refusal without it would not be taken for the answer
            check_frames(parts, self._policy.limits)
            if self._intake.concerns(client, parts, preamble.kind):
                self._intake.put(client, self._door.key_of(client), number, parts)
                return
            message = unpack(parts, reader="the server", sender="the add-on").message
            check_limits(message, self._policy.limits)
            self._reply(client, number, message)
        except errors.AssistiveError as error:
            self._send(client, m.Refused(error.to_data()), number)

    def _from_intake(self, taken: Taken) -> None:
        if taken.error is not None or taken.message is None:
            error = taken.error or errors.JobFailed("The message could not be read.")
            self._send(taken.client, m.Refused(error.to_data()), taken.number)
        else:
            self._reply(taken.client, taken.number, taken.message)

    def _reply(self, client: bytes, number: int, message: m.Message) -> None:
        try:
            answer = self._answer(client, number, message)
        except errors.AssistiveError as error:
            answer = m.Refused(error.to_data())
        except Exception as error:  # the boundary: no request of one client may end the server for all
            log.exception("A request could not be answered.")
            answer = m.Refused(errors.JobFailed(f"The server failed with {type(error).__name__}: {error}.").to_data())
        if answer is not None:
            self._send(client, answer, number)
        if isinstance(answer, m.Accepted) and answer.job_id not in self._live:
            self._outbox.ended(client, answer.job_id)  # whoever asks for a job that has ended hears of its end

    def _send(self, client: bytes, message: m.Message, number: int = 0) -> None:
        self._outbox.answer(client, pack(message, number))

    def _tell(self, live: Live, event: m.Progress | m.Preview | m.Draw) -> None:
        frames = pack(event)
        for watcher in list(live.watchers):
            self._outbox.latest(watcher, event.job_id, type(event), frames)

    def _ending(self, job_id: str) -> list[Frame] | None:
        """The last event of a job; None where it has been forgotten meanwhile."""
        try:
            return self._ledger.ended(job_id)
        except errors.AssistiveError as error:
            log.error("The end of job %s cannot be told: %s", job_id, error, extra={"job": job_id})
            return None

    def _gone(self, client: bytes) -> None:
        for live in self._live.values():
            live.watchers.discard(client)

    def _answer(self, client: bytes, number: int, message: m.Message) -> m.Reply | None:
        """The reply to a request; None where the worker will give it."""
        if isinstance(message, m.Hello):
            running = int(self._running is not None)
            return m.Welcome(
                version=VERSION,
                device=self._device,
                jobs_running=running,
                jobs_queued=len(self._line),
                message_bytes=self._policy.limits.message_bytes,
            )
        if isinstance(message, m.Watch):
            return self._watch(client, message.job_id)
        if isinstance(message, m.Cancel):
            return self._cancel(message.job_id)
        if isinstance(message, m.Drawn):
            return self._drawn(message)
        if isinstance(message, FOR_THE_WORKER):
            self._ask_worker(client, number, message)
            return None
        raise errors.InvalidInput(f"{type(message).__name__} is not a request.")

    def _watch(self, client: bytes, job_id: str) -> m.Accepted:
        """Tell `client` of a job, which may have come into the book just now."""
        entry = self._ledger.get(job_id)
        if entry.state == "queued" and job_id not in self._live:
            log.info("Job %s has come.", job_id, extra={"job": job_id})
            self._wait(entry)
        live = self._live.get(job_id)
        if live is not None:
            if live.draw is not None and client not in live.watchers:
                # The job waits for whoever can draw, which may be the one who comes now.
                self._outbox.latest(client, job_id, m.Draw, pack(live.draw))
            live.watchers.add(client)
        return self._accepted(job_id)

    def _drawn(self, drawn: m.Drawn) -> m.Accepted:
        live = self._live.get(drawn.job_id)
        if live is not None and live.draw is not None and live.draw.step == drawn.step:  # else somebody was faster
            live.draw = None
            self._worker.send(drawn)
        return self._accepted(drawn.job_id)

    def _cancel(self, job_id: str) -> m.Accepted:
        self._ledger.get(job_id)
        self._ledger.ask_cancel(job_id)  # before it is told: a server that restarts knows it, too
        self._heed_cancel(job_id)
        return self._accepted(job_id)

    def _heed_cancel(self, job_id: str) -> None:
        if job_id == self._running:
            self._worker.send(m.Cancel(job_id))
        elif job_id in self._live and self._live[job_id].entry.began is None:
            error = errors.JobFailed("The job was cancelled before it began.").to_data()
            self._end(job_id, "cancelled", error)

    def _accepted(self, job_id: str) -> m.Accepted:
        live = self._live.get(job_id)
        if live is None:
            return m.Accepted(job_id=job_id, state=self._ledger.get(job_id).state, position=0)
        if live.state == "running":
            return m.Accepted(job_id=job_id, state="running", position=0)
        ahead = self._line.before(job_id)
        position = len(ahead) + int(self._running is not None)
        return m.Accepted(job_id=job_id, state="queued", position=position, wait_s=self._wait_s(ahead))

    def _wait_s(self, ahead: list[Waiter]) -> float | None:
        """How long the running job and those `ahead` will take, as far as is known."""
        waits = [self._pace.of(waiter.work) for waiter in ahead]
        if self._running is not None:
            waits.append(self._live[self._running].eta_s)
        known = [wait for wait in waits if wait is not None]
        return sum(known) if len(known) == len(waits) else None

    def _ask_worker(self, client: bytes, number: int, message: m.Message) -> None:
        if not self._worker.alive():
            raise NO_WORKER
        mine = next(self._numbers)
        self._expect_worker()
        self._asked[mine] = (client, number)
        self._worker.send(message, mine)

    # --- jobs -------------------------------------------------------------------------------------------------------

    def _wait(self, entry: Entry) -> None:
        """Put a job in the line."""
        self._live[entry.id] = Live(entry)
        priority = RESUMED if entry.state == "running" else entry.priority
        self._line.add(Waiter(entry.id, entry.client, priority, entry.work))

    def _start_next(self) -> None:
        if self._running is not None or not len(self._line) or not self._worker.alive():
            return
        job_id = self._line.take().job_id
        live = self._live[job_id]
        self._ledger.begin(job_id)
        live.entry = self._ledger.get(job_id)
        live.state, live.began, self._running = "running", time.monotonic(), job_id
        began = live.entry.began or live.entry.submitted
        self._expect_worker()
        self._worker.order(
            orders.Begin(
                job_id=job_id,
                folder=str(self._ledger.folder(job_id)),
                queued_s=began - live.entry.submitted,
                cancelled=live.entry.cancel,
            )
        )
        log.info("Job %s runs.", job_id, extra={"job": job_id})

    def _end(
        self, job_id: str, state: Literal["done", "failed", "cancelled"], error: errors.ErrorData | None = None
    ) -> None:
        """The job has ended: write it down, then tell everybody."""
        live = self._live.pop(job_id)
        if job_id in self._line:
            self._line.remove(job_id)
        if self._running == job_id:
            self._running = None
        if not self._ledger.end(job_id, state, error):
            return
        self._ended[state] += 1
        log.info("Job %s is %s.", job_id, state, extra={"job": job_id})
        for watcher in live.watchers:
            self._outbox.ended(watcher, job_id)

    def _look_into_book(self) -> None:
        """Heed what others have written there (`assistive-server jobs cancel`), and forget what is old."""
        version = self._ledger.version()
        if version != self._book_version:
            self._book_version = version
            for job_id in self._ledger.to_cancel():
                self._heed_cancel(job_id)
        if time.monotonic() - self._pruned > PRUNE_EVERY_S:
            self._pruned = time.monotonic()
            self._ledger.prune(self._policy.keep_s, self._policy.keep_bytes)

    # --- worker -----------------------------------------------------------------------------------------------------

    def _expect_worker(self) -> None:
        """From now on the worker has something to do, and its silence counts."""
        if self._running is None and not self._asked:
            self._heard = time.monotonic()

    def _from_worker(self) -> None:
        frames = [frame.buffer for frame in self._worker.socket.recv_multipart(copy=False)]
        self._heard = time.monotonic()
        order = orders.unpack_order(frames)
        if order is not None:
            self._heed(order)
            return
        try:
            envelope = unpack(frames)
        except errors.AssistiveError as error:  # a number that is none, say: the job that made it has failed
            log.error("The worker sent what cannot be used: %s", error)
            if self._running is not None:
                self._worker.send(m.Cancel(self._running))
                self._end(self._running, "failed", errors.JobFailed(error.message).to_data())
            return
        self._take(envelope.request, envelope.message)

    def _heed(self, order: orders.Order) -> None:
        if isinstance(order, orders.Kept) and order.job_id == self._running:
            self._deaths = 0
            self._ledger.got_on(order.job_id)
        elif isinstance(order, orders.Over) and order.job_id == self._running:
            self._deaths = 0
            live = self._live[order.job_id]
            if order.error is None and not order.cancelled:
                self._pace.learn(time.monotonic() - live.began, live.entry.work)
            state: Literal["done", "failed", "cancelled"] = "cancelled" if order.cancelled else "done"
            self._end(order.job_id, "failed" if order.error is not None else state, order.error)

    def _take(self, number: int, message: m.Message) -> None:
        if isinstance(message, m.Progress | m.Preview | m.Draw):
            if message.job_id != self._running:
                return  # of a job that has been given up
            live = self._live[message.job_id]
            live.draw = message if isinstance(message, m.Draw) else None
            if isinstance(message, m.Progress) and message.phase == "optimising":
                live.eta_s = message.eta_s
            self._tell(live, message)
        elif isinstance(message, m.Welcome):
            self._device = message.device
        elif number in self._asked:
            self._deaths = 0
            self._send_answer(number, message)

    def _send_answer(self, mine: int, message: m.Message) -> None:
        client, number = self._asked.pop(mine)
        self._send(client, message, number)

    def _look_after_worker(self) -> None:
        if self._deaths > MAX_RESTARTS:
            for job_id in list(self._live):
                self._end(job_id, "failed", NO_WORKER.to_data())
        elif not self._worker.alive():
            self._worker_died(f"ended unexpectedly ({self._worker.exit_reason()})")
        elif (self._running is not None or self._asked) and time.monotonic() - self._heard > self._policy.hang_s:
            self._worker.kill()
            self._worker_died(f"gave no sign of life for {self._policy.hang_s:g} s and was ended")

    def _worker_died(self, how: str) -> None:
        self._deaths += 1
        self._lost += 1
        log.error("The worker process %s.", how)
        error = errors.JobFailed(f"The worker process {how}.", hint="The server's log has the details.").to_data()
        for mine in list(self._asked):
            self._send_answer(mine, m.Refused(error))
        if self._running is not None:
            self._try_again(self._running, error)
        if self._deaths <= MAX_RESTARTS:
            self._worker.restart()
            self._heard = time.monotonic()

    def _try_again(self, job_id: str, error: errors.ErrorData) -> None:
        """A job whose worker has died goes on from its checkpoint, unless that has been tried."""
        if self._ledger.count_attempt(job_id) >= MAX_ATTEMPTS:
            self._end(job_id, "failed", error)
            return
        log.warning("Job %s goes on from its last checkpoint.", job_id, extra={"job": job_id})
        self._running = None
        watchers = self._live[job_id].watchers
        self._wait(self._ledger.get(job_id))
        self._live[job_id].watchers = watchers


def _bind_error(bind: str, error: zmq.ZMQError) -> errors.AssistiveError:
    if error.errno == zmq.EADDRINUSE:
        return errors.AddressInUse(
            f"The address {bind} is taken by another program.",
            hint="Choose another port with --bind, or end that program.",
        )
    return errors.InvalidInput(f"The server cannot bind to {bind!r}: {error}.", hint="Use tcp://HOST:PORT.")
