"""The process that answers: holds the socket and the jobs, imports no torch, and never waits for the worker.

Requests about jobs are answered here at once. What needs a classifier goes to the worker, and its answer goes back to
who asked. A worker that dies ends its job with an error and is started again.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import zmq

from shared import errors
from shared import messages as m
from shared.scene import check_scene
from shared.version import VERSION
from shared.wire import Envelope, pack, peek, unpack

from .worker_process import WorkerProcess

#: How often the worker's health is looked at.
TICK_MS = 200
#: Ended jobs whose results are kept for whoever asks again.
KEPT_JOBS = 32
#: Jobs that may wait.
MAX_QUEUE = 100
#: A worker that dies this often in a row without finishing anything is not started again by itself.
MAX_RESTARTS = 3


@dataclass
class Record:
    """A job as the front knows it."""

    job: m.Job | None
    watchers: set[bytes] = field(default_factory=set)
    state: Literal["queued", "running", "done", "failed"] = "queued"
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    ended: m.Ended | None = None
    draw: m.Draw | None = None


#: Requests that need torch: the worker answers them, between two steps of its job.
FOR_THE_WORKER = (m.ListModels, m.ListTargets, m.Classify, m.Assist, m.DrawSheet, m.DrawComparison)


class Front:
    """The server's face. ``address`` is what it is bound to, with the real port."""

    def __init__(self, bind: str, *, device: str = "auto", rasterizer: str = "auto") -> None:
        self._context = zmq.Context()
        self._clients = self._context.socket(zmq.ROUTER)
        self._clients.setsockopt(zmq.LINGER, 1000)
        self._clients.setsockopt(zmq.SNDHWM, 0)
        self._clients.setsockopt(zmq.RCVHWM, 0)
        try:
            self._clients.bind(bind)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise _bind_error(bind, error) from error
        self.address = self._clients.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._folder = tempfile.TemporaryDirectory(prefix="assistive-server-")
        self._worker = WorkerProcess(self._context, Path(self._folder.name), device, rasterizer)
        self._device = ""
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._queue: deque[str] = deque()
        self._running: str | None = None
        self._asked: dict[int, tuple[bytes, int]] = {}
        self._numbers = itertools.count(1)
        self._deaths = 0

    def serve(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Answer until `stopped` says so (asked about every 200 ms) or the process is interrupted."""
        try:
            while not stopped():
                self._turn()
        finally:
            self.close()

    def close(self) -> None:
        """End the worker and let go of the address."""
        self._worker.stop()
        self._context.destroy(linger=1000)
        self._folder.cleanup()

    def _turn(self) -> None:
        poller = zmq.Poller()
        poller.register(self._clients, zmq.POLLIN)
        poller.register(self._worker.socket, zmq.POLLIN)
        self._worker.flush()
        ready = dict(poller.poll(TICK_MS))
        if self._clients in ready:
            self._from_client()
        if self._worker.socket in ready:
            self._from_worker()
        if not self._worker.alive():
            self._worker_died()
        self._start_next()

    # --- clients ----------------------------------------------------------------------------------------------------

    def _from_client(self) -> None:
        identity, *frames = [frame.buffer for frame in self._clients.recv_multipart(copy=False)]
        client = bytes(identity)
        number = 0
        try:
            number = peek(frames[0]).request if frames else 0
            answer = self._answer(client, number, unpack(frames).message)
        except errors.AssistiveError as error:
            answer = m.Refused(error.to_data())
        except Exception as error:  # the boundary: no request of one client may end the server for all
            logging.exception("A request could not be answered.")
            answer = m.Refused(errors.JobFailed(f"The server failed with {type(error).__name__}: {error}.").to_data())
        if answer is not None:
            self._send(client, answer, number)
            self._send_ending(client, answer)

    def _send(self, client: bytes, message: m.Message, number: int = 0) -> None:
        self._clients.send_multipart([client, *pack(message, number)], copy=False)

    def _send_ending(self, client: bytes, answer: m.Reply) -> None:
        """Whoever asks for a job that has ended hears of its end right after the answer."""
        if isinstance(answer, m.Accepted):
            ended = self._records[answer.job_id].ended
            if ended is not None:
                self._send(client, ended)

    def _answer(self, client: bytes, number: int, message: m.Message) -> m.Reply | None:
        """The reply to a request; None where the worker will give it."""
        if isinstance(message, m.Hello):
            running = int(self._running is not None)
            return m.Welcome(version=VERSION, device=self._device, jobs_running=running, jobs_queued=len(self._queue))
        if isinstance(message, m.Submit):
            return self._submit(client, message.job)
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

    def _submit(self, client: bytes, job: m.Job) -> m.Accepted:
        if job.id not in self._records:
            check_scene(job.scene)
            self._check_worker()
            if len(self._queue) >= MAX_QUEUE:
                raise errors.InvalidInput(f"{MAX_QUEUE} jobs are waiting already.", hint="Try again later.")
            self._records[job.id] = Record(job)
            self._queue.append(job.id)
        self._records[job.id].watchers.add(client)
        return self._accepted(job.id)

    def _watch(self, client: bytes, job_id: str) -> m.Accepted:
        record = self._record(job_id)
        if record.draw is not None and client not in record.watchers:
            self._send(client, record.draw)  # the job waits for whoever can draw, which may be the one who comes now
        record.watchers.add(client)
        return self._accepted(job_id)

    def _drawn(self, drawn: m.Drawn) -> m.Accepted:
        record = self._record(drawn.job_id)
        if record.draw is not None and record.draw.step == drawn.step:  # else somebody else was faster
            record.draw = None
            self._worker.send(drawn)
        return self._accepted(drawn.job_id)

    def _cancel(self, job_id: str) -> m.Accepted:
        record = self._record(job_id)
        if record.state == "running":
            self._worker.send(m.Cancel(job_id))
        elif record.state == "queued":
            self._queue.remove(job_id)
            error = errors.JobFailed("The job was cancelled before it began.").to_data()
            self._end(m.Ended(job_id=job_id, error=error))
        return self._accepted(job_id)

    def _record(self, job_id: str) -> Record:
        if job_id not in self._records:
            raise errors.UnknownJob(f"This server knows no job {job_id!r}.", hint="It may have been restarted.")
        return self._records[job_id]

    def _accepted(self, job_id: str) -> m.Accepted:
        state = self._records[job_id].state
        position = self._queue.index(job_id) + int(self._running is not None) if state == "queued" else 0
        return m.Accepted(job_id=job_id, state=state, position=position)

    def _ask_worker(self, client: bytes, number: int, message: m.Message) -> None:
        self._check_worker()
        mine = next(self._numbers)
        self._asked[mine] = (client, number)
        self._worker.send(message, mine)

    def _check_worker(self) -> None:
        if not self._worker.alive():
            raise errors.JobFailed(
                "The server's worker process cannot be kept running.",
                hint="Its log has the details; restart the server.",
            )

    # --- worker -----------------------------------------------------------------------------------------------------

    def _from_worker(self) -> None:
        frames = [frame.buffer for frame in self._worker.socket.recv_multipart(copy=False)]
        try:
            self._take(unpack(frames))
        except errors.AssistiveError as error:  # a number that is none, say: the job that made it has failed
            logging.error("The worker sent what cannot be used: %s", error)
            if self._running is not None:
                self._worker.send(m.Cancel(self._running))
                self._end(m.Ended(job_id=self._running, error=errors.JobFailed(error.message).to_data()))

    def _take(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, m.Ended | m.Progress | m.Preview | m.Draw) and message.job_id != self._running:
            return  # of a job that has been given up
        if isinstance(message, m.Ended):
            self._deaths = 0
            self._end(message)
        elif isinstance(message, m.Progress | m.Preview | m.Draw):
            record = self._record(message.job_id)
            record.draw = message if isinstance(message, m.Draw) else None
            for watcher in record.watchers:
                self._send(watcher, message)
        elif isinstance(message, m.Welcome):
            self._device = message.device
        elif envelope.request in self._asked:
            self._deaths = 0
            self._send_answer(envelope.request, message)

    def _send_answer(self, mine: int, message: m.Message) -> None:
        client, number = self._asked.pop(mine)
        self._send(client, message, number)

    def _start_next(self) -> None:
        if self._running is None and self._queue and self._worker.alive():
            self._running = self._queue.popleft()
            record = self._records[self._running]
            record.state, record.started = "running", time.monotonic()
            assert record.job is not None, "only ended jobs have let go of their scene"
            self._worker.send(m.Submit(record.job))

    def _end(self, ended: m.Ended) -> None:
        record = self._records[ended.job_id]
        if ended.result is not None:
            timing = msgspec.structs.replace(ended.result.timing, queue_s=record.started - record.submitted)
            ended = msgspec.structs.replace(ended, result=msgspec.structs.replace(ended.result, timing=timing))
        record.state = "done" if ended.error is None else "failed"
        record.ended, record.job, record.draw = ended, None, None
        self._records.move_to_end(ended.job_id)
        if self._running == ended.job_id:
            self._running = None
        for watcher in record.watchers:
            self._send(watcher, ended)
        self._forget_old()

    def _forget_old(self) -> None:
        over = [job_id for job_id, record in self._records.items() if record.ended is not None][:-KEPT_JOBS]
        for job_id in over:
            del self._records[job_id]

    def _worker_died(self) -> None:
        if self._deaths > MAX_RESTARTS:
            return
        self._deaths += 1
        error = errors.JobFailed(
            f"The worker process ended unexpectedly ({self._worker.exit_reason()}).",
            hint="The server's log has the details.",
        ).to_data()
        for mine in list(self._asked):
            self._send_answer(mine, m.Refused(error))
        if self._running is not None:
            self._end(m.Ended(job_id=self._running, error=error))
        if self._deaths <= MAX_RESTARTS:
            self._worker.restart()
            return
        while self._queue:
            self._end(m.Ended(job_id=self._queue.popleft(), error=error))


def _bind_error(bind: str, error: zmq.ZMQError) -> errors.AssistiveError:
    if error.errno == zmq.EADDRINUSE:
        return errors.AddressInUse(
            f"The address {bind} is taken by another program.",
            hint="Choose another port with --bind, or end that program.",
        )
    return errors.InvalidInput(f"The server cannot bind to {bind!r}: {error}.", hint="Use tcp://HOST:PORT.")
