"""Assistive images: within ε after rounding, never worse than before, by a real classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.jobs import small_job

from compute_server.bench_scene import bench_scene
from compute_server.classifiers import labels
from compute_server.evaluate import render
from compute_server.images import assist
from compute_server.problem import make_problem
from compute_server.render.color import to_bytes
from compute_server.views import fixed_views
from shared import messages as m
from shared.errors import InvalidInput, UnknownModel, UnknownTarget

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """The bench body, as the server draws it."""
    problem = make_problem(small_job(scene=bench_scene(64)), CPU)
    pool = problem.texture.pool_of(problem.texture.original)
    drawn = render(problem.renderer, pool, fixed_views(problem.job.scene.rig)[:1], 96, 4)
    return np.asarray(to_bytes(drawn)[0].numpy())


def assisted(picture: np.ndarray, **settings: Any) -> m.Assisted:
    return assist(picture, m.ImageSettings(**{"steps": 6, **settings}), CPU)


def test_the_label_stays_and_confidence_rises(picture: np.ndarray) -> None:
    result = assisted(picture, held_out_models=("efficientnet_lite1",))
    said = result.models["efficientnet_lite0"]
    assert result.improved
    assert result.target.indices == (said.before.top[0].index,)
    assert said.before.right
    assert said.after.right
    assert said.after.confidence > said.before.confidence + 0.1
    assert (said.trained, result.models["efficientnet_lite1"].trained) == (True, False)


@pytest.mark.parametrize("epsilon", [1 / 255, 2.5 / 255, 4 / 255])
def test_no_channel_leaves_the_ball_after_rounding(picture: np.ndarray, epsilon: float) -> None:
    result = assisted(picture, epsilon=epsilon, alpha=0.02)
    change = np.abs(result.picture.astype(int) - picture)
    assert 1 <= change.max() <= epsilon * 255
    assert result.max_change == change.max()


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_an_l2_ball_holds_after_rounding_too(picture: np.ndarray, epsilon: float) -> None:
    result = assisted(picture, epsilon=epsilon, norm="l2", alpha=0.02)
    norm = float(np.linalg.norm((result.picture.astype(float) - picture) / 255))
    assert norm <= epsilon
    assert result.l2 == pytest.approx(norm, rel=1e-5)
    assert result.improved


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (37, 91), (300, 40)])
def test_any_size_goes_through_at_its_own_size(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = assisted(noise, steps=2)
    assert result.picture.shape == noise.shape
    said = result.models["efficientnet_lite0"]
    assert said.after.confidence >= said.before.confidence


def test_a_picture_that_cannot_be_bettered_comes_back_bit_for_bit(picture: np.ndarray) -> None:
    result = assisted(picture, target="|".join(str(index) for index in range(len(labels()))))  # already sure
    assert not result.improved
    np.testing.assert_array_equal(result.picture, picture)
    assert (result.max_change, result.l2) == (0, 0.0)


def test_a_target_that_is_given_is_gone_for(picture: np.ndarray) -> None:
    result = assisted(picture, target="golf ball", steps=12)
    said = result.models["efficientnet_lite0"]
    assert result.target.name == "golf ball"
    assert said.after.confidence > 5 * said.before.confidence


def test_the_same_settings_give_the_same_picture(picture: np.ndarray) -> None:
    first, again = (assisted(picture, augment=("resize", "noise"), seed=3).picture for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"target": "golf bal"}, UnknownTarget, "golf bal"),
        ({"models": ("lite9",)}, UnknownModel, "lite9"),
        ({"held_out_models": ("efficientnet_lite0",)}, InvalidInput, "trained on and held out"),
        ({"weights": (1.0, 2.0)}, InvalidInput, "2 weights for 1 classifiers"),
    ],
)
def test_a_wrong_setting_is_named(picture: np.ndarray, settings: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        assisted(picture, **settings)
