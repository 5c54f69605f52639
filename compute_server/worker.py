"""The process that computes: takes requests from the front over one socket, runs one job at a time.

Between two steps of a job it looks at its socket, so that cancelling and short requests never wait for the job's end.
Started by the front as ``python -m compute_server.worker``; ends when the front does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import zmq

from shared import errors, targets
from shared import messages as m
from shared.arrays import validate
from shared.client import outcome
from shared.scene import View
from shared.wire import Envelope, byte_count, load_stored, pack, save_frames, unpack

from . import orders
from .checkpoints import FileKeeper, Paused
from .classifiers import available, labels, loaded
from .ensemble import verdicts
from .images import assist
from .jobs import choose_device, run_job
from .ledger import check_space
from .optimize import StepReport
from .problem import Problem
from .render.color import from_bytes, to_bytes
from .security import secure_worker
from .sheet import comparison_sheet, contact_sheet
from .waiting import job_steps

#: A job waits so long for Blender's pictures; if none come, it goes on with its own and asks no more.
DRAW_S = 600.0
DRAW_TICK_MS = 200
#: So often a worker that is at a job shows that it gets on.
BEAT_S = 1.0


class Worker:
    """One device, one socket, and the classifiers loaded so far."""

    def __init__(self, socket: zmq.Socket[bytes], device: torch.device, rasterizer: str, checkpoint_s: float) -> None:
        self.device = device
        self.pausing = False
        self._socket = socket
        self._rasterizer = rasterizer
        self._checkpoint_s = checkpoint_s
        self._beaten = 0.0
        self._cancelled: set[str] = set()
        self._drawn: m.Drawn | None = None

    def serve(self) -> None:
        """Answer until told to pause; the process ends with the front, too (see `main`)."""
        self.send(m.Welcome(version="", device=device_name(self.device), jobs_running=0, jobs_queued=0))
        while not self.pausing:
            self._handle(self._receive())

    def send(self, message: m.Message, request: int = 0) -> None:
        """One message to the front."""
        self._socket.send_multipart(pack(message, request), copy=False)

    def report(self, order: orders.Order) -> None:
        """One order to the front."""
        self._socket.send_multipart(orders.pack_order(order))

    def answer_pending(self) -> None:
        """Show that we get on, and handle whatever has come in; does not wait."""
        if time.monotonic() - self._beaten > BEAT_S:
            self._beaten = time.monotonic()
            self.report(orders.Beat())
        while self._socket.poll(0):
            self._handle(self._receive())

    def wait_drawn(self, asked: m.Draw) -> np.ndarray | None:
        """The pictures that a job has `asked` for; None when it is cancelled, or nobody draws them in time."""
        until = time.monotonic() + DRAW_S
        while time.monotonic() < until and not self.is_cancelled(asked.job_id) and not self.pausing:
            drawn, self._drawn = self._drawn, None
            if drawn is not None and (drawn.job_id, drawn.step) == (asked.job_id, asked.step):
                return drawn.pictures
            self._socket.poll(DRAW_TICK_MS)
            self.answer_pending()
        if self.pausing:
            raise Paused  # the step is taken anew, with the pictures that are drawn for it then
        return None

    def is_cancelled(self, job_id: str) -> bool:
        """Whether the front has asked for this job's end."""
        return job_id in self._cancelled

    def _receive(self) -> Envelope | orders.Order:
        frames = [frame.buffer for frame in self._socket.recv_multipart(copy=False)]
        return orders.unpack_order(frames) or unpack(frames)

    def _handle(self, received: Envelope | orders.Order) -> None:
        if isinstance(received, Envelope):
            self._handle_message(received)
        elif isinstance(received, orders.Begin):
            self._begin(received)
        elif isinstance(received, orders.Pause):
            self.pausing = True

    def _handle_message(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, m.Cancel):
            self._cancelled.add(message.job_id)
        elif isinstance(message, m.Drawn):
            self._drawn = message
        else:
            self.send(self._answer(message), envelope.request)

    def _answer(self, message: m.Message) -> m.Reply:
        try:
            if isinstance(message, m.ListModels):
                return m.Models(tuple(_model_info()))
            if isinstance(message, m.ListTargets):
                return m.Targets(labels())
            if isinstance(message, m.Classify):
                return m.Classified(self._classify(message.pictures, message.model, message.target, message.top))
            if isinstance(message, m.Assist):
                return assist(message.picture, message.settings, self.device)
            if isinstance(message, m.DrawSheet):
                return self._draw_sheet(message)
            if isinstance(message, m.DrawComparison):
                return self._draw_comparison(message)
        except errors.AssistiveError as error:
            return m.Refused(error.to_data())
        except Exception as error:  # the boundary: whatever went wrong is told to the client, and the worker lives on
            traceback.print_exc()
            return m.Refused(_unexpected(error))
        return m.Refused(errors.InvalidInput(f"A worker does not answer {type(message).__name__}.").to_data())

    def _classify(self, pictures: np.ndarray, model: str, target: str, top: int) -> tuple[m.Verdict, ...]:
        names = labels()
        images = from_bytes(torch.tensor(pictures, device=self.device))
        return verdicts(loaded(model, self.device), images, targets.resolve(target, names), names, top)

    def _draw_sheet(self, message: m.DrawSheet) -> m.Sheet:
        verdicts = (
            self._classify(message.before, message.model, message.target, 1),
            self._classify(message.after, message.model, message.target, 1),
        )
        title = f"Target: {message.target} · classifier: {message.model} · views never used in training"
        return m.Sheet(contact_sheet(message.before, message.after, verdicts, title))

    def _draw_comparison(self, message: m.DrawComparison) -> m.Sheet:
        pairs = (
            (message.server_before, message.blender_before),
            (message.server_after, message.blender_after),
        )
        shapes = {pictures.shape for pair in pairs for pictures in pair}
        if len(shapes) > 1:
            raise errors.InvalidInput(f"Pictures to compare have different shapes: {sorted(shapes)}.")
        verdicts = [tuple(self._classify(p, message.model, message.target, 1) for p in pair) for pair in pairs]
        title = f"Target: {message.target} · classifier: {message.model} · the server's pictures and Blender's"
        return m.Sheet(comparison_sheet(pairs, verdicts, title))  # type: ignore[arg-type]

    def _begin(self, begin: orders.Begin) -> None:
        """Do a job, and leave its result in its folder."""
        self._cancelled = {begin.job_id} if begin.cancelled else set()
        try:
            self.report(orders.Over(job_id=begin.job_id, cancelled=self._run(begin).outcome == "cancelled"))
        except Paused:
            self.pausing = True
        except errors.AssistiveError as error:
            self.report(orders.Over(job_id=begin.job_id, error=error.to_data()))
        except Exception as error:  # the boundary: a failing job is an error to its client, and the worker lives on
            traceback.print_exc()
            self.report(orders.Over(job_id=begin.job_id, error=_unexpected(error)))

    def _run(self, begin: orders.Begin) -> m.Result:
        """The job's result, which is in its folder by then."""
        folder = Path(begin.folder)
        path = folder / "result.msg"
        if path.exists():  # whoever wrote it was killed before it could say so
            ended = load_stored(path)
            assert isinstance(ended, m.Ended)
            return outcome(ended)
        submitted = load_stored(folder / "job.msg")
        assert isinstance(submitted, m.Submit)
        keeper = FileKeeper(
            folder,
            self.device,
            every_s=self._checkpoint_s,
            kept=lambda step: self.report(orders.Kept(begin.job_id, step)),
            pausing=lambda: self.pausing,
        )
        result = run_job(
            submitted.job,
            self.device,
            _Reporter(self, submitted.job),
            rasterizer=self._rasterizer,
            keeper=keeper,
            queued_s=begin.queued_s,
        )
        _store(m.Ended(job_id=begin.job_id, result=result), path)
        return result


