"""How much a step costs over its classifiers alone. Run by ``assistive-server bench`` in a worker's environment.

Whole steps with fixed views, whole steps with views drawn anew, each classifier's forward and backward on the same
batch, and the same of the plain network in torch's default layout take turns in one run, so that whatever else the
machine does meets all alike. A ratio is that of medians; its spread are the quartiles of the ratios of each turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from shared import messages as m
from shared.errors import AssistiveError, UnknownModel
from shared.scene import View

from .ahead import Ahead
from .bench_scene import bench_scene
from .beside import Beside
from .classifiers import Classifier, efficientnet_lite, torchvision_models
from .classifiers.folding import prepared as prepared_network
from .ensemble import as_precise
from .jobs import choose_device
from .objectives import cross_entropy
from .optimize import Told, ask, drawn, mover, runs_ahead
from .problem import Problem, make_problem
from .render.taps import Prepared, Transport
from .replay import CALLS_BEFORE
from .steppers import moved
from .views import generators, random_views

#: What the Standard preset adds to a step, which is measured apart: it is no part of the renderer.
PLAIN: dict[str, object] = {"augment": (), "octaves": 1, "stepper": "momentum"}

#: On a GPU each turn is so many runs.
IN_A_ROW = 5


def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures; times are in milliseconds (medians)."""
    more = {} if given.standard else PLAIN
    settings = m.Settings(
        target="sports car",
        models=("efficientnet_lite0",) if given.random_weights else given.model,
        views=given.views,
        samples=given.samples,
        light=given.light,
        **more,  # type: ignore[arg-type]
    )
    job = m.Job(id="bench", scene=bench_scene(given.texture_size, given.triangles, given.scene), settings=settings)
    device = choose_device(given.device)
    began = time.perf_counter()
    problem = make_problem(job, device, given.rasterizer)
    if given.random_weights:
        problem = dataclasses.replace(problem, classifiers=tuple(_untrained(name, device) for name in given.model))
    prepared = time.perf_counter()
    size = given.size or problem.size
    timers, settled = step_timers(problem, size)
    timers["resampled"]()
    _wait(device)
    first = time.perf_counter()
    while not settled():
        timers["resampled"]()
    peak = None
    for name, run in timers.items():
        warm_up(run, device)
        if name != "plain":  # that network comes last, and takes several times as much
            peak = _peak_rss_mb()
    times = in_turns(timers, given.repeats, device)
    alone = [times[name] for name in times if name.startswith("classifier ")]
    classifier = [sum(turn) for turn in zip(*alone, strict=True)]
    found: dict[str, object] = {
        "model": ", ".join(given.model),
        "views": given.views,
        "size": size,
        "samples": given.samples,
        "texture": given.texture_size,
        "triangles": len(problem.job.scene.mesh.triangles),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "rasterizer": problem.renderer.rasterizer.name,
        "precision": ", ".join(each.precision or "single" for each in problem.classifiers),
        "classifier_ms": round(statistics.median(classifier), 2),
        "fixed": _row(times["fixed"], classifier),
        "resampled": _row(times["resampled"], classifier),
        "prepare_job_s": round(prepared - began, 2),
        "first_step_s": round(first - prepared, 2),
        "peak_rss_mb": peak,
    }
    if "plain" in times:
        found["plain_classifier"] = _row(times["plain"], classifier)
    if device.type == "cuda":
        found["peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) >> 20
    return found


def _untrained(name: str, device: torch.device) -> Classifier:
    """A torchvision network with random weights: it takes as long as a trained one, and needs no file."""
    spec = torchvision_models.find(name)
    if spec is None:
        raise UnknownModel(
            f"torchvision has no classifier named {name!r}.", hint="--random-weights is for its networks."
        )
    return Classifier(spec, prepared_network(torchvision.models.get_model(name, weights=None)), device)


def warm_up(run: Callable[[], None], device: torch.device) -> None:
    """Run until another run takes no longer than those to come; on a GPU that is when all is replayed."""
    for _ in range(2 if device.type == "cpu" else CALLS_BEFORE + 2):
        run()


def in_turns(timers: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """How long each takes, in milliseconds, in each of so many turns: once, or on a GPU, whose host is ahead of it in a
    job too, a few times in a row."""
    times: dict[str, list[float]] = {name: [] for name in timers}
    in_a_row = IN_A_ROW if device.type == "cuda" else 1
    for _ in range(repeats):
        for name, run in timers.items():
            began = time.perf_counter()
            for _ in range(in_a_row):
                run()
            _wait(device)
            times[name].append((time.perf_counter() - began) * 1000 / in_a_row)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_rss_mb() -> int | None:
    """The most memory this process has held; None on Windows, which does not say."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1024**2 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _row(times: list[float], classifier: list[float]) -> dict[str, object]:
    """Median time and its ratio to the classifier's, with the quartiles of each turn's ratio."""
    ratios = [each / alone for each, alone in zip(times, classifier, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        "step_ms": round(statistics.median(times), 2),
        "ratio": round(statistics.median(times) / statistics.median(classifier), 3),
        "spread": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


def step_timers(problem: Problem, size: int) -> tuple[dict[str, Callable[[], None]], Callable[[], bool]]:
    """What is to be timed, by name: ``classifier NAME`` for each, the whole step with ``fixed`` views and with
    ``resampled`` ones, and, if there is one classifier from a package, ``plain``: its network as it comes. And whether
    steps with resampled views know by now what takes less time."""
    settings = problem.job.settings
    stream = random_views(problem.job.scene.rig, generators(settings.seed).train, settings.backgrounds)

    def views() -> list[View]:
        return list(itertools.islice(stream, settings.views))

    def anew() -> Transport:
        return problem.renderer.prepare(views(), size, settings.samples)

    beside = Beside(problem.device)
    fixed = problem.renderer.prepare_kept(views(), size, settings.samples)
    ahead = Ahead(lambda: beside(anew), problem.device)
    walker, theta = mover(problem), problem.texture.start
    late: Told | None = None
    with torch.no_grad():
        pictures = drawn(problem, theta, fixed)

    def step(batch: Prepared = fixed) -> None:
        nonlocal theta, late
        told, slope = ask(problem, theta, batch, 0)
        # As in the loop: on a GPU what a step came to is read when the next one has been asked for.
        due, late = (late, told) if runs_ahead(problem.device) else (told, None)
        if due is not None:
            due()
        theta = moved(theta, walker.move(slope, 0.001), problem.texture.start, None, "linf")

    def resampled() -> None:
        batch = ahead.take()
        ahead.begin()
        step(batch)
        ahead.wait()

    def backward(name: str, logits: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def loss(images: Tensor) -> Tensor:
            return cross_entropy(logits(images), problem.target).mean()

        def run() -> None:
            seen = pictures.detach().requires_grad_()
            with as_precise(problem.classifiers, pictures):
                problem.replays(name, loss, seen).backward()  # type: ignore[no-untyped-call]

        return run

    alone = ((f"classifier {each.spec.name}", each.training_logits) for each in problem.classifiers)
    found = {name: backward(name, logits) for name, logits in alone}
    found |= {"fixed": step, "resampled": resampled}
    if len(problem.classifiers) == 1 and problem.classifiers[0].spec.name in efficientnet_lite.names():
        found["plain"] = backward("plain", plain_logits(problem.classifiers[0]))
    return found, lambda: ahead.settled


def plain_logits(classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """What `classifier` says of pictures ``[N, H, W, 3]`` of its own size, by the network as it comes in torch's
    default layout."""
    spec = classifier.spec
    network = efficientnet_lite.original(spec).to(classifier.device)
    mean, std = (torch.tensor(each, device=classifier.device)[:, None, None] for each in (spec.mean, spec.std))

    def logits(images: Tensor) -> Tensor:
        found: Tensor = network(((images.permute(0, 3, 1, 2) - mean) / std).contiguous())
        return found

    return logits


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("views", "samples", "texture-size", "triangles", "repeats", "size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("device", "rasterizer", "light"):
        parser.add_argument(f"--{name}")
    for name in ("model", "scene"):
        parser.add_argument(f"--{name}", type=lambda text: tuple(text.split(",")), default=())
    for name in ("json", "standard", "random-weights"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args()
    try:
        found = measure(given)
    except AssistiveError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found) if given.json else _sentence(found))
    return 0


def _sentence(found: dict[str, object]) -> str:
    return "\n".join(f"{name:14} {value}" for name, value in found.items())


if __name__ == "__main__":
    sys.exit(main())
