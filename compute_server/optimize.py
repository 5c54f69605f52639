"""Algorithm 1: Θ moves against the gradient of the classifiers' loss over random views, inside its ball and mask.

A job in, a result out; progress goes to an observer, which may also end the job. Knows no sockets and no files.
On a GPU the host is one step ahead: it asks for a step while the device works on the one before, and only then reads
what that one came to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from shared import messages as m
from shared.errors import JobFailed
from shared.scene import View

from . import mining
from .ahead import Ahead
from .augment import augmented
from .beside import Beside
from .ensemble import as_precise, ensemble_loss, whole_loss
from .evaluate import evaluate, in_chunks
from .mining import Miner
from .objectives import objective, total_variation
from .problem import Problem
from .render.sampling import covered
from .render.taps import Prepared
from .steppers import Octaves, Stepper, moved, stepper
from .texel_surface import triangle_areas
from .views import fixed_views, generators, random_views

#: On a CPU, fixed views are kept up to so many pixels (167 views of 224²; 1.5 to 2 GB where the object covers a third);
#: the rest are made ready again when it is their turn. A GPU keeps what its memory holds.
KEPT_PIXELS = 1 << 23
#: The texture so far is judged on validation views (neither training nor held-out) this often, to keep the best.
VALIDATE_EVERY = 25
VALIDATION_VIEWS = 16
#: Confidence holds above ``stop_at`` when it was there this many times in a row.
HOLD = 2

Made = TypeVar("Made")


@dataclass(frozen=True)
class StepReport:
    """One step as an observer sees it; tensors are detached, ``pictures [N, H, W, 3]`` display-encoded."""

    step: int
    loss: float
    confidence: Tensor
    pictures: Tensor
    theta: Tensor
    seconds: float
    classifier_seconds: float


class Observer(Protocol):
    """Who is told of a job's steps, and asked for what only Blender has."""

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """After every step."""

    def cancelled(self) -> bool:
        """Asked before every step; True ends the job with the best so far."""

    def drawn(self, problem: Problem, views: Sequence[View], texture: Tensor, step: int) -> Tensor | None:
        """Blender's pictures ``[N, H, W, 3]`` (display-encoded, of ``problem.size``) of `views` with the 8-bit
        `texture` ``[K, 3]``, for jobs that ask for them; None when there is nobody to draw them."""


Told = Callable[[], StepReport]
"""What a step came to; waits for the device."""


@dataclass(frozen=True)
class Batch:
    """The views of one step, made ready: in one piece, or in several where those are more than the classifiers are to
    take at once, or than the device's memory holds."""

    views: Sequence[View]
    parts: Sequence[tuple[Sequence[View], Prepared]]


@dataclass
class Trace:
    """What the loop leaves behind. ``steps`` are those asked for; ``at_once`` is how many views the device's memory
    holds (None: all of a step's)."""

    theta: Tensor
    steps: int = 0
    outcome: Literal["finished", "early", "cancelled"] = "finished"
    step_seconds: list[float] = field(default_factory=list)
    classifier_seconds: list[float] = field(default_factory=list)
    exchanges: list[m.Exchange] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    at_once: int | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, report: StepReport) -> None:
        """Remember one step."""
        self.steps = max(self.steps, report.step)
        self.step_seconds.append(report.seconds)
        self.classifier_seconds.append(report.classifier_seconds)
        self.loss.append(report.loss)
        self.confidence.append(float(report.confidence.mean()))
        self.least.append(float(report.confidence.min()))

    def curves(self) -> m.Curves:
        """How it went, as it crosses the wire."""
        return m.Curves(
            loss=tuple(self.loss),
            confidence=tuple(self.confidence),
            least=tuple(self.least),
            validated=tuple(self.validation),
            validation=tuple(self.validation.values()),
        )


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a loop stands: all that its next step depends on, so that another process can take it. What is random in
    it is the state of its generators; ``best``, ``score`` and ``held`` are those of the best texture so far."""

    trace: Trace
    theta: Tensor
    mover: dict[str, Tensor] = {}
    best: Tensor | None = None
    score: float = 0.0
    held: int = 0
    streams: tuple[str, ...] = ()
    hardest: tuple[View, ...] = ()
    turn: int = 0


class Keeper(Protocol):
    """Keeps where a loop stands, for a process that comes after this one."""

    def load(self) -> Checkpoint | None:
        """Where the loop stood when it was last kept."""

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """Called after every step; keeps what `make` gives when it is time for that. What it raises ends the loop."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep this."""

    def phase(self, name: str) -> Keeper:
        """A keeper for another loop of the same job."""


