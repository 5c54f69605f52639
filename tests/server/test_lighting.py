"""Light on a surface in its three modes: open, traced and baked, with surroundings and reflections."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from helpers.scenes import camera, furnace, mesh, overhead, plane, scene, shot, sphere, sun, vertex_texture

from compute_server.render import gbuffer, light_maps
from compute_server.render.geometry import clip_from_world, eye_points, from_mesh
from compute_server.render.lighting import Lighting, Mode, Reflected, lighting
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.renderer import Renderer
from compute_server.render.sampling import accumulate, build_pool
from compute_server.render.taps import MipLayout
from shared.errors import InvalidInput
from shared.scene import (
    AreaLight,
    GlowLight,
    Lamp,
    LightState,
    Mesh,
    PointLight,
    Scene,
    SpotLight,
    SunLight,
    Surface,
    Surroundings,
    View,
)

LAYOUT = MipLayout.of(4, 4)


def _picture(whole: Scene, view: View, mode: Mode, albedo: float = 1.0, size: int = 32) -> np.ndarray:
    """A linear picture [H, W, 3] of a uniform albedo."""
    geometry = from_mesh(whole.mesh)
    raster = NumbaRasterizer()
    renderer = Renderer(geometry, raster, LAYOUT, lighting(whole, geometry, mode, raster))
    pool = build_pool(torch.full((4, 4, 3), albedo), LAYOUT)
    return accumulate(pool, renderer.prepare([view], size, 4))[0].numpy()


def _scene(body: Mesh, state: LightState, **more: Any) -> Scene:
    whole = scene(body)
    lit = msgspec.structs.replace(whole.rig, lights=(state,), panoramas=more.pop("panoramas", None))
    return msgspec.structs.replace(whole, rig=lit, **more)


def _wall(distance: float) -> Surroundings:
    """An endless wall at x = `distance`, facing the origin."""
    corners = [[distance, -99, -99], [distance, 99, -99], [distance, 99, 99], [distance, -99, 99]]
    return Surroundings(positions=np.array(corners, np.float32), triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32))


# --- compiled ---------------------------------------------------------------------------------------------------------

PANEL: dict[str, Any] = {"power": (50.0, 40.0, 30.0)}
LAMPS: dict[str, Lamp] = {
    "sun": SunLight(power=(2.0, 1.5, 1.0), direction=(0.3, 0.4, -2.0)),
    "point": PointLight(power=(90.0, 80.0, 70.0), position=(1.0, -2.0, 1.5)),
    "spot": SpotLight(
        power=(300.0, 200.0, 100.0), position=(1.0, -2.5, 2.0), direction=(-1.0, 2.0, -2.2), angle=0.7, blend=0.4
    ),
    "area": AreaLight(**PANEL, position=(1.0, -4.0, 2.0), axis_x=(0.9, 0.1, 0.0), axis_y=(0, 0.3, 0.9)),
    "near area": AreaLight(
        **PANEL, position=(0.2, -1.6, 0.3), axis_x=(2.0, 0.2, 0.0), axis_y=(0, 0.3, 1.9), shape="ellipse"
    ),
    "narrow area": AreaLight(
        **PANEL, position=(0.0, -3.0, 2.0), axis_x=(0.8, 0.0, 0.0), axis_y=(0, 0.6, 0.9), spread=1.2
    ),
}


def _reflected(whole: Scene, states: list[LightState], mode: Mode = "open") -> tuple[Reflected, Reflected]:
    """The light on an object, a view for each state, and the same in float64 torch."""
    body, raster = from_mesh(whole.mesh), NumbaRasterizer()
    views = [shot(camera((2 - number, -3, 2)), state) for number, state in enumerate(states)]
    cameras = [view.camera for view in views]
    matrices, eyes = clip_from_world(cameras), eye_points(cameras)
    seen = raster.rasterize(body, matrices, 40, 40)
    surface = gbuffer.build(body, seen, matrices, eyes)
    doubled = {name: getattr(surface, name).double() for name in ("position", "normal", "uv")}
    exact = dataclasses.replace(surface, **doubled)
    light = lighting(whole, body, mode, raster)
    defined = light.reflect_reference(views, exact, seen.view_start, eyes)
    added = None if defined.added is None else defined.added * 0.25
    return light.reflect(views, surface, seen.view_start, eyes, 0.25), Reflected(defined.scale * 0.25, added)


def _assert_equal(compiled: torch.Tensor, defined: torch.Tensor, tolerance: float) -> None:
    assert (defined > 0).any()
    torch.testing.assert_close(compiled.double(), defined, rtol=tolerance, atol=2e-5 * float(defined.max()))


@pytest.mark.parametrize("name", LAMPS)
def test_the_compiled_light_equals_the_definition(name: str) -> None:
    state = LightState(name=name, lights=(LAMPS[name],))
    compiled, defined = _reflected(_scene(sphere(), state), [state])
    # A cosine is rounded to about 3e-7, and the soft edge of the spot is 0.024 of it wide.
    _assert_equal(compiled.scale, defined.scale, 1e-5)
    assert compiled.added is None


SEVERAL = LightState(name="several", lights=tuple(LAMPS.values()), world=(0.1, 0.2, 0.3))


def test_compiled_views_have_each_their_own_lights_and_world() -> None:
    states = [SEVERAL, LightState(name="dark"), LightState(name="sky", world=(1.0, 0.5, 0.2)), SEVERAL]
    compiled, defined = _reflected(_scene(sphere(), SEVERAL), states)
    _assert_equal(compiled.scale, defined.scale, 1e-5)


def _light(whole: Scene, mode: Mode = "open") -> Lighting:
    return lighting(whole, from_mesh(whole.mesh), mode, NumbaRasterizer())


def test_light_is_plain_where_nothing_hides_lamps_mirrors_them_or_takes_their_place() -> None:
    """What a GPU's kernel is asked for: all else is left to the definition."""
    around = msgspec.structs.replace(SEVERAL, panorama=0)
    picture = np.ones((1, 8, 16, 3), np.float32)
    baked = LightState(name="baked", world=(1.0, 1.0, 1.0), world_map=0)
    plain = _light(_scene(sphere(), SEVERAL))
    assert plain.is_plain([SEVERAL, LightState(name="dark")])
    assert not _light(_scene(sphere(), around, panoramas=picture)).is_plain([SEVERAL, around])
    assert not _light(_scene(sphere(), SEVERAL), "traced").is_plain([SEVERAL])
    assert not _light(_scene(_glossy("plastic"), SEVERAL)).is_plain([SEVERAL])
    assert not _light(_scene(sphere(), baked, light_maps=picture), "baked").is_plain([baked])


