"""Rigs that the panel makes show the object as promised, and the artist's own pictures and views stay as they were."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from blender_addon import properties  # noqa: E402
from blender_addon.collect import rigs as made_up  # noqa: E402
from blender_addon.collect.cameras import read_camera  # noqa: E402
from blender_addon.collect.lights import read_light  # noqa: E402
from blender_addon.operators import rigs  # noqa: E402

SAME_FOCAL = made_up.SENSOR_MM / 2 / math.tan(made_up.FIELD_OF_VIEW / 2)


@pytest.fixture(autouse=True)
def cube(context: Any) -> Iterator[Any]:
    """A box of 2 × 4 × 6 metres around (5, 0, 1), with the operators registered."""
    properties.register()
    rigs.register()
    bpy.ops.mesh.primitive_cube_add()
    context.object.scale = (1, 2, 3)
    context.object.location = (5, 0, 1)
    context.view_layer.update()
    yield context.object
    rigs.unregister()
    properties.unregister()


CENTER, RADIUS = (5.0, 0.0, 1.0), math.sqrt(14)


def corners(obj: Any) -> np.ndarray:
    return np.array([obj.matrix_world @ vertex.co for vertex in obj.data.vertices])


def make_cameras(context: Any, **options: Any) -> list[Any]:
    assert bpy.ops.assistive.create_camera_rig(**options) == {"FINISHED"}
    return list(context.scene.assistive.camera_collection.objects)


def make_lights(context: Any, **options: Any) -> Any:
    assert bpy.ops.assistive.create_light_rig(**options) == {"FINISHED"}
    return context.scene.assistive.light_collection


def directions(cameras: list[Any]) -> np.ndarray:
    """Azimuth and elevation [N, 2] in degrees from the centre of the cube to the cameras."""
    x, y, z = (np.array([obj.matrix_world.translation for obj in cameras]) - CENTER).T
    return np.degrees([np.arctan2(x, -y), np.arctan2(z, np.hypot(x, y))]).T


def distance(camera: Any) -> float:
    return float(np.linalg.norm(np.array(camera.location) - CENTER))


def fill(context: Any, camera: Any, points: np.ndarray) -> float:
    """How much of a camera's square frame the points reach, 1 being its edge."""
    read = read_camera(context, camera)
    clip = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ (read.projection @ read.view).T
    return float(np.abs(clip[:, :2] / clip[:, 3:]).max())


# --- cameras ----------------------------------------------------------------------------------------------------------


def test_a_plain_camera_rig_is_the_one_that_jobs_make_up(context: Any, cube: Any) -> None:
    wanted = made_up.default_cameras(corners(cube), CENTER)
    made = make_cameras(context, focal_from=SAME_FOCAL, focal_to=SAME_FOCAL)
    assert len(made) == len(wanted) == 24
    for obj, camera in zip(made, wanted, strict=True):
        read = read_camera(context, obj)
        assert np.allclose(read.view, camera.view, atol=1e-4)
        assert np.allclose(read.projection, camera.projection, atol=1e-3)


def test_the_object_fills_nine_tenths_of_every_frame_with_any_lens(context: Any, cube: Any) -> None:
    for camera in make_cameras(context, focal_from=24.0, focal_to=135.0):
        assert fill(context, camera, corners(cube)) == pytest.approx(0.9, abs=1e-4)


def test_cameras_look_at_the_centre_of_the_evaluated_object(context: Any, cube: Any) -> None:
    mirror = cube.modifiers.new("Array", "ARRAY")
    mirror.count, mirror.use_relative_offset, mirror.use_constant_offset = 2, False, True
    mirror.constant_offset_displace = (8, 0, 0)
    for camera in make_cameras(context, elevation_to=90.0):
        seen = camera.matrix_world.inverted() @ (cube.matrix_world.translation + mirror.constant_offset_displace / 2)
        assert seen.xy.length == pytest.approx(0.0, abs=1e-4)
        assert seen.z < 0


def test_distance_is_a_factor_of_where_the_object_fills_the_frame(context: Any) -> None:
    near = make_cameras(context)
    far = make_cameras(context, distance_from=2.5, distance_to=2.5)
    for one, other in zip(near, far, strict=True):
        assert np.allclose(np.array(other.location) - CENTER, 2.5 * (np.array(one.location) - CENTER), atol=1e-3)


