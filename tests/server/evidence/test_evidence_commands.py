"""The commands that re-make the paper's tables and figures, as a user types them, on tiny jobs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.jobs import Recorder, small_job
from PIL import Image

from compute_server import cli
from compute_server.bench_scene import bench_scene
from compute_server.classifiers import find
from compute_server.evidence.masks import belted, part_of
from compute_server.evidence.runs import HELD_OUT, PAPER, Runs
from compute_server.jobs import run_job
from compute_server.render.geometry import from_mesh
from compute_server.texel_surface import vertex_surface
from shared import messages as m
from shared.scene import VertexTexture
from shared.wire import save_message

LITE0, LITE1 = "efficientnet_lite0", "efficientnet_lite1"
#: A budget as small as can be.
TINY = ["--steps", "2", "--train-views", "2", "--samples", "1", "--held-out-views", "2", "--alpha", "0.05"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job; what is made of it is remembered there."""
    folder = tmp_path_factory.mktemp("evidence")
    save_message(m.Submit(small_job("tiny", scene=bench_scene(64), held_out_models=(LITE1,))), folder / "a.job")
    return folder


def do(out: Path, name: str, *options: str) -> None:
    assert cli.main([name, str(out / "a.job"), "--out", str(out), *TINY, *options]) == 0


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def size(path: Path) -> tuple[int, int]:
    """Of a picture that shows something."""
    picture = Image.open(path).convert("RGB")
    assert np.asarray(picture).std() > 5
    return picture.size


def test_table2_has_what_a_job_of_its_own_finds_and_names_the_file_of_a_missing_classifier(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do(out, "table2", "--models", f"{LITE0},resnet50,{LITE1}")
    found = {(row["texture"], row["column"]): row for row in rows(out / "table2.csv")}
    runs = Runs.of(
        out / "a.job",
        out / "other",
        changes={"steps": 2, "views": 2, "samples": 1, "held_out_views": 2, "alpha": 0.05},
        device="cpu",
    )
    result = run_job(runs.trained(LITE0), runs.device, Recorder())
    for judge in (LITE0, LITE1):
        pair = result.models[judge].held_out
        assert float(found["original", judge]["confidence"]) == pytest.approx(pair.before.mean, abs=1e-6)
        assert float(found[f"full, trained on {LITE0}", judge]["confidence"]) == pytest.approx(
            pair.after.mean, abs=1e-6
        )
    assert found[f"masked, trained on {LITE1}", LITE0]["confidence"]
    missing = Path(find("resnet50").weights).name
    assert found["full, trained on resnet50", LITE0]["missing"] == missing
    assert found[f"full, trained on {LITE0}", "resnet50"]["missing"] == missing
    text = (out / "table2.md").read_text()
    assert f"missing: {missing}" in text
    assert missing in capsys.readouterr().out
    assert HELD_OUT in text
    assert {row["protocol"] for row in found.values()} == {HELD_OUT}
    assert size(out / "table2.png")[0] > 600


def test_the_papers_protocol_measures_the_fixed_views_of_training_and_says_so(out: Path) -> None:
    do(out, "table2", "--models", LITE0, "--paper-protocol")
    found = {(row["texture"], row["column"]): row for row in rows(out / "table2.csv")}
    changes = {"steps": 2, "views": 2, "samples": 1, "held_out_views": 2, "alpha": 0.05}
    runs = Runs.of(out / "a.job", out / "other", models=(LITE0,), changes=changes, paper=True, device="cpu")
    result = run_job(runs.trained(LITE0), runs.device, Recorder())
    assert runs.trained(LITE0).settings.sampling == "fixed"
    after = float(found[f"full, trained on {LITE0}", LITE0]["confidence"])
    assert after == pytest.approx(result.models[LITE0].train.after.mean, abs=1e-6)
    assert after != pytest.approx(result.models[LITE0].held_out.after.mean, abs=1e-6)
    assert PAPER in (out / "table2.md").read_text()
    assert {row["protocol"] for row in found.values()} == {PAPER}


def test_table1_compares_original_2d_patch_and_3d_patch(out: Path) -> None:
    do(out, "table1", "--models", f"{LITE0},timm/inception_v4", "--patch-size", "0.2")
    found = {(row["classifier"], row["column"]): row for row in rows(out / "table1.csv")}
    kinds = [found[LITE0, kind]["confidence"] for kind in ("original", "2D patch", "3D patch")]
    assert len(set(kinds)) == 3
    assert "inception_v4" in found["timm/inception_v4", "original"]["missing"]
    assert size(out / "table1.png")[0] > 600


def test_what_is_done_is_not_done_again(out: Path) -> None:
    do(out, "table2", "--models", LITE0)
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    do(out, "figure3", "--models", LITE0, "--shown", "2")
    do(out, "figure4", "--models", LITE0)
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()} == before


def test_figure3_shows_original_and_assistive_with_what_is_said_of_each(out: Path) -> None:
    do(out, "figure3", "--models", LITE0, "--shown", "3")
    found = rows(out / "figure3.csv")
    assert [row["texture"] for row in found] == [f"original, {LITE0}"] * 3 + [f"assistive, {LITE0}"] * 3
    assert found[0]["top1 and confidence"] != found[3]["top1 and confidence"]
    assert size(out / "figure3.png")[0] > 600
    assert size(out / f"texture {LITE0}.png") == (64, 64)


