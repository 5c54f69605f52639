"""Small real jobs: a body made of formulas, a real classifier, a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from compute_server.bench_scene import bench_scene
from compute_server.optimize import StepReport, ask
from compute_server.problem import Problem
from compute_server.render.taps import Prepared
from shared import messages as m
from shared.scene import Scene, View

#: Enough to see an effect, few enough for a test; nothing for transfer, so that each test adds what it is about.
SMALL = {
    **{"steps": 4, "views": 2, "samples": 1, "held_out_views": 4, "check_views": 2, "preview_every_s": 0.0},
    **{"alpha": 0.01, "augment": (), "octaves": 1, "survey": 0},
}


def small_job(name: str = "small", scene: Scene | None = None, **settings: Any) -> m.Job:
    """A job of a few steps on a 128² texture; `settings` override the small ones."""
    return m.Job(
        id=name,
        scene=scene or bench_scene(128),
        settings=m.Settings(**{"target": "golf ball", **SMALL, **settings}),
    )


def gradient(problem: Problem, theta: Tensor, batch: Prepared, **given: Any) -> tuple[StepReport, Tensor]:
    """What Θ comes to on a batch of views in a job's first step, and its gradient."""
    told, slope = ask(problem, theta, batch, 0, **given)
    return told(), slope


class Silent:
    """An observer that wants nothing."""

    def stepped(self, problem: Problem, report: StepReport) -> None:
        del problem, report

    def cancelled(self) -> bool:
        return False

    def drawn(self, problem: Problem, views: Sequence[View], texture: Tensor, step: int) -> Tensor | None:
        """There is no Blender here."""
        del problem, views, texture, step
        return None

    def evaluating(self, problem: Problem, steps: int) -> None:
        del problem, steps

    def compared(self, problem: Problem, steps: int) -> None:
        del problem, steps


class Recorder(Silent):
    """An observer that remembers, and cancels after `cancel_after` steps."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.reports: list[StepReport] = []
        self.evaluations = 0
        self.compared_steps = 0
        self._cancel_after = cancel_after

    def stepped(self, problem: Problem, report: StepReport) -> None:
        del problem
        self.reports.append(report)

    def cancelled(self) -> bool:
        return self._cancel_after is not None and len(self.reports) >= self._cancel_after

    def evaluating(self, problem: Problem, steps: int) -> None:
        del problem, steps
        self.evaluations += 1

    def compared(self, problem: Problem, steps: int) -> None:
        del problem
        self.compared_steps = steps