MATERIALS: dict[str, tuple[Surface, ...]] = {
    "plastic": (Surface(roughness=0.4, specular=0.04),),
    "tinted": (Surface(roughness=0.7, specular=0.08, specular_tint=(1.0, 0.4, 0.1)),),
    "metal": (Surface(roughness=0.3, metallic=1.0, specular=0.04),),
    "bare metal": (Surface(roughness=0.5, metallic=0.5),),
    "several": (Surface(), Surface(roughness=0.2, specular=0.04), Surface(roughness=0.6, metallic=0.7, specular=0.1)),
}


def _glossy(name: str) -> Mesh:
    body, surfaces = sphere(), MATERIALS[name]
    which = None if len(surfaces) == 1 else np.arange(len(body.triangles), dtype=np.int32) % len(surfaces)
    return msgspec.structs.replace(body, surfaces=surfaces, surface=which)


def _assert_reflections_equal(compiled: Reflected, defined: Reflected) -> None:
    assert compiled.added is not None
    assert defined.added is not None
    _assert_equal(compiled.scale, defined.scale, 2e-4)
    _assert_equal(compiled.added, defined.added, 2e-4)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("lamp", LAMPS)
def test_compiled_reflections_equal_the_definition(lamp: str, material: str) -> None:
    states = [LightState(name=lamp, lights=(LAMPS[lamp],)), LightState(name="sky", world=(1.0, 0.5, 0.2)), SEVERAL]
    # What is left of 1 − cos² near the middle of a sharp highlight has few bits.
    _assert_reflections_equal(*_reflected(_scene(_glossy(material), states[0]), states))


@pytest.mark.parametrize("material", ["plastic", "several"])
def test_compiled_reflections_of_panoramas_equal_the_definition(material: str) -> None:
    picture = np.random.default_rng(0).uniform(0, 2, (32, 64, 3)).astype(np.float32)
    around = msgspec.structs.replace(SEVERAL, panorama=0, turn=0.7)
    whole = _scene(_glossy(material), around, panoramas=(picture,))
    # Between two pixels of a picture this rough the place of a direction counts, which is rounded to 3e-7.
    _assert_reflections_equal(*_reflected(whole, [around, SEVERAL]))


