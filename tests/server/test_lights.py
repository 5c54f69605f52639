"""Irradiance against textbook formulas, in float64, in Blender's units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from compute_server.render.lights import emitters, incidence, irradiance
from shared.scene import AreaLight, Lamp, PointLight, SpotLight, SunLight

UP = (0.0, 0.0, 1.0)
WHITE_100 = (100.0, 100.0, 100.0)


def _at(lamp: Lamp | None, point: Sequence[float], normal: Sequence[float] = UP) -> float:
    """Irradiance of one lamp at one point, in its first channel."""
    return float(_rgb(() if lamp is None else (lamp,), point, normal)[0])


def _rgb(lamps: tuple[Lamp, ...], point: Sequence[float], normal: Sequence[float] = UP) -> np.ndarray:
    unit = np.asarray(normal, np.float64) / np.linalg.norm(normal)
    return irradiance(lamps, torch.tensor([point], dtype=torch.float64), torch.tensor(unit[None]))[0].numpy()


def _lamp(power: float = 1000.0, height: float = 5.0) -> PointLight:
    return PointLight(power=(power,) * 3, position=(0.0, 0.0, height))


def _spot(angle_deg: float = 60.0, blend: float = 0.2, power: float = 1000.0) -> SpotLight:
    return SpotLight(
        power=(power,) * 3,
        position=(0.0, 0.0, 5.0),
        direction=(0.0, 0.0, -2.0),
        angle=math.radians(angle_deg),
        blend=blend,
    )


def _panel(
    width: float = 1.0, depth: float = 1.0, height: float = 5.0, shape: str = "rectangle", power: float = 100.0
) -> AreaLight:
    """A panel on the ceiling that shines down."""
    return AreaLight(
        power=(power,) * 3,
        position=(0.0, 0.0, height),
        axis_x=(width, 0.0, 0.0),
        axis_y=(0.0, depth, 0.0),
        shape="ellipse" if shape == "ellipse" else "rectangle",
    )


ALL_LIGHTS = [
    _lamp(),
    SunLight(power=WHITE_100, direction=(0.3, 0.1, -1.0)),
    _spot(),
    _panel(),
    _panel(shape="ellipse"),
]


def test_a_point_light_of_1000_w_gives_3_183_w_per_m2_at_5_m() -> None:
    assert _at(_lamp(), (0, 0, 0)) == pytest.approx(3.183, abs=5e-4)
    assert _at(_lamp(), (0, 0, 0)) == pytest.approx(1000 / (4 * math.pi * 25), rel=1e-12)


@pytest.mark.parametrize("distance", [0.1, 1.0, 20.0])
def test_point_light_falls_with_the_square_of_distance(distance: float) -> None:
    assert _at(_lamp(height=distance), (0, 0, 0)) * distance**2 == pytest.approx(1000 / (4 * math.pi), rel=1e-12)


@pytest.mark.parametrize("angle_deg", [0, 30, 60, 89])
@pytest.mark.parametrize(
    "light", [_lamp(), SunLight(power=WHITE_100, direction=(0, 0, -1)), _spot()], ids=["point", "sun", "spot"]
)
def test_light_falls_with_the_cosine_of_incidence(light: Lamp, angle_deg: float) -> None:
    angle = math.radians(angle_deg)
    tilted = (math.sin(angle), 0.0, math.cos(angle))
    assert _at(light, (0, 0, 0), tilted) == pytest.approx(math.cos(angle) * _at(light, (0, 0, 0)), rel=1e-9)


@pytest.mark.parametrize("light", ALL_LIGHTS, ids=lambda light: type(light).__name__)
def test_a_surface_that_faces_away_is_dark(light: Lamp) -> None:
    assert _at(light, (0.1, 0, 0), (0, 0, 1)) > 0
    assert _at(light, (0.1, 0, 0), (0, 0, -1)) == 0


@pytest.mark.parametrize("length", [1.0, 0.01, 70.0])
def test_sun_strength_is_the_irradiance_it_gives_whatever_the_length_of_its_direction(length: float) -> None:
    sun = SunLight(power=(3.0, 2.0, 1.0), direction=(0.0, 0.0, -length))
    np.testing.assert_allclose(_rgb((sun,), (0, 0, 0)), (3, 2, 1), rtol=1e-12)
    np.testing.assert_allclose(_rgb((sun,), (40, -9, 3)), (3, 2, 1), rtol=1e-12)


def test_a_spot_is_a_point_light_inside_its_cone() -> None:
    # Full strength reaches to cos = cos 30° + 0.2 (1 − cos 30°), that is 26.8°.
    for x in (0.0, 1.0, 5 * math.tan(math.radians(26.7))):
        assert _at(_spot(), (x, 0, 0)) == pytest.approx(_at(_lamp(), (x, 0, 0)), rel=1e-9)


def test_a_spot_is_dark_outside_its_cone() -> None:
    assert _at(_spot(), (5 * math.tan(math.radians(29.9)), 0, 0)) > 0
    for x in (5 * math.tan(math.radians(30.01)), 50.0):
        assert _at(_spot(), (x, 0, 0)) == 0
    assert _at(_spot(), (0, 0, 9), (0, 0, -1)) == 0


@pytest.mark.parametrize(("share", "brightness"), [(0.25, 0.15625), (0.5, 0.5), (0.75, 0.84375)])
def test_a_spots_edge_brightens_by_smoothstep_of_the_cosine(share: float, brightness: float) -> None:
    """3 t² − 2 t³, with t from the cone's edge to full strength."""
    cos_half = math.cos(math.radians(30))
    x = 5 * math.tan(math.acos(cos_half + share * 0.8 * (1 - cos_half)))
    assert _at(_spot(blend=0.8), (x, 0, 0)) == pytest.approx(brightness * _at(_lamp(), (x, 0, 0)), rel=1e-9)


