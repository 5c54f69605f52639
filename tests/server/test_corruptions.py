"""Corruptions: what the package does to pictures, repeatably, and the tables of what classifiers say then."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jobs import small_job
from PIL import Image

from compute_server import cli
from compute_server.bench_scene import bench_scene
from compute_server.corruption_table import markdown
from compute_server.corruptions import CORRUPTIONS, SEVERITIES, Row, corrupted
from compute_server.evaluate import judge, render
from compute_server.problem import make_problem
from compute_server.render.color import from_bytes, to_bytes
from compute_server.views import generators, random_views
from shared import messages as m
from shared.wire import save_message

ROW = np.linspace(40, 210, 64)
PICTURES = np.stack(
    [np.stack([np.add.outer(ROW, ROW) / 2, np.add.outer(ROW, -ROW) / 2 + 120, ROW + 0 * ROW[:, None]], -1)]
)
PICTURES = PICTURES.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_is_the_same_for_the_same_seed(corruption: str) -> None:
    once, again = (corrupted(PICTURES, corruption, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == PICTURES.shape
    assert (once != PICTURES).mean() > 0.05


def test_there_are_the_fifteen_common_ones_in_five_severities() -> None:
    assert (len(CORRUPTIONS), SEVERITIES) == (15, (1, 2, 3, 4, 5))


@pytest.mark.parametrize("corruption", ["gaussian_noise", "brightness", "contrast", "jpeg_compression"])
def test_more_severe_is_farther_away(corruption: str) -> None:
    far = [np.abs(corrupted(PICTURES, corruption, level, 0).astype(int) - PICTURES).mean() for level in (1, 3, 5)]
    assert far == sorted(far)
    assert far[2] > 1.2 * far[0]


def test_the_callers_own_random_numbers_go_on_as_if_nothing_had_happened() -> None:
    np.random.seed(1)
    expected = np.random.uniform(size=2)
    np.random.seed(1)
    first = np.random.uniform()
    corrupted(PICTURES, "gaussian_noise", 1, seed=9)
    assert (first, np.random.uniform()) == tuple(expected)


def test_the_table_has_means_over_severities() -> None:
    rows = [
        Row("before", "lite0", corruption, severity, m.Stats(0.1 * severity, 1.0, 0.0, 0.0))
        for corruption in CORRUPTIONS
        for severity in SEVERITIES
    ]
    rows += [Row("before", "lite0", "none", 0, m.Stats(0.9, 1.0, 0.0, 0.0))]
    table = markdown(rows).splitlines()
    assert table[0] == "| corruption | lite0, before |"
    assert "| gaussian noise | 0.300 · 100% |" in table
    assert "| none | 0.900 · 100% |" in table
    assert table[-1] == "| mean of all corruptions | 0.300 · 100% |"


def test_a_job_is_measured_before_and_after_under_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_message(m.Submit(small_job("spoilt", scene=bench_scene(64))), tmp_path / "a.job")
    Image.new("RGB", (64, 64), (250, 250, 250)).save(tmp_path / "texture.png")
    asked = ["--texture", str(tmp_path / "texture.png"), "--views", "2", "--out", str(tmp_path / "out")]
    assert cli.main(["corruptions", str(tmp_path / "a.job"), *asked]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "corruptions.csv").open()))
    assert len(rows) == 2 * (1 + 15 * 5)
    assert len({row["confidence"] for row in rows}) > 100
    assert (tmp_path / "out" / "corruptions.md").read_text().count("\n") == 2 + 1 + 15 + 1
    assert "2 held-out views" in capsys.readouterr().out


def test_the_clean_row_is_of_the_jobs_own_held_out_views(tmp_path: Path) -> None:
    job = small_job("clean", scene=bench_scene(64), target="mouse|airship|punching bag|frying pan")
    save_message(m.Submit(job), tmp_path / "a.job")
    assert cli.main(["corruptions", str(tmp_path / "a.job"), "--views", "2", "--out", str(tmp_path / "out")]) == 0
    clean = next(csv.DictReader((tmp_path / "out" / "corruptions.csv").open()))
    problem = make_problem(job, torch.device("cpu"))
    views = list(itertools.islice(random_views(job.scene.rig, generators(0).held_out, "varied"), 2))
    pool = problem.texture.pool_of(problem.texture.original)
    images = from_bytes(to_bytes(render(problem.renderer, pool, views, 224, 1)))
    expected = judge(problem.classifiers[0], images, problem.target).stats()
    assert float(clean["confidence"]) == pytest.approx(expected.mean, rel=1e-3)