@pytest.mark.parametrize("material", ["matte", "plastic"])
def test_compiled_light_stops_at_what_stands_in_its_way(material: str) -> None:
    body = sphere() if material == "matte" else _glossy(material)
    whole = _scene(body, SEVERAL, surroundings=_wall(1.3))
    sun = LightState(name="sun", lights=(SunLight(power=(2.0, 1.5, 1.0), direction=(-1.0, 0.4, -0.5)), LAMPS["point"]))
    compiled, defined = _reflected(whole, [SEVERAL, sun], "traced")
    opened, _ = _reflected(whole, [SEVERAL, sun], "open")
    assert float(compiled.scale.sum()) < 0.9 * float(opened.scale.sum())
    # A ray that starts where float32 rounds differently may see a lamp or not.
    same = torch.isclose(compiled.scale.double(), defined.scale, rtol=2e-4, atol=2e-5 * float(defined.scale.max()))
    assert float(same.float().mean()) > 0.999


@pytest.mark.parametrize("material", ["matte", "plastic"])
def test_compiled_baked_light_equals_the_definition(material: str) -> None:
    body = sphere() if material == "matte" else _glossy(material)
    maps = np.random.default_rng(0).uniform(0, 2, (3, 8, 16, 3)).astype(np.float32)
    lamps = (msgspec.structs.replace(LAMPS["sun"], map=2), msgspec.structs.replace(LAMPS["near area"], map=0))
    state = LightState(name="baked", lights=lamps, world=(0.2, 0.3, 0.4), world_map=1)
    one = msgspec.structs.replace(state, lights=lamps[:1])
    compiled, defined = _reflected(_scene(body, state, light_maps=maps), [state, one], "baked")
    _assert_equal(compiled.scale, defined.scale, 2e-4)
    if material == "plastic":
        _assert_equal(compiled.added, defined.added, 2e-4)


def test_views_without_samples_and_without_lamps_are_lit() -> None:
    states = [SEVERAL, LightState(name="dark")]
    whole, light = _scene(_glossy("plastic"), SEVERAL), LightState(name="sun", lights=(LAMPS["sun"],))
    away = msgspec.structs.replace(camera((0, -3, 0)), view=np.diag([1.0, 1.0, 1.0, 1.0]) @ _moved(90.0))
    views = [
        shot(away, SEVERAL),
        shot(camera((2, -3, 2)), states[1]),
        shot(away, light),
        shot(camera((0, 3, 1)), light),
    ]
    geometry, raster = from_mesh(whole.mesh), NumbaRasterizer()
    renderer = Renderer(geometry, raster, LAYOUT, lighting(whole, geometry, "traced", raster))
    together = renderer.prepare(views, 32)
    assert together.view_start.diff().tolist()[::2] == [0, 0]
    alone = renderer.prepare(views[3:], 32)
    assert torch.equal(together.light[together.view_start[3] :], alone.light)


def _moved(distance: float) -> np.ndarray:
    """A view that looks past everything: the world is `distance` behind the eye."""
    matrix = np.eye(4)
    matrix[2, 3] = distance
    return matrix


def test_compiled_samples_of_a_map_equal_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    map_ = torch.rand(12, 20, 3, generator=generator)
    uv = torch.rand(3000, 2, generator=generator) * 6 - 3
    expected = light_maps.sample_reference(map_.double(), uv.double())
    # Places are rounded to 2e-7 of three repetitions of 20 texels.
    torch.testing.assert_close(light_maps.sample(map_, uv).double(), expected, rtol=0, atol=5e-5)


# --- open -------------------------------------------------------------------------------------------------------------


def test_a_uniform_world_shows_a_white_object_as_bright_as_itself() -> None:
    picture = _picture(_scene(sphere(), furnace(0.5)), shot(camera((0, -4, 0)), furnace(0.5)), "open")
    np.testing.assert_allclose(picture[16, 16], 0.5, rtol=1e-5)


def test_a_uniform_panorama_is_a_uniform_world() -> None:
    state = LightState(name="around", world=(1.0, 1.0, 1.0), panorama=0)
    whole = _scene(sphere(), state, panoramas=np.full((1, 32, 64, 3), 0.5, np.float32))
    picture = _picture(whole, shot(camera((0, -4, 0)), state), "open")
    np.testing.assert_allclose(picture[16, 16], 0.5, rtol=2e-3)


