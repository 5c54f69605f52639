"""What is made ahead: the same things in the same order, errors where they are taken, and nothing left running."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numba
import numpy as np
import pytest
import torch

from compute_server import ahead
from compute_server.ahead import Ahead, kernels_may_overlap

CPU = torch.device("cpu")


@numba.njit(parallel=True)
def _count(values: np.ndarray) -> float:
    total = 0.0
    for index in numba.prange(len(values)):
        total += values[index]
    return total


@pytest.fixture(autouse=True)
def kernels_have_run() -> None:
    _count(np.ones(8))


@pytest.fixture
def numbers() -> Iterator[Ahead[tuple[int, str]]]:
    """Numbers, and the name of the thread that made each."""
    count = itertools.count()
    made = Ahead(lambda: (next(count), threading.current_thread().name), CPU)
    yield made
    made.close()


def test_things_come_in_their_order_made_by_another_thread_where_they_were_begun(
    numbers: Ahead[tuple[int, str]],
) -> None:
    first = numbers.take()
    numbers.begin()
    numbers.begin()  # one at a time
    assert numbers.begun
    second, third = numbers.take(), numbers.take()
    assert [first[0], second[0], third[0]] == [0, 1, 2]
    here = threading.current_thread().name
    assert (first[1], third[1]) == (here, here)
    assert second[1] != here


def test_a_thread_ends_with_what_it_makes(numbers: Ahead[tuple[int, str]]) -> None:
    for _ in range(3):
        numbers.begin()
        numbers.take()
    alive = [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    for thread in alive:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in alive)


def test_nothing_is_begun_where_kernels_may_not_overlap(
    numbers: Ahead[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "threading_layer", lambda: "workqueue")
    numbers.begin()
    assert not numbers.begun
    assert numbers.take()[0] == 0


def test_what_went_wrong_is_raised_where_the_thing_is_taken_and_only_once() -> None:
    outcomes = iter([ValueError("no view"), 2])

    def make() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    made = Ahead(make, CPU)
    made.begin()
    made.wait()
    with pytest.raises(ValueError, match="no view"):
        made.take()
    assert made.take() == 2
    made.close()


class Machine:
    """A clock that making and using move on, as far as they would on a machine of which cores are shared or not."""

    def __init__(self, alone: float, overlapping: float) -> None:
        self.now, self._alone, self._overlapping = 0.0, alone, overlapping
        self.overlapped: list[bool] = []

    def run(self, turns: int) -> None:
        """So many turns: taking, beginning the next, using."""
        made = Ahead(lambda: None, CPU, lambda: self.now)
        for _ in range(turns):
            if not made.begun:
                self.now += self._alone  # made while nothing else is done
            made.take()
            made.begin()
            self.overlapped.append(made.begun)
            self.now += 1.0 + (self._overlapping if made.begun else 0.0)
            made.wait()
        assert made.settled
        made.close()


@pytest.mark.parametrize(("alone", "overlapping", "pays"), [(0.2, 0.05, True), (0.2, 0.3, False)])
def test_things_are_made_ahead_for_good_only_where_that_takes_less_time(
    alone: float, overlapping: float, pays: bool
) -> None:
    machine = Machine(alone, overlapping)
    machine.run(20)
    assert {True, False} == set(machine.overlapped[:12])
    assert set(machine.overlapped[13:]) == {pays}


def test_closing_waits_for_what_is_under_way() -> None:
    goes_on, ended = threading.Event(), threading.Event()

    def make() -> None:
        goes_on.wait(30)
        ended.set()

    made = Ahead(make, CPU)
    made.begin()
    threading.Timer(0.05, goes_on.set).start()
    made.close()
    assert ended.is_set()


def test_kernels_of_two_threads_run_at_once_here() -> None:
    if not kernels_may_overlap():
        pytest.skip("numba found neither OpenMP nor TBB")
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(_count(np.ones(1_000_000)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1e6] * 4