def test_figure4_has_confidence_over_steps_and_directions(out: Path) -> None:
    do(out, "figure4", "--models", LITE0)
    lines = {(row["panel"], row["line"]) for row in rows(out / "figure4.csv")}
    assert lines == {
        ("over steps (validation views)", f"full, {LITE0}"),
        ("over steps (validation views)", f"masked, {LITE0}"),
        ("from all around", f"original, {LITE0}"),
        ("from all around", f"full, {LITE0}"),
        ("from all around", f"masked, {LITE0}"),
    }
    assert size(out / "figure4.png")[0] > 600


def test_figure1_moves_a_black_patch_and_shows_where(out: Path) -> None:
    do(out, "figure1", "--azimuths", "4", "--elevations", "1", "--places", "2", "--patch-size", "0.1")
    found = rows(out / "figure1.csv")
    assert list(dict.fromkeys(row["texture"] for row in found)) == ["without", "place 1", "place 2"]
    assert {row["classifier"] for row in found} == {LITE0, LITE1}
    assert size(out / "figure1.png")[0] > 900


def test_a_pattern_is_written_with_its_figures_and_pictures(out: Path) -> None:
    # Steps enough for either seed to leave the flat start, of which no part matters more than another.
    some = ["--steps", "12", "--alpha", "0.1"]
    do(out, "pattern", "--models", LITE0, "--seeds", "2", "--cells", "2", "--occlusion-views", "1", *some)
    report = json.loads((out / "pattern.json").read_text())
    assert (report["seeds"], report["protocol"]) == (2, HELD_OUT)
    assert -1 <= report["agreement"]["importance"] < 1
    assert report["agreement"]["texture"] is not None
    assert sum(each["share"] for each in report["colors"]) == pytest.approx(1.0)
    assert Image.open(out / "importance.png").mode == "L"
    assert Image.open(out / "importance.png").size == Image.open(out / "texture.png").size == (64, 64)
    assert size(out / "outline.png") == (64, 64)
    assert size(out / "pattern.png")[0] > 900


def test_a_pattern_of_a_given_texture_makes_none(out: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "t.png")
    asked = ["--texture", str(tmp_path / "t.png"), "--models", LITE0, "--cells", "2", "--occlusion-views", "1"]
    assert cli.main(["pattern", str(out / "a.job"), "--out", str(tmp_path / "made"), *TINY, *asked]) == 0
    assert not (tmp_path / "made" / "runs").exists()
    report = json.loads((tmp_path / "made" / "pattern.json").read_text())
    assert (report["seeds"], report["agreement"]["importance"]) == (1, None)


def test_figure5_has_a_row_for_each_classifier(out: Path) -> None:
    do(out, "figure5", "--seeds", "1", "--cells", "2", "--occlusion-views", "1")
    report = json.loads((out / "figure5.json").read_text())
    assert [each["models"] for each in report["patterns"]] == [[LITE0], [LITE1]]
    width, height = size(out / "figure5.png")
    assert width > 900
    assert height > 600


def test_without_any_classifier_the_file_that_is_missing_is_said(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["table1", str(out / "a.job"), "--out", str(out / "none"), "--models", "resnet50"]
    assert cli.main(asked) == 2
    assert Path(find("resnet50").weights).name in capsys.readouterr().err
    assert not (out / "none").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["table1", "--patch-size", "0.9"], "--patch-size 0.9 is no share"),
        (["table2", "--belt", "0"], "--belt 0 is no share"),
        (["table2", "--steps", "-1"], "A setting is out of bounds"),
        (["figure3", "--models", "efficientnet_lite7"], "efficientnet_lite7"),
    ],
)
def test_what_cannot_be_used_is_named(
    out: Path, capsys: pytest.CaptureFixture[str], asked: list[str], words: str
) -> None:
    name, *options = asked
    assert cli.main([name, str(out / "a.job"), "--out", str(out / "none"), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_belt_is_as_large_as_it_is_said_to_be() -> None:
    scene = bench_scene(16)
    surface = vertex_surface(from_mesh(scene.mesh))
    inside = belted(scene, 0.3).mesh.mask[surface.texel.numpy()] > 0
    assert float(surface.area[inside].sum() / surface.area.sum()) == pytest.approx(0.3, abs=0.04)


def test_masked_means_the_jobs_own_mask_where_it_has_one() -> None:
    scene = bench_scene(16)
    assert part_of(scene, 0.2)[0] == "a belt of 20% of the surface"
    own = scene.mesh.mask.copy()
    own[:100] = 0
    scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=own))
    assert part_of(scene, 0.2) == ("its own mask", scene)


def test_vertex_colours_have_tables_too(tmp_path: Path) -> None:
    body = bench_scene(16)
    colors = np.full((len(body.mesh.positions), 3), 128, np.uint8)
    scene = msgspec.structs.replace(body, texture=VertexTexture(colors))
    save_message(m.Submit(small_job("vertices", scene=scene)), tmp_path / "a.job")
    do(tmp_path, "figure3", "--models", LITE0, "--shown", "1")
    assert size(tmp_path / "figure3.png")[0] > 100
