"""Light maps: Blender's bake in the units of the shared scene, linear in its sources, and nothing stays in the file."""

from __future__ import annotations

import math
from typing import Any

import bpy
import msgspec
import numpy as np
import pytest

from blender_addon import collect
from blender_addon.collect.light_maps import bake_light_maps
from shared import errors, scene

TEXTURE = scene.UvTexture(np.full((4, 4, 3), 188, np.uint8))  # an albedo of a half
SIZE = 16


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def plane(size: float = 2.0, z: float = 0.0, name: str = "Plane") -> Any:
    bpy.ops.mesh.primitive_plane_add(size=size, location=(0, 0, z))
    obj = bpy.context.object
    obj.name = name
    return obj


def rig(*lights: scene.Light, world: scene.Vector = (0.0, 0.0, 0.0)) -> scene.Rig:
    state = scene.LightState(name="state", lights=lights, world=world)
    camera = scene.Camera(name="c", view=np.eye(4), projection=np.eye(4))
    return scene.Rig(cameras=(camera,), lights=(state,), center=(0.0, 0.0, 0.0))


def bake(obj: Any, wanted: scene.Rig, samples: int = 32) -> tuple[scene.Rig, np.ndarray]:
    return bake_light_maps(bpy.context, obj, wanted, TEXTURE, obj.data.uv_layers[0].name, size=SIZE, samples=samples)


def coloured(obj: Any, color: tuple[float, float, float], emission: float = 0.0) -> None:
    material = bpy.data.materials.new("Colour")
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    shader.inputs["Specular IOR Level"].default_value = 0.0
    shader.inputs["Emission Color"].default_value = (*color, 1.0)
    shader.inputs["Emission Strength"].default_value = emission
    obj.data.materials.append(material)


LAMP = scene.PointLight(power=(1000.0, 500.0, 250.0), position=(0.0, 0.0, 5.0))


def test_1000_w_at_5_m_bring_3_183_w_per_square_metre_by_their_power() -> None:
    found, maps = bake(plane(0.02), rig(LAMP))
    (lamp,) = found.lights[0].lights
    assert lamp.map == 0
    assert lamp.power == LAMP.power  # a power of one is in the map, this one beside it
    np.testing.assert_allclose(maps[0] * 1000.0, 3.183, rtol=2e-3)


def test_a_sun_brings_its_power_times_the_cosine() -> None:
    tilted = scene.SunLight(power=(2.0, 2.0, 2.0), direction=(math.sin(1.0), 0.0, -math.cos(1.0)))
    _, maps = bake(plane(), rig(tilted))
    np.testing.assert_allclose(maps[0], math.cos(1.0), rtol=2e-3)


def test_an_open_sky_brings_pi_times_its_radiance() -> None:
    found, maps = bake(plane(), rig(world=(0.3, 0.2, 0.1)))
    assert found.lights[0].world_map == 0
    np.testing.assert_allclose(maps[0], math.pi, rtol=2e-2)


def test_light_that_falls_from_behind_does_not_count() -> None:
    below = scene.PointLight(power=(1000.0,) * 3, position=(0.0, 0.0, -5.0))
    _, maps = bake(plane(), rig(below))
    np.testing.assert_allclose(maps, 0.0, atol=1e-6)