def test_a_panorama_lights_the_side_that_it_is_bright_on_and_turns_with_its_state() -> None:
    bright = np.zeros((1, 32, 64, 3), np.float32)
    bright[:, :, 40:56] = 1.0  # around u = 0.75: −Y
    seen = {}
    for turn in (0.0, math.pi):
        state = LightState(name="around", world=(1.0, 1.0, 1.0), panorama=0, turn=turn)
        whole = _scene(sphere(), state, panoramas=bright)
        seen[turn] = float(_picture(whole, shot(camera((0, -4, 0)), state), "open")[16, 16, 0])
    assert seen[0.0] > 0.3
    assert seen[math.pi] < 0.05


def test_a_glow_gives_no_light_in_the_open() -> None:
    state = LightState(name="glow", lights=(GlowLight(power=(9.0,) * 3, map=0),), world=(0.1, 0.1, 0.1))
    whole = _scene(plane(), state, light_maps=np.ones((1, 4, 4, 3), np.float32))
    np.testing.assert_allclose(_picture(whole, shot(overhead(1.8), state), "open"), 0.1, rtol=1e-5)


# --- traced -----------------------------------------------------------------------------------------------------------


def test_half_of_the_world_behind_a_wall_is_half_of_its_light() -> None:
    """On the ground right before an endless wall, and far away from it."""
    state = furnace(1.0)
    for distance, share in ((1.001, 0.5), (400.0, 1.0)):
        whole = _scene(plane(2.0), state, surroundings=_wall(distance))
        picture = _picture(whole, shot(overhead(2.0), state), "traced")
        # 96 rays a texel, evenly spread; the edge is 2 % of the wall's height away in all.
        assert float(picture[16, -1, 0]) == pytest.approx(share, abs=0.03)


def test_an_object_without_anything_around_has_all_of_the_world_on_its_convex_side() -> None:
    state = furnace(0.7)
    picture = _picture(_scene(sphere(48, 24), state), shot(camera((0, -4, 0)), state), "traced")
    np.testing.assert_allclose(picture[12:20, 12:20], 0.7, rtol=0.02)


def test_vertex_colours_see_the_surroundings_from_their_vertices() -> None:
    body = plane(2.0)
    state = furnace(1.0)
    coloured = msgspec.structs.replace(scene(body, vertex_texture(body)), surroundings=_wall(1.001))
    coloured = msgspec.structs.replace(coloured, rig=msgspec.structs.replace(coloured.rig, lights=(state,)))
    geometry, raster = from_mesh(body), NumbaRasterizer()
    renderer = Renderer(geometry, raster, None, lighting(coloured, geometry, "traced", raster))
    transport = renderer.prepare([shot(overhead(2.0), state)], 32, 4)
    picture = accumulate(torch.ones(4, 3), transport)[0]
    np.testing.assert_allclose(picture, 0.5, atol=0.03)  # an endless wall hides half of the world, near or far


def test_a_shadow_falls_where_the_sun_is_hidden() -> None:
    roof = plane(0.8)
    roof = Surroundings(positions=roof.positions + np.array([0, 0, 1], np.float32), triangles=roof.triangles)
    light = sun((0.0, 0.0, -1.0), math.pi)
    whole = _scene(plane(2.0), light, surroundings=roof)
    view = shot(overhead(2.0), light)
    traced, open_ = (_picture(whole, view, mode) for mode in ("traced", "open"))
    np.testing.assert_allclose(open_, 1.0, rtol=1e-5)
    assert traced[16, 16, 0] == 0.0
    np.testing.assert_allclose(traced[2, 2], 1.0, rtol=1e-5)
    assert traced[..., 0].mean() == pytest.approx(1 - 0.8**2 / 4, abs=0.01)


def test_the_same_view_has_the_same_shadows_twice() -> None:
    lamp = LightState(name="lamp", lights=(PointLight(power=(100.0,) * 3, position=(0.0, 0.5, 2.0), radius=0.5),))
    body = mesh(
        [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 0], [0, 0, 1], [0.5, 0, 1]],
        [[0, 1, 2], [0, 2, 3], [4, 5, 6]],
    )
    whole = _scene(body, lamp)
    first, second = (_picture(whole, shot(overhead(2.0), lamp), "traced") for _ in range(2))
    np.testing.assert_array_equal(first, second)