def test_every_distance_and_lens_of_the_ranges_is_used_once(context: Any) -> None:
    near, mixed = (make_cameras(context, distance_to=last) for last in (1.0, 3.3))
    factors = [distance(obj) / distance(own) for obj, own in zip(mixed, near, strict=True)]
    assert np.allclose(sorted(factors), np.linspace(1.0, 3.3, 24), atol=1e-3)
    lenses = [obj.data.lens for obj in make_cameras(context, focal_from=50.0, focal_to=96.0)]
    assert np.allclose(sorted(lenses), np.arange(50.0, 97.0, 2.0), atol=1e-3)


def test_distances_follow_neither_direction_nor_lens(context: Any) -> None:
    options = {"focal_from": 35.0, "focal_to": 85.0}
    own = [distance(obj) for obj in make_cameras(context, **options)]
    made = make_cameras(context, **options, distance_to=3.0)
    factors = np.array([distance(obj) for obj in made]) / own
    for column in (*directions(made).T, [obj.data.lens for obj in made]):
        assert abs(np.corrcoef(factors, column)[0, 1]) < 0.3


def test_the_same_settings_make_the_same_cameras(context: Any) -> None:
    options = {"distance_to": 2.0, "focal_to": 85.0, "azimuths": 5}
    first, second = (make_cameras(context, **options) for _ in range(2))
    assert [(obj.matrix_world, obj.data.lens) for obj in first] == [(obj.matrix_world, obj.data.lens) for obj in second]


def test_a_part_of_the_circle_is_covered_from_end_to_end(context: Any) -> None:
    made = make_cameras(
        context, azimuths=3, azimuth_from=-40.0, azimuth_to=80.0, rings=2, elevation_from=10.0, elevation_to=30.0
    )
    wanted = [(azimuth, elevation) for elevation in (10, 30) for azimuth in (-40, 20, 80)]
    assert np.allclose(directions(made), wanted, atol=1e-3)


def test_one_camera_stands_in_the_middle_of_its_ranges(context: Any) -> None:
    (only,) = make_cameras(context, azimuths=1, azimuth_from=-10.0, azimuth_to=30.0, rings=1)
    assert np.allclose(directions([only]), [(10.0, 25.0)], atol=1e-3)


def test_a_full_circle_has_no_camera_twice(context: Any) -> None:
    made = make_cameras(context, azimuths=4, azimuth_from=-180.0, azimuth_to=180.0, rings=1)
    assert np.allclose(np.sort(directions(made)[:, 0] % 360), (0, 90, 180, 270), atol=1e-3)


def test_a_new_rig_is_chosen_and_leaves_the_artists_collection_alone(context: Any) -> None:
    own = bpy.data.collections.new("Assistive Cameras")
    context.scene.collection.children.link(own)
    make_cameras(context)
    settings = context.scene.assistive
    assert settings.camera_collection.name == "Assistive Cameras.001"
    assert settings.cameras == "COLLECTION"
    assert settings.camera_collection in list(context.scene.collection.children)
    assert len(own.objects) == 0


def test_the_scenes_camera_selection_and_active_object_stay(context: Any, cube: Any) -> None:
    make_cameras(context)
    assert context.scene.camera is None
    own = bpy.data.objects.new("Own", bpy.data.cameras.new("Own"))
    context.scene.collection.objects.link(own)
    context.scene.camera = own
    make_cameras(context)
    make_lights(context)
    assert context.scene.camera == own
    assert context.selected_objects == [context.view_layer.objects.active] == [cube]


def test_cameras_are_drawn_in_proportion_to_the_object(context: Any, cube: Any) -> None:
    before = make_cameras(context)[0].data.display_size
    cube.scale *= 10
    assert make_cameras(context)[0].data.display_size == pytest.approx(10 * before, rel=1e-3)


def test_the_object_of_the_settings_wins_over_the_active_one(context: Any, cube: Any) -> None:
    bpy.ops.mesh.primitive_cube_add(location=(0, 50, 0))
    context.scene.assistive.object = cube
    assert fill(context, make_cameras(context)[0], corners(cube)) == pytest.approx(0.9, abs=1e-4)


# --- lights -----------------------------------------------------------------------------------------------------------


def test_a_light_rig_has_the_states_that_jobs_make_up(context: Any) -> None:
    states = list(make_lights(context).children)
    wanted = made_up.default_lights(CENTER, RADIUS)
    assert [child.name for child in states] == [state.name for state in wanted]
    for child, state in zip(states, wanted, strict=True):
        assert np.allclose(child[rigs.WORLD], state.world)
        for obj, light in zip(child.objects, state.lights, strict=True):
            read = read_light(obj)
            assert type(read) is type(light)
            for field in ("power", "position", "direction", "axis_x", "axis_y"):
                assert np.allclose(getattr(read, field, 0), getattr(light, field, 0), rtol=1e-4, atol=1e-4)


