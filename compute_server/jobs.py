"""One job from start to result: prepare, optimise, measure on views and classifiers never trained on. No sockets."""

from __future__ import annotations

import dataclasses
import io
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numba
import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.scene import UvTexture, View
from shared.version import VERSION
from shared.wire import fingerprint

from . import plots
from .classifiers import Classifier, labels, loaded
from .controls import control_textures
from .ensemble import verdicts
from .evaluate import Figures, evaluate, render
from .flat_patch import optimise_flat
from .importance import gradient_importance, importance_picture
from .optimize import Forgetful, Keeper, Observer, StepReport, Trace, optimise
from .patch import get_patch
from .placing import placed
from .problem import Problem, make_problem
from .render.color import from_bytes, to_bytes
from .survey import directions, survey
from .views import fixed_views, generators, random_views
from .waiting import leaves_out

#: Training figures are measured on this many of the views that training saw.
TRAIN_VIEWS = 32
#: Whoever cancels is waiting: figures are then measured on this many held-out views at most.
CANCELLED_VIEWS = 8
#: A result is looked at from all around at so many elevations, in the first few lights of its rig. One sample per pixel
#: will do, as each of these views counts for little by itself.
SURVEY_ELEVATIONS, SURVEY_LIGHTS, SURVEY_SAMPLES = 4, 3, 1
#: What matters in a texture is gathered over so many held-out views.
IMPORTANCE_VIEWS = 8


class JobObserver(Observer, Protocol):
    """Who is told of a whole job."""

    def evaluating(self, problem: Problem, steps: int) -> None:
        """Between chunks of the evaluation that follows `steps` steps."""

    def compared(self, problem: Problem, steps: int) -> None:
        """After every step of a texture that leaves one classifier out; `steps` of all the job's are done."""