class Forgetful:
    """Keeps nothing."""

    def load(self) -> Checkpoint | None:
        """See :class:`Keeper`."""
        return None

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """See :class:`Keeper`."""

    def save(self, checkpoint: Checkpoint) -> None:
        """See :class:`Keeper`."""

    def phase(self, name: str) -> Keeper:
        """See :class:`Keeper`."""
        del name
        return self


class _Run:
    """What the loop works with; new, or where a keeper has it."""

    def __init__(self, problem: Problem, observer: Observer, kept: Checkpoint | None) -> None:
        self._problem, self._observer = problem, observer
        self._late: Told | None = None
        self._told_at = 0.0
        self.theta = problem.texture.start.clone()
        self.trace = Trace(theta=self.theta)
        self.stepper = mover(problem)
        self.batches = _Batches(problem, self.trace)
        self.best = _Best(problem, kept)
        if kept is not None:
            self.theta, self.trace = kept.theta, kept.trace
            self.stepper.restore(kept.mover)
            self.batches.restore(kept)

    def stepped(self, told: Told, began: float) -> None:
        """Another step has been asked for, which led to the present Θ. Who observes is told of it now, or on a GPU when
        the next one has been asked for."""
        self.settle()
        self.trace.steps += 1
        theta = self.theta

        def late() -> StepReport:
            report = told()
            began_or_told, self._told_at = max(began, self._told_at), time.perf_counter()
            return dataclasses.replace(report, theta=theta, seconds=self._told_at - began_or_told)

        self._late = late
        if not runs_ahead(self._problem.device):
            self.settle()

    def settle(self) -> None:
        """Tell of what nobody has been told of yet."""
        late, self._late = self._late, None
        if late is not None:
            report = late()
            self.trace.add(report)
            self._observer.stepped(self._problem, report)

    def checkpoint(self) -> Checkpoint:
        """Where the loop stands now."""
        self.settle()
        return Checkpoint(
            trace=self.trace,
            theta=self.theta,
            mover=self.stepper.state(),
            best=self.best.theta,
            score=self.best.score,
            held=self.best.held,
            streams=self.batches.streams(),
            hardest=() if self.batches.miner is None else self.batches.miner.hardest,
            turn=0 if self.batches.miner is None else self.batches.miner.turn,
        )


def optimise(problem: Problem, observer: Observer, keeper: Keeper | None = None) -> Trace:
    """The loop. Returns the Θ that validation views liked best."""
    settings, texture = problem.job.settings, problem.texture
    keeper = keeper or Forgetful()
    run = _Run(problem, observer, keeper.load())
    trace, best = run.trace, run.best
    with contextlib.closing(run.batches):
        while goes_on(trace, settings.steps, observer):
            if settings.blender_every or settings.mined:
                run.settle()  # who waits for Blender, or looks for hard views, has been told of all steps
            began = time.perf_counter()
            step = trace.steps
            batch = run.batches.take(run.theta, step)
            blender = _blender(problem, observer, batch, run.theta, step)
            told, slope = run.batches.gradient(run.theta, batch, step, seen=blender)
            if blender is not None:
                trace.exchanges.append(exchange(problem, run.theta, batch, told(), slope))
            by = run.stepper.move(slope, settings.alpha * schedule(step, settings.steps))
            run.theta = moved(run.theta, by, texture.start, settings.epsilon, settings.norm)
            run.stepped(told, began)
            if trace.steps % VALIDATE_EVERY == 0:
                run.settle()
                trace.validation[trace.steps] = best.offer(run.theta)
                trace.outcome = "early" if best.holds() else "finished"
            keeper.offer(run.checkpoint)
    run.settle()
    if trace.steps % VALIDATE_EVERY and trace.steps not in trace.validation:
        trace.validation[trace.steps] = best.offer(run.theta)
    trace.theta = best.theta
    keeper.save(run.checkpoint())
    return trace


def runs_ahead(device: torch.device) -> bool:
    """Whether the host asks for a step before it has read what the one before came to."""
    return device.type != "cpu"


def goes_on(trace: Trace, steps: int, observer: Observer) -> bool:
    """Whether a loop is to take another step; asks the observer, and notes in `trace` that it has ended the job."""
    if trace.steps >= steps or trace.outcome != "finished":
        return False
    if observer.cancelled():
        trace.outcome = "cancelled"
    return trace.outcome == "finished"


