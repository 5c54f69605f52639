"""A job that is put down at any step and taken up by another process gives the same bytes as one that never was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.jobs import Recorder, small_job

from compute_server.bench_scene import bench_scene
from compute_server.checkpoints import FileKeeper, Paused
from compute_server.jobs import run_job
from shared import messages as m
from shared.scene import UvTexture

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"steps": 6, "held_out_views": 1, "check_views": 0}

KINDS: list[dict[str, Any]] = [
    {"stepper": "sign"},
    {"stepper": "momentum", "octaves": 3, "epsilon": 0.1},
    {"stepper": "adam", "octaves": 2},
    {"sampling": "fixed", "augment": ("resize", "noise")},
    {"mined": 0.5, "backgrounds": "noise"},
    {"patch": 0.05},
    {"patch": 0.05, "method": "flat", "stepper": "adam"},
    {"models": ("efficientnet_lite0", "efficientnet_lite1"), "steps": 3},
]


def image(result: m.Result) -> np.ndarray:
    assert isinstance(result.texture, UvTexture)
    return result.texture.image


def job_of(kind: dict[str, Any]) -> m.Job:
    return small_job(scene=bench_scene(64), **{**TINY, "alpha": 0.05, **kind})


def every_step(folder: Path, pausing: Callable[[], bool]) -> FileKeeper:
    return FileKeeper(folder, CPU, every_s=1e9, pausing=pausing)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(f"{name}={value}" for name, value in kind.items()))
def test_a_job_put_down_after_every_step_gives_the_same_bytes(kind: dict[str, Any], tmp_path: Path) -> None:
    job = job_of(kind)
    undisturbed = run_job(job, CPU, Recorder())
    pieces = 0
    while True:
        pieces += 1
        try:
            result = run_job(job, CPU, Recorder(), keeper=every_step(tmp_path, lambda: True))
            break
        except Paused:
            assert pieces < 20
    assert pieces > job.settings.steps
    assert image(result).tobytes() == image(undisturbed).tobytes()
    assert result.curves == undisturbed.curves
    assert result.models == undisturbed.models


def test_a_checkpoint_is_written_when_its_time_has_come_and_what_follows_is_done_again(tmp_path: Path) -> None:
    steps: list[int] = []
    keeper = FileKeeper(tmp_path, CPU, every_s=0.0, kept=steps.append)
    run_job(job_of({}), CPU, Recorder(), keeper=keeper)
    assert steps == [1, 2, 3, 4, 5, 6, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["texture.checkpoint"]


def test_a_checkpoint_that_cannot_be_read_costs_its_work_and_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "texture.checkpoint").write_bytes(b"\xdd\0\0\0\1 of another version")
    result = run_job(job_of({}), CPU, Recorder(), keeper=every_step(tmp_path, lambda: False))
    assert image(result).tobytes() == image(run_job(job_of({}), CPU, Recorder())).tobytes()


def test_a_job_whose_end_was_asked_for_ends_with_the_best_of_its_checkpoint(tmp_path: Path) -> None:
    seen = Recorder()
    with pytest.raises(Paused):
        run_job(job_of({}), CPU, seen, keeper=every_step(tmp_path, lambda: len(seen.reports) == 3))
    result = run_job(job_of({}), CPU, Recorder(cancel_after=0), keeper=every_step(tmp_path, lambda: False))
    assert (result.outcome, result.steps) == ("cancelled", 3)