def choose_device(name: str) -> torch.device:
    """The device called ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("There is no CUDA device here that torch can use.", hint="Choose --device cpu or auto.")
    return torch.device(name)


def run_job(
    job: m.Job,
    device: torch.device,
    observer: JobObserver,
    *,
    rasterizer: str = "auto",
    keeper: Keeper | None = None,
    queued_s: float = 0.0,
) -> m.Result:
    """Do `job`, from where the `keeper` has it, and measure what it made.

    Raises :class:`~shared.errors.AssistiveError` for what is wrong with the job.
    """
    keeper = keeper or Forgetful()
    problem = make_problem(job, device, rasterizer)
    if job.settings.patch:
        problem = placed(problem, observer.cancelled)
    optimise_it = optimise_flat if job.settings.method == "flat" else optimise
    classifiers = [
        *problem.classifiers,
        *(loaded(name, device) for name in dict.fromkeys(job.settings.held_out_models)),
    ]
    began = time.perf_counter()
    trace = optimise_it(problem, observer, keeper)
    optimised = time.perf_counter()
    texture = problem.texture.quantised(trace.theta)
    models, check_views, pictures = _measure(problem, trace, texture, classifiers, observer)
    around = importance = None
    if trace.outcome != "cancelled":
        unseen = _views(problem, trace.steps)[1]
        importance = _importance(problem, texture, unseen[:IMPORTANCE_VIEWS])
        around = _survey(problem, trace, texture, classifiers, observer)
        models = _with_controls(
            problem, texture, unseen, models, classifiers, lambda: observer.evaluating(problem, trace.steps)
        )
        models = {**models, **_left_out(problem, models, observer, optimise_it, keeper)}
    timing = m.Timing(
        queue_s=queued_s,
        optimise_s=optimised - began,
        evaluate_s=time.perf_counter() - optimised,
        step_median_s=_median(trace.step_seconds),
        classifier_median_s=_median(trace.classifier_seconds),
    )
    written = problem.texture.as_texture(texture)
    part = isinstance(written, UvTexture) and bool((problem.weight == 0).any())
    return m.Result(
        outcome=trace.outcome,
        steps=trace.steps,
        target=problem.target,
        texture=written,
        texture_png=png(written.image[::-1]) if isinstance(written, UvTexture) else None,
        importance_png=importance,
        mask_coverage=problem.texture.coverage,
        max_change_outside=problem.texture.max_change_outside(texture),
        models=models,
        check_views=check_views,
        pictures_before=pictures[0],
        pictures_after=pictures[1],
        exchanges=tuple(trace.exchanges),
        patch=get_patch(problem.texture, texture, problem.surface, job.scene.unit) if part else None,
        sites=problem.sites,
        curves=trace.curves(),
        survey=around,
        notes=tuple(trace.notes),
        plots=plots.for_report(trace.curves(), models, around, problem.target),
        scene_hash=fingerprint(job.scene),
        timing=timing,
        versions=versions(),
        device=str(device),
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _views(problem: Problem, steps: int) -> tuple[list[View], list[View]]:
    """Views that training saw in its `steps` steps (those of the first, if there was none), and views it never saw."""
    settings, rig = problem.job.settings, problem.job.scene.rig
    streams = generators(settings.seed)
    count = min(TRAIN_VIEWS, settings.views * max(1, steps))
    if settings.sampling == "fixed":
        seen = list(fixed_views(rig))[:count]
    else:
        seen = list(itertools.islice(random_views(rig, streams.train, settings.backgrounds), count))
    return seen, list(itertools.islice(random_views(rig, streams.held_out, "varied"), settings.held_out_views))


class _Later:
    """Tells an observer of steps that come after those of the texture itself. They are not shown."""

    def __init__(self, observer: JobObserver, steps: int) -> None:
        self._observer = observer
        self._steps = steps

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """See :class:`compute_server.optimize.Observer`."""
        self._observer.compared(problem, self._steps + report.step)

    def cancelled(self) -> bool:
        """See :class:`compute_server.optimize.Observer`."""
        return self._observer.cancelled()

    def drawn(self, problem: Problem, views: Sequence[View], texture: Tensor, step: int) -> Tensor | None:
        """See :class:`compute_server.optimize.Observer`."""
        return self._observer.drawn(problem, views, texture, self._steps + step)


def _left_out(
    problem: Problem,
    models: dict[str, m.ModelFigures],
    observer: JobObserver,
    optimise_it: Callable[[Problem, Observer, Keeper], Trace],
    keeper: Keeper,
) -> dict[str, m.ModelFigures]:
    """The figures of each trained classifier, with how it judges a texture that was made without it. Ends early, with
    those there are, when the job is cancelled."""
    settings = problem.job.settings
    found: dict[str, m.ModelFigures] = {}
    for number, classifier in enumerate(problem.classifiers if leaves_out(settings) else ()):
        without = _without(problem, number)
        trace = optimise_it(without, _Later(observer, settings.steps * (1 + number)), keeper.phase(f"without {number}"))
        if trace.outcome == "cancelled":
            break
        pool = problem.texture.pool_of(problem.texture.quantised(trace.theta))
        judged = evaluate(
            problem.renderer, [pool], _views(problem, 1)[1], [classifier], problem.target, settings.samples
        )
        name = classifier.spec.name
        found[name] = msgspec.structs.replace(models[name], left_out=judged[0][0].stats())
    return found


def _without(problem: Problem, number: int) -> Problem:
    """The same problem without one of its classifiers."""

    def others(values: Sequence[Any]) -> tuple[Any, ...]:
        return (*values[:number], *values[number + 1 :])

    settings = problem.job.settings
    fewer = msgspec.structs.replace(settings, models=others(settings.models), weights=others(settings.weights))
    job = msgspec.structs.replace(problem.job, settings=fewer)
    return dataclasses.replace(problem, job=job, classifiers=others(problem.classifiers))


def _measure(
    problem: Problem, trace: Trace, texture: Tensor, classifiers: Sequence[Classifier], observer: JobObserver
) -> tuple[dict[str, m.ModelFigures], tuple[View, ...], tuple[np.ndarray, np.ndarray]]:
    """Figures of each classifier, the check views, and the server's own pictures of them before and after."""
    settings = problem.job.settings
    pools = [problem.texture.pool_of(problem.texture.original), problem.texture.pool_of(texture)]
    seen, unseen = _views(problem, trace.steps)
    if trace.outcome == "cancelled":
        seen, unseen = seen[:CANCELLED_VIEWS], unseen[:CANCELLED_VIEWS]
    check = unseen[: settings.check_views]

    def figures(views: Sequence[View]) -> list[list[Figures]]:
        return evaluate(
            problem.renderer,
            pools,
            views,
            classifiers,
            problem.target,
            settings.samples,
            check=lambda: observer.evaluating(problem, trace.steps),
        )

    train, held_out = figures(seen), figures(unseen)
    models = {
        classifier.spec.name: m.ModelFigures(
            trained=classifier in problem.classifiers,
            train=m.BeforeAfter(train[0][index].stats(), train[1][index].stats()),
            held_out=m.BeforeAfter(held_out[0][index].stats(), held_out[1][index].stats()),
            held_out_views=len(unseen),
            each_before=_each(held_out[0][index]),
            each_after=_each(held_out[1][index]),
            check_before=tuple(held_out[0][index].confidence[: len(check)].tolist()),
            check_confidence=tuple(held_out[1][index].confidence[: len(check)].tolist()),
        )
        for index, classifier in enumerate(classifiers)
    }
    size = problem.classifiers[0].spec.size
    before, after = (to_bytes(render(problem.renderer, pool, check, size, settings.samples)) for pool in pools)
    models = {
        classifier.spec.name: msgspec.structs.replace(
            models[classifier.spec.name],
            said_before=_said(problem, classifier, before),
            said_after=_said(problem, classifier, after),
        )
        for classifier in classifiers
    }
    return models, tuple(check), (before.numpy(), after.numpy())


