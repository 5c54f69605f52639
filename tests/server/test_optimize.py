"""Algorithm 1 with a real classifier: it does what its name says, within its limits, the same way every time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, gradient, small_job

from compute_server import optimize
from compute_server.bench_scene import bench_scene
from compute_server.classifiers import Classifier
from compute_server.evaluate import judge
from compute_server.objectives import cross_entropy
from compute_server.optimize import HOLD, VALIDATE_EVERY, Trace, optimise
from compute_server.problem import Problem, make_problem
from compute_server.views import fixed_views
from shared import messages as m
from shared.errors import InvalidInput, UnknownModel, UnknownTarget
from shared.scene import VertexTexture, View

CPU = torch.device("cpu")


def solve(job: m.Job, recorder: Recorder | None = None) -> tuple[Problem, Trace, Recorder]:
    recorder = recorder or Recorder()
    problem = make_problem(job, CPU)
    return problem, optimise(problem, recorder), recorder


def texture(problem: Problem, trace: Trace) -> torch.Tensor:
    return problem.texture.quantised(trace.theta)


@pytest.mark.parametrize("stepper", ["sign", "momentum", "adam"])
def test_loss_falls_and_confidence_rises_on_the_rigs_own_views(stepper: str) -> None:
    scene = bench_scene(128)
    rig = msgspec.structs.replace(scene.rig, cameras=scene.rig.cameras[:2])
    scene = msgspec.structs.replace(scene, rig=rig)
    _, _, seen = solve(small_job(scene=scene, sampling="fixed", steps=14, alpha=0.03, stepper=stepper))
    first, last = seen.reports[0], seen.reports[-1]
    assert last.loss < first.loss - 1
    assert last.confidence.mean() > 10 * first.confidence.mean()


@pytest.mark.parametrize(
    ("objective", "target"), [("margin", "golf ball"), ("cross_entropy", "golf ball|croquet ball|baseball")]
)
def test_a_margin_grows_and_a_set_of_classes_is_recognised(objective: str, target: str) -> None:
    scene = bench_scene(128)
    scene = msgspec.structs.replace(scene, rig=msgspec.structs.replace(scene.rig, cameras=scene.rig.cameras[:2]))
    chosen = {"sampling": "fixed", "steps": 14, "alpha": 0.03, "objective": objective, "target": target}
    problem, _, seen = solve(small_job(scene=scene, **chosen))
    assert len(problem.target.indices) == target.count("|") + 1
    assert seen.reports[-1].loss < seen.reports[0].loss - 1
    assert seen.reports[-1].confidence.mean() > 10 * seen.reports[0].confidence.mean()


def test_the_loss_gradient_agrees_with_a_finite_difference() -> None:
    problem = make_problem(small_job(samples=4, views=1), CPU)
    batch = problem.renderer.prepare(fixed_views(problem.job.scene.rig)[:1], problem.size, 4)
    theta = problem.texture.start
    report, slope = gradient(problem, theta, batch)
    along = slope / slope.norm()
    length = 0.0002  # short enough that the classifier is straight over it
    there, back = (gradient(problem, theta + sign * length * along, batch)[0].loss for sign in (1, -1))
    assert (there - back) / (2 * length) == pytest.approx(float(slope.norm()), rel=0.02)
    assert back < report.loss < there


@pytest.mark.parametrize("augment", [(), ("noise", "fog")])
def test_a_step_that_asks_for_covered_pixels_only_moves_as_with_all_of_them(
    augment: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(small_job(augment=augment), torch.device("cpu"))
    batch = problem.renderer.prepare(fixed_views(problem.job.scene.rig)[:2], problem.size)
    asked: list[torch.Tensor | None] = []
    logits = Classifier.logits

    def spied(self: Classifier, images: torch.Tensor, needed: torch.Tensor | None = None) -> torch.Tensor:
        asked.append(needed)
        return logits(self, images, needed)

    monkeypatch.setattr(Classifier, "logits", spied)
    _, slope = gradient(problem, problem.texture.start, batch)
    monkeypatch.setattr(optimize, "covered", lambda _: None)
    _, whole = gradient(problem, problem.texture.start, batch)
    assert (slope - whole).norm() < 1e-5 * whole.norm()
    # What was done to pictures carries gradients from pixels that the object does not cover.
    assert [needed is None for needed in asked] == [bool(augment), True]


def test_the_same_job_gives_the_same_bytes() -> None:
    job = small_job(steps=6)
    assert torch.equal(texture(*solve(job)[:2]), texture(*solve(job)[:2]))


def test_another_seed_gives_another_texture() -> None:
    assert not torch.equal(texture(*solve(small_job(seed=1))[:2]), texture(*solve(small_job(seed=2))[:2]))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 4 / 255), ("l2", 1.0)])
def test_epsilon_bounds_the_change(norm: str, epsilon: float) -> None:
    problem, trace, _ = solve(small_job(epsilon=epsilon, norm=norm, alpha=0.05))
    change = trace.theta - problem.texture.start
    size = change.abs().max() if norm == "linf" else change.norm()
    assert 0 < size <= epsilon * (1 + 1e-5)


def test_texels_outside_the_mask_are_bit_identical() -> None:
    scene = bench_scene(128)
    mask = (scene.mesh.positions[:, 2] > 0).astype(np.float32)
    scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=mask))
    problem, trace, _ = solve(small_job(scene=scene, alpha=0.05))
    after = texture(problem, trace)
    assert problem.texture.max_change_outside(after) == 0
    assert torch.equal(after.reshape(128, 128, 3)[:60], problem.texture.original.reshape(128, 128, 3)[:60])
    assert not torch.equal(after, problem.texture.original)


def test_vertex_colours_are_optimised_too() -> None:
    scene = bench_scene(16)
    colors = np.full((len(scene.mesh.positions), 3), 128, np.uint8)
    scene = msgspec.structs.replace(scene, texture=VertexTexture(colors))
    _, _, seen = solve(small_job(scene=scene, sampling="fixed", steps=16, views=6, alpha=0.03))
    assert seen.reports[-1].confidence.mean() > 3 * seen.reports[0].confidence.mean()


def test_vertex_colours_move_at_several_scales_where_that_is_asked_for() -> None:
    """Vertices that one view does not see move with their neighbours in space."""
    scene = bench_scene(16)
    scene = msgspec.structs.replace(
        scene, texture=VertexTexture(np.full((len(scene.mesh.positions), 3), 128, np.uint8))
    )
    moved = []
    for octaves in (1, 5):
        problem, trace, _ = solve(small_job(scene=scene, octaves=octaves, steps=1, views=1, alpha=0.05))
        moved.append(int((trace.theta != problem.texture.start).any(dim=1).sum()))
    assert moved[1] > 1.2 * moved[0]


def test_two_classifiers_are_trained_together() -> None:
    both = make_problem(small_job(models=("efficientnet_lite0", "efficientnet_lite1")), CPU)
    batch = both.renderer.prepare(fixed_views(both.job.scene.rig)[:2], both.size, 1)
    losses = []
    for classifiers in (both.classifiers, both.classifiers[:1], both.classifiers[1:]):
        problem = dataclasses.replace(both, classifiers=classifiers)
        losses.append(gradient(problem, both.texture.start, batch)[0].loss)
    assert both.size == 240
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, rel=1e-4)


def test_worst_first_trains_the_classifier_that_does_worst() -> None:
    pair = {"models": ("efficientnet_lite0", "efficientnet_lite1"), "weights": (1.0, 3.0)}
    both = make_problem(small_job(ensemble="worst", **pair), CPU)
    batch = both.renderer.prepare(fixed_views(both.job.scene.rig)[:2], both.size, 1)
    mean = dataclasses.replace(both, job=small_job(ensemble="mean", **pair))
    alone = [dataclasses.replace(both, job=small_job(), classifiers=(each,)) for each in both.classifiers]
    losses = [gradient(each, both.texture.start, batch)[0].loss for each in alone]
    assert gradient(mean, both.texture.start, batch)[0].loss == pytest.approx((losses[0] + 3 * losses[1]) / 4)
    worst = gradient(both, both.texture.start, batch)[0].loss
    assert (losses[0] + 3 * losses[1]) / 4 < worst < max(losses)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"models": ("efficientnet_lite0",), "held_out_models": ("efficientnet_lite0",)}, "trained on and held out"),
        ({"models": ("efficientnet_lite0",), "weights": (1.0, 2.0)}, "2 weights for 1 classifiers"),
    ],
)
def test_classifiers_that_are_chosen_in_contradiction_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_problem(small_job(**settings), CPU)


def test_cancelling_ends_the_loop_before_the_next_step() -> None:
    _, trace, seen = solve(small_job(steps=50), Recorder(cancel_after=2))
    assert trace.outcome == "cancelled"
    assert trace.steps == len(seen.reports) == 2


def test_no_steps_give_the_original() -> None:
    problem, trace, _ = solve(small_job(steps=0))
    assert torch.equal(texture(problem, trace), problem.texture.original)


def test_a_job_stops_early_once_validation_confidence_holds() -> None:
    _, trace, _ = solve(small_job(steps=HOLD * VALIDATE_EVERY + 20, stop_at=1e-9, views=1))
    assert trace.outcome == "early"
    assert trace.steps == HOLD * VALIDATE_EVERY


def test_a_job_goes_on_while_validation_confidence_is_too_low() -> None:
    _, trace, _ = solve(small_job(steps=VALIDATE_EVERY, stop_at=1.0, views=1))
    assert trace.outcome == "finished"


def test_smoothness_makes_neighbouring_texels_more_alike() -> None:
    def roughness(smoothness: float) -> float:
        problem, trace, _ = solve(small_job(smoothness=smoothness, steps=8, alpha=0.03))
        image = texture(problem, trace).reshape(128, 128, 3).float()
        return float((image[1:] - image[:-1]).abs().mean())

    assert roughness(5000.0) < 0.7 * roughness(0.0)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"target": "golfball"}, UnknownTarget, "golf ball"),
        ({"models": ("efficientnet_lite9",)}, UnknownModel, "efficientnet_lite"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_computed(settings: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make_problem(small_job(**settings), CPU)


def test_a_scene_without_cameras_is_refused() -> None:
    scene = bench_scene(16)
    scene = msgspec.structs.replace(scene, rig=msgspec.structs.replace(scene.rig, cameras=()))
    with pytest.raises(InvalidInput, match="no camera"):
        make_problem(small_job(scene=scene), CPU)


# --- straight-through -------------------------------------------------------------------------------------------------


class FoggyBlender(Recorder):
    """Draws what the server draws, behind fog that the server knows nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def drawn(self, problem: Problem, views: Sequence[View], texture: torch.Tensor, step: int) -> torch.Tensor:
        self.asked.append(step)
        batch = problem.renderer.prepare(views, problem.size, problem.job.settings.samples)
        with torch.no_grad():
            return fog(problem.renderer.draw(problem.texture.pool_of(texture), batch))


