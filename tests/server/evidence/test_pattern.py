"""Patterns: what is occluded is lost, what is out of sight is not, and how far seeds agree."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from helpers.jobs import small_job

from compute_server.bench_scene import bench_scene
from compute_server.evaluate import evaluate
from compute_server.evidence.pattern import agreement, cell_of, dominant_colors, flat_start, occlusion, on_view
from compute_server.importance import covered_places
from compute_server.problem import Problem, make_problem
from compute_server.views import fixed_views
from shared.errors import InvalidInput
from shared.scene import UvTexture, VertexTexture

CPU = torch.device("cpu")
#: Blocks of colours; the bench body's UVs cover all of the texture.
BLOCKS = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def problem_of(*, squeezed: bool = False) -> Problem:
    """The bench body with a texture of blocks; `squeezed` leaves the upper half of the texture bare."""
    scene = msgspec.structs.replace(bench_scene(64), texture=UvTexture(BLOCKS))
    if squeezed:
        uv = scene.mesh.uv * np.array([1.0, 0.5], np.float32)
        scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, uv=uv))
    return make_problem(small_job(scene=scene, target="mouse|golf ball|airship"), CPU)


def test_occlusion_is_the_confidence_that_is_lost_with_the_mean_colour_there() -> None:
    problem, views = problem_of(), fixed_views(bench_scene(16).rig)[:2]
    texture, covered = problem.texture.original, covered_places(problem)
    lost = occlusion(problem, texture, views, 2)
    inside = (cell_of(problem, 2) == 3) & covered
    changed = texture.clone()
    changed[inside] = texture[covered].double().mean(dim=0).round().to(torch.uint8)
    pools = [problem.texture.pool_of(each) for each in (texture, changed)]
    whole, without = evaluate(problem.renderer, pools, views, problem.classifiers, problem.target, 1)
    expected = whole[0].stats().mean - without[0].stats().mean
    assert expected != 0
    assert float(lost[inside][0]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_occluding_a_cell_that_nothing_covers_changes_nothing() -> None:
    problem = problem_of(squeezed=True)
    lost = occlusion(problem, problem.texture.original, fixed_views(problem.job.scene.rig)[:1], 4).reshape(64, 64)
    assert float(lost[40:].abs().max()) == 0
    assert float(lost[:32].abs().max()) > 0


def test_occlusion_tells_how_far_it_is() -> None:
    problem, said = problem_of(squeezed=True), []
    occlusion(problem, problem.texture.original, fixed_views(problem.job.scene.rig)[:1], 2, said.append)
    assert said == [0.25, 0.5, 0.75, 1.0]


def test_identical_seeds_agree_wholly_and_opposite_ones_not_at_all() -> None:
    one, covered = torch.rand(50, generator=torch.Generator().manual_seed(1)), torch.ones(50, dtype=torch.bool)
    assert agreement([one, one.clone(), one.clone()], covered) == pytest.approx(1.0)
    assert agreement([one, -one], covered) == pytest.approx(-1.0)


def test_agreement_is_the_mean_over_pairs_on_covered_texels_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = [torch.rand(40, generator=generator) for _ in range(3)]
    covered = torch.arange(40) < 30
    pairs = [np.corrcoef(maps[a][:30], maps[b][:30])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert agreement(maps, covered) == pytest.approx(np.mean(pairs))


def test_one_seed_or_a_flat_map_agrees_with_nothing() -> None:
    covered = torch.ones(4, dtype=torch.bool)
    assert agreement([torch.rand(4)], covered) is None
    assert agreement([torch.ones(4), torch.ones(4)], covered) is None


def test_dominant_colours_come_with_their_shares_the_greatest_first() -> None:
    colors = torch.tensor([[200, 10, 10]] * 60 + [[10, 10, 200]] * 30 + [[250, 250, 250]] * 10, dtype=torch.uint8)
    found = dominant_colors(colors)
    assert [color for color, _ in found] == [(200, 10, 10), (10, 10, 200), (250, 250, 250)]
    assert [share for _, share in found] == pytest.approx([0.6, 0.3, 0.1])


def test_a_pattern_begins_grey_free_and_without_bounds() -> None:
    scene = msgspec.structs.replace(bench_scene(64), texture=UvTexture(BLOCKS))
    part = np.zeros_like(scene.mesh.mask)
    scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=part))
    job = flat_start(small_job(scene=scene, epsilon=0.1, patch=0.1), seed=7)
    assert isinstance(job.scene.texture, UvTexture)
    assert (job.scene.texture.image == 128).all()
    assert (job.scene.mesh.mask == 1).all()
    assert (job.settings.epsilon, job.settings.patch, job.settings.seed) == (None, 0.0, 7)


def test_vertex_colours_have_no_pattern() -> None:
    body = bench_scene(16)
    colors = np.full((len(body.mesh.positions), 3), 128, np.uint8)
    with pytest.raises(InvalidInput, match="vertex colours"):
        flat_start(small_job(scene=msgspec.structs.replace(body, texture=VertexTexture(colors))), 0)


def test_a_map_on_a_view_has_the_values_of_what_is_seen_whatever_the_light() -> None:
    problem = problem_of()
    values = torch.where(torch.arange(64 * 64) % 64 < 32, 2.0, 5.0)  # by u: two halves of the body
    seen = on_view(problem, values, fixed_views(problem.job.scene.rig)[0], 96)
    surface = seen[~np.isnan(seen)]
    assert 0.05 < surface.size / seen.size < 0.95
    assert (surface.min(), surface.max()) == pytest.approx((2.0, 5.0), rel=1e-4)
    assert np.isnan(seen[0, 0])
