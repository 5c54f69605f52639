"""Results of jobs live in the .blend: they come back from disk bit for bit, and undo can't lose them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import png, properties, results, sphere
from blender_addon._shared import errors, messages, reporting, scene, targets

RANDOM = np.random.default_rng(4)
TEXTURE = RANDOM.integers(0, 256, (16, 24, 3), dtype=np.uint8)
COLORS = RANDOM.integers(0, 256, (11, 3), dtype=np.uint8)
PICTURES = RANDOM.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
SHEET = png.encode(PICTURES[0])
SETTINGS = messages.Settings(target="cars", held_out_models=("other",), seed=7)
ADD_S = 0.033


@pytest.fixture(autouse=True)
def _registered(context: Any) -> Iterator[None]:
    """Every test starts from an empty file whose scenes have the add-on's properties."""
    del context
    results.forget()
    properties.register()
    try:
        yield
    finally:
        properties.unregister()


def model(*confidence: float, trained: bool) -> messages.ModelFigures:
    stats = messages.BeforeAfter(messages.Stats(0.1, 0.0, 0.05, 0.05), messages.Stats(0.9, 0.75, 0.8, 0.8))
    return messages.ModelFigures(
        trained=trained, train=stats, held_out=stats, held_out_views=64, check_confidence=confidence
    )


def result(texture: scene.Texture | None = None, **changes: Any) -> messages.Result:
    texture = texture or scene.UvTexture(image=TEXTURE)
    is_image = isinstance(texture, scene.UvTexture)
    values: dict[str, Any] = {
        "outcome": "finished",
        "steps": 3,
        "target": targets.Target(name="cars", indices=(436, 468)),
        "texture": texture,
        "texture_png": np.frombuffer(png.encode(texture.image[::-1]), dtype=np.uint8) if is_image else None,
        "mask_coverage": 0.25,
        "max_change_outside": 0,
        "models": {"other": model(0.9, 0.1, 0.1, trained=False), "lite0": model(0.2, 0.8, 0.4, trained=True)},
        "check_views": (),
        "pictures_before": PICTURES[::-1],
        "pictures_after": PICTURES,
        "timing": messages.Timing(
            queue_s=0.0, optimise_s=2.0, evaluate_s=1.0, step_median_s=0.5, classifier_median_s=0.4
        ),
        "versions": {"server": "0.1.0"},
        "device": "cpu",
    }
    return messages.Result(**{**values, **changes})


def kept(job_id: str = "job-1", job: messages.Result | None = None) -> results.Kept:
    return results.kept_of(
        job or result(),
        SETTINGS,
        job_id=job_id,
        object_name="Car",
        uv_map="UVMap",
        collect_s=0.5,
        own_rig=False,
        sheet=SHEET,
    )


def vertex_kept() -> results.Kept:
    return kept("vertices", result(scene.VertexTexture(colors=COLORS)))


def car() -> Any:
    obj = bpy.data.objects.new("Car", bpy.data.meshes.new("Car"))
    bpy.context.scene.collection.objects.link(obj)
    return obj


def the_list() -> Any:
    return bpy.context.scene.assistive.results


def ids() -> list[str]:
    return [item.name for item in the_list()]


def save_and_reload(folder: Path) -> None:
    path = str(folder / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)


def undone_before(job_id: str) -> None:
    """The list as an undo leaves it that goes back to before a result came in: neither item nor images are there."""
    item = the_list()[job_id]
    images = [item.image, item.sheet]
    the_list().remove(the_list().find(job_id))
    bpy.data.batch_remove(images)


