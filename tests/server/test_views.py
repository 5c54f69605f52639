"""Random views: reproducible, within their jitter, and light moves with its state."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest

from compute_server.bench_scene import bench_scene
from compute_server.eot_kernels import inverse
from compute_server.views import (
    MAX_ELEVATION,
    Backgrounds,
    fixed_views,
    generators,
    jitter_camera,
    jitter_lights,
    random_views,
)
from shared.errors import InvalidInput
from shared.scene import AreaLight, CameraJitter, GlowLight, LightJitter, LightState, PointLight, Rig, SunLight, View

RIG = bench_scene(16).rig
NO_CAMERA_JITTER = CameraJitter(azimuth=0, elevation=0, roll=0, distance=0, zoom=0, shift=0)


def take(seed: int, which: int, count: int = 6) -> list[View]:
    return list(itertools.islice(random_views(RIG, generators(seed)[which], "varied"), count))


def same(a: View, b: View) -> bool:
    return np.array_equal(a.camera.view, b.camera.view) and np.array_equal(a.background, b.background)


def eye(view: np.ndarray) -> np.ndarray:
    return np.linalg.inv(view)[:3, 3]


def test_the_same_seed_gives_the_same_views() -> None:
    assert all(same(a, b) for a, b in zip(take(7, 0), take(7, 0), strict=True))


@pytest.mark.parametrize("other", [(8, 0), (7, 1), (7, 2)])
def test_another_seed_or_purpose_gives_views_of_its_own(other: tuple[int, int]) -> None:
    assert not any(same(a, b) for a in take(7, 0) for b in take(*other))


def test_every_camera_takes_its_turn_before_any_comes_again() -> None:
    names = [view.camera.name for view in take(1, 0, 2 * len(RIG.cameras))]
    assert set(names[: len(RIG.cameras)]) == {camera.name for camera in RIG.cameras}


def test_no_jitter_leaves_the_camera_where_it_is() -> None:
    camera = RIG.cameras[3]
    moved = jitter_camera(camera, RIG.center, NO_CAMERA_JITTER, np.random.default_rng(0))
    np.testing.assert_allclose(moved.view, camera.view, atol=1e-12)
    np.testing.assert_allclose(moved.projection, camera.projection, atol=1e-12)


def test_a_jittered_camera_keeps_its_distance_and_still_sees_the_centre_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    jitter = msgspec.structs.replace(NO_CAMERA_JITTER, azimuth=40, elevation=20, roll=10)
    for camera in RIG.cameras:
        moved = jitter_camera(camera, RIG.center, jitter, rng)
        assert np.linalg.norm(eye(moved.view)) == pytest.approx(np.linalg.norm(eye(camera.view)))
        center = moved.projection @ moved.view @ np.array([0, 0, 0, 1.0])
        np.testing.assert_allclose(center[:2] / center[3], 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(moved.view[:3, :3]), 1)


def test_azimuth_and_elevation_stay_within_their_jitter() -> None:
    rng = np.random.default_rng(3)
    jitter = msgspec.structs.replace(NO_CAMERA_JITTER, azimuth=15, elevation=5)
    camera = RIG.cameras[0]
    start = eye(camera.view)
    turned, risen = [], []
    for _ in range(200):
        now = eye(jitter_camera(camera, RIG.center, jitter, rng).view)
        turned.append(math.degrees(math.atan2(now[1], now[0]) - math.atan2(start[1], start[0])))
        risen.append(math.degrees(math.asin(now[2] / 5) - math.asin(start[2] / 5)))
    assert 13 < max(turned) <= 15 + 1e-9
    assert -15 - 1e-9 <= min(turned) < -13
    assert 4 < max(risen) <= 5 + 1e-9


def test_no_camera_goes_over_the_pole() -> None:
    jitter = msgspec.structs.replace(NO_CAMERA_JITTER, elevation=180)
    rng = np.random.default_rng(0)
    for _ in range(50):
        now = eye(jitter_camera(RIG.cameras[0], RIG.center, jitter, rng).view)
        assert abs(math.asin(np.clip(now[2] / np.linalg.norm(now), -1, 1))) <= MAX_ELEVATION + 1e-9


def test_shift_and_zoom_act_on_the_frame() -> None:
    rng = np.random.default_rng(1)
    camera = RIG.cameras[0]
    moved = jitter_camera(camera, RIG.center, msgspec.structs.replace(NO_CAMERA_JITTER, shift=0.1), rng)
    center = moved.projection @ moved.view @ np.array([0, 0, 0, 1.0])
    assert 0 < np.abs(center[:2] / center[3]).max() <= 0.2
    zoomed = jitter_camera(camera, RIG.center, msgspec.structs.replace(NO_CAMERA_JITTER, zoom=0.5), rng)
    ratio = zoomed.projection[0, 0] / camera.projection[0, 0]
    assert ratio == pytest.approx(zoomed.projection[1, 1] / camera.projection[1, 1])
    assert 1 / 1.5 <= ratio <= 1.5


def test_lights_turn_about_the_centre_and_keep_their_height_and_distance() -> None:
    state = LightState(
        name="all",
        lights=(
            SunLight(power=(1, 1, 1), direction=(0.6, 0, -0.8)),
            PointLight(power=(10, 10, 10), position=(3, 1, 2)),
            AreaLight(power=(5, 5, 5), position=(1, -2, 3), axis_x=(1, 0, 0), axis_y=(0, 2, 0)),
        ),
        world=(0.5, 0.5, 0.5),
    )
    center = (1.0, 1.0, 0.0)
    sun, point, area = jitter_lights(
        state, center, LightJitter(azimuth=180, stops=0, tint=0), np.random.default_rng(5)
    ).lights
    assert isinstance(sun, SunLight)
    assert isinstance(point, PointLight)
    assert isinstance(area, AreaLight)
    assert sun.direction[2] == pytest.approx(-0.8)
    assert sun.direction[0] != pytest.approx(0.6, abs=1e-3)
    assert point.position[2] == pytest.approx(2)
    assert math.dist(point.position, center) == pytest.approx(math.dist((3, 1, 2), center))
    assert np.dot(area.axis_x, area.axis_y) == pytest.approx(0)
    assert area.power == pytest.approx((5, 5, 5))


def test_light_strength_stays_within_its_stops_for_lamps_and_world_alike() -> None:
    rng = np.random.default_rng(2)
    state = LightState(name="s", lights=(SunLight(power=(1, 1, 1), direction=(0, 0, -1)),), world=(0.5, 0.5, 0.5))
    gains = []
    for _ in range(100):
        moved = jitter_lights(state, (0, 0, 0), LightJitter(azimuth=0, stops=1, tint=0), rng)
        assert moved.world[0] * 2 == pytest.approx(moved.lights[0].power[0])
        gains.append(moved.lights[0].power[0])
    assert 0.5 <= min(gains) < 0.6
    assert 1.7 < max(gains) <= 2


def test_fixed_views_are_the_rig_itself_in_front_of_grey() -> None:
    views = fixed_views(RIG)
    assert [view.camera for view in views] == list(RIG.cameras)
    assert all((view.background == 128).all() for view in views)


def backgrounds(kind: Backgrounds, rig: Rig = RIG, count: int = 40) -> list[np.ndarray]:
    views = itertools.islice(random_views(rig, np.random.default_rng(0), kind), count)
    return [view.background for view in views]


def busyness(picture: np.ndarray) -> float:
    return float(picture.astype(float).std(axis=(0, 1)).max())


def test_varied_backgrounds_are_pictures_of_many_kinds() -> None:
    pictures = backgrounds("varied")
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    spread = [busyness(picture) for picture in pictures]
    assert min(spread) == 0  # flat ones
    assert max(spread) > 30  # and busy ones


def test_flat_backgrounds_are_of_one_colour_each_and_noise_of_many() -> None:
    flat = backgrounds("flat")
    assert max(map(busyness, flat)) == 0
    assert len({tuple(picture[0, 0]) for picture in flat}) > 30
    assert min(map(busyness, backgrounds("noise"))) > 0


def test_the_pictures_of_the_rig_take_turns_as_backgrounds() -> None:
    own = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    found = backgrounds("pictures", msgspec.structs.replace(RIG, backgrounds=own), count=6)
    assert sorted(int(picture[0, 0, 0]) for picture in found) == sorted([0, 60, 120] * 2)


def test_pictures_are_refused_as_backgrounds_when_the_rig_has_none() -> None:
    with pytest.raises(InvalidInput, match="no background pictures"):
        backgrounds("pictures")


# --- baked light and panoramas ----------------------------------------------------------------------------------------


def test_a_panorama_turns_with_the_lamps() -> None:
    lamp = SunLight(power=(1.0, 1.0, 1.0), direction=(1.0, 0.0, 0.0))
    state = LightState(name="sky", lights=(lamp,), world=(1.0, 1.0, 1.0), panorama=0, turn=0.25)
    turned = jitter_lights(state, (0.0, 0.0, 0.0), LightJitter(), np.random.default_rng(3))
    (sun_now,) = turned.lights
    assert isinstance(sun_now, SunLight)
    angle = math.atan2(sun_now.direction[1], sun_now.direction[0])
    assert turned.turn - 0.25 == pytest.approx(angle)
    assert abs(angle) > 1e-3


def test_baked_lights_stay_where_they_are_and_mix_anew() -> None:
    lamps = tuple(PointLight(power=(1.0, 1.0, 1.0), position=(float(i), 1.0, 2.0), map=i) for i in range(2))
    glow = GlowLight(power=(1.0, 1.0, 1.0), map=2)
    state = LightState(name="baked", lights=(*lamps, glow), world=(1.0, 1.0, 1.0), world_map=3)
    mixed = jitter_lights(state, (0.0, 0.0, 0.0), LightJitter(), np.random.default_rng(3))
    assert [light.position for light in mixed.lamps] == [lamp.position for lamp in lamps]  # type: ignore[union-attr]
    assert [light.map for light in mixed.lights] == [0, 1, 2]
    assert mixed.lights[2] == glow
    powers = {light.power for light in mixed.lamps} | {mixed.world}
    assert len(powers) == 3
    assert all(2**-0.5 / 1.1 <= channel <= 2**0.5 * 1.1 for power in powers for channel in power)


def test_a_matrix_times_its_inverse_is_the_identity() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        matrix = np.eye(4)
        matrix[:3] = rng.normal(size=(3, 4)) * 10 ** rng.uniform(-2, 2)
        np.testing.assert_allclose(inverse(matrix) @ matrix, np.eye(4), rtol=0, atol=1e-10)