def test_a_roof_in_the_scene_casts_its_shadow() -> None:
    obj = plane(2.0)
    plane(1.0, z=1.0, name="Roof")
    _, maps = bake(obj, rig(scene.SunLight(power=(1.0,) * 3, direction=(0.0, 0.0, -1.0))))
    assert maps[0, SIZE // 2, SIZE // 2, 0] < 0.05
    assert maps[0, 1, 1, 0] == pytest.approx(1.0, abs=0.05)


def test_a_red_floor_reddens_what_stands_above_it() -> None:
    obj = plane(1.0, z=0.5)
    obj.rotation_euler.x = math.pi  # it looks down
    floor = plane(10.0, name="Floor")
    coloured(floor, (0.9, 0.05, 0.05))
    bpy.context.view_layer.update()
    _, maps = bake(obj, rig(scene.SunLight(power=(1.0,) * 3, direction=(0.6, 0.0, -0.8))), samples=64)
    red, green, blue = maps[0].mean(axis=(0, 1))
    assert red > 0.1
    assert green == pytest.approx(blue, rel=0.01)
    assert red > 10 * green


def test_what_glows_is_a_light_of_its_own() -> None:
    obj = plane(1.0)
    panel = plane(1.0, z=1.0, name="Panel")
    coloured(panel, (1.0, 0.5, 0.25), emission=3.0)
    found, maps = bake(obj, rig(LAMP), samples=64)
    lamp, glow = found.lights[0].lights
    assert isinstance(glow, scene.GlowLight)
    assert (lamp.map, glow.map) == (0, 1)
    mean = maps[1].mean(axis=(0, 1))
    np.testing.assert_allclose(mean / mean[0], (1.0, 0.5, 0.25), rtol=0.02)
    assert mean[0] > 0.5
    assert maps[0].mean() * 1000 < 3  # the panel shades the lamp and does not glow in its map


def test_one_lamp_in_two_states_is_one_map() -> None:
    wanted = rig(LAMP, world=(0.1, 0.1, 0.1))
    dimmed = msgspec.structs.replace(LAMP, power=(1.0, 1.0, 1.0))
    second = scene.LightState(name="second", lights=(dimmed,), world=(0.7, 0.0, 0.0))
    found, maps = bake(plane(), msgspec.structs.replace(wanted, lights=(*wanted.lights, second)), samples=4)
    assert len(maps) == 2
    assert [state.lights[0].map for state in found.lights] == [0, 0]
    assert [state.world_map for state in found.lights] == [1, 1]


def test_a_map_goes_on_beyond_the_borders_of_islands() -> None:
    obj = plane()
    layer = obj.data.uv_layers[0]
    uv = np.array([item.uv[:] for item in layer.data]) * 0.5 + 0.25
    layer.data.foreach_set("uv", uv.astype(np.float32).ravel())
    _, maps = bake(obj, rig(scene.SunLight(power=(1.0,) * 3, direction=(0.0, 0.0, -1.0))))
    np.testing.assert_allclose(maps[0, 2:14, 2:14], 1.0, rtol=1e-3)  # the island is 4 to 11


def test_baking_leaves_nothing_in_the_file() -> None:
    obj = plane()
    coloured(plane(1.0, z=1.0, name="Panel"), (1, 1, 1), emission=1.0)
    kinds = ("scenes", "images", "objects", "meshes", "materials", "lights", "worlds", "cameras", "collections")
    before = {kind: [(item.name, item.users) for item in getattr(bpy.data, kind)] for kind in kinds}
    bake(obj, rig(LAMP, world=(0.1, 0.1, 0.1)), samples=2)
    assert before == {kind: [(item.name, item.users) for item in getattr(bpy.data, kind)] for kind in kinds}


def test_progress_is_told_after_each_map() -> None:
    told: list[float] = []
    obj = plane()
    bake_light_maps(
        bpy.context, obj, rig(LAMP, world=(1, 1, 1)), TEXTURE, obj.data.uv_layers[0].name, size=8, samples=1,
        on_progress=told.append,
    )  # fmt: skip
    assert told == [0.5, 1.0]


def test_a_job_with_baked_light_has_a_map_for_every_light() -> None:
    obj = plane()
    choice = collect.BakeChoice(size=8, samples=1)
    collected = collect.collect(bpy.context, obj, mask=None, light="baked", bake=choice)
    whole = collected.scene
    assert whole.light_maps is not None
    numbers = {light.map for state in whole.rig.lights for light in state.lights}
    numbers |= {state.world_map for state in whole.rig.lights if any(state.world)}
    assert numbers == set(range(len(whole.light_maps)))


def test_baked_light_is_refused_for_vertex_colours() -> None:
    with pytest.raises(errors.InvalidInput, match="needs a UV texture"):
        collect.collect(bpy.context, plane(), mask=None, light="baked", texture="vertex")


def test_a_light_that_there_is_not_is_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="no light 'magic'"):
        collect.collect(bpy.context, plane(), mask=None, light="magic")
