"""All files of a result arrive together or not at all, and say what the job said."""

from __future__ import annotations

import dataclasses
import errno
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import apply, output, png
from blender_addon._shared import errors, messages, reporting, scene, targets

RANDOM = np.random.default_rng(3)
TEXTURE = RANDOM.integers(0, 256, (16, 24, 3), dtype=np.uint8)
TEXTURE_PNG = png.encode(TEXTURE[::-1])
PICTURES = RANDOM.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
STATS = messages.BeforeAfter(messages.Stats(0.1, 0.0, 0.05, 0.05), messages.Stats(0.9, 1.0, 0.8, 0.8))
MADE: Any = {"made_with": output.MADE_WITH, "vertex_note": output.VERTEX_NOTE}
SETTINGS = messages.Settings(target="cars", held_out_models=("other",), seed=7)


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def result(**changes: Any) -> messages.Result:
    def model(trained: bool) -> messages.ModelFigures:
        return messages.ModelFigures(
            trained=trained,
            train=STATS,
            held_out=STATS,
            held_out_views=64,
            check_before=(0.1, 0.2),
            check_confidence=(0.8, 0.6),
        )

    values: dict[str, Any] = {
        "outcome": "finished",
        "steps": 3,
        "target": targets.Target(name="cars", indices=(436, 468)),
        "texture": scene.UvTexture(image=TEXTURE),
        "texture_png": np.frombuffer(TEXTURE_PNG, dtype=np.uint8),
        "mask_coverage": 0.25,
        "max_change_outside": 0,
        "models": {"efficientnet_lite0": model(True), "other": model(False)},
        "check_views": tuple(view(name) for name in ("front", "back")),
        "pictures_before": PICTURES,
        "pictures_after": PICTURES[::-1],
        "timing": messages.Timing(
            queue_s=0.0, optimise_s=2.0, evaluate_s=1.0, step_median_s=0.5, classifier_median_s=0.4
        ),
        "versions": {"server": "0.1.0", "torch": "2.8"},
        "device": "cpu",
    }
    return messages.Result(**{**values, **changes})


def view(name: str) -> scene.View:
    camera = scene.Camera(name=name, view=np.eye(4), projection=np.eye(4))
    lights = scene.LightState(name=f"{name} light", world=(1.0, 1.0, 1.0))
    return scene.View(camera=camera, lights=lights, background=np.zeros((1, 1, 3), np.uint8))


def verdict(confidence: float, *, right: bool) -> messages.Verdict:
    return messages.Verdict(confidence=confidence, right=right, top=())


def cycles_check() -> reporting.Check:
    said = ((verdict(0.1, right=False),) * 2, (verdict(0.7, right=True), verdict(0.5, right=False)))
    verdicts = {"efficientnet_lite0": said, "other": said}
    return reporting.Check(before=PICTURES[::-1], after=PICTURES, verdicts=verdicts, seconds=5.0)


def report_of(job: messages.Result, check: reporting.Check | None) -> dict[str, Any]:
    return reporting.report(job, SETTINGS, object_name="Car", check=check, collect_s=0.5, own_rig=False, **MADE)


def files_of(job: messages.Result, check: reporting.Check | None = None) -> dict[str, output.Content]:
    return output.contents(job, report_of(job, check), check, b"a sheet")


def pixels(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    values = np.empty(image.size[0] * image.size[1] * 4, dtype=np.float32)
    image.pixels.foreach_get(values)
    height, width = image.size[1], image.size[0]
    bpy.data.images.remove(image)
    return np.rint(values.reshape(height, width, 4)[::-1, :, :3] * 255).astype(np.uint8)


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_texture_is_written_byte_for_byte(tmp_path: Path) -> None:
    output.write(tmp_path / "out", files_of(result()))
    assert (tmp_path / "out" / "texture.png").read_bytes() == TEXTURE_PNG


def test_a_survey_is_written_as_plain_lists() -> None:
    found = messages.Survey(
        textures=("before", "after"),
        azimuths=(0.0, 180.0),
        elevations=(10.0,),
        lights=("day",),
        models=("efficientnet_lite0",),
        confidence=np.array([0.1, 0.2, 0.75, 0.5], np.float32).reshape(2, 1, 1, 1, 2),
        top1=np.arange(4, dtype=np.int32).reshape(2, 1, 1, 1, 2),
    )
    written = json.loads(json.dumps(report_of(result(survey=found), None)))["survey"]
    assert written["azimuths"] == [0.0, 180.0]
    assert written["confidence"][1][0][0][0] == [0.75, 0.5]
    assert written["top1"][0][0][0][0] == [0, 1]
    assert report_of(result(), None)["survey"] is None


def test_pictures_are_written_bit_for_bit(tmp_path: Path) -> None:
    output.write(tmp_path, files_of(result(), cycles_check()))
    for number in range(2):
        assert np.array_equal(pixels(tmp_path / "before" / f"{number:02}.png"), PICTURES[::-1][number])
        assert np.array_equal(pixels(tmp_path / "after" / f"{number:02}.png"), PICTURES[number])


def test_without_a_check_the_pictures_are_the_servers(tmp_path: Path) -> None:
    output.write(tmp_path, files_of(result()))
    assert np.array_equal(pixels(tmp_path / "after" / "00.png"), PICTURES[1])


def test_a_png_is_the_same_bytes_each_time_and_has_no_alpha() -> None:
    assert png.encode(PICTURES[0]) == png.encode(PICTURES[0].copy())
    data = png.encode(PICTURES[0])
    assert data[25] == 2  # colour type RGB
    start = data.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompress(data[start : data.index(b"IEND") - 8]), dtype=np.uint8).reshape(8, 25)
    assert np.array_equal(rows[:, 1:].reshape(8, 8, 3), PICTURES[0])


