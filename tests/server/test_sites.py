"""Where a patch can go, on bodies whose geometry is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.scenes import mesh, plane, sphere

from compute_server.render.geometry import from_mesh
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.sites import candidates, covers, on_patch, ranked
from compute_server.texel_surface import TexelSurface, texel_surface, vertex_surface
from shared.errors import InvalidInput
from shared.messages import PatchSite
from shared.scene import Mesh


def surface_of(body: Mesh, size: int = 64) -> TexelSurface:
    return texel_surface(from_mesh(body), NumbaRasterizer(), size, size)


def site(**changes: object) -> PatchSite:
    known = {"gain": 0.0, "visibility": 0.0, "flatness": 1.0, "area": 1.0, "score": 0.0}
    placed = {"center": (0.0, 0.0, 0.0), "normal": (0.0, 0.0, 1.0), "up": (0.0, 1.0, 0.0), "edge": 0.5}
    return PatchSite(**{**known, **placed, **changes})  # type: ignore[arg-type]


def test_texels_of_a_plane_lie_where_their_centres_are() -> None:
    surface = surface_of(plane(2.0), 8)
    assert len(surface.texel) == 64
    row, column = surface.texel // 8, surface.texel % 8
    expected = torch.stack([(column + 0.5) / 8 * 2 - 1, (row + 0.5) / 8 * 2 - 1, torch.zeros(64)], dim=1)
    assert torch.allclose(surface.position, expected, atol=1e-6)
    assert torch.allclose(surface.normal, torch.tensor([0.0, 0.0, 1.0]).expand(64, 3), atol=1e-6)
    assert float(surface.area.sum()) == pytest.approx(4.0, rel=1e-5)


def test_texels_that_two_places_share_have_none() -> None:
    corners = plane().positions
    twice = np.concatenate([corners, corners + np.array([0, 0, 1], np.float32)])
    uv = plane().uv
    mirrored = mesh(twice, [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], uv=np.concatenate([uv, uv * 0.5]))
    surface = surface_of(mirrored, 16)
    row, column = surface.texel // 16, surface.texel % 16
    assert len(surface.texel) == 256 - 64
    assert not ((row < 8) & (column < 8)).any()


def test_texels_of_a_repeated_texture_have_no_place() -> None:
    body = plane()
    repeated = mesh(body.positions, body.triangles, uv=body.uv * 2)
    assert len(surface_of(repeated, 16).texel) == 0


def test_vertices_have_the_area_around_them() -> None:
    surface = vertex_surface(from_mesh(sphere(48, 24)))
    assert float(surface.area.sum()) == pytest.approx(4 * math.pi, rel=0.02)
    outwards = torch.nn.functional.normalize(surface.position, dim=1)
    assert float((surface.normal * outwards).sum(dim=1).min()) > 0.99


def test_a_patch_covers_a_square_of_its_size_on_the_side_that_it_faces() -> None:
    surface = surface_of(plane(2.0), 64)
    inside = covers(site(), surface.position, surface.normal)
    assert float(surface.area[inside].sum()) == pytest.approx(0.25, rel=0.07)
    assert float(surface.position[inside].abs().max()) <= 0.25
    assert not covers(site(), surface.position, -surface.normal).any()
    assert not covers(site(), surface.position + torch.tensor([0.0, 0.0, 0.2]), surface.normal).any()


def test_places_on_a_patch_are_seen_from_outside_the_right_way_round() -> None:
    corners = torch.tensor([[-0.25, -0.25, 0.0], [0.25, -0.25, 0.0], [-0.25, 0.25, 0.0]])
    assert torch.allclose(on_patch(site(), corners), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), atol=1e-6)
    below = site(normal=(0.0, 0.0, -1.0))  # from below, +x is on the left
    assert torch.allclose(on_patch(below, corners)[:, 0], torch.tensor([1.0, 0.0, 1.0]), atol=1e-6)


def test_candidates_lie_inside_the_mask_and_know_flat_from_round() -> None:
    surface = surface_of(plane(2.0), 64)
    free = (surface.position[:, 0] > 0).float()
    found = candidates(surface, free, 0.5, np.random.default_rng(0))
    assert found
    for each in found:
        assert each.center[0] > 0
        assert each.flatness == pytest.approx(1.0, abs=1e-4)
        assert 0.3 <= each.area <= 1.0
    round_body = surface_of(sphere(48, 24), 128)
    bent = candidates(round_body, torch.ones(len(round_body.texel)), 1.0, np.random.default_rng(0))
    assert all(0.8 < each.flatness < 0.99 for each in bent)


def test_sites_that_nobody_sees_are_left_out_and_the_others_ranked_by_gain_times_sight() -> None:
    surface = surface_of(plane(2.0), 64)
    slope = (surface.position[:, 0] > 0).float()  # only there does the loss depend on the texture
    left, right, hidden = (site(center=(x, y, 0.0)) for x, y in ((-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)))
    seen = surface.only(surface.position[:, 1] > 0)
    views = [(seen.position, seen.normal), (seen.position[:0], seen.normal[:0])]
    best, other = ranked([left, right, hidden], surface, slope, views)
    assert (best.center, other.center) == (right.center, left.center)
    assert best.visibility == 0.5
    assert best.score == pytest.approx(best.gain * best.visibility * best.flatness * best.area)
    with pytest.raises(InvalidInput, match="No camera sees"):
        ranked([hidden], surface, slope, views)
