"""Controls differ from the original in the patch's own texels, and in no other."""

from __future__ import annotations

import pytest
import torch
from helpers.jobs import Silent, small_job

from compute_server.controls import control_textures
from compute_server.jobs import run_job
from compute_server.placing import placed
from compute_server.problem import Problem, make_problem
from shared import messages as m

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem() -> Problem:
    return placed(make_problem(small_job(steps=0, patch=0.1, patch_site="random"), CPU))


def test_a_control_changes_the_texels_of_the_patch_and_no_others(problem: Problem) -> None:
    original = problem.texture.original
    patch = problem.texture.quantised(1 - problem.texture.start)
    free = torch.zeros(len(original), dtype=torch.bool)
    free[problem.texture.target] = True
    for texture in control_textures(problem, patch).values():
        assert torch.equal(texture[~free], original[~free])
        assert (texture[free] != original[free]).any(dim=1).float().mean() > 0.5


def test_the_plain_colour_is_the_patchs_mean_and_the_qr_code_is_black_and_white(problem: Problem) -> None:
    patch = problem.texture.quantised(torch.tensor([0.2, 0.4, 0.8]).expand_as(problem.texture.start))
    made = control_textures(problem, patch)
    free = problem.texture.target[: len(problem.texture.start)]
    assert made["plain colour"][free].unique(dim=0).tolist() == [[51, 102, 204]]
    code = made["QR code"][free].float()
    assert ((code < 30) | (code > 225)).float().mean() > 0.6
    assert (code[:, 0] == code[:, 1]).all()
    assert 0.25 < (code[:, 0] < 128).float().mean() < 0.75
    assert len(made["noise"][free].unique(dim=0)) > 100


def test_the_same_job_has_the_same_controls(problem: Problem) -> None:
    patch = problem.texture.original
    again = control_textures(problem, patch)
    assert all(torch.equal(each, again[name]) for name, each in control_textures(problem, patch).items())


@pytest.mark.parametrize("patch", [0.0, 0.1])
def test_a_job_with_a_patch_measures_them_on_the_unseen_views(patch: float) -> None:
    job = small_job("controls", steps=1, patch=patch, patch_site="random", held_out_models=("efficientnet_lite1",))
    for figures in run_job(job, CPU, Silent()).models.values():
        assert list(figures.controls) == (["noise", "plain colour", "QR code"] if patch else [])
        assert all(len(each.confidence) == 4 for each in figures.controls.values())
        assert len(figures.said_after) == 2
        assert all(len(verdict.top) == 5 for verdict in figures.said_after)
        assert isinstance(figures.said_before[0], m.Verdict)
