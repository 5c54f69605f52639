"""A comparison says what differs, puts figures side by side, and says when they cannot be compared."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.reports import REPORT, Page

from shared.compare_page import compare_page
from shared.report_files import Run


def run(name: str, *, seed: int = 7, scene: str = "ab" * 32, sure: tuple[float, ...] = (), **settings: Any) -> Run:
    model = {**REPORT["models"]["lite0"], "each_after": {"confidence": list(sure), "right": [True] * len(sure)}}
    report = {
        **REPORT,
        "seed": seed,
        "scene_hash": scene,
        "settings": {**REPORT["settings"], **settings},
        "models": {"lite0": model, "lite1": REPORT["models"]["lite1"]},
    }
    return Run(name, report)


def words(*runs: Run) -> str:
    made = Page(compare_page(runs))
    assert made.open == []
    return made.words()


def test_only_settings_that_differ_are_listed() -> None:
    said = words(run("one", steps=60), run("two", steps=500)).partition("What differs")[2]
    assert "steps 60 500" in said
    assert "views 8" not in said


def test_figures_are_side_by_side() -> None:
    said = words(run("one"), run("two"), run("three"))
    assert said.count("0.935 before 0.002") == 3
    assert "lite1" in said


def test_over_the_same_views_the_difference_has_an_interval_and_says_if_it_may_be_chance() -> None:
    low, high, other = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8), (0.2, 0.1, 0.4, 0.3)
    said = words(run("one", sure=low), run("two", sure=high), run("three", sure=other))
    assert "+0.400 +0.400 to +0.400" in said
    assert "may be chance" in said
    assert "same views" not in words(run("one", sure=low), run("two", sure=high, seed=8)).partition("Figures")[2]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (run("two"), "all were measured on the same unseen views"),
        (run("two", seed=8), "different seeds"),
        (run("two", scene="cd" * 32), "different scenes"),
        (Run("old", {"target": {"name": "sports car"}}), "is not known"),
        (Run("bus", {"target": {"name": "school bus"}}), "different targets"),
    ],
)
def test_it_says_whether_the_runs_can_be_compared(other: Run, said: str) -> None:
    assert said in words(run("one"), other)


def test_names_cannot_inject_anything() -> None:
    evil = "<script>alert(1)</script>"
    text = compare_page([Run(evil, {**REPORT, "object": evil}), Run(evil, {"settings": {evil: evil}, "target": evil})])
    assert "<script" not in text


def test_pictures_of_each_are_shown() -> None:
    pictures = {"texture": b"1", "after/00": b"2", "views": b"3"}
    made = Page(compare_page([Run("one", REPORT, pictures), Run("two", REPORT, {"views": b"4"})]))
    assert len(made.sources) == 3
