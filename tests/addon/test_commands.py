"""The command as a user meets it: a job goes the whole way, and what is wrong with its input is said in a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

import blender_addon
from blender_addon import apply, check, collect, commands, files, png, progress
from blender_addon._shared import client, messages, presets, wire

FAST = ("--preset", "draft", "--views", "2", "--texture-size", "64", "--survey", "0")
QUICK = (*FAST, "--steps", "2", "--no-check")


@pytest.fixture(scope="module")
def cube_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .blend with a painted box, its masks, a lamp, and a mesh without faces."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.mesh.primitive_cube_add()
    box = bpy.context.object
    box.name = "Box"
    top = [vertex.index for vertex in box.data.vertices if vertex.co.z > 0]
    box.vertex_groups.new(name="top").add(top, 1.0, "REPLACE")
    box.vertex_groups.new(name="nothing")
    box.data.materials.append(bpy.data.materials.new("Paint"))
    for name, data in (("Lamp", bpy.data.lights.new("Lamp", "SUN")), ("Bare", bpy.data.meshes.new("Bare"))):
        bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, data))
    path = tmp_path_factory.mktemp("scene") / "box.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "out"


def optimize(source: Path | str, address: str, out: Path, *options: str) -> int:
    """The exit code of a quick job on the box; later options win."""
    given = ["--object", "Box", "--target", "coffee mug", "--server", address, "--out", str(out), *QUICK, *options]
    return commands.main_with_scene([str(source), "optimize", *given])


FILES = {
    *("texture.png", "patch.png", "importance.png", "result.blend", "views.png", "check.png", "report.json"),
    *("report.html", "plots/steps.svg", "plots/views.svg", "plots/around.svg"),
}


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(cube_file: Path, server_address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a masked job that went the whole way, check in Cycles included."""
    out = tmp_path_factory.mktemp("finished") / "out"
    options = [
        *FAST,
        "--steps",
        "2",
        "--check-samples",
        "1",
        "--mask",
        "top",
        "--held-out-models",
        "efficientnet_lite1",
        "--survey",
        "4",
    ]
    given = ["--object", "Box", "--target", "504", "--server", server_address, "--out", str(out), *options]
    before = cube_file.read_bytes()
    assert commands.main_with_scene([str(cube_file), "optimize", *given]) == 0
    assert cube_file.read_bytes() == before, "the input file was touched"
    return out