def preview_of(image: Any, pixels: str) -> np.ndarray:
    width, height = getattr(image.preview, f"{pixels}_size")
    values = np.empty(width * height * 4, dtype=np.float32)
    getattr(image.preview, f"{pixels}_pixels_float").foreach_get(values)
    return values.reshape(height, width, 4)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_survey_is_kept_with_where_the_object_was() -> None:
    survey = messages.Survey(
        textures=("before", "after"),
        azimuths=(0.0, 180.0),
        elevations=(10.0,),
        lights=("day",),
        models=("lite0",),
        confidence=np.full((2, 1, 1, 1, 2), 0.5, np.float32),
        top1=np.full((2, 1, 1, 1, 2), 468, np.int32),
    )
    turned = ((0.0, -1.0, 0.0, 3.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    placement = sphere.Placement(center=(3.0, 0.0, 1.0), radius=2.0, matrix=turned)
    made = results.kept_of(
        result(survey=survey),
        SETTINGS,
        job_id="job-1",
        object_name="Car",
        uv_map="UVMap",
        collect_s=0.5,
        own_rig=False,
        placement=placement,
        sheet=None,
    )
    around = sphere.read(made.report)
    assert around is not None
    assert around.placement == placement
    assert around.right.all()
    assert kept().report["survey"] is None


def test_the_thumbnail_is_the_view_that_the_first_trained_classifier_recognises_best() -> None:
    assert np.array_equal(kept().thumbnail, PICTURES[1])


def test_a_job_without_check_views_has_no_thumbnail() -> None:
    job = result(models={"lite0": model(trained=True)}, pictures_after=PICTURES[:0])
    assert kept(job=job).thumbnail is None


def test_the_report_is_the_command_lines_with_the_job_and_its_time() -> None:
    report = kept().report
    assert (report["job"], report["seed"], report["outcome"]) == ("job-1", 7, "finished")
    assert datetime.fromisoformat(report["created"]).tzinfo is not None


def test_of_an_interrupted_job_the_last_preview_is_kept_and_no_figures() -> None:
    preview = messages.Preview(job_id="broken", step=40, texture=scene.UvTexture(image=TEXTURE), worst_view=PICTURES[2])
    one = results.interrupted(preview, SETTINGS, target="cars", object_name="Car", uv_map="UVMap")
    item = results.add(bpy.context.scene, one, None)
    report = results.report_of(item)
    assert (item.name, report["outcome"], report["steps"]) == ("broken", "interrupted", 40)
    assert results.figures(item) == []
    assert np.array_equal(results.texture_of(item)[0].image, TEXTURE)
    assert np.array_equal(one.thumbnail, PICTURES[2])


# --- in the file ------------------------------------------------------------------------------------------------------


def test_a_texture_comes_back_from_disk_bit_for_bit_with_its_png_as_it_came(tmp_path: Path) -> None:
    one = kept()
    results.add(bpy.context.scene, one, car())
    save_and_reload(tmp_path)
    texture, data = results.texture_of(the_list()[0])
    assert np.array_equal(texture.image, TEXTURE)
    assert data == one.png
    assert the_list()[0].image.source == "FILE"


def test_everything_else_comes_back_from_disk_too(tmp_path: Path) -> None:
    one = kept()
    results.add(bpy.context.scene, one, car())
    save_and_reload(tmp_path)
    item = the_list()[0]
    assert (item.name, item.target, item.created) == ("job-1", "cars", one.created)
    assert (item.object, item.object_name) == (bpy.data.objects["Car"], "Car")
    assert (item.kind, item.uv_map) == ("UV", "UVMap")
    assert results.report_of(item) == json.loads(json.dumps(one.report))
    assert results.packed_file(item.sheet) == SHEET


@pytest.mark.parametrize("count", [1, 4, 11, 1000])
def test_vertex_colours_come_back_from_disk_bit_for_bit(count: int, tmp_path: Path) -> None:
    colors = RANDOM.integers(0, 256, (count, 3), dtype=np.uint8)
    results.add(bpy.context.scene, kept(job=result(scene.VertexTexture(colors=colors))), car())
    save_and_reload(tmp_path)
    item = the_list()[0]
    texture, data = results.texture_of(item)
    assert np.array_equal(texture.colors, colors)
    assert data is None
    assert (item.kind, results.vertex_count(item)) == ("VERTEX", count)


@pytest.mark.parametrize("pixels", ["image", "icon"])
def test_the_thumbnail_comes_back_from_disk_the_right_way_up(pixels: str, tmp_path: Path) -> None:
    split = np.zeros((240, 224, 3), dtype=np.uint8)
    split[:120] = (255, 51, 0)
    results.add(bpy.context.scene, kept(job=result(pictures_after=np.stack([split] * 3))), car())
    save_and_reload(tmp_path)
    shown = preview_of(the_list()[0].image, pixels)
    assert shown[-1, 0] == pytest.approx((1.0, 0.2, 0.0, 1.0), abs=0.005)
    assert shown[0, 0] == pytest.approx((0.0, 0.0, 0.0, 1.0), abs=0.005)
    assert 32 <= min(shown.shape[:2]) <= max(shown.shape[:2]) <= 256


def test_a_2k_texture_is_added_within_a_frame() -> None:
    large = RANDOM.integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    one = kept(job=result(scene.UvTexture(image=large), texture_png=np.frombuffer(png.encode(large), dtype=np.uint8)))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        results.add(bpy.context.scene, one, None)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < ADD_S


def test_a_new_result_stands_last_and_is_chosen() -> None:
    for job_id in ("one", "two"):
        results.add(bpy.context.scene, kept(job_id), None)
    assert ids() == ["one", "two"]
    assert bpy.context.scene.assistive.result_index == 1


def test_a_texture_that_was_painted_on_no_longer_passes_for_its_png() -> None:
    item = results.add(bpy.context.scene, kept(), None)
    item.image.pixels[0] = 1.0 - item.image.pixels[0]
    texture, data = results.texture_of(item)
    assert data is None
    assert not np.array_equal(texture.image, TEXTURE)
    assert results.png_of(item) == png.encode(texture.image[::-1])


def test_a_result_whose_image_was_deleted_says_so() -> None:
    item = results.add(bpy.context.scene, kept(), None)
    bpy.data.images.remove(item.image)
    with pytest.raises(errors.InvalidInput, match="The image of the result 'cars' is gone"):
        results.texture_of(item)
    assert (results.icon(item), results.vertex_count(item)) == (0, 0)


# --- undo -------------------------------------------------------------------------------------------------------------


def test_a_result_that_an_undo_has_taken_away_comes_back_with_all_it_had() -> None:
    obj = car()
    results.add(bpy.context.scene, kept("old"), obj)
    results.add(bpy.context.scene, vertex_kept(), obj)
    bpy.context.scene.assistive.result_index = 0
    undone_before("vertices")
    results.restore_all()
    item = the_list()["vertices"]
    assert ids() == ["old", "vertices"]
    assert np.array_equal(results.texture_of(item)[0].colors, COLORS)
    assert (item.object, results.packed_file(item.sheet)) == (obj, SHEET)
    assert bpy.context.scene.assistive.result_index == 0


def test_nothing_is_added_twice() -> None:
    results.add(bpy.context.scene, kept(), None)
    results.restore_all()
    assert ids() == ["job-1"]
    assert len(bpy.data.images) == 2


def test_a_deleted_result_stays_away_until_its_deletion_is_undone() -> None:
    owner = bpy.context.scene
    results.add(owner, kept(), None)
    results.remove(owner, 0)
    results.restore_all()
    assert ids() == []
    owner.assistive[results.DELETED] = ""  # what the scene held before, as undo brings it back
    results.restore_all()
    assert ids() == ["job-1"]


def test_a_result_comes_back_to_its_own_scene_only() -> None:
    other = bpy.data.scenes.new("Other")
    results.add(bpy.context.scene, kept(), None)
    undone_before("job-1")
    results.restore_all()
    assert ids() == ["job-1"]
    assert len(other.assistive.results) == 0


def test_results_of_one_file_do_not_turn_up_in_the_next(tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    results.add(bpy.context.scene, kept(), None)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    results.restore_all()
    assert ids() == []
    results.forget()
    assert not results.ADDED


# --- deleting ---------------------------------------------------------------------------------------------------------


def test_deleting_a_result_takes_its_images_out_of_the_file() -> None:
    owner = bpy.context.scene
    for job_id in ("one", "two"):
        results.add(owner, kept(job_id), None)
    results.remove(owner, 1)
    assert ids() == ["one"]
    assert owner.assistive.result_index == 0
    assert len(bpy.data.images) == 2


def test_deleting_a_result_leaves_an_image_that_a_material_uses() -> None:
    item = results.add(bpy.context.scene, kept(), None)
    image = item.image
    material = bpy.data.materials.new("Artist's")
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    results.remove(bpy.context.scene, 0)
    assert list(bpy.data.images) == [image]
    assert image.packed_file is not None


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_views_never_trained_on() -> None:
    rows = results.figures(results.add(bpy.context.scene, kept(), None))
    assert rows == [("other", False, 0.1, 0.9, 0.0, 0.75), ("lite0", True, 0.1, 0.9, 0.0, 0.75)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": 9}',
        '{"models": []}',
        '{"models": {"a": 3}}',
        '{"models": {"a": {"trained": true, "held_out": {"before": {}}}}}',
        '{"models": {"a": {"trained": true, "held_out": {"before": [1], "after": null}}}}',
    ],
)
def test_a_report_that_cannot_be_understood_has_no_figures(text: str) -> None:
    item = bpy.context.scene.assistive.results.add()
    item.report = text
    assert results.figures(item) == []


def test_one_classifier_that_cannot_be_understood_does_not_hide_the_others() -> None:
    item = results.add(bpy.context.scene, kept(), None)
    report = results.report_of(item)
    report["models"]["other"]["held_out"] = "elsewhere"
    report["models"]["lite0"]["news"] = 1
    item.report = json.dumps(report)
    assert [row.model for row in results.figures(item)] == ["lite0"]


def test_times_are_shown_in_the_time_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert reporting.local_time("2025-03-01T22:30:00+00:00") == "2025-03-02 07:30"
        assert reporting.local_time("") == ""
    finally:
        monkeypatch.undo()
        time.tzset()