@pytest.mark.parametrize("angle_deg", [10, 20, 29])
def test_a_spot_softens_steadily_with_its_blend(angle_deg: float) -> None:
    x = 5 * math.tan(math.radians(angle_deg))
    shine = [_at(_spot(blend=blend), (x, 0, 0)) for blend in np.linspace(0, 1, 21)]
    assert all(after <= before for before, after in itertools.pairwise(shine))
    assert shine[0] == pytest.approx(_at(_lamp(), (x, 0, 0)))
    assert shine[-1] < shine[0]


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_a_spot_darkens_steadily_towards_its_edge(blend: float) -> None:
    shine = [_at(_spot(blend=blend), (5 * math.tan(math.radians(a)), 0, 0)) for a in np.linspace(0, 35, 71)]
    assert all(after <= before for before, after in itertools.pairwise(shine))


@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
@pytest.mark.parametrize("point", [(0.0, 0.0), (60.0, 0.0), (-30.0, 80.0)])
def test_far_away_a_panel_shines_as_a_lambertian_point(shape: str, point: tuple[float, float]) -> None:
    """E = L · A · cosθ · cosθ′ / d² with L = P / (π · A): the area cancels."""
    panel, height = _panel(0.8, 0.5, height=50.0, shape=shape), 50.0
    square = point[0] ** 2 + point[1] ** 2 + height**2
    expected = 100 / math.pi * (height**2 / square) / square
    # The first term that is left out is of the order of (half the size / distance)².
    assert _at(panel, (*point, 0.0)) == pytest.approx(expected, rel=6 * (0.5 / height) ** 2)


@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
def test_a_panel_shines_to_one_side_only(shape: str) -> None:
    panel = _panel(height=0.0, shape=shape)
    assert _at(panel, (0, 0, -2), (0, 0, 1)) > 0
    assert _at(panel, (0, 0, 2), (0, 0, -1)) == 0
    turned = AreaLight(power=WHITE_100, position=(0, 0, 0), axis_x=(0, 1, 0), axis_y=(1, 0, 0), shape=panel.shape)
    assert _at(turned, (0, 0, 2), (0, 0, -1)) > 0
    assert _at(turned, (0, 0, -2), (0, 0, 1)) == 0


