"""Each button of the results list does one thing to the chosen result, or says why it can't."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import apply, png, properties, results
from blender_addon._shared import scene
from blender_addon.collect.mesh import corner_uvs
from blender_addon.collect.unwrap import UV_MAP, add_uv_map
from blender_addon.operators import results as operators

RANDOM = np.random.default_rng(5)
TEXTURE = RANDOM.integers(0, 256, (16, 24, 3), dtype=np.uint8)
PNG = png.encode(TEXTURE[::-1])
COLORS = RANDOM.integers(0, 256, (8, 3), dtype=np.uint8)
THUMBNAIL = RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)
STATS = {"before": {"mean": 0.0, "top1": 0.0, "min": 0.0}, "after": {"mean": 0.94, "top1": 0.98, "min": 0.5}}
REPORT = {
    "object": "Box",
    "target": {"name": "sports car"},
    "outcome": "finished",
    "models": {"lite0": {"trained": True, "held_out": STATS}, "lite1": {"trained": False, "held_out": STATS}},
}
CHANGING = {"apply_result", "restore_original", "mark_asset", "delete_result"}


@pytest.fixture(autouse=True)
def _registered(context: Any) -> Iterator[None]:
    """Every test starts from an empty file, with properties and operators."""
    del context
    results.forget()
    properties.register()
    operators.register()
    try:
        yield
    finally:
        operators.unregister()
        properties.unregister()


def box(name: str = "Box") -> Any:
    bpy.ops.mesh.primitive_cube_add()
    obj = bpy.context.object
    obj.name = name
    obj.data.materials.append(bpy.data.materials.new("Paint"))
    return obj


def add(obj: Any, texture: scene.Texture | None = None, job_id: str = "job-1", uv_map: str = "UVMap") -> Any:
    texture = texture or scene.UvTexture(image=TEXTURE)
    is_image = isinstance(texture, scene.UvTexture)
    kept = results.Kept(
        job_id=job_id,
        target="sports car",
        created="2025-03-01T22:30:00+00:00",
        object_name=obj.name,
        kind="UV" if is_image else "VERTEX",
        vertices=len(texture.colors) if isinstance(texture, scene.VertexTexture) else 0,
        png=PNG if is_image else png.encode(np.pad(COLORS, ((0, 1), (0, 0))).reshape(3, 3, 3)[::-1]),
        uv_map=uv_map,
        report=REPORT,
        thumbnail=THUMBNAIL,
        sheet=PNG,
    )
    return results.add(bpy.context.scene, kept, obj)


def materials(obj: Any) -> list[str]:
    return [slot.material.name for slot in obj.material_slots]


def reason(name: str) -> str:
    """Why the button is grey."""
    with pytest.raises(RuntimeError) as error:
        getattr(bpy.ops.assistive, name)()
    return str(error.value).partition("poll() ")[2].strip()


def everywhere_but(obj: Any) -> None:
    """Delete `obj` as an artist does: from all scenes; the list still refers to it."""
    with bpy.context.temp_override(selected_objects=[obj], active_object=obj, object=obj):
        bpy.ops.object.delete()


# --- all of them ------------------------------------------------------------------------------------------------------


def test_those_that_change_data_are_one_undo_step_and_all_say_what_they_do() -> None:
    for cls in operators.CLASSES:
        name = cls.bl_idname.partition(".")[2]
        assert ("UNDO" in cls.bl_options) == (name in CHANGING)
        assert getattr(bpy.ops.assistive, name).get_rna_type().description


@pytest.mark.parametrize("name", ["apply_result", "mark_asset", "export_texture", "open_report", "delete_result"])
def test_without_a_result_they_are_grey(name: str) -> None:
    box()
    assert reason(name) == "There is no result yet"


# --- apply ------------------------------------------------------------------------------------------------------------


def test_a_result_is_applied_to_its_own_object_whatever_is_active() -> None:
    obj, other = box(), box("Other")
    add(obj)
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}
    assert apply.applied_result(obj) == "job-1"
    assert apply.applied_result(other) is None


def test_the_chosen_result_of_several_is_applied() -> None:
    obj = box()
    for job_id in ("first", "second"):
        add(obj, job_id=job_id)
    bpy.context.scene.assistive.result_index = 0
    bpy.ops.assistive.apply_result()
    assert apply.applied_result(obj) == "first"


def test_vertex_colours_are_applied_bit_for_bit() -> None:
    obj = box()
    add(obj, scene.VertexTexture(colors=COLORS))
    bpy.ops.assistive.apply_result()
    values = np.empty(8 * 4, dtype=np.float32)
    obj.data.color_attributes[0].data.foreach_get("color_srgb", values)
    assert np.array_equal(np.rint(values.reshape(8, 4)[:, :3] * 255).astype(np.uint8), COLORS)


def test_after_its_object_was_deleted_a_result_is_applied_to_the_active_mesh() -> None:
    obj = box()
    add(obj)
    everywhere_but(obj)
    assert reason("apply_result") == "'Box' has been deleted; make a mesh object active"
    copy = box("Copy")
    bpy.ops.assistive.apply_result()
    assert apply.applied_result(copy) == "job-1"


def test_vertex_colours_do_not_go_on_a_mesh_with_other_vertices() -> None:
    obj = box()
    add(obj, scene.VertexTexture(colors=COLORS))
    everywhere_but(obj)
    bpy.ops.mesh.primitive_plane_add()
    assert reason("apply_result") == "The 8 colors do not fit the 4 vertices of 'Plane'"


def test_a_removed_uv_map_is_named() -> None:
    obj = box()
    add(obj)
    obj.data.uv_layers.remove(obj.data.uv_layers["UVMap"])
    assert reason("apply_result") == f"The UV map 'UVMap' of this result is not on {obj.data.name!r}"


def test_a_uv_map_made_for_jobs_that_an_undo_has_taken_away_is_made_again_the_same() -> None:
    obj = box()
    add_uv_map(bpy.context, obj)
    before = corner_uvs(obj.data, UV_MAP)
    add(obj, uv_map=UV_MAP)
    obj.data.uv_layers.remove(obj.data.uv_layers[UV_MAP])
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}
    assert np.array_equal(corner_uvs(obj.data, UV_MAP), before)


def test_in_edit_mode_neither_apply_nor_restore_touch_the_object() -> None:
    obj = box()
    add(obj)
    bpy.ops.assistive.apply_result()
    bpy.ops.object.mode_set(mode="EDIT")
    assert reason("apply_result") == "Leave Edit Mode of 'Box' first"
    assert reason("restore_original") == "Leave Edit Mode of 'Box' first"


def test_a_linked_object_is_refused(tmp_path: Path) -> None:
    library = str(tmp_path / "library.blend")
    bpy.data.libraries.write(library, {box("Linked")})
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with bpy.data.libraries.load(library, link=True) as (_, loaded):
        loaded.objects = ["Linked"]
    obj = bpy.data.objects["Linked"]
    bpy.context.scene.collection.objects.link(obj)
    add(obj)
    assert reason("apply_result") == "'Linked' is linked from another file; make it local or a library override"


def test_a_deleted_image_is_named() -> None:
    item = add(box())
    bpy.data.images.remove(item.image)
    assert reason("apply_result") == "The image of this result has been deleted"
    assert reason("export_texture") == "The image of this result has been deleted"


# --- restore, delete --------------------------------------------------------------------------------------------------


def test_restoring_puts_the_originals_back_and_leaves_nothing_but_the_result() -> None:
    obj = box()
    item = add(obj)
    before = (materials(obj), len(bpy.data.materials), len(bpy.data.images), len(bpy.data.node_groups))
    bpy.ops.assistive.apply_result()
    bpy.ops.assistive.restore_original()
    assert (materials(obj), len(bpy.data.materials), len(bpy.data.images), len(bpy.data.node_groups)) == before
    assert results.texture_of(item)[1] == PNG
    assert reason("restore_original") == "Nothing is applied to 'Box'"


def test_a_deleted_result_stays_on_the_object_and_can_still_be_taken_off(tmp_path: Path) -> None:
    obj = box()
    add(obj)
    bpy.ops.assistive.apply_result()
    bpy.ops.assistive.delete_result()
    assert len(bpy.context.scene.assistive.results) == 0
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    obj = bpy.data.objects["Box"]
    assert apply.applied_result(obj) == "job-1"
    assert [bytes(image.packed_file.data) for image in bpy.data.images] == [PNG]
    bpy.context.view_layer.objects.active = obj
    bpy.ops.assistive.restore_original()
    assert materials(obj) == ["Paint"]


# --- assets -----------------------------------------------------------------------------------------------------------


def test_only_an_applied_result_is_an_asset() -> None:
    obj = box()
    add(obj, job_id="first")
    add(obj, job_id="second")
    assert reason("mark_asset") == "Apply this result first"
    bpy.context.scene.assistive.result_index = 0
    bpy.ops.assistive.apply_result()
    bpy.context.scene.assistive.result_index = 1
    assert reason("mark_asset") == "Apply this result first"


def test_assets_say_what_they_are_and_show_the_object() -> None:
    obj = box()
    item = add(obj)
    bpy.ops.assistive.apply_result()
    assert bpy.ops.assistive.mark_asset() == {"FINISHED"}
    material = obj.material_slots[0].material
    about = material.asset_data
    assert "Box, to be seen as sports car" in about.description
    assert "lite0 0.00 → 0.94, lite1 (not trained on) 0.00 → 0.94" in about.description
    assert about.author == "Assistive Signals for Blender"
    assert {tag.name for tag in about.tags} == {"assistive", "sports car", "lite0", "lite1"}
    assert list(material.preview.image_pixels) == list(item.image.preview.image_pixels)
    assert bpy.data.materials["Paint"].asset_data is None


def test_an_asset_outlives_the_restored_original() -> None:
    obj = box()
    add(obj)
    bpy.ops.assistive.apply_result()
    bpy.ops.assistive.mark_asset()
    bpy.ops.assistive.restore_original()
    assert [material.name for material in bpy.data.materials if material.asset_data] != []
    assert materials(obj) == ["Paint"]


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_exported_texture_is_the_png_byte_for_byte(tmp_path: Path) -> None:
    add(box())
    path = tmp_path / "texture.png"
    path.write_bytes(b"older")
    assert bpy.ops.assistive.export_texture(filepath=str(path)) == {"FINISHED"}
    assert path.read_bytes() == PNG
    assert list(tmp_path.iterdir()) == [path]


def test_vertex_colours_are_not_exported_as_an_image() -> None:
    add(box(), scene.VertexTexture(colors=COLORS))
    assert reason("export_texture") == "Vertex colors are no image; apply them and export the object"


@pytest.mark.parametrize("name", ["export_texture", "open_report"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left_behind(name: str, tmp_path: Path) -> None:
    add(box())
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(RuntimeError, match="folder cannot be written"):
        getattr(bpy.ops.assistive, name)(filepath=str(path))
    with pytest.raises(RuntimeError, match=r"texture\.png cannot be written"):
        getattr(bpy.ops.assistive, name)(filepath=str(tmp_path / "missing" / "texture.png"))
    assert list(tmp_path.iterdir()) == [path]


def test_the_report_goes_where_it_was_asked_for(tmp_path: Path) -> None:
    add(box())
    path = tmp_path / "report.html"
    assert bpy.ops.assistive.open_report(filepath=str(path)) == {"FINISHED"}
    text = path.read_text(encoding="utf-8")
    assert "sports car" in text
    assert text.count("data:image/png") == 2


def test_the_report_of_vertex_colours_shows_no_image_of_them(tmp_path: Path) -> None:
    add(box(), scene.VertexTexture(colors=COLORS))
    path = tmp_path / "report.html"
    bpy.ops.assistive.open_report(filepath=str(path))
    assert path.read_text(encoding="utf-8").count("data:image/png") == 1


def test_the_chosen_result_is_compared_with_those_that_are_ticked_or_all_for_its_target(tmp_path: Path) -> None:
    obj = box()
    add(obj)
    assert "Tick another result" in reason("compare_reports")
    for job_id in ("job-2", "job-3", "job-4"):
        add(obj, job_id=job_id)
    listed = bpy.context.scene.assistive.results
    listed[3].target = "school bus"
    bpy.context.scene.assistive.result_index = 0
    assert compared(tmp_path) == 3
    listed[2].ticked = listed[3].ticked = True
    assert compared(tmp_path) == 3
    listed[2].ticked = False
    assert compared(tmp_path) == 2


def compared(folder: Path) -> int:
    """How many runs are on the page that compares the chosen result."""
    path = folder / "compare.html"
    assert bpy.ops.assistive.compare_reports(filepath=str(path)) == {"FINISHED"}
    found = re.search(r"Comparison of (\d+) runs", path.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def test_the_plots_of_a_result_are_kept_in_the_file_and_shown_without_a_server(tmp_path: Path) -> None:
    item = add(box())
    item.plots = json.dumps({"steps": '<svg xmlns="http://www.w3.org/2000/svg"><text>loss</text></svg>'})
    path = tmp_path / "report.html"
    bpy.ops.assistive.open_report(filepath=str(path))
    assert "<text>loss</text>" in path.read_text(encoding="utf-8")


def test_suggested_file_names_suit_every_file_system() -> None:
    item = add(box())
    item.object_name, item.target = 'A/B:"C"', "cars | buses?"
    assert operators.file_name(item) == "A_B_C_ cars _ buses_"