def fog(pictures: torch.Tensor) -> torch.Tensor:
    return 0.25 * pictures + 0.75 * torch.tensor([0.75, 0.6, 0.35])


def sure_in_fog(problem: Problem, trace: Trace) -> float:
    batch = problem.renderer.prepare(fixed_views(problem.job.scene.rig), problem.size, 1)
    with torch.no_grad():
        pictures = fog(problem.renderer.draw(problem.texture.pool(trace.theta, problem.linear_original), batch))
        return float(judge(problem.classifiers[0], pictures, problem.target).confidence.mean())


def test_straight_through_has_the_value_of_the_pictures_given_and_the_renderers_derivative() -> None:
    problem = make_problem(small_job(samples=4, views=1), CPU)
    batch = problem.renderer.prepare(fixed_views(problem.job.scene.rig)[:1], problem.size, 4)
    theta = problem.texture.start
    with torch.no_grad():
        here = problem.renderer.draw(problem.texture.pool(theta, problem.linear_original), batch)
    given = fog(here)
    report, slope = gradient(problem, theta, batch, seen=given)
    assert torch.equal(report.pictures, given)
    along = slope / slope.norm()
    length = 0.0005

    def loss(sign: int) -> float:
        with torch.no_grad():
            there = problem.renderer.draw(
                problem.texture.pool(theta + sign * length * along, problem.linear_original), batch
            )
            logits = problem.classifiers[0].logits(given + there - here)
        return float(cross_entropy(logits, problem.target).mean())

    assert (loss(1) - loss(-1)) / (2 * length) == pytest.approx(float(slope.norm()), rel=0.02)