def test_everything_promised_is_there(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    pictures = {f"{folder}/{number:02}.png" for folder in ("before", "after") for number in range(8)}
    assert names == FILES | pictures


def test_trained_and_held_out_classifiers_are_reported_in_both_renderers(finished: Path) -> None:
    models = report_of(finished)["models"]
    assert (models["efficientnet_lite0"]["trained"], models["efficientnet_lite1"]["trained"]) == (True, False)
    for figures in models.values():
        assert figures["held_out"]["views"] == 32
        assert figures["blender"]["views"] == 8
        assert 0 <= figures["blender"]["mean_gap"] <= 1


def test_what_is_outside_the_mask_is_bit_identical(finished: Path) -> None:
    mask = report_of(finished)["mask"]
    assert 0 < mask["coverage"] < 1
    assert mask["max_change_outside"] == 0


def test_the_blend_holds_the_written_texture_and_the_original(finished: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(finished / "result.blend"))
    box = bpy.data.objects["Box"]
    material = box.material_slots[0].material
    group = next(node.node_tree for node in material.node_tree.nodes if node.type == "GROUP")
    image = next(node.image for node in group.nodes if node.type == "TEX_IMAGE")
    assert bytes(image.packed_file.data) == (finished / "texture.png").read_bytes()
    assert image.name == "coffee mug"
    assert apply.restore_original(box)
    assert box.material_slots[0].material.name == "Paint"


def test_nothing_of_the_check_is_left_in_the_blend(finished: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(finished / "result.blend"))
    assert {obj.name for obj in bpy.data.objects} == {"Box", "Lamp", "Bare"}
    assert len(bpy.data.scenes) == 1
    assert {material.name for material in bpy.data.materials} == {"Paint", "Paint coffee mug"}
    assert {image.name for image in bpy.data.images if image.type != "RENDER_RESULT"} == {"coffee mug"}


def test_the_masked_part_is_cut_out_with_its_size(finished: Path) -> None:
    patch = report_of(finished)["patch"]
    assert patch["file"] == "patch.png"
    assert patch["sites"] == []
    # The soft mask reaches from the top, 2 m wide, down to the foot of the sides.
    assert 4e6 < patch["area_mm2"] <= 21e6


def test_a_patch_is_placed_by_search_and_said_to_be(
    cube_file: Path, server_address: str, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert optimize(cube_file, server_address, out, "--patch", "0.1", "--uv", "new") == 0
    report = report_of(out)
    patch, site = report["patch"], report["patch"]["sites"][0]  # at an edge of the box it is less than a square
    assert patch["area_mm2"] == pytest.approx(1e6 * site["area"] * site["edge"] ** 2, rel=0.15)
    assert max(patch["width_mm"], patch["height_mm"]) <= 1.15 * 1000 * site["edge"]
    assert (out / "patch.png").exists()
    assert "The patch is" in capfd.readouterr().out


def test_a_collected_job_repeats_bit_for_bit_without_blender(
    cube_file: Path, server_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "box.job"
    given = ["--object", "Box", "--target", "coffee mug", *FAST, "--steps", "2", "--out", str(file)]
    assert commands.main_with_scene([str(cube_file), "collect", *given]) == 0
    here = tmp_path / "here"
    assert optimize(cube_file, server_address, here) == 0
    replay = [sys.executable, "-m", "compute_server.cli", "run", str(file), "--device", "cpu", "--out"]
    made = []
    for name in ("first", "again"):
        subprocess.run([*replay, str(tmp_path / name)], check=True, capture_output=True)
        made.append((tmp_path / name / "texture.png").read_bytes())
    assert made[0] == made[1] == (here / "texture.png").read_bytes()


def test_collecting_into_a_folder_is_refused(cube_file: Path, tmp_path: Path, capfd: Any) -> None:
    given = ["--object", "Box", "--target", "coffee mug", "--out", str(tmp_path)]
    assert commands.main_with_scene([str(cube_file), "collect", *given]) == 5
    assert "is a folder" in capfd.readouterr().err


def test_a_step_larger_than_the_ball_is_warned_of(
    cube_file: Path, server_address: str, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert optimize(cube_file, server_address, out, "--alpha", "0.2", "--epsilon", "0.1") == 0
    captured = capfd.readouterr()
    assert "A step of 0.2 is larger than ε, 0.1" in captured.out + captured.err
    assert report_of(out)["cautions"]


def test_zero_steps_leave_the_texture_as_it_was(cube_file: Path, server_address: str, out: Path) -> None:
    assert optimize(cube_file, server_address, out, "--steps", "0", "--init", "#336699") == 0
    bpy.ops.wm.open_mainfile(filepath=str(out / "result.blend"))
    values = np.empty(64 * 64 * 4, dtype=np.float32)
    bpy.data.images["coffee mug"].pixels.foreach_get(values)
    assert (np.rint(values.reshape(-1, 4)[:, :3] * 255) == (0x33, 0x66, 0x99)).all()
    assert report_of(out)["outcome"] == "finished"


def test_vertex_colours_come_back_as_an_attribute(cube_file: Path, server_address: str, out: Path) -> None:
    assert optimize(cube_file, server_address, out, "--texture", "vertex") == 0
    assert not (out / "texture.png").exists()
    bpy.ops.wm.open_mainfile(filepath=str(out / "result.blend"))
    assert apply.ATTRIBUTE in bpy.data.objects["Box"].data.color_attributes


def test_the_summary_is_all_there_is_on_standard_output(
    cube_file: Path, server_address: str, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert optimize(cube_file, server_address, out) == 0
    said = capfd.readouterr()
    assert said.out.startswith("Box, to be seen as 'coffee mug': 2 steps on cpu")
    assert said.out.rstrip().endswith("all figures and settings")
    assert "step 2/2 (100%)" in said.err


def test_cycles_and_server_draw_the_same_where_nothing_is_in_the_shade(server_address: str, context: Any) -> None:
    bpy.ops.mesh.primitive_plane_add(rotation=(1.2, 0.0, 0.0))
    collected = collect.collect(context, context.object, mask=None, init="#808080")
    settings = presets.settings("cup", "draft", steps=0, views=1, held_out_views=3, check_views=3)
    with client.Client(server_address) as server:
        server.submit(messages.Job(id="plane", scene=collected.scene, settings=settings))
        result = server.wait("plane")
    apply.apply_texture(
        context, context.object, texture=result.texture, png=None, uv_map=collected.uv_map, name="plane"
    )
    pictures = check.render_views(context, context.object, result.check_views, size=224, samples=16)
    difference = np.abs(pictures.astype(int) - result.pictures_after.astype(int))
    assert difference.mean() < 1
    assert np.percentile(difference, 95) <= 2  # 64 samples leave 1: the rest is noise


# --- wrong input ------------------------------------------------------------------------------------------------------

WRONG = {
    "object missing": (("--object", "Bax"), 2, "no object 'Bax'. Mesh objects: 'Box'"),
    "object not a mesh": (("--object", "Lamp"), 2, "'Lamp' is a"),
    "object without faces": (("--object", "Bare"), 2, "'Bare' has no faces"),
    "mask empty": (("--mask", "nothing"), 2, "is empty"),
    "mask misspelt": (("--mask", "tpo"), 2, "'top'"),
    "target misspelt": (("--target", "coffe mug"), 2, "Did you mean 'coffee mug'"),
    "target out of range": (("--target", "1000"), 2, "There is no class 1000"),
    "model unknown": (("--models", "efficientnet_lite9"), 2, "Did you mean efficientnet_lite"),
    "held-out model unknown": (("--held-out-models", "restnet50"), 2, "Did you mean resnet50"),
    "colour invalid": (("--init", "#12345"), 2, "'#12345'"),
    "step size out of bounds": (("--alpha", "2"), 2, "A setting is out of bounds"),
    "views out of bounds": (("--views", "0"), 2, "A setting is out of bounds"),
    "address without port": (("--server", "tcp://localhost:port"), 2, "no valid port"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_a_sentence_and_an_exit_code(
    case: str, cube_file: Path, server_address: str, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options, code, sentence = WRONG[case]
    assert optimize(cube_file, server_address, out, *options) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said.err
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.blend", None, "does not exist"),
        ("broken.blend", b"not a blend file", "cannot be read"),
        ("broken.ply", b"ply\nnot really", ""),
        ("scene.docx", b"", "unknown suffix"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    name: str, content: bytes | None, sentence: str, tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert optimize(path, "auto", out) == 2
    said = capfd.readouterr().err
    assert name in said
    assert sentence in said
    assert "Traceback" not in said
    assert not out.parent.exists()


def test_a_server_that_is_down_is_noticed_within_seconds(
    cube_file: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert optimize(cube_file, "tcp://127.0.0.1:1", out) == 3
    assert time.monotonic() - began < 7
    assert "No answer from tcp://127.0.0.1:1" in capfd.readouterr().err
    assert not out.parent.exists()


def test_a_file_in_the_place_of_the_folder_is_refused_before_any_work(
    cube_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    assert optimize(cube_file, "tcp://127.0.0.1:1", tmp_path / "out") == 5
    assert "is a file, not a folder" in capfd.readouterr().err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "in the way"


@pytest.mark.parametrize("argv", [["optimize"], ["box.blend"], ["box.blend", "optimize", "--preset", "best"]])
def test_wrong_arguments_exit_with_2(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert commands.main_with_scene(argv) == 2
    assert "usage: python -m blender_addon" in capfd.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["optimize", "--help"]])
def test_help_tells_the_exit_codes(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert commands.main(argv) == 0
    assert "Exit codes: 0 done" in capfd.readouterr().out


def test_what_nobody_expected_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_source: str) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(files, "open_scene", fail)
    assert optimize("any.blend", "auto", out) == 1
    assert capfd.readouterr().err == "error: ZeroDivisionError: of all things. Run again with --debug for details.\n"
    assert optimize("any.blend", "auto", out, "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


# --- as a program -----------------------------------------------------------------------------------------------------


class Program:
    """`python -m blender_addon …` in a process group of its own, as a terminal runs it."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "blender_addon", *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self._progressed = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("step "):
                self._progressed.set()

    def wait_for_steps(self) -> None:
        assert self._progressed.wait(120), "".join(self.said)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error."""
        code = self.process.wait(120)
        self._reader.join()
        return code, "".join(self.said)


@pytest.fixture
def long_job(cube_file: Path, out: Path) -> Iterator[Program]:
    given = ["--object", "Box", "--target", "cup", "--out", str(out), *FAST, "--steps", "100000", "--device", "cpu"]
    program = Program(str(cube_file), "optimize", *given)
    try:
        yield program
    finally:
        program.process.kill()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is a signal to the process group")
def test_ctrl_c_keeps_the_best_so_far_and_leaves_no_server(long_job: Program, out: Path) -> None:
    long_job.wait_for_steps()
    long_job.press_ctrl_c()
    code, said = long_job.end()
    assert code == commands.CANCELLED, said
    assert report_of(out)["outcome"] == "cancelled"
    assert (out / "texture.png").exists()
    assert "rendering" not in said
    assert "Traceback" not in said


def test_a_program_that_fails_says_one_sentence(cube_file: Path, out: Path) -> None:
    program = Program(str(cube_file), "optimize", "--target", "cup", "--object", "Bax", "--out", str(out))
    code, said = program.end()
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert program.process.stdout is not None
    assert program.process.stdout.read() == ""


# --- inside Blender ---------------------------------------------------------------------------------------------------


def test_registering_can_be_taken_back_and_repeated() -> None:
    for _ in range(2):
        blender_addon.register()
        try:
            assert "add_sample" in dir(bpy.ops.assistive)
        finally:
            blender_addon.unregister()
        assert "add_sample" not in dir(bpy.ops.assistive)


def test_the_second_ctrl_c_ends_it_all() -> None:
    with progress.Interrupts() as interrupts:
        interrupts.graceful = True
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_before_the_job_ends_it_at_once() -> None:
    with progress.Interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_kept_job_gives_the_same_texture_without_blender(
    cube_file: Path, server_address: str, out: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.job"
    options = ["--save-job", str(kept), "--sampling", "fixed", "--stop-at", "0.99", "--no-check"]
    assert optimize(cube_file, server_address, out, *options) == 0
    command = [sys.executable, "-m", "compute_server.cli", "run", str(kept), "--out", str(tmp_path / "again")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "again" / "texture.png").read_bytes() == (out / "texture.png").read_bytes()
    assert report_of(out)["settings"]["sampling"] == "fixed"


# --- views and layout -------------------------------------------------------------------------------------------------


def test_views_masks_and_layout_of_the_command_reach_the_job(
    cube_file: Path, server_address: str, out: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "job"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "sky.png").write_bytes(png.encode(np.full((8, 8, 3), 200, np.uint8)))
    options = ["--cameras", "around", "--lights", "around", "--backgrounds", str(pictures), "--mask", "top"]
    options += ["--invert-mask", "--uv", "new", "--save-job", str(kept)]
    assert optimize(cube_file, server_address, out, *options) == 0
    submitted = wire.load_message(kept)
    assert isinstance(submitted, messages.Submit)
    rig = submitted.job.scene.rig
    assert (len(rig.cameras), len(rig.lights)) == (24, 6)
    assert rig.backgrounds is not None
    assert (rig.backgrounds == 200).all()
    assert submitted.job.settings.backgrounds == "pictures"
    top = submitted.job.scene.mesh.positions[:, 2] > 0
    assert np.array_equal(submitted.job.scene.mesh.mask, 1.0 - top)
    assert "AssistiveUV" in bpy.data.objects["Box"].data.uv_layers


def test_a_collection_that_is_not_there_is_answered_with_those_that_are(
    cube_file: Path, server_address: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert optimize(cube_file, server_address, out, "--cameras", "Kameras") == 2
    assert "no collection 'Kameras'" in capsys.readouterr().err
    assert not out.exists()


# --- straight-through -------------------------------------------------------------------------------------------------


def test_a_job_can_see_blenders_pictures_and_the_report_says_what_they_brought(
    cube_file: Path, server_address: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", "3", "--blender-every", "2", "--check-samples", "1")
    assert optimize(cube_file, server_address, out, *options) == 0
    found = report_of(out)["straight_through"]
    assert (found["asked"], found["answered"]) == (2, 2)
    assert [each["step"] for each in found["exchanges"]] == [1, 3]
    assert found["last"]["mean_error"] == pytest.approx(found["exchanges"][-1]["mean_error"])
    assert "Straight-through: 2 of 2 steps on Blender's pictures." in capsys.readouterr().out


# --- the check on demand ----------------------------------------------------------------------------------------------


def compare(source: Path, address: str, out: Path, *options: str) -> int:
    given = ["--object", "Box", "--target", "coffee mug", "--server", address, "--out", str(out), *FAST, *options]
    return commands.main_with_scene([str(source), "check", "--check-samples", "1", *given])


def test_the_check_compares_the_object_as_it_is_and_changes_no_texel(
    cube_file: Path, server_address: str, out: Path
) -> None:
    assert compare(cube_file, server_address, out) == 0
    report = report_of(out)
    assert report["steps"] == 0
    assert report["mask"]["max_change_outside"] == 0
    assert len(report["check"]["views"]) == 8
    assert report["check"]["views"][0]["before"] == report["check"]["views"][0]["after"]
    assert (out / "check.png").stat().st_size > 1000


def test_a_check_above_its_limit_says_so_with_its_own_exit_code(
    cube_file: Path, server_address: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(cube_file, server_address, out, "--max-gap", "-1") == 6
    assert "Warning: Blender's pictures and the server's differ by" in capsys.readouterr().out