def schedule(step: int, steps: int) -> float:
    """Cosine decay of the step size to a tenth: large steps to get there, small ones to settle."""
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


def _blender(problem: Problem, observer: Observer, batch: Batch, theta: Tensor, step: int) -> Tensor | None:
    """Blender's pictures of this step's views, in the steps that ask for them."""
    every = problem.job.settings.blender_every
    if not every or step % every:
        return None
    return observer.drawn(problem, batch.views, problem.texture.quantised(theta), step)


def exchange(problem: Problem, theta: Tensor, batch: Batch, report: StepReport, slope: Tensor) -> m.Exchange:
    """What Blender's pictures changed in a step: `report` and `slope` were made with them."""
    own, own_slope = batch_gradient(problem, theta, batch, report.step - 1)
    return m.Exchange(
        step=report.step,
        server=float(own.confidence.mean()),
        blender=float(report.confidence.mean()),
        mean_error=float((own.pictures - report.pictures).abs().mean()),
        cosine=float(torch.nn.functional.cosine_similarity(own_slope.flatten(), slope.flatten(), dim=0)),
    )


def mover(problem: Problem) -> Stepper:
    """The stepper that the job asks for, at several scales if it asks for those too."""
    settings = problem.job.settings
    if settings.octaves == 1:
        return stepper(settings.stepper)
    return Octaves(lambda: stepper(settings.stepper), _cells(problem), settings.octaves)


def _cells(problem: Problem) -> Tensor:
    """Where each row of Θ lies on a grid: row and column of a texel, or the cell of space that a vertex is in, as large
    as the mesh is fine."""
    texture, geometry = problem.texture, problem.renderer.geometry
    place = texture.target[: len(texture.start)]
    if texture.layout is None:
        position = geometry.positions[place]
        edge = (2 * triangle_areas(geometry).mean()).sqrt().clamp_min(torch.finfo(position.dtype).tiny)
        return ((position - position.amin(dim=0)) / edge).long()
    width = texture.shape[1]
    return torch.stack([torch.div(place, width, rounding_mode="floor"), place % width], dim=1)


@torch.no_grad()
def _losses(problem: Problem, theta: Tensor, views: Sequence[View]) -> Tensor:
    """The trained classifiers' mean loss in each of `views` ``[N]``, with the texture Θ."""
    loss_of = objective(problem.job.settings.objective)
    pool, renderer = problem.texture.pool(theta, problem.linear_original), problem.renderer

    def losses(chunk: Sequence[View]) -> Tensor:
        images = renderer.draw(pool, renderer.prepare(chunk, problem.size, problem.job.settings.samples))
        return torch.stack([loss_of(each.logits(images), problem.target) for each in problem.classifiers]).mean(dim=0)

    return torch.cat(in_chunks(losses, views))