def test_blender_is_asked_in_every_so_manieth_step_only() -> None:
    blender = FoggyBlender()
    _, trace, _ = solve(small_job(steps=5, blender_every=2), blender)
    assert blender.asked == [0, 2, 4]
    assert [each.step for each in trace.exchanges] == [1, 3, 5]
    first = trace.exchanges[0]
    assert first.mean_error > 0.1
    assert -1 <= first.cosine < 0.99


def test_pictures_that_agree_tell_nothing_new() -> None:
    class Same(FoggyBlender):
        def drawn(self, problem: Problem, views: Sequence[View], texture: torch.Tensor, step: int) -> torch.Tensor:
            self.asked.append(step)
            batch = problem.renderer.prepare(views, problem.size, problem.job.settings.samples)
            with torch.no_grad():
                return problem.renderer.draw(problem.texture.pool_of(texture), batch)

    _, trace, _ = solve(small_job(steps=1, blender_every=1), Same())
    assert trace.exchanges[0].mean_error < 1e-3
    assert trace.exchanges[0].cosine > 0.99
    assert trace.exchanges[0].server == pytest.approx(trace.exchanges[0].blender, rel=0.01)


def test_straight_through_serves_the_pictures_that_blender_draws() -> None:
    chosen = {"sampling": "fixed", "steps": 14, "views": 6, "alpha": 0.04, "objective": "margin"}
    blind = sure_in_fog(*solve(small_job(**chosen))[:2])
    seeing = sure_in_fog(*solve(small_job(**chosen, blender_every=1), FoggyBlender())[:2])
    assert seeing > blind + 0.2
