"""How much a step costs over its classifier alone. Run by ``assistive-server bench`` in a worker's environment.

Whole steps with fixed views, whole steps with views drawn anew, and the classifier's forward and backward on the same
batch take turns in one run, so that whatever else the machine does meets all three alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from shared import messages as m
from shared.errors import AssistiveError

from .bench_scene import bench_scene
from .jobs import choose_device
from .objectives import cross_entropy
from .optimize import gradient
from .problem import Problem, make_problem
from .steppers import MomentumSign, project
from .views import generators, random_views


def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures, in milliseconds (medians)."""
    settings = m.Settings(target="sports car", models=(given.model,), views=given.views, samples=given.samples)
    job = m.Job(id="bench", scene=bench_scene(given.texture_size), settings=settings)
    device = choose_device(given.device)
    problem = make_problem(job, device, given.rasterizer)
    size = given.size or problem.size
    timers = _timers(problem, size)
    for run in timers.values():
        run(), run()
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(given.repeats):
        for name, run in timers.items():
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - began) * 1000)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "model": given.model,
        "views": given.views,
        "size": size,
        "samples": given.samples,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "rasterizer": problem.renderer.rasterizer.name,
        "classifier_ms": round(median["classifier"], 2),
        "fixed": _row(median["fixed"], median["classifier"]),
        "resampled": _row(median["resampled"], median["classifier"]),
        "peak_rss_mb": _peak_rss_mb(),
    }


def _peak_rss_mb() -> int | None:
    """The most memory this process has held; None on Windows, which does not say."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1024**2 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _row(step_ms: float, classifier_ms: float) -> dict[str, float]:
    return {"step_ms": round(step_ms, 2), "ratio": round(step_ms / classifier_ms, 3)}


def _timers(problem: Problem, size: int) -> dict[str, Callable[[], None]]:
    settings = problem.job.settings
    stream = random_views(problem.job.scene.rig, generators(settings.seed).train, settings.backgrounds)
    fixed = problem.renderer.prepare(list(itertools.islice(stream, settings.views)), size, settings.samples)
    move, theta = MomentumSign(), problem.texture.start
    with torch.no_grad():
        pictures = problem.renderer.draw(problem.texture.pool(theta, problem.linear_original), fixed)

    def classifier() -> None:
        seen = pictures.detach().requires_grad_()
        cross_entropy(problem.classifiers[0].logits(seen), problem.target).mean().backward()  # type: ignore[no-untyped-call]

    def step(batch: object = None) -> None:
        nonlocal theta
        prepared = fixed if batch is None else batch
        _, slope = gradient(problem, theta, prepared, 0)  # type: ignore[arg-type]
        theta = project(move.step(theta, slope, 0.001), problem.texture.start, None, "linf")

    def resampled() -> None:
        step(problem.renderer.prepare(list(itertools.islice(stream, settings.views)), size, settings.samples))

    return {"classifier": classifier, "fixed": step, "resampled": resampled}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("views", "samples", "texture-size", "repeats", "size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("model", "device", "rasterizer"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--json", action="store_true")
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
