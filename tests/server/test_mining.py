"""Worst-case mining: what is found is hard, lies within the rig, and is the same for the same job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from helpers.jobs import Recorder, small_job

from compute_server.bench_scene import bench_scene
from compute_server.mining import CROSSED, DRAWN, KEPT, Miner
from compute_server.optimize import optimise
from compute_server.problem import make_problem
from shared import messages as m
from shared.scene import View

SETTINGS = m.Settings(target="golf ball", mined=0.5)
RIG = bench_scene(8).rig


def darkness(views: Sequence[View]) -> torch.Tensor:
    """A loss that is the greater the darker the background."""
    return torch.tensor([-float(view.background.mean()) for view in views])


def test_the_hardest_of_the_views_searched_are_kept_hardest_first() -> None:
    judged: list[float] = []

    def losses(views: Sequence[View]) -> torch.Tensor:
        found = darkness(views)
        judged.extend(found.tolist())
        return found

    miner = Miner(RIG, SETTINGS)
    miner.search(losses)
    kept = darkness(miner.hardest).tolist()
    assert len(kept) == KEPT
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == max(judged)
    assert len(judged) == DRAWN + (KEPT + CROSSED) + CROSSED * (CROSSED - 1)


def test_a_search_remembers_what_was_hard_before() -> None:
    miner = Miner(RIG, SETTINGS)
    miner.search(darkness)
    before = darkness(miner.hardest).max()
    miner.search(darkness)
    assert darkness(miner.hardest).max() >= before


def test_a_search_crosses_cameras_with_lights_and_backgrounds_of_other_hard_views() -> None:
    drawn: list[View] = []

    def losses(views: Sequence[View]) -> torch.Tensor:
        if not drawn:
            drawn.extend(views)
        backgrounds = [id(view.background) for view in drawn]
        cameras = [id(view.camera) for view in drawn]
        # Hard is what has the background of the first view, and the camera of the last.
        return torch.tensor(
            [float(id(view.background) == backgrounds[0]) + float(id(view.camera) == cameras[-1]) for view in views]
        )

    miner = Miner(RIG, SETTINGS)
    miner.search(losses)
    assert miner.hardest[0].background is drawn[0].background
    assert miner.hardest[0].camera is drawn[-1].camera


def test_hard_views_are_given_out_in_turn() -> None:
    miner = Miner(RIG, SETTINGS)
    miner.search(darkness)
    taken = miner.take(3) + miner.take(KEPT)
    assert [id(view) for view in taken] == [id(miner.hardest[number % KEPT]) for number in range(3 + KEPT)]


def test_a_job_that_mines_takes_its_share_of_hard_views_and_repeats_exactly() -> None:
    job = small_job(steps=3, views=4, mined=0.5)
    first, again = (optimise(make_problem(job, torch.device("cpu")), Recorder()) for _ in range(2))
    plain = optimise(make_problem(small_job(steps=3, views=4), torch.device("cpu")), Recorder())
    assert torch.equal(first.theta, again.theta)
    assert not torch.equal(first.theta, plain.theta)
    assert np.isfinite(first.theta.numpy()).all()
