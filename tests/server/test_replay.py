"""Steps on a GPU: replayed as graphs, asked for one ahead, made ready beside; with the same results as on a CPU."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
from helpers.jobs import Recorder, gradient, small_job
from torch import Tensor

from compute_server import optimize
from compute_server.beside import Beside, side_by_side
from compute_server.optimize import (
    VALIDATE_EVERY,
    Batch,
    Checkpoint,
    Forgetful,
    StepReport,
    ask,
    batch_gradient,
    optimise,
)
from compute_server.problem import Problem, make_problem
from compute_server.render.taps import Prepared
from compute_server.replay import CALLS_BEFORE, Replays
from compute_server.views import fixed_views
from shared.errors import JobFailed

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
    for numbers in ([2.0, 3.0], [4.0, -1.0], [0.5, 0.0], [1.0, 1.5], [-2.0, 2.0]):
        given = torch.tensor(numbers, device=CUDA, requires_grad=True)
        found = replays("cube", _cube, given)
        found.sum().backward()
        assert given.grad is not None
        assert found.tolist() == [x**3 for x in numbers]
        assert given.grad.tolist() == [3 * x**2 for x in numbers]


@on_cuda
def test_a_replay_on_cuda_takes_other_shapes_and_begins_anew_when_cleared() -> None:
    replays = Replays()
    for count in (2, 5) * (CALLS_BEFORE + 2):
        found = replays("cube", _cube, torch.full((count,), 2.0, device=CUDA, requires_grad=True))
        assert found.tolist() == [8.0] * count
    replays.clear()
    assert replays("cube", _cube, torch.full((3,), 1.0, device=CUDA, requires_grad=True)).tolist() == [1.0] * 3


@on_cuda
def test_on_cuda_what_cannot_be_captured_is_called_as_it_is() -> None:
    def waits(values: Tensor) -> Tensor:
        return values * 2 if float(values.detach().sum()) > 0 else values * 3

    replays = Replays()
    stream = torch.cuda.current_stream()
    for number, expected in ((1.0, 2.0), (-1.0, -3.0), (2.0, 4.0)) * 2:
        given = torch.tensor([number], device=CUDA, requires_grad=True)
        assert replays("waits", waits, given).tolist() == [expected]
    assert torch.cuda.current_stream() == stream


@on_cuda
def test_the_memory_of_replays_on_cuda_is_given_back() -> None:
    def many(values: Tensor) -> Tensor:
        return (values.sin() * values.cos()).sum()

    replays, before = Replays(), torch.cuda.memory_reserved()
    for _ in range(CALLS_BEFORE + 2):
        replays("many", many, torch.ones(1 << 26, device=CUDA, requires_grad=True)).backward()
    assert torch.cuda.memory_reserved() > before
    replays.clear()
    assert torch.cuda.memory_reserved() <= before


def _problem(device: torch.device, **settings: Any) -> Problem:
    return make_problem(small_job(samples=4, views=4, **settings), device, "numba")


def _batch(problem: Problem) -> Prepared:
    return problem.renderer.prepare(fixed_views(problem.job.scene.rig)[:4], problem.size, 4)


@on_cuda
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"augment": ("crop", "blur")},
        {"smoothness": 0.1},
        {"models": ("efficientnet_lite0", "efficientnet_lite1")},
    ],
    ids=str,
)
def test_a_step_on_cuda_has_the_gradient_of_one_on_the_cpu(settings: dict[str, Any]) -> None:
    slopes = []
    for device in (torch.device("cpu"), CUDA):
        problem = _problem(device, **settings)
        batch = _batch(problem)
        for _ in range(CALLS_BEFORE + 2):
            report, slope = gradient(problem, problem.texture.start, batch)
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


# --- a step ahead ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device whose host is a step ahead of it; a CPU that is told to be."""
    monkeypatch.setattr(optimize, "runs_ahead", lambda _: True)
    return torch.device(request.param)


@pytest.mark.parametrize("sampling", ["fixed", "random"])
def test_every_step_is_told_of_once_in_order(ahead: torch.device, sampling: str) -> None:
    steps = VALIDATE_EVERY + 3
    problem, seen = _problem(ahead, sampling=sampling, steps=steps, stepper="sign", alpha=0.03), Recorder()
    trace = optimise(problem, seen)
    assert [report.step for report in seen.reports] == list(range(1, steps + 1))
    assert trace.steps == len(trace.loss) == len(trace.step_seconds) == steps
    assert list(trace.validation) == [VALIDATE_EVERY, steps]
    assert seen.reports[-1].loss < seen.reports[0].loss