def _said(problem: Problem, classifier: Classifier, pictures: Tensor) -> tuple[m.Verdict, ...]:
    """What a classifier says of 8-bit pictures ``[N, H, W, 3]``, with its five top classes."""
    return verdicts(classifier, from_bytes(pictures.to(problem.device)), problem.target, labels(), 5)


def _with_controls(
    problem: Problem,
    texture: Tensor,
    unseen: Sequence[View],
    models: dict[str, m.ModelFigures],
    classifiers: Sequence[Classifier],
    check: Callable[[], None],
) -> dict[str, m.ModelFigures]:
    """The figures with those of what else could be in the place of a patch; as they are where there is none. `check` is
    called between chunks."""
    if not problem.sites:
        return models
    textures = control_textures(problem, texture)
    found = evaluate(
        problem.renderer,
        [problem.texture.pool_of(each) for each in textures.values()],
        unseen,
        classifiers,
        problem.target,
        problem.job.settings.samples,
        check=check,
    )
    return {
        classifier.spec.name: msgspec.structs.replace(
            models[classifier.spec.name],
            controls={name: _each(row[number]) for name, row in zip(textures, found, strict=True)},
        )
        for number, classifier in enumerate(classifiers)
    }


def _each(figures: Figures) -> m.EachView:
    return m.EachView(tuple(figures.confidence.tolist()), tuple(figures.right.tolist()))


def _importance(problem: Problem, texture: Tensor, views: Sequence[View]) -> np.ndarray | None:
    """What matters in a UV texture to the trained classifiers, as a PNG file ``[B] uint8``."""
    if problem.texture.layout is None:
        return None
    return png(importance_picture(problem, gradient_importance(problem, texture, views)))


def _survey(
    problem: Problem, trace: Trace, texture: Tensor, classifiers: Sequence[Classifier], observer: JobObserver
) -> m.Survey | None:
    """How the object is recognised from all around, before and after; None where the job does not ask for it."""
    count = problem.job.settings.survey
    if not count:
        return None
    return survey(
        problem,
        {"before": problem.texture.pool_of(problem.texture.original), "after": problem.texture.pool_of(texture)},
        classifiers,
        directions(problem.job.scene.rig, count, SURVEY_ELEVATIONS),
        lights=SURVEY_LIGHTS,
        samples=SURVEY_SAMPLES,
        check=lambda: observer.evaluating(problem, trace.steps),
    )


def png(image: np.ndarray) -> np.ndarray:
    """A picture ``[H, W, 3]`` or grey ``[H, W] uint8``, row 0 at the top, as the bytes of a PNG file ``[B] uint8``."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def versions() -> dict[str, str]:
    """What computed the result, for whoever wants to repeat it."""
    return {
        "server": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }
