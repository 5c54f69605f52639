"""Intervals hold what they promise, are the same each time, and do not call unanimity certainty."""

from __future__ import annotations

import numpy as np
import pytest

from shared import intervals


def test_an_interval_holds_the_true_mean_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(1)
    samples = rng.beta(2, 1, size=(300, 64))
    found = [intervals.of_mean(sample) for sample in samples]
    held = np.mean([low <= 2 / 3 <= high for low, high in found])
    assert 0.90 <= held <= 0.98


def test_the_same_values_give_the_same_interval_and_another_seed_nearly_so() -> None:
    values = np.random.default_rng(2).random(64)
    assert intervals.of_mean(values) == intervals.of_mean(values)
    assert intervals.of_mean(values) != intervals.of_mean(values, seed=1)
    assert intervals.of_mean(values) == pytest.approx(intervals.of_mean(values, seed=1), abs=0.01)


def test_more_views_than_fit_at_once_give_an_interval_too() -> None:
    low, high = intervals.of_mean(np.linspace(0, 1, 4096))
    assert low < 0.5 < high
    assert high - low == pytest.approx(4 * 0.2887 / 64, rel=0.1)


def test_views_that_all_agree_leave_room_for_those_that_were_not_tried() -> None:
    assert intervals.of_share([True] * 64) == (pytest.approx(0.944, abs=0.001), 1.0)
    assert intervals.of_share([False] * 8) == (0.0, pytest.approx(0.369, abs=0.001))
    low, high = intervals.of_share([True] * 32 + [False] * 32)
    assert low < 0.5 < high


def test_a_change_is_judged_over_the_same_views() -> None:
    before = np.random.default_rng(3).random(64)
    low, high = intervals.of_change(before, before + 0.1)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert intervals.of_mean(before + 0.1)[0] < intervals.of_mean(before)[1]
