"""What else stands in the scene: which of it hides light, where it is, and that too much of it is refused."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import collect
from blender_addon.collect.surroundings import may_glow, neighbours, put_copies, read_surroundings
from shared import errors


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def cube(name: str, place: tuple[float, float, float] = (0, 0, 0), size: float = 2.0) -> Any:
    bpy.ops.mesh.primitive_cube_add(size=size, location=place)
    bpy.context.object.name = name
    return bpy.context.object


def middle(obj: Any) -> list[float]:
    found = read_surroundings(bpy.context, obj)
    assert found is not None
    used = found.positions[np.unique(found.triangles)]
    return ((used.min(axis=0) + used.max(axis=0)) / 2).tolist()


def test_an_object_alone_has_no_surroundings() -> None:
    assert read_surroundings(bpy.context, cube("Object")) is None


def test_neighbours_are_there_in_world_space() -> None:
    obj = cube("Object")
    other = cube("Other", (5, 0, 0))
    other.scale = (1, 2, 3)
    bpy.context.view_layer.update()
    found = read_surroundings(bpy.context, obj)
    assert found is not None
    assert len(found.triangles) == 12
    np.testing.assert_allclose(found.positions.min(axis=0), (4, -2, -3), atol=1e-6)
    np.testing.assert_allclose(found.positions.max(axis=0), (6, 2, 3), atol=1e-6)


def test_what_a_render_does_not_show_or_shade_is_left_out() -> None:
    obj = cube("Object")
    cube("Hidden", (5, 0, 0)).hide_render = True
    cube("Shadowless", (0, 5, 0)).visible_shadow = False
    data = bpy.data.lights.new("Lamp", "POINT")
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Lamp", data))
    bpy.context.view_layer.update()
    assert read_surroundings(bpy.context, obj) is None
    assert [other.name for other in neighbours(bpy.context, obj)] == ["Shadowless"]


def test_instances_of_a_collection_stand_where_they_are_put() -> None:
    obj = cube("Object")
    source = cube("Source")
    collection = bpy.data.collections.new("Kit")
    collection.objects.link(source)
    bpy.context.scene.collection.objects.unlink(source)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", collection, (0, 0, 7)
    bpy.context.scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    assert middle(obj) == pytest.approx([0, 0, 7])


def test_text_counts_with_its_surface() -> None:
    obj = cube("Object")
    bpy.ops.object.text_add(location=(3, 0, 0))
    assert read_surroundings(bpy.context, obj) is not None


def test_too_many_triangles_are_refused_naming_the_largest() -> None:
    obj = cube("Object")
    cube("Small", (4, 0, 0))
    bpy.ops.mesh.primitive_uv_sphere_add(location=(8, 0, 0))
    bpy.context.object.name = "Large"
    with pytest.raises(errors.InvalidInput, match=r"more than 100\. The largest: 'Large', 'Small'"):
        read_surroundings(bpy.context, obj, limit=100)


def test_copies_stand_still_where_the_originals_are_and_share_their_data() -> None:
    obj = cube("Object")
    parent, child = cube("Parent", (5, 0, 0)), cube("Child", (0, 3, 0))
    child.parent = parent
    bpy.context.view_layer.update()
    stage = bpy.data.scenes.new("Stage")
    copies = put_copies(bpy.context, obj, stage.collection, seen=False)
    assert {copy.data for copy in copies} == {parent.data, child.data}
    places = sorted(tuple(round(x, 5) for x in copy.matrix_world.translation) for copy in copies)
    assert places == [(5.0, 0.0, 0.0), (5.0, 3.0, 0.0)]
    assert not any(copy.visible_camera for copy in copies)
    assert parent.visible_camera


def test_only_materials_that_give_off_light_glow() -> None:
    obj = cube("Object")
    made = bpy.data.materials.new("Material")
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    obj.data.materials.append(made)
    assert not may_glow([obj])
    shader = next(node for node in made.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Emission Strength"].default_value = 1.0
    assert may_glow([obj])


def test_only_traced_jobs_carry_their_surroundings() -> None:
    obj = cube("Object")
    cube("Other", (5, 0, 0))
    for light, there in (("open", False), ("traced", True)):
        found = collect.collect(bpy.context, obj, mask=None, light=light).scene.surroundings
        assert (found is not None) == there
