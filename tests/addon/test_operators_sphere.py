"""The sphere's buttons: weak cells become cameras that look from there, and a picked cell is looked from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Vector

from blender_addon import panels, panels_sphere, properties, results, sphere, sphere_view
from blender_addon.collect.cameras import read_camera
from blender_addon.collect.find import CAMERAS
from blender_addon.operators import sphere as operators

CELLS = 12


@pytest.fixture(autouse=True)
def _registered(context: Any) -> Iterator[None]:
    """Every test starts from an empty file, with what the sphere needs; what was looked at is forgotten."""
    del context
    results.forget()
    sphere_view.hide()
    sphere_view.view.after, sphere_view.view.model, sphere_view.view.light = True, "", ""
    modules = (properties, operators, panels, panels_sphere)
    for module in modules:
        module.register()
    try:
        yield
    finally:
        for module in reversed(modules):
            module.unregister()
        sphere_view.hide()


def surveyed(weak: tuple[int, ...] = (), **changes: Any) -> Any:
    """A box, and a result of it that is recognised from everywhere but the `weak` cells."""
    bpy.ops.mesh.primitive_cube_add(location=(3, 0, 1))
    obj = bpy.context.object
    bpy.context.view_layer.update()
    add_result(obj, weak, **changes)
    return obj


def add_result(obj: Any, weak: tuple[int, ...] = (), **changes: Any) -> None:
    confidence = np.full((2, 2, 2, 3, 4), 0.9)
    confidence[1, 0, 0].flat[list(weak)] = 0.1
    survey = {
        "textures": ["before", "after"],
        "models": ["lite0", "lite1"],
        "lights": ["day", "night"],
        "azimuths": [0.0, 90.0, 180.0, 270.0],
        "elevations": [0.0, 20.0, 40.0],
        "confidence": confidence.tolist(),
        "top1": np.full_like(confidence, 7, dtype=int).tolist(),
        "placement": {
            "center": tuple(obj.matrix_world.translation),
            "radius": math.sqrt(3),
            "matrix": [list(row) for row in obj.matrix_world],
        },
        **changes,
    }
    item = bpy.context.scene.assistive.results.add()
    item.name, item.target, item.object, item.object_name = f"job {len(weak)}", "bus", obj, obj.name
    item.report = json.dumps({"target": {"name": "bus", "indices": [7]}, "survey": survey})


def cameras(collection: Any) -> list[Any]:
    return [obj for obj in collection.objects if obj.type == "CAMERA"]


def weak_cameras() -> list[Any]:
    return [obj for obj in cameras(bpy.data.collections[CAMERAS]) if obj.name.startswith("weak")]


def direction_of(camera: Any, obj: Any) -> np.ndarray:
    offset = camera.matrix_world.translation - obj.matrix_world.translation
    return np.array(offset.normalized())


def reason(name: str) -> str:
    with pytest.raises(RuntimeError) as error:
        getattr(bpy.ops.assistive, name)()
    return str(error.value).partition("poll() ")[2].strip()


def viewport() -> tuple[Any, Any]:
    """A 3D viewport of the file's screens."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area


# --- why a button is grey ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["show_sphere", "pick_view", "add_weak_views"])
def test_buttons_say_what_is_missing(name: str) -> None:
    assert reason(name) == "There is no result yet"
    obj = surveyed(placement=None)
    assert "from all around" in reason(name)
    bpy.context.scene.assistive.results.clear()
    add_result(obj, (1,))
    sphere_view.hide()
    bpy.data.objects.remove(obj)
    assert "'Cube' has been deleted" in reason(name)


def test_all_of_them_say_what_they_do_and_only_cameras_are_an_undo_step() -> None:
    for cls in operators.CLASSES:
        name = cls.bl_idname.partition(".")[2]
        assert getattr(bpy.ops.assistive, name).get_rna_type().description
        assert ("UNDO" in cls.bl_options) == (name == "add_weak_views")


def test_without_a_window_nothing_is_shown_and_nothing_breaks() -> None:
    surveyed()
    with pytest.raises(RuntimeError, match="no viewport"):
        bpy.ops.assistive.show_sphere()
    assert not sphere_view.is_on()


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_texture_classifier_and_light_are_chosen_by_name_and_nothing_is_stored() -> None:
    obj = surveyed()
    chosen = bpy.context.window_manager.assistive_sphere
    assert (chosen.when, chosen.model, chosen.light) == ("AFTER", "lite0", "day")
    chosen.when, chosen.model, chosen.light = "BEFORE", "lite1", "night"
    around = sphere_view.around_of(bpy.context.scene.assistive.results[0])
    assert around is not None
    assert sphere_view.shown_of(around) == sphere.Shown(0, 1, 1)
    assert not list(chosen.keys())
    add_result(obj, (1, 2), models=["lite1", "other"])
    bpy.context.scene.assistive.result_index = 1
    assert (chosen.model, chosen.light) == ("lite1", "night")


def test_what_another_result_lacks_stands_for_its_first() -> None:
    obj = surveyed()
    bpy.context.window_manager.assistive_sphere.model = "lite1"
    add_result(obj, (1, 2), models=["a", "b"])
    bpy.context.scene.assistive.result_index = 1
    assert bpy.context.window_manager.assistive_sphere.model == "a"


def test_the_lines_name_what_is_shown_and_what_a_cell_is_seen_as() -> None:
    surveyed(weak=(0,))
    around = sphere_view.around_of(bpy.context.scene.assistive.results[0])
    assert around is not None
    shown = sphere_view.shown_of(around)
    line = sphere_view.description(around, shown, "bus")
    assert line == "bus · lite0 · day · after: mean confidence 0.83, 100% recognised"
    said = sphere_view.cell_description(around, shown, 5, ("a",) * 7 + ("school bus",))
    assert said == "azimuth 90°, elevation 20°: 0.90, seen as school bus"
    assert sphere_view.cell_description(around, shown, 0, ()).endswith("0.10, seen as class 7")


