"""Steps on a GPU: replayed as graphs, asked for one ahead, made ready beside; with the same results as on a CPU."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import pytest
import torch
from helpers.jobs import Recorder, small_job
from torch import Tensor

from compute_server.beside import Beside
from compute_server.optimize import VALIDATE_EVERY, Batch, ask, batch_gradient, gradient, optimise
from compute_server.problem import Problem, make_problem
from compute_server.render.taps import Prepared
from compute_server.replay import Replays
from compute_server.views import fixed_views

CUDA = torch.device("cuda")
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def _cube(values: Tensor) -> Tensor:
    return values**3


def test_on_a_cpu_functions_are_called_as_they_are() -> None:
    given = torch.tensor([2.0, 3.0], requires_grad=True)
    Replays()("cube", _cube, given).sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [12.0, 27.0]


def test_beside_a_cpu_nothing_changes() -> None:
    assert Beside(torch.device("cpu"))(lambda: [1, 2]) == [1, 2]


@on_cuda
def test_a_replay_on_cuda_gives_values_and_gradients_of_what_it_is_given_each_time() -> None:
    replays = Replays()
    for numbers in ([2.0, 3.0], [4.0, -1.0], [0.5, 0.0]):
        given = torch.tensor(numbers, device=CUDA, requires_grad=True)
        found = replays("cube", _cube, given)
        found.sum().backward()
        assert given.grad is not None
        assert found.tolist() == [x**3 for x in numbers]
        assert given.grad.tolist() == [3 * x**2 for x in numbers]


@on_cuda
def test_a_replay_on_cuda_takes_other_shapes_and_begins_anew_when_cleared() -> None:
    replays = Replays()
    for count in (2, 5, 2):
        found = replays("cube", _cube, torch.full((count,), 2.0, device=CUDA, requires_grad=True))
        assert found.tolist() == [8.0] * count
    replays.clear()
    assert replays("cube", _cube, torch.full((3,), 1.0, device=CUDA, requires_grad=True)).tolist() == [1.0] * 3


@on_cuda
def test_on_cuda_what_cannot_be_captured_is_called_as_it_is() -> None:
    def waits(values: Tensor) -> Tensor:
        return values * 2 if float(values.detach().sum()) > 0 else values * 3

    replays = Replays()
    for number, expected in ((1.0, 2.0), (-1.0, -3.0), (2.0, 4.0)):
        given = torch.tensor([number], device=CUDA, requires_grad=True)
        assert replays("waits", waits, given).tolist() == [expected]


def _problem(device: torch.device, **settings: Any) -> Problem:
    return make_problem(small_job(samples=4, views=4, **settings), device, "numba")


def _batch(problem: Problem) -> Prepared:
    return problem.renderer.prepare(fixed_views(problem.job.scene.rig)[:4], problem.size, 4)


@on_cuda
@pytest.mark.parametrize("settings", [{}, {"augment": ("crop", "blur")}, {"smoothness": 0.1}], ids=str)
def test_a_step_on_cuda_has_the_gradient_of_one_on_the_cpu(settings: dict[str, Any]) -> None:
    slopes = []
    for device in (torch.device("cpu"), CUDA):
        problem = _problem(device, **settings)
        batch = _batch(problem)
        for _ in range(3):  # the first captures, the others replay
            report, slope = gradient(problem, problem.texture.start, batch, 0)
        slopes.append((report.loss, slope.cpu().flatten()))
    (loss, slope), (other_loss, other) = slopes
    assert other_loss == pytest.approx(loss, rel=2e-2)
    assert float(torch.nn.functional.cosine_similarity(slope, other, dim=0)) > 0.98


@on_cuda
def test_gradients_on_cuda_are_kept_when_the_next_step_is_asked_for() -> None:
    problem = _problem(CUDA)
    batch, start = _batch(problem), problem.texture.start
    told, slope = ask(problem, start, batch, 0)
    before = slope.clone()
    other, _ = ask(problem, (start + 0.3).clamp(0, 1), batch, 1)
    assert torch.equal(slope, before)
    assert (told().step, other().step) == (1, 2)
    assert told().loss != other().loss


@on_cuda
@pytest.mark.parametrize("sampling", ["fixed", "random"])
def test_on_cuda_every_step_is_told_of_once_in_order_with_its_texture(sampling: str) -> None:
    steps = VALIDATE_EVERY + 3
    problem, seen = _problem(CUDA, sampling=sampling, steps=steps, stepper="sign", alpha=0.03), Recorder()
    trace = optimise(problem, seen)
    assert [report.step for report in seen.reports] == list(range(1, steps + 1))
    assert trace.steps == len(trace.loss) == len(trace.step_seconds) == steps
    assert list(trace.validation) == [VALIDATE_EVERY, steps]
    assert seen.reports[-1].loss < seen.reports[0].loss
    thetas = [report.theta for report in seen.reports]
    assert all(not torch.equal(one, two) for one, two in itertools.pairwise(thetas))


@on_cuda
def test_a_job_on_cuda_that_is_cancelled_has_been_told_of_all_its_steps() -> None:
    problem, seen = _problem(CUDA, steps=40), Recorder(cancel_after=3)
    trace = optimise(problem, seen)
    assert trace.outcome == "cancelled"
    assert len(seen.reports) == trace.steps == len(trace.loss) >= 3


@on_cuda
def test_batches_in_parts_on_cuda_have_the_gradient_of_whole_ones() -> None:
    problem = _problem(CUDA)
    views = fixed_views(problem.job.scene.rig)[:4]
    _, whole = gradient(problem, problem.texture.start, _batch(problem), 0)
    halves = [views[:2], views[2:]]
    parts = [(half, problem.renderer.prepare(half, problem.size, 4)) for half in halves]
    report, slope = batch_gradient(problem, problem.texture.start, Batch(views, parts), 0)
    assert len(report.confidence) == 4
    assert float(torch.nn.functional.cosine_similarity(slope.flatten(), whole.flatten(), dim=0)) > 0.99


@dataclasses.dataclass(frozen=True)
class Made:
    """As prepared views are: tensors in a dataclass."""

    values: Tensor


@on_cuda
def test_what_is_made_beside_the_main_stream_of_cuda_is_whole_when_it_is_used() -> None:
    beside, size = Beside(CUDA), 1 << 22

    def made(number: int) -> Made:
        values = torch.zeros(size, device=CUDA)
        for _ in range(200):  # long enough for the device to be still at it
            values += number
        return Made(values)

    totals = [beside(functools.partial(made, number)).values.double().sum() for number in range(8)]
    assert [float(total) for total in totals] == [200.0 * number * size for number in range(8)]