def test_each_stop_doubles_lamps_and_surroundings(context: Any) -> None:
    plain, strong = (list(make_lights(context, strength=stops).children) for stops in (0.0, 1.0))
    for one, other in zip(plain, strong, strict=True):
        assert np.allclose(other[rigs.WORLD], 2 * np.array(one[rigs.WORLD]))
        for lamp, brighter in zip(one.objects, other.objects, strict=True):
            assert brighter.data.energy == pytest.approx(2 * lamp.data.energy)


def test_a_new_light_rig_is_chosen(context: Any) -> None:
    make_lights(context)
    second = make_lights(context)
    assert second.name == "Assistive Lights.001"
    assert context.scene.assistive.lights == "COLLECTION"
    assert second in list(context.scene.collection.children)


def test_the_artists_picture_is_the_same_with_a_light_rig(context: Any, tmp_path: Any) -> None:
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    context.scene.collection.objects.link(sun)
    context.scene.camera = make_cameras(context)[0]
    before = picture(context, tmp_path)
    rig = make_lights(context)
    assert np.array_equal(picture(context, tmp_path), before)
    assert context.scene.world is None
    rig.hide_render = False
    assert not np.array_equal(picture(context, tmp_path), before)


def picture(context: Any, folder: Any) -> np.ndarray:
    """What Cycles makes of the scene, 16 pixels wide."""
    render = context.scene.render
    render.engine, render.filepath = "CYCLES", str(folder / "picture.png")
    render.resolution_x = render.resolution_y = 16
    context.scene.cycles.samples = 2
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(render.filepath, check_existing=False)
    pixels = np.array(image.pixels[:])
    bpy.data.images.remove(image)
    return pixels


def test_no_view_shows_a_new_light_rig(context: Any) -> None:
    context.scene.view_layers.new("Second")
    rig = make_lights(context)
    for view_layer in context.scene.view_layers:
        view_layer.update()
        assert rig.all_objects
        assert not any(obj.visible_get(view_layer=view_layer) for obj in rig.all_objects)


def test_hidden_lights_are_evaluated_where_the_artist_puts_them(context: Any) -> None:
    lamp = make_lights(context).children["two lamps"].objects[0]
    lamp.location, lamp.data.energy = (1, 2, 3), 4
    evaluated = lamp.evaluated_get(context.evaluated_depsgraph_get())
    assert tuple(evaluated.matrix_world.translation) == (1, 2, 3)
    assert evaluated.data.energy == 4


def test_suns_stand_beside_the_object_towards_their_light(context: Any) -> None:
    sun = make_lights(context).children["high sun"].objects[0]
    where = np.array(sun.matrix_world.translation) + 4 * RADIUS * np.array(read_light(sun).direction)
    assert np.allclose(where, CENTER, atol=1e-4)


# --- what is refused --------------------------------------------------------------------------------------------------

BOTH = ("create_camera_rig", "create_light_rig")


@pytest.mark.parametrize("name", BOTH)
def test_without_a_mesh_object_a_rig_asks_for_one(cube: Any, name: str) -> None:
    bpy.data.objects.remove(cube)
    with pytest.raises(RuntimeError, match="Choose a mesh object first"):
        getattr(bpy.ops.assistive, name)()


@pytest.mark.parametrize("name", BOTH)
def test_rigs_are_made_in_object_mode_only(name: str) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Only in Object Mode"):
        getattr(bpy.ops.assistive, name)()


@pytest.mark.parametrize("name", BOTH)
def test_an_object_that_is_out_of_the_view_layer_is_named(context: Any, cube: Any, name: str) -> None:
    context.scene.assistive.object = cube
    aside = bpy.data.collections.new("Aside")
    context.scene.collection.children.link(aside)
    aside.objects.link(cube)
    context.scene.collection.objects.unlink(cube)
    context.view_layer.layer_collection.children["Aside"].exclude = True
    with pytest.raises(RuntimeError, match="'Cube' is not in the view layer"):
        getattr(bpy.ops.assistive, name)()


@pytest.mark.parametrize("name", BOTH)
def test_an_object_without_extent_is_reported_and_nothing_is_made(context: Any, cube: Any, name: str) -> None:
    cube.scale = (0, 0, 0)
    with pytest.raises(RuntimeError, match="'Cube' has no extent"):
        getattr(bpy.ops.assistive, name)()
    assert len(bpy.data.collections) == 0
    assert context.scene.assistive.cameras == context.scene.assistive.lights == "AROUND"