def test_what_is_told_late_is_what_would_be_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for late in (False, True):
        monkeypatch.setattr(optimize, "runs_ahead", lambda _, late=late: late)
        seen = Recorder()
        optimise(_problem(torch.device("cpu"), steps=4), seen)
        told.append(seen.reports)
    for at_once, later in zip(*told, strict=True):
        assert (at_once.step, at_once.loss) == (later.step, later.loss)
        assert torch.equal(at_once.theta, later.theta)
        assert torch.equal(at_once.pictures, later.pictures)


def test_steps_are_told_of_when_the_next_one_has_been_asked_for(
    ahead: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, asked = [], optimize.ask

    def noting(*given: Any, **more: Any) -> Any:
        order.append(f"ask {given[3] + 1}")
        return asked(*given, **more)

    class Noting(Recorder):
        def stepped(self, problem: Problem, report: StepReport) -> None:
            del problem
            order.append(f"told {report.step}")

    monkeypatch.setattr(optimize, "ask", noting)
    optimise(_problem(ahead, steps=3), Noting())
    assert order == ["ask 1", "ask 2", "told 1", "ask 3", "told 2", "told 3"]


def test_a_job_that_is_cancelled_has_been_told_of_all_its_steps(ahead: torch.device) -> None:
    problem, seen = _problem(ahead, steps=40), Recorder(cancel_after=3)
    trace = optimise(problem, seen)
    assert trace.outcome == "cancelled"
    assert len(seen.reports) == trace.steps == len(trace.loss) == 4


class Keeping(Forgetful):
    """Takes a checkpoint after every step."""

    def __init__(self) -> None:
        self.kept: list[Checkpoint] = []

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """See :class:`optimize.Keeper`."""
        checkpoint = make()
        self.kept.append(msgspec.structs.replace(checkpoint, trace=copy.deepcopy(checkpoint.trace)))


def test_a_checkpoint_holds_all_steps_that_led_to_it(ahead: torch.device) -> None:
    keeper = Keeping()
    optimise(_problem(ahead, steps=3), Recorder(), keeper)
    assert [(kept.trace.steps, len(kept.trace.loss)) for kept in keeper.kept] == [(1, 1), (2, 2), (3, 3)]


def test_a_loss_that_is_no_number_ends_the_job_before_anything_of_it_is_kept(
    ahead: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = optimize.classifier_loss

    def absurd(*given: Any) -> tuple[Tensor, Tensor]:
        loss, certainty = asked(*given)
        return loss * torch.nan, certainty

    monkeypatch.setattr(optimize, "classifier_loss", absurd)
    keeper = Keeping()
    with pytest.raises(JobFailed, match="at step 1"):
        optimise(_problem(ahead, steps=3), Recorder(), keeper)
    assert keeper.kept == []


@on_cuda
@pytest.mark.parametrize(
    "settings", [{}, {"models": ("efficientnet_lite0", "efficientnet_lite1"), "ensemble": "worst"}], ids=str
)
def test_batches_in_parts_on_cuda_have_the_gradient_of_whole_ones(settings: dict[str, Any]) -> None:
    problem = _problem(CUDA, **settings)
    views = fixed_views(problem.job.scene.rig)[:4]
    _, whole = gradient(problem, problem.texture.start, _batch(problem))
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


# --- side by side ---------------------------------------------------------------------------------------------------


def _powers(given: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of three powers, of which the first is given too."""
    powers = [functools.partial(torch.pow, given, exponent) for exponent in (1, 2, 3)]
    found = side_by_side(powers, given.device)
    return torch.stack(found).sum(dim=0), found[0]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
def test_side_by_side_each_is_what_it_is_alone_and_so_is_its_gradient_replayed_too(device: str) -> None:
    replays = Replays()
    for number in range(CALLS_BEFORE + 3):
        given = torch.tensor([1.0, 2.0 + number], device=device, requires_grad=True)
        total, first = replays("powers", _powers, given)
        total.sum().backward()
        exact = given.detach().cpu()
        assert first.tolist() == exact.tolist()
        assert total.tolist() == (exact + exact**2 + exact**3).tolist()
        assert given.grad is not None
        assert given.grad.tolist() == (1 + 2 * exact + 3 * exact**2).tolist()


@on_cuda
def test_side_by_side_on_cuda_three_take_less_than_two_one_after_another() -> None:
    def nap() -> Tensor:
        torch.cuda._sleep(50_000_000)
        return torch.zeros(1, device=CUDA)

    def took(naps: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        side_by_side([nap] * naps, CUDA)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    took(3)
    assert took(3) < 2 * took(1)
