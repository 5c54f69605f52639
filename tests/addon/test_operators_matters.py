"""What matters of a result's texture is kept in the file like the texture, and comes out byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import matters_view, png, properties, results
from blender_addon.operators import matters as operators

GREY = np.repeat(np.random.default_rng(6).integers(0, 256, (16, 24, 1), dtype=np.uint8), 3, axis=2)
PNG = png.encode(GREY[::-1])
TEXTURE = png.encode(np.zeros((16, 24, 3), np.uint8))


@pytest.fixture(autouse=True)
def _registered(context: Any) -> Iterator[None]:
    """Every test starts from an empty file."""
    del context
    results.forget()
    properties.register()
    operators.register()
    try:
        yield
    finally:
        operators.unregister()
        properties.unregister()


def box() -> Any:
    bpy.ops.mesh.primitive_cube_add()
    return bpy.context.object


def add(obj: Any, importance: bytes | None = PNG, uv_map: str = "UVMap") -> Any:
    kept = results.Kept(
        job_id="job-1",
        target="sports car",
        created="2025-03-01T22:30:00+00:00",
        object_name=obj.name,
        kind="UV",
        vertices=0,
        png=TEXTURE,
        uv_map=uv_map,
        report={},
        thumbnail=None,
        sheet=None,
        importance=importance,
    )
    return results.add(bpy.context.scene, kept, obj)


def reason(name: str) -> str:
    with pytest.raises(RuntimeError) as error:
        getattr(bpy.ops.assistive, name)()
    return str(error.value).partition("poll() ")[2].strip()


def test_it_is_there_bit_for_bit_after_the_file_was_saved_and_opened(tmp_path: Path) -> None:
    add(box())
    path = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert np.array_equal(results.importance_of(bpy.context.scene.assistive.results[0]), GREY)


def test_an_undo_cannot_lose_it() -> None:
    item = add(box())
    images = [item.image, item.importance]
    bpy.context.scene.assistive.results.clear()
    bpy.data.batch_remove(images)
    results.restore_all()
    assert np.array_equal(results.importance_of(bpy.context.scene.assistive.results[0]), GREY)


def test_deleting_the_result_takes_its_image_along() -> None:
    add(box())
    results.remove(bpy.context.scene, 0)
    assert not [image for image in bpy.data.images if image.name.startswith("Assistive")]


def test_it_is_exported_byte_for_byte(tmp_path: Path) -> None:
    add(box())
    path = tmp_path / "matters.png"
    assert bpy.ops.assistive.export_matters(filepath=str(path), check_existing=False) == {"FINISHED"}
    assert path.read_bytes() == PNG


@pytest.mark.parametrize("name", ["show_matters", "export_matters"])
def test_where_it_is_not_known_the_buttons_say_so(name: str) -> None:
    assert reason(name) == "There is no result yet"
    add(box(), importance=None)
    assert "not known what matters" in reason(name)


def test_it_cannot_be_shown_on_an_object_without_its_uv_map() -> None:
    add(box(), uv_map="Gone")
    assert "'Gone' of this result is not on" in reason("show_matters")


def test_without_a_window_nothing_is_shown_and_nothing_breaks() -> None:
    item = add(box())
    with pytest.raises(RuntimeError, match="no viewport"):
        bpy.ops.assistive.show_matters()
    assert not matters_view.is_on(item)


def test_what_matters_most_is_brightest_and_of_another_hue() -> None:
    tinted = matters_view.tinted(np.array([[[0] * 3, [128] * 3, [255] * 3]], np.uint8)).astype(int)
    assert (np.diff(tinted.sum(axis=2)[0]) > 0).all()
    assert tinted[0, 2].tolist() == [255, 240, 120]


def test_both_say_what_they_do_and_are_no_undo_step() -> None:
    for cls in operators.CLASSES:
        name = cls.bl_idname.partition(".")[2]
        assert getattr(bpy.ops.assistive, name).get_rna_type().description
        assert "UNDO" not in cls.bl_options
