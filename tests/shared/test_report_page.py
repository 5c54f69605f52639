"""The page says what was measured on unseen views, honestly, and needs nothing from outside it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from helpers.reports import REPORT, Page

from shared.headline import headline
from shared.report_page import page


def words(report: dict[str, Any]) -> str:
    return Page(page(report)).words()


def test_figures_of_views_never_trained_on_are_shown_and_those_of_training_are_not() -> None:
    said = words(REPORT)
    assert "On views never used in training" in said
    assert "0.002 → 0.935" in said
    assert "0% → 98%" in said
    assert "0.999" not in said


def test_classifiers_that_were_never_trained_on_are_marked() -> None:
    assert re.search(r"lite0\s*trained on.*lite1\s*never trained on", words(REPORT).partition("views never used")[2])


def test_object_target_outcome_settings_seed_and_versions_are_there() -> None:
    said = words(REPORT)
    for part in ("Car", "sports car", "Finished", "500 steps", "held out models lite1", "seed 7", "blender 5.0.1"):
        assert part in said


def test_texture_and_sheet_are_inside_the_page_and_nothing_is_outside() -> None:
    made = Page(page(REPORT, {"texture": b"texture", "views": b"sheet"}))
    inside = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in made.sources]
    assert inside == [b"sheet", b"texture"]
    assert made.open == []


def test_without_pictures_there_is_no_empty_place_for_them() -> None:
    assert Page(page(REPORT)).sources == []


EVIL_LABEL = '<img src=x onerror="alert(1)">'
EVIL_VERDICT = {
    "confidence": 0.5,
    "right": True,
    "top": [{"index": 817, "label": EVIL_LABEL, "confidence": 0.5}],
}
SURVEY = {
    "textures": ["before", "after"],
    "azimuths": [0.0, 180.0],
    "elevations": [10.0],
    "lights": ["day"],
    "models": ["lite0"],
    "confidence": [[[[[0.1, 0.2]]]], [[[[0.8, 0.9]]]]],
    "top1": [[[[[0, 0]]]], [[[[817, 817]]]]],
    "labels": {"0": "tench", "817": "sports car"},
}


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
        "models": {evil: {**REPORT["models"]["lite0"], "said": [{"before": EVIL_VERDICT, "after": EVIL_VERDICT}]}},
        "command": evil,
        "survey": {**SURVEY, "models": [evil], "labels": {"0": evil}},
    }
    text = page(report, {"after/00": b"", "before/00": b""})
    assert "<script>alert" not in text
    assert evil in Page(text).words()


def test_the_check_is_shown_and_what_it_warns_of() -> None:
    check = {"mean_error": 0.004, "mean_gap": 0.25, "warning": "They differ by 0.25."}
    made = Page(page({**REPORT, "check": check}, {"check": b"check"}))
    assert len(made.sources) == 1
    assert "They differ by 0.25." in made.words()
    assert "of confidence 0.250" in made.words()


def test_an_interrupted_job_is_said_to_be_one_and_shows_no_figures() -> None:
    said = words({**REPORT, "outcome": "interrupted", "models": {}})
    assert "Interrupted" in said
    assert "→" not in said


@pytest.mark.parametrize("report", [{}, {"target": "cars", "settings": 3, "versions": None, "models": [1]}])
def test_a_report_of_another_version_still_makes_a_page(report: dict[str, Any]) -> None:
    assert Page(page(report)).open == []


# --- what comes first ------------------------------------------------------------------------------------------------


def headline_of(**changes: Any) -> str:
    return headline({**REPORT, **changes})


def model(trained: bool, before: float, after: float, **more: Any) -> dict[str, Any]:
    ends = {"before": {"mean": before, "top1": before}, "after": {"mean": after, "top1": after, "min": after / 2}}
    return {"trained": trained, "held_out": {**ends, "views": 64}, **more}


def test_a_texture_that_does_not_transfer_says_so_before_anything_good() -> None:
    said = headline_of(models={"lite0": model(True, 0.0, 1.0), "lite1": model(False, 0.0, 0.2)})
    assert said.startswith("It hardly transfers: lite1, never trained on, recognises 20%")
    assert "100% of views" in said


def test_a_worst_view_that_is_not_recognised_is_in_the_headline() -> None:
    poor = model(True, 0.0, 1.0)
    poor["held_out"]["after"]["min"] = 0.01
    assert headline_of(models={"lite0": poor}).startswith("At least one unseen view is not recognised (confidence 0.01")


def test_a_gain_that_may_be_chance_is_none() -> None:
    unsure = model(True, 0.5, 0.9)
    unsure["held_out"]["change_95"] = [-0.1, 0.6]
    assert headline_of(models={"lite0": unsure}).startswith("No gain that is sure for lite0")


def test_what_was_not_measured_is_said() -> None:
    said = headline_of(models={"lite0": model(True, 0.0, 1.0)})
    assert "Whether it transfers was not measured." in said
    assert "Not checked in Blender's own pictures." in said


def test_a_renderer_that_disagrees_is_in_the_headline() -> None:
    blender = model(True, 0.0, 0.9)["held_out"] | {"views": 8}
    models = {"lite0": model(True, 0.0, 1.0, blender=blender)}
    check = {"mean_error": 0.1, "mean_gap": 0.6, "warning": "They differ."}
    assert headline_of(models=models, check=check).startswith("Cycles disagrees with the server by 0.60")


def test_a_control_that_does_as_well_is_in_the_headline() -> None:
    control = {"mean": 0.95, "top1": 0.9}
    models = {"lite0": model(True, 0.0, 0.9, controls={"QR code": control, "noise": {"mean": 0.1, "top1": 0.0}})}
    said = headline_of(models=models)
    assert said.startswith("In the place of the patch, a QR code does as well or better.")
    table = words({**REPORT, "models": models})
    assert "the original 0.000 0%" in table
    assert "QR code 0.950 90%" in table
    assert "this patch 0.900 90%" in table


# --- parts ------------------------------------------------------------------------------------------------------------


def test_intervals_are_beside_their_figures() -> None:
    figures = model(True, 0.0, 0.9)
    figures["held_out"]["after"] |= {"mean_95": [0.85, 0.94], "top1_95": [0.8, 0.96]}
    said = words({**REPORT, "models": {"lite0": figures}})
    assert "0.850 to 0.940" in said
    assert "80% to 96%" in said


def test_each_view_shows_its_pictures_and_top_classes() -> None:
    verdict = {**EVIL_VERDICT, "top": [{"index": 817, "label": "sports car", "confidence": 0.5}]}
    report = {
        **REPORT,
        "models": {"lite0": {**REPORT["models"]["lite0"], "said": [{"before": verdict, "after": verdict}]}},
    }
    made = Page(page(report, {"before/00": b"old", "after/00": b"new", "views": b"sheet"}))
    assert len(made.sources) == 2
    assert made.words().count("sports car 50%") == 2


def test_top_classes_are_blenders_where_blender_has_made_the_pictures() -> None:
    verdicts = [{"before": verdict("by the server"), "after": verdict("by the server")}]
    blender = model(True, 0.0, 0.4)["held_out"] | {"views": 1}
    blender["said"] = [{"before": verdict("by Cycles"), "after": verdict("by Cycles")}]
    models = {"lite0": {**model(True, 0.0, 1.0), "said": verdicts, "blender": blender}}
    check = {"mean_error": 0.1, "mean_gap": 0.1, "warning": None}
    made = Page(page({**REPORT, "models": models, "check": check}, {"before/00": b"", "after/00": b""})).words()
    assert "by Cycles 50%" in made
    assert "by the server 50%" not in made


def verdict(label: str) -> dict[str, Any]:
    return {"confidence": 0.5, "right": True, "top": [{"index": 817, "label": label, "confidence": 0.5}]}


def test_a_plot_is_part_of_the_page_and_what_is_none_is_left_out() -> None:
    plot = '<svg xmlns="http://www.w3.org/2000/svg"><text>loss</text></svg>'
    assert plot in page(REPORT, {}, {"steps": plot})
    for bad in ("<svg", f"{plot}<p>more</p>", "<p>text</p>", f"<!DOCTYPE x>{plot}"):
        assert bad not in page(REPORT, {}, {"steps": bad})


def test_only_the_pages_own_script_may_run_and_nothing_may_be_fetched() -> None:
    text = page({**REPORT, "survey": SURVEY})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy is not None
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy[1]
    assert f"script-src 'sha256-{digest}'" in policy[1]


def test_command_seed_and_scene_are_there() -> None:
    said = words({**REPORT, "command": "assistive-server run car.job", "scene_hash": "ab12"})
    for part in ("assistive-server run car.job", "Seed 7", "ab12"):
        assert part in said