# --- baked ------------------------------------------------------------------------------------------------------------


def test_baked_light_is_the_sum_of_its_maps_by_their_powers() -> None:
    maps = np.stack([np.full((8, 8, 3), value, np.float32) for value in (1.0, 10.0, 100.0)])
    state = LightState(
        name="baked",
        lights=(
            PointLight(power=(2.0, 0.0, 1.0), position=(0.0, 0.0, 1.0), map=0),
            GlowLight(power=(1.0, 1.0, 1.0), map=1),
        ),
        world=(0.5, 0.5, 0.0),
        world_map=2,
    )
    picture = _picture(_scene(plane(), state, light_maps=maps), shot(overhead(1.8), state), "baked")
    expected = np.array([2 * 1 + 10 + 50, 10 + 50, 1 + 10]) / math.pi
    np.testing.assert_allclose(picture, np.broadcast_to(expected, picture.shape), rtol=1e-5)


def test_a_light_map_lies_on_the_uv_map_with_its_first_row_below() -> None:
    maps = np.zeros((1, 2, 2, 3), np.float32)
    maps[0, 0, 1] = math.pi  # low v, high u
    state = LightState(name="baked", lights=(GlowLight(power=(1.0, 1.0, 1.0), map=0),))
    picture = _picture(_scene(plane(), state, light_maps=maps), shot(overhead(2.0), state), "baked")[..., 0]
    # +x is right, +y is up: low v is at the bottom. Half a pixel beside the texel's centre: (1 − 1/32)².
    assert picture[24, 24] == pytest.approx((31 / 32) ** 2, abs=1e-4)
    assert picture[8, 8] == pytest.approx(1 / 32**2, abs=1e-4)


@pytest.mark.parametrize("missing", ["lamp", "world", "maps"])
def test_baked_light_without_its_maps_is_refused(missing: str) -> None:
    lamp = PointLight(power=(1.0,) * 3, position=(0.0, 0.0, 1.0), map=None if missing == "lamp" else 0)
    state = LightState(name="evening", lights=(lamp,), world=(1.0,) * 3, world_map=None if missing == "world" else 0)
    whole = _scene(plane(), state, light_maps=None if missing == "maps" else np.ones((1, 4, 4, 3), np.float32))
    with pytest.raises(InvalidInput, match="'evening' has no baked light maps"):
        lighting(whole, from_mesh(whole.mesh), "baked", NumbaRasterizer())


def test_baked_light_on_vertex_colours_is_refused() -> None:
    body = plane()
    with pytest.raises(InvalidInput, match="needs a UV texture"):
        lighting(scene(body, vertex_texture(body)), from_mesh(body), "baked", NumbaRasterizer())


# --- reflections ------------------------------------------------------------------------------------------------------


def test_pictures_of_shining_surfaces_are_affine_in_the_albedo() -> None:
    body = msgspec.structs.replace(sphere(), surfaces=(Surface(roughness=0.4, specular=0.04, metallic=0.3),))
    whole = _scene(body, furnace(0.3))
    view = shot(camera((0, -4, 1)), sun((0.3, 1, -0.6), 2.0))
    dark, middle, bright = (_picture(whole, view, "open", albedo) for albedo in (0.0, 0.4, 0.8))
    np.testing.assert_allclose(middle, (dark + bright) / 2, rtol=1e-4, atol=1e-6)
    assert dark.max() > 0.05


def test_a_white_shining_object_in_a_white_furnace_is_white() -> None:
    body = msgspec.structs.replace(sphere(), surfaces=(Surface(roughness=0.5, specular=0.04),))
    state = furnace(1.0)
    picture = _picture(_scene(body, state), shot(camera((0, -4, 0)), state), "open")
    np.testing.assert_allclose(picture[10:22, 10:22], 1.0, rtol=1e-3)


def test_a_shadow_takes_the_highlight_along() -> None:
    body = msgspec.structs.replace(plane(2.0), surfaces=(Surface(roughness=0.3, specular=0.5),))
    roof = plane(0.8)
    roof = Surroundings(positions=roof.positions + np.array([0, 0, 1], np.float32), triangles=roof.triangles)
    light = sun((0.0, 0.0, -1.0), math.pi)
    picture = _picture(_scene(body, light, surroundings=roof), shot(overhead(2.0), light), "traced", 0.0)
    assert picture[16, 16, 0] == 0.0
    assert picture[2, 2, 0] > 0.1