class _Batches:
    """Prepared views for each step: the rig's own, kept as far as memory goes, or new ones every time, with a share of
    mined ones.

    On a CPU those of the next step are made ready while the classifiers look at this one's, where that takes less time
    (:class:`Ahead`); mined ones wait for the texture. A step whose views are too many for the device's memory is taken
    in parts, and so are all that follow.
    """

    def __init__(self, problem: Problem, trace: Trace) -> None:
        settings, rig = problem.job.settings, problem.job.scene.rig
        self._problem = problem
        self._trace = trace
        self._beside = Beside(problem.device)
        self._stream = random_views(rig, generators(settings.seed).train, settings.backgrounds)
        self._fixed: dict[int, Batch] = {}
        self._ahead = Ahead(lambda: self._prepared(self._drawn(settings.views), self._trace.steps), problem.device)
        self._before_ahead = ""
        self.miner = Miner(rig, settings) if settings.mined else None

    def streams(self) -> tuple[str, ...]:
        """The state of the generators that views are drawn from."""
        stream = self._before_ahead if self._ahead.begun else self._stream.state()
        return (stream, *(() if self.miner is None else (self.miner.fresh.state(),)))

    def close(self) -> None:
        """No more will be taken: what comes after the loop gets the memory."""
        self._ahead.close()
        self._problem.replays.clear()

    def restore(self, kept: Checkpoint) -> None:
        """Go on where a checkpoint was made."""
        self._trace = kept.trace
        self._stream.restore(kept.streams[0])
        if self.miner is not None:
            self.miner.fresh.restore(kept.streams[1])
            self.miner.hardest, self.miner.turn = kept.hardest, kept.turn

    def take(self, theta: Tensor, step: int) -> Batch:
        """The views of a step. Which are hard is looked for with the texture Θ."""
        settings = self._problem.job.settings
        if settings.sampling == "fixed":
            return self._fixed_batch(step)
        if self.miner is None:
            return self._taken_ahead(more=step + 1 < settings.steps)
        if step % mining.EVERY == 0:
            self.miner.search(functools.partial(_losses, self._problem, theta))
        mined = max(1, round(settings.mined * settings.views))
        return self._prepared([*self._drawn(settings.views - mined), *self.miner.take(mined)], step)

    def _taken_ahead(self, *, more: bool) -> Batch:
        batch = self._ahead.take()
        if more:
            self._before_ahead = self._stream.state()
            self._ahead.begin()
        return batch

    def _drawn(self, count: int) -> list[View]:
        return list(itertools.islice(self._stream, count))

    def _fixed_batch(self, step: int) -> Batch:
        views, size = fixed_views(self._problem.job.scene.rig), self._problem.job.settings.views
        number = step % math.ceil(len(views) / size)
        if number in self._fixed:
            return self._fixed[number]
        # By the settings alone: a process that goes on with a job draws each batch as the one before it did.
        pixels = (number + 1) * size * self._problem.size**2
        kept = self._problem.device.type != "cpu" or pixels <= KEPT_PIXELS
        batch = self._prepared(views[number * size : (number + 1) * size], step, kept=kept)
        if kept:
            self._fixed[number] = batch
        return batch

    def _prepared(self, views: Sequence[View], step: int, *, kept: bool = False) -> Batch:
        def prepare() -> Batch:
            return batch_of(
                self._problem, views, self._problem.job.settings.samples, at_once=self._trace.at_once, kept=kept
            )

        return self._within_memory(lambda: self._beside(prepare), views, step)

    def gradient(self, theta: Tensor, batch: Batch, step: int, *, seen: Tensor | None = None) -> tuple[Told, Tensor]:
        """See :func:`ask_batch`; in smaller parts where the device's memory asks for that."""

        def attempt() -> tuple[Told, Tensor]:
            largest = max(len(views) for views, _ in batch.parts)
            fits = self._trace.at_once is None or largest <= self._trace.at_once
            smaller = batch if fits else self._prepared(batch.views, step)
            return ask_batch(self._problem, theta, smaller, step, seen=seen)

        return self._within_memory(attempt, batch.views, step)

    def _within_memory(self, work: Callable[[], Made], views: Sequence[View], step: int) -> Made:
        """What `work` gives, with fewer views at once each time that memory does not suffice for it."""
        while True:
            try:
                return work()
            except torch.cuda.OutOfMemoryError as error:
                now = min(self._trace.at_once or len(views), len(views))
                if now == 1:
                    raise JobFailed(
                        "The device has too little memory for a single view.",
                        hint="Choose a smaller texture or fewer samples, or end other programs that use the device.",
                    ) from error
                self._trace.at_once = math.ceil(now / 2)
                self._fixed.clear()
            self._problem.replays.clear()
            if self._problem.device.type == "cuda":
                torch.cuda.empty_cache()
            self._trace.notes.append(
                f"The device ran out of memory at step {step + 1}; from then on it saw {self._trace.at_once} of "
                f"{len(views)} views at once."
            )


def batch_of(
    problem: Problem, views: Sequence[View], samples: int, *, at_once: int | None = None, kept: bool = False
) -> Batch:
    """`views` made ready, so many `at_once`, or in even parts of as many as the device is to take; see
    ``Renderer.prepare_kept`` for those that are `kept`."""
    most = problem.pictures_at_once or len(views)
    size = at_once or math.ceil(len(views) / math.ceil(len(views) / most))
    chunks = [views[start : start + size] for start in range(0, len(views), size)]
    of = problem.renderer.prepare_kept if kept else problem.renderer.prepare
    return Batch(views, [(chunk, of(chunk, problem.size, samples)) for chunk in chunks])


def batch_gradient(
    problem: Problem, theta: Tensor, batch: Batch, step: int, *, seen: Tensor | None = None
) -> tuple[StepReport, Tensor]:
    """Loss of Θ on a batch, and its gradient: the mean over its parts, each weighing as many views as it has."""
    told, slope = ask_batch(problem, theta, batch, step, seen=seen)
    return told(), slope


