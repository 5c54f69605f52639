"""The page says what was measured on unseen views, honestly, and needs nothing from outside it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest

pytest.importorskip("bpy")

from blender_addon.report_page import page

REPORT: dict[str, Any] = {
    "schema": 1,
    "created": "2025-03-01T22:30:00+00:00",
    "object": "Car",
    "target": {"name": "sports car", "indices": [817]},
    "outcome": "finished",
    "steps": 500,
    "settings": {"models": ["lite0"], "held_out_models": ["lite1"], "epsilon": None, "seed": 7, "views": 8},
    "seed": 7,
    "device": "cpu (2 threads)",
    "versions": {"addon": "0.1.0", "blender": "5.0.1"},
    "models": {
        "lite0": {
            "trained": True,
            "train": {"before": {"mean": 0.111, "top1": 0.11}, "after": {"mean": 0.999, "top1": 0.99}},
            "held_out": {"before": {"mean": 0.002, "top1": 0.0}, "after": {"mean": 0.935, "top1": 0.98}},
        },
        "lite1": {
            "trained": False,
            "held_out": {"before": {"mean": 0.5, "top1": 0.4}, "after": {"mean": 0.463, "top1": 0.39}},
        },
    },
}


class Page(HTMLParser):
    """Which elements are open at the end, what is said, and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.said).split())


def words(report: dict[str, Any]) -> str:
    return Page(page(report, texture_png=None, sheet_png=None)).words()


def test_figures_of_views_never_trained_on_are_shown_and_those_of_training_are_not() -> None:
    said = words(REPORT)
    assert "On views never used in training" in said
    assert "0.002 → 0.935" in said
    assert "0% → 98%" in said
    assert "0.999" not in said


def test_classifiers_that_were_never_trained_on_are_marked() -> None:
    assert re.search(r"lite0\s*trained on.*lite1\s*never trained on", words(REPORT))


def test_only_what_went_up_is_marked_as_a_gain() -> None:
    text = page(REPORT, texture_png=None, sheet_png=None)
    assert re.findall(r'class="up">([^<]+)', text) == ["0.935", "98%"]


def test_object_target_outcome_settings_seed_and_versions_are_there() -> None:
    said = words(REPORT)
    for part in ("Car", "sports car", "Finished", "500 steps", "held out models lite1", "seed 7", "blender 5.0.1"):
        assert part in said


def test_texture_and_sheet_are_inside_the_page_and_nothing_is_outside() -> None:
    made = Page(page(REPORT, texture_png=b"texture", sheet_png=b"sheet"))
    inside = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in made.sources]
    assert inside == [b"sheet", b"texture"]
    assert made.open == []


def test_without_pictures_there_is_no_empty_place_for_them() -> None:
    assert Page(page(REPORT, texture_png=None, sheet_png=None)).sources == []


def test_names_cannot_inject_anything() -> None:
    evil = '<script>alert("x")</script>'
    report = {
        **REPORT,
        "object": evil,
        "target": {"name": evil},
        "outcome": evil,
        "created": evil,
        "device": evil,
        "settings": {evil: [evil]},
        "versions": {evil: evil},
        "models": {evil: REPORT["models"]["lite0"]},
    }
    text = page(report, texture_png=None, sheet_png=None)
    assert "<script" not in text
    assert evil in Page(text).words()


def test_the_check_is_shown_and_what_it_warns_of() -> None:
    check = {"mean_error": 0.004, "mean_gap": 0.25, "warning": "They differ by 0.25."}
    made = Page(page({**REPORT, "check": check}, texture_png=None, sheet_png=None, check_png=b"check"))
    assert len(made.sources) == 1
    assert "They differ by 0.25." in made.words()
    assert "of confidence 0.250" in made.words()


def test_an_interrupted_job_is_said_to_be_one_and_shows_no_figures() -> None:
    said = words({**REPORT, "outcome": "interrupted", "models": {}})
    assert "Interrupted" in said
    assert "→" not in said


@pytest.mark.parametrize("report", [{}, {"target": "cars", "settings": 3, "versions": None, "models": [1]}])
def test_a_report_of_another_version_still_makes_a_page(report: dict[str, Any]) -> None:
    assert Page(page(report, texture_png=None, sheet_png=None)).open == []