def test_the_report_has_the_promised_fields(tmp_path: Path) -> None:
    output.write(tmp_path, files_of(result(), cycles_check()))
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == 1
    assert report["target"] == {"name": "cars", "indices": [436, 468]}
    assert report["seed"] == report["settings"]["seed"] == 7
    assert {"addon", "blender", "server", "torch"} <= set(report["versions"])
    assert report["mask"] == {"coverage": 0.25, "max_change_outside": 0}
    timing = {"collect_s", "queue_s", "optimise_s", "step_median_s", "classifier_median_s", "check_s"}
    assert timing <= set(report["timing"])
    model = report["models"]["efficientnet_lite0"]
    assert model["trained"]
    assert not report["models"]["other"]["trained"]
    assert model["train"]["before"] == {"mean": 0.1, "top1": 0.0, "min": 0.05, "p5": 0.05}
    assert model["held_out"]["views"] == 64


def test_the_report_says_how_far_cycles_and_server_differ() -> None:
    cycles = report_of(result(), cycles_check())["models"]["other"]["blender"]
    assert cycles["views"] == 2
    before, after = cycles["before"], cycles["after"]
    assert [before[name] for name in ("mean", "top1", "min", "p5")] == pytest.approx([0.1, 0.0, 0.1, 0.1])
    assert [after[name] for name in ("mean", "top1", "min", "p5")] == pytest.approx([0.6, 0.5, 0.5, 0.51])
    assert after["mean_95"] == pytest.approx((0.5, 0.7))
    assert [view["after"]["confidence"] for view in cycles["said"]] == [0.7, 0.5]
    assert cycles["mean_gap"] == pytest.approx(0.1)


def test_the_page_is_among_the_files_with_pictures_and_plots(tmp_path: Path) -> None:
    plot = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    output.write(tmp_path, files_of(result(plots={"steps": plot}), cycles_check()))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2 * 2 + 1
    assert (tmp_path / "plots" / "steps.svg").read_text(encoding="utf-8") == plot
    assert plot in page


def test_without_a_check_cycles_is_null() -> None:
    report = report_of(result(), None)
    assert report["models"]["efficientnet_lite0"]["blender"] is None
    assert report["timing"]["check_s"] is None


def test_vertex_colours_give_no_texture_file_but_a_note(tmp_path: Path) -> None:
    colors = scene.VertexTexture(colors=np.zeros((8, 3), dtype=np.uint8))
    output.write(tmp_path, files_of(result(texture=colors, texture_png=None)))
    assert not (tmp_path / "texture.png").exists()
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["texture"]["kind"] == "vertex"
    assert apply.ATTRIBUTE in report["texture"]["note"]


def test_the_summary_tells_before_and_after() -> None:
    text = output.summary(report_of(result(), cycles_check()), Path("out/demo"))
    assert "Car, to be seen as 'cars': 3 steps on cpu in 2 s." in text
    assert "other (not trained on)" in text
    assert "2 of those, rendered in Cycles" in text
    assert "0.100    0%" in text
    assert "0.900  100%" in text
    assert "out/demo" in text


def test_the_blend_has_its_images_inside_and_the_open_file_keeps_its_path(tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(TEXTURE_PNG)
    bpy.data.images.load(str(source)).use_fake_user = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "input.blend"))
    before = (tmp_path / "input.blend").read_bytes()
    output.write(tmp_path / "out", {"result.blend": output.save_blend})
    assert bpy.data.filepath == str(tmp_path / "input.blend")
    assert (tmp_path / "input.blend").read_bytes() == before
    source.unlink()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out" / "result.blend"))
    assert bytes(bpy.data.images["picture.png"].packed_file.data) == TEXTURE_PNG


def test_a_library_is_found_from_the_written_blend(tmp_path: Path) -> None:
    bpy.data.materials.new("Linked").use_fake_user = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "input.blend"))
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True, relative=True) as (_, linked):
        linked.materials = ["Linked"]
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.data.materials.append(bpy.data.materials["Linked"])
    output.write(tmp_path / "out", {"result.blend": output.save_blend})
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out" / "result.blend"))
    library = bpy.data.materials["Linked"].library
    assert not bpy.data.materials["Linked"].is_missing
    assert Path(bpy.path.abspath(library.filepath)).resolve() == tmp_path / "library.blend"


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    output.write(tmp_path, {"texture.png": b"1", "before/00.png": b"1", "before/01.png": b"1", "after/07.png": b"1"})
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    output.write(tmp_path, {"before/00.png": b"2"})
    assert everything_in(tmp_path) == {"before", "before/00.png", "after", "notes.txt"}
    assert (tmp_path / "before" / "00.png").read_bytes() == b"2"


