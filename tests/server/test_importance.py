"""What matters in a texture: that the map says what happens when a texel changes, and nothing of what is not seen."""

from __future__ import annotations

import dataclasses
import io

import msgspec
import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, small_job
from PIL import Image
from torch import Tensor

from compute_server import problem as problems
from compute_server.bench_scene import bench_scene
from compute_server.importance import covered_places, gradient_importance, importance_picture
from compute_server.jobs import run_job
from compute_server.objectives import margin
from compute_server.problem import Problem, make_problem
from compute_server.render.color import from_bytes
from compute_server.views import fixed_views
from shared.scene import Scene, UvTexture, VertexTexture

CPU = torch.device("cpu")


def scene(size: int) -> Scene:
    """The bench body with a texture of random blocks."""
    blocks = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = blocks.repeat(size // 8, axis=0).repeat(size // 8, axis=1)
    return msgspec.structs.replace(bench_scene(size), texture=UvTexture(image))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(small_job(scene=scene(32)), CPU)  # so small that nothing is smoothed


def mean_margin(problem: Problem, encoded: Tensor) -> float:
    views = fixed_views(problem.job.scene.rig)[:2]
    images = problem.renderer.draw(problem.texture.pool_of_encoded(encoded), problem.renderer.prepare(views, 224, 1))
    return float(margin(problem.classifiers[0].logits(images), problem.target).mean())


def test_importance_is_what_the_margin_changes_by_when_a_texel_fades_to_the_mean_colour(problem: Problem) -> None:
    texture, views = problem.texture.original, fixed_views(problem.job.scene.rig)[:2]
    found = gradient_importance(problem, texture, views)
    encoded = from_bytes(texture)
    mean = encoded[covered_places(problem)].mean(dim=0)
    for texel in found.argsort(descending=True)[:3].tolist():
        nearer, farther = encoded.clone(), encoded.clone()
        nearer[texel] += 0.02 * (mean - encoded[texel])
        farther[texel] -= 0.02 * (mean - encoded[texel])
        change = abs(mean_margin(problem, farther) - mean_margin(problem, nearer)) / 0.04
        assert change == pytest.approx(float(found[texel]), rel=0.15)


def test_importance_is_the_same_with_fewer_views_at_once(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    texture, views = problem.texture.original, fixed_views(problem.job.scene.rig)[:3]
    whole = gradient_importance(problem, texture, views)
    monkeypatch.setattr(problems, "AT_ONCE", 2)
    parts = gradient_importance(dataclasses.replace(problem), texture, views)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4 * float(whole.max()))


def test_what_no_view_shows_does_not_matter_and_ranks_below_what_one_shows(problem: Problem) -> None:
    view = fixed_views(problem.job.scene.rig)[0]  # from +x: the middle of the texture is behind
    found = gradient_importance(problem, problem.texture.original, [view]).reshape(32, 32)
    hidden, shown = found[12:20, 14:18], found[12:20, [0, 1, 30, 31]]
    assert float(hidden.max()) == 0
    assert float(shown.min()) > 0


def test_a_texture_of_one_colour_has_nothing_that_matters() -> None:
    plain = make_problem(small_job(scene=bench_scene(32)), CPU)
    views = fixed_views(plain.job.scene.rig)[:1]
    found = gradient_importance(plain, plain.texture.original, views)
    assert float(found.max()) < 1e-6


def test_the_picture_has_its_first_row_at_the_top_and_is_white_where_most_matters(problem: Problem) -> None:
    values = torch.zeros(32 * 32)
    values[5 * 32 + 7] = 3.0
    picture = importance_picture(problem, values)
    assert picture.shape == (32, 32)
    assert picture[31 - 5, 7] == 255
    assert (picture > 0).sum() == 1


def test_a_result_has_a_grey_picture_of_what_matters_in_the_size_of_its_texture() -> None:
    result = run_job(small_job(steps=1, scene=scene(64)), CPU, Recorder())
    assert result.importance_png is not None
    picture = Image.open(io.BytesIO(result.importance_png.tobytes()))
    assert (picture.mode, picture.size) == ("L", (64, 64))
    assert len(np.unique(np.asarray(picture))) > 50


def test_vertex_colours_and_cancelled_jobs_have_no_such_picture() -> None:
    body = bench_scene(16)
    colors = np.full((len(body.mesh.positions), 3), 128, np.uint8)
    vertices = msgspec.structs.replace(body, texture=VertexTexture(colors))
    assert run_job(small_job(scene=vertices, steps=1), CPU, Recorder()).importance_png is None
    assert run_job(small_job(steps=9), CPU, Recorder(cancel_after=1)).importance_png is None