def ask_batch(
    problem: Problem, theta: Tensor, batch: Batch, step: int, *, seen: Tensor | None = None
) -> tuple[Told, Tensor]:
    """As :func:`batch_gradient`, without waiting for the device. Parts are drawn and classified once more where the
    whole has to be known before (:func:`~compute_server.ensemble.whole_loss`)."""
    if len(batch.parts) == 1:
        return ask(problem, theta, batch.parts[0][1], step, seen=seen)
    parts, settings = _parts(batch, seen), problem.job.settings
    clock = _Clock(problem.device)
    whole = whole_loss(problem.classifiers, _shown(problem, theta, parts, step), problem.target, settings)
    clock.stop()
    weights, loss = (None, None) if whole is None else (whole[1], _Readback(whole[0][None]))
    slope, asked, rng = torch.zeros_like(theta), [], _step_rng(settings.seed, step)
    for part in parts:
        told, own = ask(problem, theta, part.transport, step, seen=part.seen, rng=rng, weights=weights)
        slope.add_(own, alpha=part.share)
        asked.append(told)

    def told_of_all() -> StepReport:
        report = _joined([each() for each in asked], [part.share for part in parts])
        return dataclasses.replace(
            report,
            loss=report.loss if loss is None else float(loss.read()),
            classifier_seconds=clock.seconds() + report.classifier_seconds,
        )

    return told_of_all, slope


class _Part(NamedTuple):
    """Some views of a batch: their share of it, and other pictures of them to be seen."""

    share: float
    transport: Prepared
    seen: Tensor | None


def _parts(batch: Batch, seen: Tensor | None) -> list[_Part]:
    sizes = [len(views) for views, _ in batch.parts]
    given = [None] * len(sizes) if seen is None else torch.split(seen, sizes)
    shares = [size / len(batch.views) for size in sizes]
    return [_Part(share, part, each) for share, (_, part), each in zip(shares, batch.parts, given, strict=True)]


def _shown(problem: Problem, theta: Tensor, parts: Sequence[_Part], step: int) -> Iterator[tuple[float, Tensor]]:
    """What classifiers are shown of each part in this step, and its share, one after the other."""
    rng = _step_rng(problem.job.settings.seed, step)
    for part in parts:
        images = drawn(problem, theta, part.transport) if part.seen is None else part.seen
        yield part.share, _augmented(images, problem.job.settings, rng)


def _joined(reports: Sequence[StepReport], shares: Sequence[float]) -> StepReport:
    """What the parts of a batch came to as one."""
    return dataclasses.replace(
        reports[0],
        loss=sum(share * report.loss for share, report in zip(shares, reports, strict=True)),
        confidence=torch.cat([report.confidence for report in reports]),
        pictures=torch.cat([report.pictures for report in reports]),
        classifier_seconds=sum(report.classifier_seconds for report in reports),
    )


def drawn(problem: Problem, theta: Tensor, batch: Prepared) -> Tensor:
    """Pictures ``[N, H, W, 3]`` of views with the texture Θ, display-encoded; differentiable with respect to it."""
    # Of views that are kept, which are not on a GPU, the excerpt that they look at.
    made = functools.partial(problem.texture.pool, linear_original=problem.linear_original, excerpt=batch.excerpt)
    pool = problem.replays("pool", made, theta) if theta.requires_grad else made(theta)
    return problem.renderer.draw(pool, batch)