def _disk_is_full(_path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    files: dict[str, output.Content] = {"before/00.png": b"picture", "result.blend": _disk_is_full}
    with pytest.raises(errors.OutputFailed, match="No space left on device"):
        output.write(tmp_path / "deep" / "out", files)
    assert everything_in(tmp_path) == set()


def test_a_full_disk_leaves_an_earlier_result_as_it_was(tmp_path: Path) -> None:
    output.write(tmp_path, {"report.json": b"first", "result.blend": b"first"})
    with pytest.raises(errors.OutputFailed):
        output.write(tmp_path, {"report.json": b"second", "result.blend": _disk_is_full})
    assert everything_in(tmp_path) == {"report.json", "result.blend"}
    assert (tmp_path / "report.json").read_bytes() == b"first"


def blender_saves_by(monkeypatch: pytest.MonkeyPatch, save: Callable[..., None]) -> None:
    operators = SimpleNamespace(wm=SimpleNamespace(save_as_mainfile=save))
    monkeypatch.setattr(output, "bpy", SimpleNamespace(data=bpy.data, ops=operators))


def test_a_blend_that_cannot_be_saved_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_options: Any) -> None:
        raise RuntimeError("Error: Cannot open file for writing.\n")

    blender_saves_by(monkeypatch, fail)
    with pytest.raises(errors.OutputFailed, match=r"cannot save a file \(Cannot open file for writing\)"):
        output.write(tmp_path / "out", {"result.blend": output.save_blend})
    assert everything_in(tmp_path) == set()


def test_a_blend_that_was_cut_off_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output.save_blend(tmp_path / "whole.blend")
    whole = (tmp_path / "whole.blend").read_bytes()
    blender_saves_by(monkeypatch, lambda filepath, **_options: Path(filepath).write_bytes(whole[:-500]))
    with pytest.raises(errors.OutputFailed, match="whole file"):
        output.write(tmp_path / "out", {"result.blend": output.save_blend})
    assert everything_in(tmp_path) == {"whole.blend"}


def test_a_file_in_the_place_of_the_folder_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    with pytest.raises(errors.OutputFailed, match="is a file, not a folder"):
        output.check_destination(tmp_path / "out" / "deeper")


def test_the_early_check_leaves_no_trace(tmp_path: Path) -> None:
    output.check_destination(tmp_path / "a" / "b")
    assert everything_in(tmp_path) == set()


# --- the server's pictures beside Blender's ---------------------------------------------------------------------------


def test_each_view_is_compared_in_confidence_and_in_pixels() -> None:
    job = result()
    compared = report_of(job, cycles_check())["check"]
    assert compared["model"] == "efficientnet_lite0"
    assert [(each["camera"], each["light"]) for each in compared["views"]] == [
        ("front", "front light"),
        ("back", "back light"),
    ]
    assert compared["views"][0]["after"] == {"server": 0.8, "blender": 0.7}
    assert compared["views"][1]["before"] == {"server": 0.2, "blender": 0.1}
    assert [each["gap"] for each in compared["views"]] == pytest.approx([0.1, 0.1])
    assert compared["mean_gap"] == pytest.approx(0.1)
    apart = np.abs(PICTURES[::-1].astype(float) - PICTURES).mean() / 255
    assert compared["mean_error"] == pytest.approx(apart, rel=1e-5)


def test_a_gap_above_the_limit_is_a_warning_that_names_view_and_light(tmp_path: Path) -> None:
    job = result()
    strict = dataclasses.replace(cycles_check(), max_gap=0.05)
    said = report_of(job, strict)
    assert "'front'" in said["check"]["warning"]
    assert "'front light'" in said["check"]["warning"]
    assert "0.80 by the server, 0.70 by Blender" in said["check"]["warning"]
    assert f"Warning: {said['check']['warning']}" in output.summary(said, tmp_path)


def test_a_gap_below_the_limit_is_no_warning(tmp_path: Path) -> None:
    said = report_of(result(), dataclasses.replace(cycles_check(), max_gap=0.2))
    assert said["check"]["warning"] is None
    assert "Warning" not in output.summary(said, tmp_path)
    assert "of confidence 0.100" in output.summary(said, tmp_path)


def test_what_is_not_modelled_is_said(tmp_path: Path) -> None:
    glass = "Material 'Glass' lets light through."
    said = reporting.report(
        result(), SETTINGS, object_name="Car", check=None, collect_s=0.5, own_rig=False, left_out=(glass,)
    )
    assert said["left_out"] == [glass]
    assert f"does not model: {glass}" in output.summary(said, tmp_path)


def test_the_comparison_is_among_the_files(tmp_path: Path) -> None:
    job, check = result(), cycles_check()
    output.write(tmp_path, output.contents(job, report_of(job, check), check, b"a sheet", b"a comparison"))
    assert (tmp_path / "check.png").read_bytes() == b"a comparison"
    assert "check.png" in output.summary(report_of(job, check), tmp_path)
