"""Algorithm 1: Θ moves against the gradient of the classifiers' loss over random views, inside its ball and mask.

A job in, a result out; progress goes to an observer, which may also end the job. Knows no sockets and no files.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from shared import messages as m
from shared.errors import JobFailed
from shared.scene import View

from . import mining
from .augment import augmented
from .ensemble import ensemble_loss
from .evaluate import evaluate, render
from .mining import Miner
from .objectives import objective, total_variation
from .problem import Problem
from .render.sampling import Transport
from .steppers import Octaves, Stepper, project, stepper
from .texel_surface import triangle_areas
from .views import fixed_views, generators, random_views

#: The texture so far is judged on validation views (neither training nor held-out) this often, to keep the best.
VALIDATE_EVERY = 25
VALIDATION_VIEWS = 16
#: Confidence holds above ``stop_at`` when it was there this many times in a row.
HOLD = 2


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


@dataclass(frozen=True)
class Batch:
    """The views of one step, made ready."""

    views: Sequence[View]
    transport: Transport


@dataclass
class Trace:
    """What the loop leaves behind."""

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

    def add(self, report: StepReport) -> None:
        """Remember one step."""
        self.steps = report.step
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


def optimise(problem: Problem, observer: Observer) -> Trace:
    """The loop. Returns the Θ that validation views liked best."""
    settings, texture = problem.job.settings, problem.texture
    move = mover(problem)
    miner = _miner(problem)
    batches = _batches(problem, miner)
    best = _Best(problem)
    trace = Trace(theta=texture.start.clone())
    theta = texture.start.clone()
    for step in range(settings.steps):
        if observer.cancelled():
            trace.outcome = "cancelled"
            break
        began = time.perf_counter()
        if miner is not None and step % mining.EVERY == 0:
            miner.search(functools.partial(_losses, problem, theta))
        batch = next(batches)
        blender = _blender(problem, observer, batch, theta, step)
        report, slope = gradient(problem, theta, batch.transport, step, seen=blender)
        if blender is not None:
            trace.exchanges.append(exchange(problem, theta, batch.transport, report, slope))
        theta = move.step(theta, slope, settings.alpha * schedule(step, settings.steps))
        theta = project(theta, texture.start, settings.epsilon, settings.norm)
        report = dataclasses.replace(report, theta=theta, seconds=time.perf_counter() - began)
        trace.add(report)
        observer.stepped(problem, report)
        if (step + 1) % VALIDATE_EVERY == 0:
            trace.validation[trace.steps] = best.offer(theta)
            if best.holds():
                trace.outcome = "early"
                break
    if trace.steps % VALIDATE_EVERY:
        trace.validation[trace.steps] = best.offer(theta)
    trace.theta = best.theta
    return trace


def schedule(step: int, steps: int) -> float:
    """Cosine decay of the step size to a tenth: large steps to get there, small ones to settle."""
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


def _blender(problem: Problem, observer: Observer, batch: Batch, theta: Tensor, step: int) -> Tensor | None:
    """Blender's pictures of this step's views, in the steps that ask for them."""
    every = problem.job.settings.blender_every
    if not every or step % every:
        return None
    return observer.drawn(problem, batch.views, problem.texture.quantised(theta), step)


def exchange(problem: Problem, theta: Tensor, batch: Transport, report: StepReport, slope: Tensor) -> m.Exchange:
    """What Blender's pictures changed in a step: `report` and `slope` were made with them."""
    own, own_slope = gradient(problem, theta, batch, report.step - 1)
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


def _miner(problem: Problem) -> Miner | None:
    settings = problem.job.settings
    return Miner(problem.job.scene.rig, settings) if settings.mined else None


@torch.no_grad()
def _losses(problem: Problem, theta: Tensor, views: Sequence[View]) -> Tensor:
    """The trained classifiers' mean loss in each of `views` ``[N]``, with the texture Θ."""
    loss_of = objective(problem.job.settings.objective)
    pool = problem.texture.pool(theta, problem.linear_original)
    images = render(problem.renderer, pool, views, problem.size, problem.job.settings.samples)
    losses = [loss_of(classifier.logits(images), problem.target) for classifier in problem.classifiers]
    return torch.stack(losses).mean(dim=0)