def ask(
    problem: Problem,
    theta: Tensor,
    batch: Prepared,
    step: int,
    *,
    seen: Tensor | None = None,
    rng: np.random.Generator | None = None,
    weights: Tensor | None = None,
) -> tuple[Told, Tensor]:
    """The loss of Θ on views, once the device has found it, and its gradient.

    The classifiers' part is differentiated apart from the renderer's, which also gives the time that they take. They
    may be shown other pictures of the same views, `seen`: the loss is then of those, and its gradient goes the
    renderer's way (a straight-through estimate: value theirs, derivative ours). Of a batch in parts, `rng` goes from
    each to the next, and `weights` are those of :func:`ensemble_loss`.
    """
    settings = problem.job.settings
    free = theta.detach().requires_grad_()
    images = drawn(problem, free, batch)
    seen = (images if seen is None else seen).detach().requires_grad_()
    clock = _Clock(problem.device)
    shown = _augmented(seen, settings, rng or _step_rng(settings.seed, step))
    # What is done to pictures carries gradients from pixel to pixel.
    needed = covered(batch) if shown is seen and problem.device.type == "cpu" else None
    with as_precise(problem.classifiers, shown.detach()):
        if weights is None:
            loss, certainty = problem.replays("classifiers", lambda each: classifier_loss(problem, each, needed), shown)
        else:  # which a graph would keep as they were
            loss, certainty = classifier_loss(problem, shown, needed, weights)
        loss.backward()  # type: ignore[no-untyped-call]
    clock.stop()
    images.backward(seen.grad)  # type: ignore[no-untyped-call]
    if settings.smoothness and problem.covered is not None:
        encoded = problem.texture.encoded(free).reshape(problem.texture.shape)
        (settings.smoothness * total_variation(encoded, problem.covered)).backward()  # type: ignore[no-untyped-call]
    assert free.grad is not None
    figures = _Readback(torch.cat([loss.detach()[None], certainty.detach()]))

    def told() -> StepReport:
        read = figures.read()
        if not math.isfinite(float(read[0])):
            raise JobFailed(
                f"The loss became {float(read[0])} at step {step + 1}.",
                hint="Look for lights or positions of absurd size, and for a target that is every class.",
            )
        return StepReport(
            step=step + 1,
            loss=float(read[0]),
            confidence=read[1:],
            pictures=seen.detach(),
            theta=theta,
            seconds=0.0,
            classifier_seconds=clock.seconds(),
        )

    # A replayed step writes its gradient to the same place each time.
    return told, free.grad if problem.device.type == "cpu" else free.grad.clone()


class _Readback:
    """Values on their way from a device: reading them is all that the host waits for in a step."""

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._values = values
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def read(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._values


class _Clock:
    """Times what a device does from now until :meth:`stop`, without waiting for it; reading it waits."""

    def __init__(self, device: torch.device) -> None:
        count = 2 if device.type == "cuda" else 0
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(count)]  # type: ignore[no-untyped-call]
        self._times = [time.perf_counter()]
        if self._events:
            self._events[0].record()

    def stop(self) -> None:
        """The work to be timed has been asked for."""
        self._times.append(time.perf_counter())
        if self._events:
            self._events[1].record()

    def seconds(self) -> float:
        """How long it took."""
        if not self._events:
            return self._times[1] - self._times[0]
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000


def _augmented(images: Tensor, settings: m.Settings, rng: np.random.Generator) -> Tensor:
    return augmented(images, settings.augment, rng) if settings.augment else images


def _step_rng(seed: int, step: int) -> np.random.Generator:
    """What is random in one step besides its views: the same whenever that step is taken."""
    return np.random.default_rng((seed, step))


def classifier_loss(
    problem: Problem, images: Tensor, needed: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Objective over classifiers and views, and the first classifier's confidence in each view: see
    :func:`ensemble_loss`."""
    return ensemble_loss(problem.classifiers, images, problem.target, problem.job.settings, needed, weights)


class _Best:
    """The best Θ so far, by mean confidence of the trained classifiers on validation views."""

    def __init__(self, problem: Problem, kept: Checkpoint | None) -> None:
        settings = problem.job.settings
        self._problem = problem
        stream = random_views(problem.job.scene.rig, generators(settings.seed).validation, settings.backgrounds)
        self._views: Sequence[View] = list(itertools.islice(stream, VALIDATION_VIEWS))
        if kept is not None and kept.best is not None:
            self.theta, self.score, self.held = kept.best, kept.score, kept.held
        else:
            self.theta, self.held = problem.texture.start, 0
            self.score = self._judge(self.theta)

    def offer(self, theta: Tensor) -> float:
        """Keep `theta` if it is the best so far; gives its score."""
        score = self._judge(theta)
        if score >= self.score:
            self.score, self.theta = score, theta
        stop_at = self._problem.job.settings.stop_at
        self.held = self.held + 1 if stop_at is not None and score >= stop_at else 0
        return score

    def _judge(self, theta: Tensor) -> float:
        """Mean confidence of the trained classifiers on the validation views, of the bytes that would be written."""
        problem = self._problem
        with torch.no_grad():
            pool = problem.texture.pool_of(problem.texture.quantised(theta))
            figures = evaluate(
                problem.renderer, [pool], self._views, problem.classifiers, problem.target, problem.job.settings.samples
            )[0]
        return statistics.fmean(each.stats().mean for each in figures)

    def holds(self) -> bool:
        """Whether the last textures offered were all above the job's ``stop_at``."""
        return self.held >= HOLD
