"""Surveys: directions, and that each cell has the figures of its own picture."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from helpers.jobs import small_job
from helpers.scenes import camera

from compute_server.bench_scene import bench_scene
from compute_server.evaluate import evaluate
from compute_server.problem import Problem, make_problem
from compute_server.survey import Directions, directions, survey
from compute_server.views import GREY, camera_toward, direction
from shared.scene import Rig, View

CPU = torch.device("cpu")


def rig(**changes: object) -> Rig:
    return msgspec.structs.replace(bench_scene(16).rig, **changes)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(small_job("survey"), CPU)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (123.0, 40.0), (359.0, -20.0), (77.0, 80.0)])
def test_a_camera_toward_a_direction_is_there_and_looks_at_the_centre(azimuth: float, elevation: float) -> None:
    turned = camera_toward(rig(), azimuth, elevation)
    there, height = direction(turned, (0.0, 0.0, 0.0))
    assert (there - azimuth + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    assert height == pytest.approx(elevation, abs=1e-6)
    x, y, z, w = turned.projection @ turned.view @ (0.0, 0.0, 0.0, 1.0)
    assert (x / w, y / w) == pytest.approx((0, 0), abs=1e-6)
    assert z < w


def test_a_direction_keeps_the_distance_of_the_camera_nearest_to_it() -> None:
    two = rig(cameras=(camera((9.0, 0.0, 0.0)), camera((0.0, 5.0, 0.0))))
    for azimuth, distance in ((30.0, 9.0), (60.0, 5.0), (350.0, 9.0)):
        eye = np.linalg.inv(camera_toward(two, azimuth, 10.0).view)[:3, 3]
        assert np.linalg.norm(eye) == pytest.approx(distance)


def test_directions_go_all_around_and_as_high_as_the_rig() -> None:
    grid = directions(rig(), 8, 3)
    assert grid.azimuths == (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    assert grid.elevations == (10.0, 30.0, 50.0)  # cameras at 10, 30 and 50 degrees, eight to either side: 0 to 60


def test_each_cell_has_the_figures_of_its_own_view(problem: Problem) -> None:
    base = problem.job.scene.rig.lights[0]
    states = (base, msgspec.structs.replace(base, name="dusk", lights=(), world=(0.05, 0.05, 0.05)))
    scene = msgspec.structs.replace(problem.job.scene, rig=rig(lights=states))
    problem = make_problem(small_job("states", scene=scene), CPU)
    pools = {"before": problem.texture.pool_of(problem.texture.original)}
    pools["after"] = problem.texture.pool_of(255 - problem.texture.original // 2)
    found = survey(problem, pools, problem.classifiers, Directions((0.0, 120.0, 240.0), (10.0, 40.0)))
    assert found.confidence.shape == found.top1.shape == (2, 1, 2, 2, 3)
    assert (found.textures, found.lights) == (("before", "after"), ("day", "dusk"))
    view = View(camera=camera_toward(scene.rig, 240.0, 40.0), lights=states[1], background=GREY)
    (alone,) = evaluate(problem.renderer, [pools["after"]], [view], problem.classifiers, problem.target, 1)[0]
    assert found.confidence[1, 0, 1, 1, 2] == pytest.approx(float(alone.confidence[0]), rel=1e-4)
    assert found.top1[1, 0, 1, 1, 2] == int(alone.top1[0])
    assert len(np.unique(found.confidence)) == found.confidence.size


def test_a_survey_of_fewer_lights_has_the_first_of_them(problem: Problem) -> None:
    base = problem.job.scene.rig.lights[0]
    states = (base, msgspec.structs.replace(base, name="dusk", lights=(), world=(0.05, 0.05, 0.05)))
    two = msgspec.structs.replace(problem.job.scene, rig=rig(lights=states))
    problem = make_problem(small_job("first", scene=two), CPU)
    pools = {"before": problem.texture.pool_of(problem.texture.original)}
    found = survey(problem, pools, problem.classifiers, Directions((0.0,), (10.0,)), lights=1)
    assert found.lights == ("day",)
    assert found.confidence.shape == (1, 1, 1, 1, 1)