# --- picking ----------------------------------------------------------------------------------------------------------


def picked(cell: int) -> Any:
    window, area = viewport()
    with bpy.context.temp_override(window=window, area=area):
        assert bpy.ops.assistive.pick_view(cell=cell) == {"FINISHED"}
    return area.spaces.active.region_3d


def test_a_picked_cell_is_looked_from_towards_the_centre() -> None:
    obj = surveyed()
    view = picked(1)
    assert np.allclose(view.view_rotation.to_matrix().col[2], (0, 1, 0), atol=1e-5)
    assert np.allclose(view.view_location, obj.location, atol=1e-5)
    assert view.view_rotation.to_matrix().col[1].z > 0.99, "upright"


def test_after_the_object_was_turned_and_moved_its_cells_are_where_its_sides_are() -> None:
    obj = surveyed()
    obj.rotation_euler.z, obj.location = math.radians(90), (0, 7, 0)
    bpy.context.view_layer.update()
    view = picked(1)
    assert np.allclose(view.view_rotation.to_matrix().col[2], (-1, 0, 0), atol=1e-5)
    assert np.allclose(view.view_location, (0, 7, 0), atol=1e-5)


def test_a_ray_of_the_world_meets_the_cell_on_a_moved_object() -> None:
    obj = surveyed()
    around = sphere_view.around_of(bpy.context.scene.assistive.results[0])
    assert around is not None
    obj.rotation_euler.z, obj.location, obj.scale = math.radians(90), (0, 7, 0), (2, 2, 2)
    bpy.context.view_layer.update()
    ray = sphere_view.ray_in(around, obj, Vector((-50, 7, 0)), Vector((1, 0, 0)))
    assert sphere.pick(around, *ray) == 1


def test_a_cell_that_is_not_there_is_named() -> None:
    surveyed()
    window, area = viewport()
    with bpy.context.temp_override(window=window, area=area), pytest.raises(RuntimeError, match=r"no cell 12.*0 to 11"):
        bpy.ops.assistive.pick_view(cell=CELLS)


# --- weak views -------------------------------------------------------------------------------------------------------


def test_the_weakest_cells_become_cameras_of_a_rig_that_jobs_would_make_up() -> None:
    obj = surveyed(weak=(1, 7))
    assert bpy.ops.assistive.add_weak_views(count=2) == {"FINISHED"}
    settings = bpy.context.scene.assistive
    assert settings.cameras == "COLLECTION"
    assert settings.camera_collection.name == CAMERAS
    assert len(cameras(settings.camera_collection)) == 24 + 2
    wanted = [sphere.directions(np.array(azimuth), np.array(height)) for azimuth, height in ((90, 0), (270, 20))]
    for toward in wanted:
        assert any(np.allclose(direction_of(camera, obj), toward, atol=1e-4) for camera in weak_cameras())


def test_weak_cameras_look_at_the_object_through_the_lens_of_their_neighbour() -> None:
    obj = surveyed(weak=(1,))
    rig = bpy.data.collections.new(CAMERAS)
    bpy.context.scene.collection.children.link(rig)
    own = bpy.data.objects.new("Own", bpy.data.cameras.new("Own"))
    own.data.lens, own.location, own.rotation_euler = 85, (3, -9, 1), (math.radians(90), 0, 0)
    rig.objects.link(own)
    bpy.context.view_layer.update()
    bpy.ops.assistive.add_weak_views(count=1)
    (weak,) = weak_cameras()
    assert len(cameras(rig)) == 2
    assert weak.data.lens == pytest.approx(85, rel=1e-3)
    assert (weak.matrix_world.translation - obj.location).length == pytest.approx(9, rel=1e-4)
    seen = read_camera(bpy.context, weak).view @ (*obj.location, 1.0)
    assert np.allclose(seen[:2], 0, atol=1e-4)
    assert seen[2] < 0


def test_the_chosen_collection_gets_them_and_the_others_stay() -> None:
    surveyed(weak=(1,))
    own = bpy.data.collections.new("Mine")
    bpy.context.scene.collection.children.link(own)
    settings = bpy.context.scene.assistive
    settings.camera_collection, settings.cameras = own, "COLLECTION"
    bpy.ops.assistive.add_weak_views(count=3)
    assert len(cameras(own)) == 3
    assert CAMERAS not in bpy.data.collections


def test_with_the_scenes_own_cameras_they_are_the_scenes_as_well() -> None:
    surveyed(weak=(1,))
    bpy.context.scene.assistive.cameras = "SCENE"
    bpy.ops.assistive.add_weak_views(count=1)
    assert bpy.context.scene.assistive.cameras == "SCENE"
    assert len(cameras(bpy.data.collections[CAMERAS])) == 1


def test_on_a_turned_object_they_look_at_the_side_that_was_weak() -> None:
    obj = surveyed(weak=(1,))
    obj.rotation_euler.z = math.radians(90)
    bpy.context.view_layer.update()
    bpy.ops.assistive.add_weak_views(count=1)
    assert np.allclose(direction_of(weak_cameras()[0], obj), (-1, 0, 0), atol=1e-4)


def test_weak_is_what_is_weak_as_shown() -> None:
    obj = surveyed(weak=(1,))
    bpy.context.window_manager.assistive_sphere.model = "lite1"
    bpy.ops.assistive.add_weak_views(count=1)
    assert not np.allclose(direction_of(weak_cameras()[0], obj), (0, 1, 0), atol=1e-4)
