"""A mask comes from the panel as an ordinary vertex group, and painting starts on it from any mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from blender_addon import properties  # noqa: E402
from blender_addon.collect.mesh import evaluated, group_weights  # noqa: E402
from blender_addon.operators import mask  # noqa: E402


@pytest.fixture(autouse=True)
def grid(context: Any) -> Iterator[Any]:
    """A grid of 3 × 3 vertices, with the operators registered."""
    properties.register()
    mask.register()
    yield add_grid(context, "Grid")
    mask.unregister()
    properties.unregister()


def add_grid(context: Any, name: str) -> Any:
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=2, y_subdivisions=2)
    context.object.name = context.object.data.name = name
    return context.object


def weights(context: Any, obj: Any) -> np.ndarray:
    """What a job reads of the chosen mask."""
    with evaluated(context, obj) as (result, mesh):
        read = group_weights(result, mesh, context.scene.assistive.mask)
    assert read is not None
    return read


def edit_selection(obj: Any, chosen: list[int]) -> None:
    """Go into Edit Mode with these vertices of `obj` selected."""
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_mode(type="VERT")
    bpy.ops.mesh.select_all(action="DESELECT")
    bpy.ops.object.mode_set(mode="OBJECT")
    for vertex in obj.data.vertices:
        vertex.select = vertex.index in chosen
    bpy.ops.object.mode_set(mode="EDIT")


# --- a new mask -------------------------------------------------------------------------------------------------------


def test_a_new_mask_is_chosen_and_frees_nothing_yet(context: Any, grid: Any) -> None:
    bpy.ops.assistive.new_mask()
    assert context.scene.assistive.mask == "Assistive Mask"
    assert grid.vertex_groups.active.name == "Assistive Mask"
    assert weights(context, grid).tolist() == [0] * 9


def test_a_second_mask_leaves_the_first_as_it_is(context: Any, grid: Any) -> None:
    grid.vertex_groups.new(name="Assistive Mask").add([3], 0.5, "REPLACE")
    bpy.ops.assistive.new_mask()
    assert context.scene.assistive.mask == "Assistive Mask.001"
    assert grid.vertex_groups["Assistive Mask"].weight(3) == 0.5


def test_in_edit_mode_the_selection_is_the_mask(context: Any, grid: Any) -> None:
    grid.vertex_groups.new(name="Own").add([0, 4], 0.5, "REPLACE")
    edit_selection(grid, [4, 5])
    bpy.ops.assistive.new_mask()
    assert grid.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert weights(context, grid).tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert [grid.vertex_groups["Own"].weight(index) for index in (0, 4)] == [0.5, 0.5]


def test_the_selection_of_another_object_in_edit_mode_does_not_count(context: Any, grid: Any) -> None:
    other = add_grid(context, "Other")
    context.scene.assistive.object = grid
    edit_selection(other, [0])
    bpy.ops.assistive.new_mask()
    assert (len(grid.vertex_groups), len(other.vertex_groups)) == (1, 0)
    assert weights(context, grid).tolist() == [0] * 9


# --- painting ---------------------------------------------------------------------------------------------------------


def assert_painted(context: Any, obj: Any, group: str) -> None:
    assert context.mode == "PAINT_WEIGHT"
    assert context.view_layer.objects.active == obj
    assert list(context.view_layer.objects.selected) == [obj]
    assert obj.vertex_groups.active.name == group


def test_painting_begins_on_the_chosen_mask(context: Any, grid: Any) -> None:
    for name in ("Mine", "Last"):
        grid.vertex_groups.new(name=name)
    context.scene.assistive.mask = "Mine"
    bpy.ops.assistive.paint_mask()
    assert_painted(context, grid, "Mine")
    assert len(grid.vertex_groups) == 2


def test_painting_without_a_mask_makes_one_first(context: Any, grid: Any) -> None:
    bpy.ops.assistive.paint_mask()
    assert_painted(context, grid, "Assistive Mask")
    assert context.scene.assistive.mask == "Assistive Mask"


def test_painting_again_goes_back_to_object_mode(context: Any, grid: Any) -> None:
    bpy.ops.assistive.paint_mask()
    bpy.ops.assistive.paint_mask()
    assert context.mode == "OBJECT"
    assert len(grid.vertex_groups) == 1


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT", "WEIGHT_PAINT", "VERTEX_PAINT", "TEXTURE_PAINT"])
def test_painting_begins_while_another_object_is_in_some_mode(context: Any, grid: Any, mode: str) -> None:
    other = add_grid(context, "Other")
    context.scene.assistive.object = grid
    bpy.ops.object.mode_set(mode=mode)
    bpy.ops.assistive.paint_mask()
    assert_painted(context, grid, "Assistive Mask")
    assert other.mode == "OBJECT"


def test_painting_begins_while_several_objects_are_edited(context: Any, grid: Any) -> None:
    other = add_grid(context, "Other")
    grid.select_set(True)
    context.scene.assistive.object = grid
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.assistive.paint_mask()
    assert_painted(context, grid, "Assistive Mask")
    assert other.mode == "OBJECT"


def test_edits_are_kept_when_painting_begins(context: Any, grid: Any) -> None:
    edit_selection(grid, [2])
    bpy.ops.transform.translate(value=(0, 0, 7))
    bpy.ops.assistive.paint_mask()
    assert grid.data.vertices[2].co.z == pytest.approx(7)
    assert weights(context, grid).tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new_mask", "paint_mask"])
def test_without_a_mesh_object_a_mask_asks_for_one(grid: Any, name: str) -> None:
    bpy.data.objects.remove(grid)
    with pytest.raises(RuntimeError, match="Choose a mesh object first"):
        getattr(bpy.ops.assistive, name)()


def test_a_hidden_object_is_not_painted(grid: Any) -> None:
    grid.hide_set(True)
    with pytest.raises(RuntimeError, match="'Grid' is hidden"):
        bpy.ops.assistive.paint_mask()


def test_a_mask_that_the_object_does_not_have_is_named(context: Any) -> None:
    context.scene.assistive.mask = "Gone"
    with pytest.raises(RuntimeError, match="'Grid' has no vertex group 'Gone'"):
        bpy.ops.assistive.paint_mask()
    assert context.mode == "OBJECT"


@pytest.mark.parametrize("name", ["new_mask", "paint_mask"])
def test_a_linked_mesh_gets_no_mask(grid: Any, tmp_path: Path, name: str) -> None:
    library = tmp_path / "library.blend"
    bpy.data.libraries.write(str(library), {grid.data})
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.meshes = ["Grid"]
    grid.data = wanted.meshes[0]
    with pytest.raises(RuntimeError, match="The mesh of 'Grid' is linked from another file"):
        getattr(bpy.ops.assistive, name)()
