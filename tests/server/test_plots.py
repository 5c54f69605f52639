"""Plots for a report's page: small, the same each time, with text as text and the page's colours."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from compute_server import plots
from shared import messages as m
from shared.targets import Target

RNG = np.random.default_rng(4)
STEPS = 1500
CURVES = m.Curves(
    loss=tuple(RNG.random(STEPS)),
    confidence=tuple(RNG.random(STEPS)),
    least=tuple(RNG.random(STEPS)),
    validated=tuple(range(25, STEPS + 1, 25)),
    validation=tuple(RNG.random(STEPS // 25)),
)
STATS = m.Stats(0.5, 0.5, 0.1, 0.1)
EACH = m.EachView(tuple(RNG.random(64)), tuple((RNG.random(64) > 0.5).tolist()))
SURVEY = m.Survey(
    textures=("before", "after"),
    azimuths=tuple(np.arange(16) * 22.5),
    elevations=(-5.0, 10.0, 25.0, 40.0, 55.0),
    lights=("day", "night", "lamp"),
    models=("lite0", "lite1"),
    confidence=RNG.random((2, 2, 3, 5, 16), np.float32),
    top1=RNG.integers(0, 3, (2, 2, 3, 5, 16), np.int32),
)


def models() -> dict[str, m.ModelFigures]:
    both = m.BeforeAfter(STATS, STATS)
    return {
        name: m.ModelFigures(
            trained=name == "lite0", train=both, held_out=both, held_out_views=64, each_before=EACH, each_after=EACH
        )
        for name in ("lite0", "lite1")
    }


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return plots.for_report(CURVES, models(), SURVEY, Target("tench", (0, 1)))


def test_there_is_a_plot_of_the_steps_the_views_and_the_directions(made: dict[str, str]) -> None:
    assert list(made) == ["steps", "views", "around"]


def test_the_same_figures_give_the_same_characters(made: dict[str, str]) -> None:
    assert plots.for_report(CURVES, models(), SURVEY, Target("tench", (0, 1))) == made


@pytest.mark.parametrize("name", ["steps", "views", "around"])
def test_a_plot_is_small_and_its_text_is_text_in_the_pages_colours(made: dict[str, str], name: str) -> None:
    root = ElementTree.fromstring(made[name])
    assert root.tag.endswith("svg")
    assert len(made[name].encode()) < 60_000
    assert [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "currentColor" in made[name]
    assert "#0102" not in made[name]
    assert "<!DOCTYPE" not in made[name]


def test_what_has_nothing_to_show_is_left_out() -> None:
    assert plots.for_report(m.Curves(), {}, None, Target("tench", (0,))) == {}