def _batches(problem: Problem, miner: Miner | None) -> Iterator[Batch]:
    """Prepared views for each step: the rig's own, kept, or new ones every time, with a share of mined ones."""
    settings, rig = problem.job.settings, problem.job.scene.rig
    if settings.sampling == "fixed":
        views = fixed_views(rig)
        chunks = [views[start : start + settings.views] for start in range(0, len(views), settings.views)]
        prepared = [_prepared(problem, chunk) for chunk in chunks]
        yield from itertools.cycle(prepared)  # without end
    stream = random_views(rig, generators(settings.seed).train, settings.backgrounds)
    mined = 0 if miner is None else max(1, round(settings.mined * settings.views))
    while True:
        fresh = itertools.islice(stream, settings.views - mined)
        yield _prepared(problem, [*fresh, *(miner.take(mined) if miner is not None else ())])


def _prepared(problem: Problem, views: Sequence[View]) -> Batch:
    return Batch(views, problem.renderer.prepare(views, problem.size, problem.job.settings.samples))


def gradient(
    problem: Problem, theta: Tensor, batch: Transport, step: int, *, seen: Tensor | None = None
) -> tuple[StepReport, Tensor]:
    """Loss of Θ on a batch of views, and its gradient.

    The classifiers' part is differentiated apart from the renderer's, which also gives the time that they take. They
    may be shown other pictures of the same views, `seen`: the loss is then of those, and its gradient goes the
    renderer's way (a straight-through estimate: value theirs, derivative ours).
    """
    settings = problem.job.settings
    free = theta.detach().requires_grad_()
    images = problem.renderer.draw(problem.texture.pool(free, problem.linear_original), batch)
    seen = (images if seen is None else seen).detach().requires_grad_()
    began = time.perf_counter()
    shown = augmented(seen, settings.augment, _step_rng(settings.seed, step)) if settings.augment else seen
    loss, certainty = classifier_loss(problem, shown)
    loss.backward()  # type: ignore[no-untyped-call]
    _wait(problem.device)
    classifier_seconds = time.perf_counter() - began
    images.backward(seen.grad)  # type: ignore[no-untyped-call]
    if settings.smoothness and problem.covered is not None:
        encoded = problem.texture.encoded(free).reshape(problem.texture.shape)
        (settings.smoothness * total_variation(encoded, problem.covered)).backward()  # type: ignore[no-untyped-call]
    assert free.grad is not None
    if not math.isfinite(float(loss.detach())):
        raise JobFailed(
            f"The loss became {float(loss.detach())} at step {step + 1}.",
            hint="Look for lights or positions of absurd size, and for a target that is every class.",
        )
    report = StepReport(
        step=step + 1,
        loss=float(loss.detach()),
        confidence=certainty,
        pictures=seen.detach(),
        theta=theta,
        seconds=0.0,
        classifier_seconds=classifier_seconds,
    )
    return report, free.grad


def _step_rng(seed: int, step: int) -> np.random.Generator:
    """What is random in one step besides its views: the same whenever that step is taken."""
    return np.random.default_rng((seed, step))


def classifier_loss(problem: Problem, images: Tensor) -> tuple[Tensor, Tensor]:
    """Objective over classifiers and views, and the first classifier's confidence in each view."""
    return ensemble_loss(problem.classifiers, images, problem.target, problem.job.settings)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Best:
    """The best Θ so far, by mean confidence of the trained classifiers on validation views."""

    def __init__(self, problem: Problem) -> None:
        settings = problem.job.settings
        self._problem = problem
        stream = random_views(problem.job.scene.rig, generators(settings.seed).validation, settings.backgrounds)
        self._views: Sequence[View] = list(itertools.islice(stream, VALIDATION_VIEWS))
        self._held = 0
        self.theta = problem.texture.start
        self._score = self._judge(self.theta)

    def offer(self, theta: Tensor) -> float:
        """Keep `theta` if it is the best so far; gives its score."""
        score = self._judge(theta)
        if score >= self._score:
            self._score, self.theta = score, theta
        stop_at = self._problem.job.settings.stop_at
        self._held = self._held + 1 if stop_at is not None and score >= stop_at else 0
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
        return self._held >= HOLD