def _store(ended: m.Ended, path: Path) -> None:
    """Write the end of a job, if it can be sent: a result with NaN in it is none."""
    try:
        validate(ended)
    except errors.InvalidInput as error:
        raise errors.JobFailed(error.message) from error
    frames = pack(ended)
    check_space(path.parent, byte_count(frames))
    try:
        save_frames(frames, path)
    except OSError as error:
        raise errors.OutputFailed(f"The result could not be stored on the server: {error.strerror}.") from error


def _unexpected(error: Exception) -> errors.ErrorData:
    return errors.JobFailed(
        f"The server failed with {type(error).__name__}: {error}.", hint="Its log has the details."
    ).to_data()


def _model_info() -> list[m.ModelInfo]:
    return [
        m.ModelInfo(
            name=spec.name,
            size=spec.size,
            available=spec.available,
            license=spec.license,
            source=spec.source,
            weights=spec.weights,
        )
        for spec in available()
    ]


class _Reporter:
    """Tells the front of a job's steps; previews at most every ``preview_every_s``."""

    def __init__(self, worker: Worker, job: m.Job) -> None:
        self._worker = worker
        self._job = job
        self._previewed = time.monotonic()
        self._seconds = 0.0
        self._confidence: tuple[float, ...] = ()
        self._loss = 0.0
        self._deserted = False
        self._progress("preparing", 0, 0.0)

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """See :class:`compute_server.optimize.Observer`."""
        # A running mean over about twenty steps: the first steps, which compile kernels, are soon forgotten.
        self._seconds += (report.seconds - self._seconds) / min(report.step, 20)
        self._loss, self._confidence = report.loss, tuple(report.confidence.tolist())
        self._progress("optimising", report.step, self._seconds * (job_steps(self._job.settings) - report.step))
        now = time.monotonic()
        if now - self._previewed >= self._job.settings.preview_every_s > 0:
            self._previewed = now
            self._preview(problem, report)

    def cancelled(self) -> bool:
        """See :class:`compute_server.optimize.Observer`."""
        self._worker.answer_pending()
        return self._worker.is_cancelled(self._job.id)

    def drawn(self, problem: Problem, views: Sequence[View], texture: torch.Tensor, step: int) -> torch.Tensor | None:
        """See :class:`compute_server.optimize.Observer`."""
        if self._deserted:
            return None
        asked = m.Draw(
            job_id=self._job.id,
            step=step,
            views=tuple(views),
            texture=problem.texture.as_texture(texture),
            size=problem.size,
        )
        self._worker.send(asked)
        pictures = self._worker.wait_drawn(asked)
        if pictures is None:
            self._deserted = True
            return None
        expected = (len(views), problem.size, problem.size, 3)
        if pictures.shape != expected:
            raise errors.InvalidInput(f"Blender's pictures have the shape {pictures.shape}, not {expected}.")
        return from_bytes(torch.tensor(pictures, device=problem.device))

    def evaluating(self, problem: Problem, steps: int) -> None:
        """See :class:`compute_server.jobs.JobObserver`."""
        del problem
        self._worker.answer_pending()
        if self._worker.pausing:
            raise Paused
        self._progress("evaluating", steps, 0.0)

    def compared(self, problem: Problem, steps: int) -> None:
        """See :class:`compute_server.jobs.JobObserver`."""
        del problem
        self._progress("comparing", steps, self._seconds * (job_steps(self._job.settings) - steps))

    def _progress(self, phase: str, step: int, eta_s: float) -> None:
        self._worker.send(
            m.Progress(
                job_id=self._job.id,
                phase=phase,  # type: ignore[arg-type]
                step=step,
                steps=job_steps(self._job.settings),
                loss=self._loss,
                confidence=self._confidence,
                eta_s=eta_s,
            )
        )

    def _preview(self, problem: Problem, report: StepReport) -> None:
        worst = int(report.confidence.argmin())
        self._worker.send(
            m.Preview(
                job_id=self._job.id,
                step=report.step,
                texture=problem.texture.as_texture(problem.texture.quantised(report.theta)),
                worst_view=to_bytes(report.pictures[worst]).cpu().numpy(),
            )
        )


def device_name(device: torch.device) -> str:
    """A device as a person knows it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} {'thread' if threads == 1 else 'threads'})"


def _end_with_front() -> None:
    """The front holds the other end of standard input; when it is gone, so are we, in the middle of whatever."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Connect to the front and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rasterizer", default="auto")
    parser.add_argument("--checkpoint-s", type=float, default=30.0)
    given = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole process group; the front tells us what to do
    threading.Thread(target=_end_with_front, daemon=True).start()
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.LINGER, 1000)
    secure_worker(socket, given.address)
    socket.connect(given.address)
    try:
        Worker(socket, choose_device(given.device), given.rasterizer, given.checkpoint_s).serve()
    except errors.AssistiveError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        socket.close()
        context.term()


if __name__ == "__main__":
    main()
