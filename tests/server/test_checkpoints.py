"""A job that is put down at any step and taken up by another process gives the same bytes as one that never was."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, small_job

from compute_server import mining, optimize
from compute_server import problem as problems
from compute_server.bench_scene import bench_scene
from compute_server.checkpoints import FileKeeper, Paused
from compute_server.classifiers import Classifier
from compute_server.evaluate import evaluate
from compute_server.flat_patch import optimise_flat
from compute_server.jobs import run_job
from compute_server.optimize import batch_gradient, batch_of, optimise
from compute_server.placing import placed
from compute_server.problem import make_problem
from compute_server.views import random_views
from shared import messages as m
from shared.errors import JobFailed

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"steps": 4, "alpha": 0.05, "held_out_views": 1, "check_views": 0}

KINDS: list[dict[str, Any]] = [
    {"stepper": "sign", "augment": ("resize", "noise")},
    {"stepper": "momentum", "octaves": 3, "epsilon": 0.1},
    {"stepper": "adam", "octaves": 2},
    {"sampling": "fixed"},
    {"sampling": "fixed", "views": 4, "samples": 4, "stepper": "adam"},
    {"mined": 0.5, "backgrounds": "noise"},
    {"patch": 0.05, "patch_site": "random", "method": "flat", "stepper": "adam"},
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few views to find the best texture by, looked at often: its score is part of where a loop stands. Of fixed views,
    the first few are kept, and the others made ready anew."""
    monkeypatch.setattr(optimize, "VALIDATION_VIEWS", 2)
    monkeypatch.setattr(optimize, "VALIDATE_EVERY", 2)
    monkeypatch.setattr(mining, "EVERY", 2)
    monkeypatch.setattr(optimize, "KEPT_PIXELS", 5 * 224**2)


def job_of(**kind: Any) -> m.Job:
    return small_job(scene=bench_scene(64), **{**TINY, **kind})


def pausing_after(steps: int) -> tuple[Recorder, Callable[[], bool]]:
    """An observer, and what asks to pause once it has seen so many steps."""
    seen = Recorder()
    return seen, lambda: len(seen.reports) >= steps


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(f"{name}={value}" for name, value in kind.items()))
def test_a_loop_taken_up_by_another_process_gives_the_same_bytes(kind: dict[str, Any], tmp_path: Path) -> None:
    problem = make_problem(job_of(**kind), CPU)
    problem = placed(problem) if "patch" in kind else problem
    loop = optimise_flat if kind.get("method") == "flat" else optimise
    undisturbed = loop(problem, Recorder())
    for steps in (1, 2):
        seen, pausing = pausing_after(steps)
        with pytest.raises(Paused):
            loop(problem, seen, FileKeeper(tmp_path, CPU, every_s=1e9, pausing=pausing))
    last = Recorder()
    resumed = loop(problem, last, FileKeeper(tmp_path, CPU, every_s=1e9))
    assert [report.step for report in last.reports] == [4]
    assert resumed.theta.numpy().tobytes() == undisturbed.theta.numpy().tobytes()
    assert resumed.curves() == undisturbed.curves()


def test_each_texture_that_leaves_a_classifier_out_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    job = job_of(steps=2, models=("efficientnet_lite0", "efficientnet_lite1"))
    asked = itertools.count()
    with pytest.raises(Paused):  # in the first step of the second of three loops
        run_job(job, CPU, Recorder(), keeper=FileKeeper(tmp_path, CPU, every_s=1e9, pausing=lambda: next(asked) == 2))
    assert {path.stem for path in tmp_path.iterdir()} == {"texture", "without 0"}
    seen = Recorder()
    resumed = run_job(job, CPU, seen, keeper=FileKeeper(tmp_path, CPU, every_s=1e9))
    assert seen.reports == []
    assert resumed.models == run_job(job, CPU, Recorder()).models


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    steps: list[int] = []
    keeper = FileKeeper(tmp_path, CPU, every_s=0.0, kept=steps.append)
    optimise(make_problem(job_of(), CPU), Recorder(), keeper)
    assert steps == [1, 2, 3, 4, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["texture.checkpoint"]


def test_a_checkpoint_that_cannot_be_read_costs_its_work_and_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "texture.checkpoint").write_bytes(b"\xdd\0\0\0\1 of another version")
    seen = Recorder()
    optimise(make_problem(job_of(), CPU), seen, FileKeeper(tmp_path, CPU, every_s=1e9))
    assert [report.step for report in seen.reports] == [1, 2, 3, 4]


def test_a_loop_whose_end_was_asked_for_ends_with_the_best_of_its_checkpoint(tmp_path: Path) -> None:
    problem = make_problem(job_of(), CPU)
    seen, pausing = pausing_after(3)
    with pytest.raises(Paused):
        optimise(problem, seen, FileKeeper(tmp_path, CPU, every_s=1e9, pausing=pausing))
    trace = optimise(problem, Recorder(cancel_after=0), FileKeeper(tmp_path, CPU, every_s=1e9))
    assert (trace.outcome, trace.steps) == ("cancelled", 3)


