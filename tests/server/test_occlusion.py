"""Shadows: what stands between a surface and a lamp, how soft its edge is, and that nothing shadows itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.scenes import mesh, plane, sphere

from compute_server.render import occlusion as occlusion_module
from compute_server.render.geometry import from_mesh
from compute_server.render.occlusion import Occlusion
from shared.scene import AreaLight, Lamp, Mesh, PointLight, SpotLight, SunLight, Surroundings

WHITE = (1.0, 1.0, 1.0)
ABOVE = (0.0, 0.0, 4.0)
DOWN = (0.0, 0.0, -1.0)
LAMPS = [
    PointLight(power=WHITE, position=ABOVE),
    SpotLight(power=WHITE, position=ABOVE, direction=DOWN, angle=2.0, blend=0.0),
    SunLight(power=WHITE, direction=DOWN),
    AreaLight(power=WHITE, position=ABOVE, axis_x=(1e-3, 0.0, 0.0), axis_y=(0.0, 1e-3, 0.0)),
]


def _roof(size: float, height: float) -> Surroundings:
    """A horizontal square over the origin."""
    body = plane(size)
    return Surroundings(positions=body.positions + np.array([0, 0, height], np.float32), triangles=body.triangles)


def _visible(lamp: Lamp, points: np.ndarray, around: Surroundings | None, body: Mesh | None = None) -> np.ndarray:
    """How much of `lamp` points with normals straight up see, [P]."""
    position = torch.from_numpy(np.asarray(points, np.float32))
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(len(position), 3)
    facing = torch.ones(len(position), dtype=torch.bool)
    occlusion = Occlusion(from_mesh(plane(20.0) if body is None else body), around)
    return occlusion.visible(lamp, position, up, facing, torch.arange(len(position))).numpy()


@pytest.mark.parametrize("lamp", LAMPS, ids=lambda lamp: type(lamp).__name__)
def test_a_roof_keeps_out_the_light_below_it_and_nowhere_else(lamp: Lamp) -> None:
    x = np.linspace(-3, 3, 61)
    points = np.stack([x, np.zeros(61), np.zeros(61)], axis=1)
    # Seen from a lamp at 4 m a roof at 2 m casts a shadow twice its size; from the sun, one of its size.
    reach = 0.5 if isinstance(lamp, SunLight) else 1.0
    expected = (np.abs(x) > reach).astype(float)
    clear = np.abs(np.abs(x) - reach) > 0.02
    np.testing.assert_array_equal(_visible(lamp, points, _roof(1.0, 2.0))[clear], expected[clear])


def test_many_rays_are_answered_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    occlusion = Occlusion(from_mesh(sphere()), _roof(1.0, 3.0))
    generator = torch.Generator().manual_seed(0)
    origin, toward = torch.randn(999, 3, generator=generator), torch.randn(999, 3, generator=generator)
    rays = origin, torch.nn.functional.normalize(toward, dim=1), torch.rand(999, generator=generator) * 4
    together = occlusion.hidden(*rays)
    assert 50 < int(together.sum()) < 900
    monkeypatch.setattr(occlusion_module, "FEW_RAYS", 100)
    assert torch.equal(occlusion.hidden(*rays), together)


@pytest.mark.parametrize("lamp", [LAMPS[0], LAMPS[1], LAMPS[3]], ids=lambda lamp: type(lamp).__name__)
def test_what_stands_behind_the_lamp_hides_nothing(lamp: Lamp) -> None:
    assert _visible(lamp, np.zeros((4, 3)), _roof(9.0, 5.0)).all()


def test_the_penumbra_of_a_wide_lamp_is_as_wide_as_geometry_says() -> None:
    lamp = AreaLight(power=WHITE, position=ABOVE, axis_x=(1.0, 0.0, 0.0), axis_y=(0.0, 1.0, 0.0))
    # Edge of a half plane at x = 0 and 2 m: at x on the ground the lamp is seen from −x on, shares run linearly.
    wall = Surroundings(
        positions=np.array([[0, -50, 2], [50, -50, 2], [50, 50, 2], [0, 50, 2]], np.float32),
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    for x, share in ((-0.6, 1.0), (-0.25, 0.75), (0.0, 0.5), (0.25, 0.25), (0.6, 0.0)):
        seen = _visible(lamp, np.tile([[x, 0.0, 0.0]], (400, 1)), wall)
        assert seen.mean() == pytest.approx(share, abs=0.02)  # 400 evenly spread looks


def test_a_sun_with_a_diameter_has_a_soft_edge() -> None:
    sun = SunLight(power=WHITE, direction=DOWN, angle=math.radians(10))
    edge = _visible(sun, np.tile([[0.5, 0.0, 0.0]], (400, 1)), _roof(1.0, 2.0))
    assert edge.mean() == pytest.approx(0.5, abs=0.03)
    assert _visible(sun, np.tile([[0.5 + 2 * math.tan(math.radians(5.5)), 0, 0]], (100, 1)), _roof(1.0, 2.0)).all()


def test_a_convex_object_casts_no_shadow_on_its_lit_side() -> None:
    body = sphere(48, 24)
    points, normals = (
        torch.from_numpy(body.positions),
        torch.nn.functional.normalize(torch.from_numpy(body.positions), dim=1),
    )
    facing = normals[:, 2] > 0.15  # below that, facets of this sphere turn away from the sun
    seen = Occlusion(from_mesh(body), None).visible(LAMPS[2], points, normals, facing, torch.arange(len(points)))
    assert seen[facing].all()
    assert not seen[~facing].any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_shadows_do_not_depend_on_the_units(scale: float) -> None:
    body = plane(20.0 * scale)
    roof = _roof(1.0 * scale, 2.0 * scale)
    points = np.array([[0.2, 0.2, 0.0], [1.0, 0.0, 0.0], [0.45, 0.0, 0.0]]) * scale
    assert _visible(LAMPS[2], points, roof, body).tolist() == [0.0, 1.0, 0.0]


def test_the_same_points_look_at_the_same_places_of_a_lamp() -> None:
    lamp = AreaLight(power=WHITE, position=ABOVE, axis_x=(1.0, 0.0, 0.0), axis_y=(0.0, 1.0, 0.0))
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * (1, 1, 0)
    first, second = (_visible(lamp, points, _roof(1.0, 2.0)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_object_hides_light_from_itself() -> None:
    # A wall on a floor, in one mesh; the sun comes from the wall's other side.
    body = mesh(
        [[-5, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0], [0, -5, 0], [0, 5, 0], [0, 5, 2], [0, -5, 2]],
        [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]],
    )
    sun = SunLight(power=WHITE, direction=(1.0, 0.0, -1.0))
    seen = _visible(sun, np.array([[1.0, 0, 0], [3.0, 0, 0], [-1.0, 0, 0]]), None, body)
    assert seen.tolist() == [0.0, 1.0, 1.0]
