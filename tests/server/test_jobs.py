"""A whole job in this process: what it reports is measured on what it gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, small_job
from PIL import Image

from compute_server.jobs import run_job
from compute_server.waiting import job_steps
from shared import messages as m
from shared.scene import UvTexture
from shared.wire import pack, unpack

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def result() -> m.Result:
    job = small_job(steps=5, held_out_models=("efficientnet_lite1",), survey=4)
    return run_job(job, CPU, Recorder())


def test_trained_and_held_out_classifiers_are_told_apart(result: m.Result) -> None:
    assert {name: figures.trained for name, figures in result.models.items()} == {
        "efficientnet_lite0": True,
        "efficientnet_lite1": False,
    }


def test_every_classifier_is_measured_on_training_and_on_unseen_views(result: m.Result) -> None:
    for figures in result.models.values():
        assert figures.held_out_views == 4
        for pair in (figures.train, figures.held_out):
            for stats in (pair.before, pair.after):
                assert 0 <= stats.min <= stats.mean <= 1
        assert figures.train.before != figures.held_out.before


def test_the_figures_of_held_out_views_are_those_of_the_views_one_by_one(result: m.Result) -> None:
    for figures in result.models.values():
        both = figures.held_out
        for each, stats in ((figures.each_before, both.before), (figures.each_after, both.after)):
            assert np.mean(each.confidence) == pytest.approx(stats.mean)
            assert np.mean(each.right) == pytest.approx(stats.top1)
            assert min(each.confidence) == pytest.approx(stats.min)
        assert figures.each_before != figures.each_after


def test_the_curves_have_every_step_and_what_validation_views_said(result: m.Result) -> None:
    curves = result.curves
    assert len(curves.loss) == len(curves.confidence) == len(curves.least) == 5
    assert all(least <= mean for least, mean in zip(curves.least, curves.confidence, strict=True))
    assert curves.validated == (5,)
    assert 0 < curves.validation[0] < 1


def test_the_survey_looks_from_all_around_before_and_after_with_every_classifier(result: m.Result) -> None:
    survey = result.survey
    assert survey is not None
    assert survey.textures == ("before", "after")
    assert survey.models == ("efficientnet_lite0", "efficientnet_lite1")
    assert survey.azimuths == (0.0, 90.0, 180.0, 270.0)
    assert survey.confidence.shape == (2, 2, len(survey.lights), len(survey.elevations), 4)
    assert (survey.confidence[0] != survey.confidence[1]).any()


def test_a_job_without_check_views_has_no_pictures_and_no_verdicts() -> None:
    result = run_job(small_job(steps=0, check_views=0, held_out_views=1), CPU, Recorder())
    assert len(result.pictures_after) == 0
    assert result.models["efficientnet_lite0"].said_after == ()


def test_a_job_that_asks_for_no_survey_gets_none() -> None:
    assert run_job(small_job(steps=1), CPU, Recorder()).survey is None


def test_the_png_holds_the_texture_bit_for_bit_with_its_last_row_on_top(result: m.Result) -> None:
    assert isinstance(result.texture, UvTexture)
    assert result.texture_png is not None
    decoded = np.asarray(Image.open(io.BytesIO(result.texture_png.tobytes())))
    np.testing.assert_array_equal(decoded, result.texture.image[::-1])


def test_check_views_are_the_first_of_the_held_out_ones_with_their_confidence(result: m.Result) -> None:
    assert len(result.check_views) == 2
    assert result.pictures_before.shape == result.pictures_after.shape == (2, 224, 224, 3)
    for figures in result.models.values():
        assert len(figures.check_confidence) == 2
        assert min(figures.check_confidence) >= figures.held_out.after.min


def test_pictures_before_and_after_differ_only_by_the_texture(result: m.Result) -> None:
    changed = (result.pictures_before != result.pictures_after).any(axis=-1)
    assert 0.05 < changed.mean() < 0.95


def test_a_result_crosses_the_wire(result: m.Result) -> None:
    ended = unpack([bytes(frame) for frame in pack(m.Ended(job_id="x", result=result))]).message
    assert isinstance(ended, m.Ended)
    assert ended.result is not None
    assert ended.result.models == result.models
    np.testing.assert_array_equal(ended.result.pictures_after, result.pictures_after)


def test_timing_says_where_the_seconds_went(result: m.Result) -> None:
    timing = result.timing
    assert 0 < timing.classifier_median_s < timing.step_median_s < timing.optimise_s
    assert timing.evaluate_s > 0


def test_held_out_views_do_not_depend_on_how_training_was_done() -> None:
    short, other = (run_job(small_job(steps=0, views=views), CPU, Recorder()) for views in (2, 3))
    assert short.models["efficientnet_lite0"].held_out == other.models["efficientnet_lite0"].held_out


def test_a_cancelled_job_gives_the_best_so_far_and_is_measured() -> None:
    found = run_job(small_job(steps=100, held_out_views=64), CPU, Recorder(cancel_after=1))
    assert (found.outcome, found.steps) == ("cancelled", 1)
    assert 0 < found.models["efficientnet_lite0"].held_out_views < 64


TWO = {"models": ("efficientnet_lite0", "efficientnet_lite1"), "steps": 3}


def test_of_two_classifiers_each_is_measured_with_a_texture_made_without_it() -> None:
    seen = Recorder()
    both = run_job(small_job(**TWO, weights=(2.0, 1.0)), CPU, seen)
    without_lite1 = run_job(small_job(steps=3, held_out_models=("efficientnet_lite1",)), CPU, Recorder())
    found = both.models["efficientnet_lite1"].left_out
    assert found == without_lite1.models["efficientnet_lite1"].held_out.after
    assert both.models["efficientnet_lite0"].left_out is not None
    assert len(seen.reports) == 3  # the texture itself; what leaves one out is only counted
    assert seen.compared_steps == job_steps(small_job(**TWO).settings) == 9


@pytest.mark.parametrize("settings", [{"steps": 1}, {**TWO, "leave_one_out": False}])
def test_none_is_left_out_of_one_classifier_or_when_it_is_not_wanted(settings: dict) -> None:
    job = small_job(**settings)
    assert all(figures.left_out is None for figures in run_job(job, CPU, Recorder()).models.values())
    assert job_steps(job.settings) == job.settings.steps


def test_cancelling_while_one_is_left_out_keeps_what_is_done() -> None:
    class Impatient(Recorder):
        def cancelled(self) -> bool:
            return self.compared_steps > 3  # in the first of both

    result = run_job(small_job(**TWO), CPU, Impatient())
    assert result.outcome == "finished"
    assert all(figures.left_out is None for figures in result.models.values())
    assert all(figures.held_out.after.mean > 0 for figures in result.models.values())