class Tight(Classifier):
    """A real classifier on a device whose memory holds only `most` pictures at once."""

    def __init__(self, inner: Classifier, most: int) -> None:
        self.__dict__ = {**inner.__dict__, "_inner": inner, "_most": most}

    def logits(self, images: torch.Tensor, needed: torch.Tensor | None = None) -> torch.Tensor:
        """Theirs, or the error that torch raises."""
        if len(images) > self._most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return self._inner.logits(images, needed)


def test_a_step_too_large_for_the_devices_memory_is_taken_in_parts_and_the_result_says_so() -> None:
    problem = make_problem(job_of(steps=2, views=4, augment=()), CPU)
    tight = dataclasses.replace(problem, classifiers=(Tight(problem.classifiers[0], 2),))
    whole, parts = optimise(problem, Recorder()), optimise(tight, Recorder())
    assert parts.notes == ["The device ran out of memory at step 1; from then on it saw 2 of 4 views at once."]
    assert whole.notes == []
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-3)


def test_more_views_than_a_cpu_takes_at_once_are_taken_in_even_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(job_of(steps=1, views=5, augment=()), CPU)
    whole = optimise(problem, Recorder())
    monkeypatch.setattr(problems, "AT_ONCE", 3)
    problem = dataclasses.replace(problem)  # which knows nothing yet
    batches = optimize._Batches(problem, optimize.Trace(theta=problem.texture.start))
    assert [len(views) for views, _ in batches.take(problem.texture.start, 0).parts] == [3, 2]
    parts = optimise(problem, Recorder())
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-3)
    assert parts.notes == []


BOTH = {"models": ("efficientnet_lite0", "efficientnet_lite1"), "ensemble": "worst", "weights": (1.0, 3.0)}


@pytest.mark.parametrize(
    "settings", [{}, {"augment": ("crop", "noise")}, BOTH, {**BOTH, "augment": ("blur",)}], ids=str
)
def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_a_whole_one(settings: dict[str, Any]) -> None:
    problem = make_problem(job_of(**{"augment": (), **settings}), CPU)
    views = list(itertools.islice(random_views(problem.job.scene.rig, np.random.default_rng(0), "varied"), 5))
    whole, parts = (batch_of(problem, views, 4, at_once=count) for count in (5, 2))
    assert [len(some) for some, _ in parts.parts] == [2, 2, 1]
    found = [batch_gradient(problem, problem.texture.start, batch, 3) for batch in (whole, parts)]
    (one, slope), (other, other_slope) = found
    assert other.loss == pytest.approx(one.loss, rel=1e-4)
    torch.testing.assert_close(other.confidence, one.confidence, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(other.pictures, one.pictures, rtol=0, atol=1e-6)
    assert float(torch.nn.functional.cosine_similarity(slope.flatten(), other_slope.flatten(), dim=0)) > 0.9999
    assert float(other_slope.norm() / slope.norm()) == pytest.approx(1, rel=1e-3)


def test_a_cpu_takes_fewer_views_at_once_where_classifiers_keep_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    models = ("efficientnet_lite0", "efficientnet_lite1")
    one, both, least = (make_problem(job_of(models=each), CPU) for each in (models[:1], models, models[:1]))
    kept = [classifier.kept_per_picture for classifier in both.classifiers]
    monkeypatch.setattr(problems, "KEPT_BYTES", 3 * sum(kept) - 1)
    assert both.pictures_at_once == 2
    assert one.pictures_at_once == (3 * sum(kept) - 1) // kept[0]
    monkeypatch.setattr(problems, "KEPT_BYTES", 1)
    assert least.pictures_at_once == 1


def test_hard_views_are_looked_for_in_parts_where_memory_is_short() -> None:
    problem = make_problem(job_of(), CPU)
    tight = dataclasses.replace(problem, classifiers=(Tight(problem.classifiers[0], 2),))
    views = list(itertools.islice(random_views(problem.job.scene.rig, np.random.default_rng(0), "varied"), 5))
    whole, parts = (optimize._losses(each, problem.texture.start, views) for each in (problem, tight))
    assert parts.shape == (5,)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=0)


def test_textures_are_judged_in_parts_where_memory_is_short() -> None:
    problem = make_problem(job_of(), CPU)
    views = list(itertools.islice(random_views(problem.job.scene.rig, np.random.default_rng(0), "flat"), 5))
    pools = [problem.texture.pool_of(problem.texture.original)]

    def judged(classifier: Classifier) -> np.ndarray:
        figures = evaluate(problem.renderer, pools, views, [classifier], problem.target, 1)
        return figures[0][0].confidence.numpy()

    whole = judged(problem.classifiers[0])
    np.testing.assert_allclose(judged(Tight(problem.classifiers[0], 1)), whole, rtol=1e-3)


def test_memory_too_small_for_a_single_view_is_said_so() -> None:
    problem = make_problem(job_of(), CPU)
    tight = dataclasses.replace(problem, classifiers=(Tight(problem.classifiers[0], 2),))
    batches = optimize._Batches(tight, optimize.Trace(theta=problem.texture.start))
    tight.classifiers[0]._most = 0
    with pytest.raises(JobFailed, match="too little memory for a single view"):
        batches.gradient(problem.texture.start, batches.take(problem.texture.start, 0), 0)