@pytest.mark.parametrize("distance", [1.0, 2.0, 5.0])
def test_a_disk_overhead_gives_the_closed_form(distance: float) -> None:
    """E = π · L · sin²α, with α the half angle under which the disk is seen."""
    radius = 0.5
    radiance = 100 / (math.pi * math.pi * radius**2)
    expected = math.pi * radiance * radius**2 / (radius**2 + distance**2)
    assert _at(_panel(2 * radius, 2 * radius, distance, "ellipse"), (0, 0, 0)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
@pytest.mark.parametrize(
    ("point", "normal"), [((0.3, -0.2, 0), UP), ((1.5, 0.4, 0), UP), ((-0.7, 0.9, 0), (0.5, -0.3, 1))]
)
def test_a_panel_gives_the_integral_over_its_area(
    shape: str, point: tuple[float, float, float], normal: tuple[float, float, float]
) -> None:
    width, depth, height, power = 1.2, 0.7, 1.5, 100.0
    found = _at(_panel(width, depth, height, shape, power), point, normal)
    side = (np.arange(400) + 0.5) / 400 - 0.5
    x, y = np.meshgrid(side, side)
    inside = (x**2 + y**2 <= 0.25) if shape == "ellipse" else np.ones_like(x, dtype=bool)
    area = width * depth * (math.pi / 4 if shape == "ellipse" else 1.0)
    toward = np.stack([x * width, y * depth, np.full_like(x, height)], axis=-1)[inside] - np.array(point)
    distance = np.linalg.norm(toward, axis=1)
    cos_here = (toward @ normal / np.linalg.norm(normal) / distance).clip(0)
    cos_there = toward[:, 2] / distance
    expected = power / (math.pi * area) * area * (cos_here * cos_there / distance**2).mean()
    assert found == pytest.approx(expected, rel=0.01)


def test_without_light_it_is_dark() -> None:
    assert _at(None, (0, 0, 0)) == 0


@pytest.mark.parametrize("light", ALL_LIGHTS, ids=lambda light: type(light).__name__)
def test_light_is_proportional_to_power_in_each_channel(light: Lamp) -> None:
    power = (1.0, 20.0, 300.0)
    coloured = type(light)(**{f: getattr(light, f) for f in light.__struct_fields__ if f != "power"}, power=power)
    plain = _at(light, (0.2, 0.1, 0)) / light.power[0]
    assert plain > 0
    np.testing.assert_allclose(_rgb((coloured,), (0.2, 0.1, 0)), plain * np.array(power), rtol=1e-12)


def test_lights_add_up() -> None:
    together = _rgb(tuple(ALL_LIGHTS), (0.2, 0.1, 0))
    apart = sum(_rgb((light,), (0.2, 0.1, 0)) for light in ALL_LIGHTS)
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_a_point_on_the_lamp_itself_gives_a_finite_number() -> None:
    assert math.isfinite(_at(_lamp(height=0.0), (0, 0, 0)))


@pytest.mark.parametrize("lamp", ALL_LIGHTS, ids=lambda lamp: type(lamp).__name__)
def test_the_points_of_a_lamp_give_together_what_the_lamp_gives(lamp: Lamp) -> None:
    rng = np.random.default_rng(1)
    position = torch.tensor(rng.uniform(-1, 1, (50, 3)) * (1, 1, 0.2))
    normal = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(50, 3))), dim=1)
    parts = [received * (normal * toward).sum(dim=1).clamp_min(0) for toward, received in emitters(lamp, position)]
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), incidence(lamp, position, normal), rtol=1e-9, atol=1e-12)


def test_a_panel_no_farther_away_than_it_is_wide_is_right_to_a_part_in_a_thousand() -> None:
    """Beneath the middle of a square of radiance L, a = half edge / distance: E = 4 L s · atan s, s = a / √(1 + a²)."""
    lamp = _panel(width=2.0, depth=2.0, height=2.0)
    half = 1 / 2
    side = half / math.sqrt(1 + half**2)
    expected = 4 * 100 / (math.pi * 4) * side * math.atan(side)
    assert _at(lamp, (0, 0, 0)) == pytest.approx(expected, rel=1e-3)


def test_spread_narrows_a_panels_light_to_its_cone_and_keeps_the_middle_brighter() -> None:
    narrow = AreaLight(
        power=WHITE_100, position=(0, 0, 5), axis_x=(0.1, 0, 0), axis_y=(0, 0.1, 0), spread=math.radians(60)
    )
    wide = AreaLight(power=WHITE_100, position=(0, 0, 5), axis_x=(0.1, 0, 0), axis_y=(0, 0.1, 0))
    assert _at(narrow, (0, 0, 0)) > _at(wide, (0, 0, 0))
    assert _at(narrow, (5 * math.tan(math.radians(20)), 0, 0)) > 0
    assert _at(narrow, (5 * math.tan(math.radians(31)), 0, 0)) == 0
