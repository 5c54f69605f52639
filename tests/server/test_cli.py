"""The command line, as a user types it."""

from __future__ import annotations

import csv
import html
import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import zmq
from helpers.jobs import small_job
from helpers.reports import REPORT
from helpers.server import running_server
from PIL import Image

from compute_server import cli
from compute_server.bench_scene import bench_scene
from shared import messages as m
from shared.scene import VertexTexture
from shared.wire import fingerprint, save_message


def test_importing_the_command_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import compute_server.cli; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
    assert min(times) < 0.3


def test_models_lists_the_embedded_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    assert "efficientnet_lite0" in capsys.readouterr().out


def test_models_lists_targets_with_their_indices(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--targets"]) == 0
    listed = capsys.readouterr().out
    assert " 817  sports car" in listed
    assert "buses: 3 classes: minibus, school bus, trolleybus" in listed.partition("Sets:")[2]


def test_doctor_says_that_a_job_can_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "A job can run here" in said
    assert all(f"{name}:" in said for name in ("Device", "Rasterizer", "Disk", "Port", "Clock"))


def test_bench_prints_the_promised_json() -> None:
    command = [sys.executable, "-m", "compute_server.cli", "bench", "--views", "2", "--size", "64", "--repeats", "2"]
    found = json.loads(subprocess.check_output([*command, "--samples", "1", "--json"]))
    assert (found["model"], found["views"], found["size"], found["samples"]) == ("efficientnet_lite0", 2, 64, 1)
    assert found["classifier_ms"] > 0
    for kind in ("fixed", "resampled"):
        assert found[kind]["ratio"] == pytest.approx(found[kind]["step_ms"] / found["classifier_ms"], rel=1e-2)
        assert found[kind]["spread"][0] <= found[kind]["spread"][1]
    assert found["threads"] >= 1
    assert found["peak_rss_mb"] > 0
    assert (found["texture"], found["triangles"]) == (512, 14_400)
    assert found["first_step_s"] > 0


def test_run_does_a_job_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_message(m.Submit(small_job(steps=1)), tmp_path / "a.job")
    assert cli.main(["run", str(tmp_path / "a.job"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    assert report["steps"] == 1
    assert np.asarray(Image.open(tmp_path / "out" / "texture.png")).shape == (128, 128, 3)
    assert report["scene_hash"] == fingerprint(small_job().scene)
    assert report["command"] == f"assistive-server run {tmp_path / 'a.job'} --out {tmp_path / 'out'}"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2 * 2 + 2
    assert report["models"]["efficientnet_lite0"]["said"][0]["after"]["top"][0]["label"] in html.unescape(page)
    assert "unseen views" in capsys.readouterr().out


def test_run_cuts_out_what_changed_and_leaves_nothing_of_an_earlier_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    save_message(m.Submit(small_job("part", steps=1, patch=0.1, epsilon=0.01, alpha=0.1)), tmp_path / "part.job")
    assert cli.main(["run", str(tmp_path / "part.job"), "--out", str(out)]) == 0
    report = json.loads((out / "result.json").read_text())
    assert list(Image.open(out / "patch.png").size) == report["patch"]["box"][2:]
    assert report["patch"]["width_mm"] > 0
    assert report["patch"]["sites"][0]["trial"] <= report["patch"]["sites"][1]["trial"]
    assert "larger than ε" in capsys.readouterr().out
    save_message(m.Submit(small_job("whole", steps=1)), tmp_path / "whole.job")
    assert cli.main(["run", str(tmp_path / "whole.job"), "--out", str(out)]) == 0
    assert not (out / "patch.png").exists()
    assert json.loads((out / "result.json").read_text())["patch"] is None


def test_compare_and_report_make_pages_of_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, report in (("one", REPORT), ("two", {**REPORT, "seed": 8})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report), encoding="utf-8")
    folders = [str(tmp_path / name) for name in ("one", "two")]
    assert cli.main(["compare", *folders, "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert "sports car" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    (tmp_path / "one" / "pattern.png").write_bytes(b"a pattern")
    assert cli.main(["report", folders[0]]) == 0
    assert (tmp_path / "one" / "report.html").read_text(encoding="utf-8").count("data:image/png") == 1
    assert cli.main(["compare", folders[0], "--out", str(tmp_path / "page.html")]) == 2
    assert cli.main(["compare", *folders, str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert f"{tmp_path} has no report.json" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.exists, "cannot be read"),
        (lambda path: path.write_bytes(b"no job"), "is not a job file"),
        (lambda path: save_message(m.ListModels(), path), "not a job"),
    ],
    ids=["missing", "garbage", "another message"],
)
def test_run_names_a_file_that_is_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, words: str
) -> None:
    path = tmp_path / "a.job"
    make(path)  # type: ignore[operator]
    assert cli.main(["run", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert words in said
    assert not (tmp_path / "out").exists()


def test_a_taken_port_is_a_sentence_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    context = zmq.Context()
    taken = context.socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    assert cli.main(["serve", "--bind", f"tcp://127.0.0.1:{port}"]) == 3
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} is taken" in said
    assert "Traceback" not in said
    context.destroy(linger=0)


def test_sweep_looks_from_all_around(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_message(m.Submit(small_job("sweep", scene=bench_scene(64))), tmp_path / "a.job")
    bright = np.full((64, 64, 3), 200, np.uint8)
    Image.fromarray(bright).save(tmp_path / "texture.png")
    asked = ["--azimuths", "3", "--elevations", "2", "--texture", str(tmp_path / "texture.png")]
    assert cli.main(["sweep", str(tmp_path / "a.job"), "--out", str(tmp_path / "out"), *asked]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").open()))
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())["survey"]
    assert len(rows) == 2 * 1 * 1 * 2 * 3
    assert found["textures"] == ["before", "after"]
    assert float(rows[-1]["confidence"]) == pytest.approx(found["confidence"][1][0][0][1][2], abs=1e-6)
    assert found["confidence"][0] != found["confidence"][1]
    assert Image.open(tmp_path / "out" / "sweep 1.png").size[0] > 300
    assert "least from azimuth" in " ".join(capsys.readouterr().out.split())


def test_sweep_moves_a_patch_over_the_object(tmp_path: Path) -> None:
    save_message(m.Submit(small_job("black", scene=bench_scene(64))), tmp_path / "a.job")
    asked = ["--azimuths", "4", "--elevations", "1", "--patch", "black", "--patch-size", "0.05", "--places", "4"]
    assert cli.main(["sweep", str(tmp_path / "a.job"), "--out", str(tmp_path / "out"), *asked]) == 0
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())["survey"]
    assert found["textures"] == ["without", "place 1", "place 2", "place 3", "place 4"]
    without, *placed = np.array(found["confidence"])[:, 0, 0, 0]
    changed = [(each != without).sum() for each in placed]
    assert min(changed) > 0
    assert min(changed) < 4  # not every place is seen from everywhere
    assert len(np.unique(placed, axis=0)) == 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--patch", "black", "--patch-size", "0.9"], "0.9 is no share"),
        (["--patch", "nowhere.png"], "nowhere.png"),
        (["--texture", "nowhere.png"], "nowhere.png"),
        (["--models", "efficientnet_lite7"], "efficientnet_lite7"),
    ],
)
def test_sweep_names_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], words: str
) -> None:
    save_message(m.Submit(small_job("wrong", scene=bench_scene(16))), tmp_path / "a.job")
    assert cli.main(["sweep", str(tmp_path / "a.job"), "--out", str(tmp_path / "out"), *asked]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sweep_refuses_a_texture_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_message(m.Submit(small_job("size", scene=bench_scene(16))), tmp_path / "a.job")
    Image.new("RGB", (32, 16)).save(tmp_path / "texture.png")
    asked = ["--texture", str(tmp_path / "texture.png"), "--out", str(tmp_path / "out")]
    assert cli.main(["sweep", str(tmp_path / "a.job"), *asked]) == 2
    assert "32 × 16 pixels; the texture of this job has 16 × 16" in " ".join(capsys.readouterr().err.split())


def test_run_refuses_a_job_that_only_blender_can_help_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_message(m.Submit(small_job("asks", blender_every=5)), tmp_path / "asks.job")
    assert cli.main(["run", str(tmp_path / "asks.job"), "--out", str(tmp_path / "out")]) == 2
    assert "asks for Blender's pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_run_keeps_vertex_colours(tmp_path: Path) -> None:
    scene = bench_scene(16)
    colors = np.full((len(scene.mesh.positions), 3), 128, np.uint8)
    scene = msgspec.structs.replace(scene, texture=VertexTexture(colors))
    save_message(m.Submit(small_job(scene=scene, steps=1, alpha=0.1)), tmp_path / "a.job")
    assert cli.main(["run", str(tmp_path / "a.job"), "--out", str(tmp_path / "out")]) == 0
    written = np.load(tmp_path / "out" / "colors.npy")
    assert written.shape == colors.shape
    assert (written != colors).any()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("command", ["doctor", "bench"])
def test_a_device_that_is_not_there_is_a_sentence(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--device", "cuda"]) == 2
    said = capfd.readouterr().err
    assert "no CUDA device" in said
    assert "Traceback" not in said


def test_a_server_that_is_told_to_end_does_so_cleanly() -> None:
    with running_server() as (process, _):
        process.terminate()
        assert process.wait(20) == 0


def test_a_server_ends_with_the_one_that_started_it() -> None:
    command = [sys.executable, "-m", "compute_server.cli", "serve", "--bind", "tcp://127.0.0.1:0", "--exit-with-parent"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().startswith(b"assistive-server listening on tcp://127.0.0.1:")
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(20) == 0
    assert time.monotonic() - began < 15
    process.stdout.close()
