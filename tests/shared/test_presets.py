"""Presets, and settings that are refused."""

from __future__ import annotations

import pytest

from shared.errors import InvalidInput
from shared.messages import Settings
from shared.presets import PRESETS, cautions, image_settings, settings


def test_standard_is_what_settings_are_by_default() -> None:
    assert settings("jeep") == Settings(target="jeep")


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_makes_valid_settings_with_its_values(preset: str) -> None:
    made = settings("jeep", preset)
    assert made.target == "jeep"
    for name, value in PRESETS[preset].items():
        assert getattr(made, name) == value


def test_draft_is_less_work_than_standard_and_thorough_is_more() -> None:
    work = [settings("jeep", preset).steps * settings("jeep", preset).views for preset in PRESETS]
    assert list(PRESETS) == ["draft", "standard", "thorough"]
    assert work == sorted(set(work))


def test_overrides_win_over_the_preset() -> None:
    made = settings("jeep", "draft", steps=7, epsilon=0.1)
    assert (made.steps, made.epsilon, made.views) == (7, 0.1, PRESETS["draft"]["views"])


def test_overrides_that_are_none_leave_the_presets_value() -> None:
    assert settings("jeep", "draft", steps=None, views=None) == settings("jeep", "draft")


def test_an_unknown_preset_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"'quick'.*draft, standard, thorough"):
        settings("jeep", "quick")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"steps": 100_001},
        {"views": 0},
        {"views": 257},
        {"samples": 5},
        {"alpha": 0.0},
        {"alpha": 1.5},
        {"epsilon": 0.0},
        {"norm": "l1"},
        {"stepper": "newton"},
        {"objective": "guess"},
        {"smoothness": -0.1},
        {"sampling": "some"},
        {"backgrounds": "blue"},
        {"held_out_views": 0},
        {"check_views": 65},
        {"stop_at": 1.1},
        {"seed": -1},
        {"steps": "many"},
    ],
    ids=lambda wrong: next(f"{name}={value}" for name, value in wrong.items()),
)
def test_a_setting_out_of_bounds_is_refused_by_its_name(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidInput, match=name):
        settings("jeep", **wrong)


def test_steps_are_small_beside_a_ball_unless_they_are_given() -> None:
    assert settings("jeep", epsilon=0.06).alpha == pytest.approx(0.015)
    assert settings("jeep", epsilon=0.06, alpha=0.05).alpha == 0.05
    assert settings("jeep", epsilon=0.9).alpha == Settings(target="jeep").alpha
    assert settings("jeep", epsilon=0.06, norm="l2").alpha == Settings(target="jeep").alpha


def test_steps_larger_than_the_ball_are_cautioned_against() -> None:
    (said,) = cautions(settings("jeep", alpha=0.1, epsilon=0.05))
    assert "0.1 is larger than ε, 0.05" in said
    assert cautions(settings("jeep", alpha=0.05, epsilon=0.05)) == ()
    assert cautions(settings("jeep", alpha=0.1)) == ()
    assert cautions(settings("jeep", alpha=0.1, epsilon=0.05, norm="l2")) == ()
    assert cautions(image_settings(alpha=0.1)) != ()


@pytest.mark.parametrize("epsilon", [0.0, -0.1])
def test_a_ball_without_a_size_is_refused(epsilon: float) -> None:
    for make in (settings, image_settings):
        with pytest.raises(InvalidInput, match=rf"epsilon.*it is {epsilon}"):
            make("jeep", epsilon=epsilon)
