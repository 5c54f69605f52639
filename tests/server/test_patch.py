"""Patches in whole jobs: where they go, what is cut out, and that nothing else changes."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, small_job
from helpers.scenes import camera, vertex_texture
from PIL import Image

from compute_server import problem as problems
from compute_server.bench_scene import bench_scene
from compute_server.flat_patch import optimise_flat
from compute_server.jobs import run_job
from compute_server.placing import placed
from compute_server.sites import covers, on_patch
from shared import messages as m
from shared.errors import InvalidInput
from shared.scene import Scene, UvTexture

CPU = torch.device("cpu")


def done(**settings: Any) -> m.Result:
    return run_job(small_job(**{"patch": 0.05, "alpha": 0.05, **settings}), CPU, Recorder())


@pytest.fixture(scope="module")
def result() -> m.Result:
    return done()


def original() -> np.ndarray:
    texture = bench_scene(128).texture
    assert isinstance(texture, UvTexture)
    return texture.image


def test_the_patch_pasted_into_the_original_gives_the_new_texture_bit_for_bit(result: m.Result) -> None:
    assert result.patch is not None
    assert isinstance(result.texture, UvTexture)
    left, bottom, width, height = result.patch.box
    cut = Image.open(io.BytesIO(result.patch.png.tobytes()))
    assert (cut.mode, cut.size) == ("RGBA", (width, height))
    paper = Image.fromarray(original()[::-1])
    paper.paste(cut, (left, 128 - bottom - height), cut)
    np.testing.assert_array_equal(np.asarray(paper)[::-1], result.texture.image)
    assert (result.texture.image != original()).any()


def test_a_patch_is_a_small_part_of_texture_and_surface(result: m.Result) -> None:
    assert result.patch is not None
    assert result.max_change_outside == 0
    assert 0.02 < result.mask_coverage < 0.12
    _, _, width, height = result.patch.box
    assert width * height < 0.25 * 128 * 128
    low, high = np.array(result.patch.uv[:2]), np.array(result.patch.uv[2:])
    np.testing.assert_allclose((high - low) * 128, [width, height])


def test_a_patch_has_the_size_of_its_site_on_the_surface(result: m.Result) -> None:
    assert result.patch is not None
    edge = result.sites[0].edge
    assert result.patch.width_mm == pytest.approx(1000 * edge, rel=0.12)
    assert result.patch.height_mm == pytest.approx(1000 * edge, rel=0.12)
    assert result.patch.area_mm2 == pytest.approx(1e6 * edge**2, rel=0.3)
    seen = 2 * 2 * (1.6 * 0.8 + 1.6 * 0.7 + 0.8 * 0.7) * 2  # of a box around the body; the body is a little smaller
    assert edge == pytest.approx(math.sqrt(0.05 * seen), rel=0.25)


def test_the_size_is_in_millimetres_whatever_the_scenes_unit_is(result: m.Result) -> None:
    scene = msgspec.structs.replace(bench_scene(128), unit=0.01)  # in centimetres
    small = run_job(small_job(scene=scene, patch=0.05, alpha=0.05), CPU, Recorder())
    assert small.patch is not None
    assert result.patch is not None
    assert small.patch.width_mm == pytest.approx(0.01 * result.patch.width_mm)
    assert small.patch.area_mm2 == pytest.approx(0.0001 * result.patch.area_mm2)


def test_only_what_the_site_covers_changes(result: m.Result) -> None:
    assert isinstance(result.texture, UvTexture)
    body = bench_scene(128).mesh
    corners = torch.tensor(body.positions[body.triangles].mean(axis=1))
    inside = covers(result.sites[0], corners).numpy()
    center = body.uv.mean(axis=1)
    row, column = (np.clip((center[:, axis] * 128).astype(int), 0, 127) for axis in (1, 0))
    changed = (result.texture.image != original()).any(axis=2)[row, column]
    assert changed[inside].mean() > 0.9
    assert not changed[~inside].any() or changed[~inside].mean() < 0.02  # texels at the very edge


def test_sites_that_were_tried_come_first_by_their_loss_and_the_others_by_their_score(result: m.Result) -> None:
    losses = [site.trial for site in result.sites if site.trial is not None]
    assert 1 < len(losses) <= 4
    assert losses == sorted(losses)
    others = result.sites[len(losses) :]
    assert all(site.trial is None for site in others)
    assert [site.score for site in others] == sorted((site.score for site in others), reverse=True)
    assert max(site.score for site in result.sites) == max(site.score for site in result.sites[: len(losses)])


def test_a_cancelled_search_goes_by_the_score() -> None:
    found = run_job(small_job(patch=0.05, steps=3), CPU, Recorder(cancel_after=0))
    assert found.outcome == "cancelled"
    assert all(site.trial is None for site in found.sites)
    assert found.sites[0].score == max(site.score for site in found.sites)


def test_a_random_site_is_one_of_the_candidates_and_another_seed_takes_another(result: m.Result) -> None:
    taken = {done(patch_site="random", seed=seed, steps=0).sites[0].center for seed in range(4)}
    assert len(taken) > 1
    assert taken != {result.sites[0].center}


def test_a_vertex_group_cuts_out_a_patch_too() -> None:
    scene = bench_scene(128)
    free = (scene.mesh.positions[:, 0] > 1.2).astype(np.float32)
    masked = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=free))
    result = run_job(small_job(scene=masked, steps=1), CPU, Recorder())
    assert result.patch is not None
    assert result.sites == ()
    assert result.patch.area_mm2 > 0


def test_a_texture_that_is_free_everywhere_is_no_patch() -> None:
    assert run_job(small_job(steps=0), CPU, Recorder()).patch is None


def test_vertex_colours_take_a_patch_at_a_site() -> None:
    scene = bench_scene(8)
    colored = msgspec.structs.replace(scene, texture=vertex_texture(scene.mesh))
    result = run_job(small_job(scene=colored, patch=0.05, steps=2), CPU, Recorder())
    assert result.patch is None  # there is no image to cut it from
    assert 0 < result.mask_coverage < 0.2
    assert result.max_change_outside == 0


def test_the_flat_baseline_is_made_without_the_object_and_put_on_its_site() -> None:
    flat, rendered = done(method="flat", steps=3), done(steps=3)
    assert isinstance(flat.texture, UvTexture)
    assert isinstance(rendered.texture, UvTexture)
    assert flat.sites == rendered.sites
    assert flat.steps == 3
    assert flat.max_change_outside == 0
    assert (flat.texture.image != rendered.texture.image).any()
    another_object = bench_scene(128)
    darker = msgspec.structs.replace(another_object, texture=UvTexture(np.full((128, 128, 3), 128, np.uint8)))
    assert on_patch(flat.sites[0], torch.tensor([flat.sites[0].center])).tolist() == [[0.5, 0.5]]
    again = run_job(small_job(scene=darker, patch=0.05, alpha=0.05, method="flat", steps=3), CPU, Recorder())
    np.testing.assert_array_equal(again.texture.image, flat.texture.image)  # type: ignore[union-attr]


def test_the_flat_baselines_loss_falls() -> None:
    seen = Recorder()
    job = small_job(patch=0.05, method="flat", steps=16, views=4, alpha=0.03)
    run_job(job, CPU, seen)
    losses = [report.loss for report in seen.reports]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.5


@pytest.mark.parametrize(
    "settings", [{}, {"models": ("efficientnet_lite0", "efficientnet_lite1"), "ensemble": "worst"}], ids=str
)
def test_the_flat_baseline_is_the_same_with_fewer_pictures_at_once(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(patch=0.05, patch_site="random", method="flat", steps=3, views=5, augment=(), **settings)
    problem, losses = placed(problems.make_problem(job, CPU)), []
    for at_once in (32, 2):
        monkeypatch.setattr(problems, "AT_ONCE", at_once)
        seen = Recorder()
        optimise_flat(dataclasses.replace(problem), seen)
        assert all(report.confidence.shape == (5,) for report in seen.reports)
        losses.append([report.loss for report in seen.reports])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def behind(scene: Scene) -> Scene:
    """The scene with a mask on the side away from its only camera."""
    free = (scene.mesh.positions[:, 0] < -1.0).astype(np.float32)
    rig = msgspec.structs.replace(scene.rig, cameras=(camera((9.0, 0.0, 0.0)),))
    return msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=free), rig=rig)


@pytest.mark.parametrize(
    ("scene", "settings", "words"),
    [
        (behind(bench_scene(64)), {}, "No camera of the rig sees the mask of 'bench body'"),
        (bench_scene(64), {"method": "flat"}, "Only a patch can be made flat"),
        (bench_scene(4), {"patch": 0.0001}, "There is no place on 'bench body'"),
    ],
)
def test_a_patch_that_cannot_be_is_refused_with_a_reason(scene: Scene, settings: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        run_job(small_job(scene=scene, **settings), CPU, Recorder())
