"""``assistive-server run``: one job from a file, in this process, without a server."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.presets import cautions
from shared.scene import VertexTexture, View

from .files import make_folder, write_files
from .jobfile import read_job
from .jobs import choose_device, run_job
from .optimize import StepReport
from .problem import Problem
from .waiting import job_steps

#: What the report says of a patch; its picture is a file of its own.
PATCH_FIELDS = tuple(name for name in m.Patch.__struct_fields__ if name != "png")

#: The files that may hold what a job made.
TEXTURES = {"texture.png", "patch.png", "colors.npy"}


def run_file(jobfile: Path, out: Path, device: str, rasterizer: str) -> int:
    """Do the job in `jobfile`; write ``texture.png`` (or ``colors.npy``), ``result.json`` and, where only a part of the
    surface could change, ``patch.png`` into `out`."""
    job = read_job(jobfile)
    if job.settings.blender_every:
        raise InvalidInput(
            f"The job in {jobfile} asks for Blender's pictures, and there is no Blender here.",
            hint="Repeat it with the add-on's command, or leave out --blender-every.",
        )
    make_folder(out)
    with _observer(job) as observer:
        result = run_job(job, choose_device(device), observer, rasterizer=rasterizer)
    summary = {
        "outcome": result.outcome,
        "steps": result.steps,
        "target": result.target,
        "settings": job.settings,
        "models": result.models,
        "mask": {"coverage": result.mask_coverage, "max_change_outside": result.max_change_outside},
        "patch": result.patch and {name: getattr(result.patch, name) for name in PATCH_FIELDS},
        "sites": result.sites,
        "cautions": cautions(job.settings),
        "notes": result.notes,
        "device": result.device,
        "timing": result.timing,
        "versions": result.versions,
    }
    files = {"result.json": msgspec.json.format(msgspec.json.encode(summary), indent=2)}
    if result.texture_png is not None:
        files["texture.png"] = result.texture_png.tobytes()
    if result.patch is not None:
        files["patch.png"] = result.patch.png.tobytes()
    if isinstance(result.texture, VertexTexture):
        files["colors.npy"] = _colors(result.texture)
    write_files(out, files)
    for name in TEXTURES - set(files):  # of an earlier job in the same folder
        (out / name).unlink(missing_ok=True)
    _print(result, job.settings, out)
    return 0


class _Bar:
    """Moves a progress bar."""

    def __init__(self, bar: Progress, steps: int) -> None:
        self._bar = bar
        self._task = bar.add_task("preparing", total=steps, sure=0.0)

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """See :class:`compute_server.optimize.Observer`."""
        del problem
        sure = float(report.confidence.mean())
        self._bar.update(self._task, completed=report.step, description="optimising", sure=sure)

    def cancelled(self) -> bool:
        """See :class:`compute_server.optimize.Observer`."""
        return False

    def drawn(self, problem: Problem, views: Sequence[View], texture: Tensor, step: int) -> Tensor | None:
        """Nobody draws here; `run_file` has refused the jobs that ask."""
        del problem, views, texture, step
        return None

    def evaluating(self, problem: Problem, steps: int) -> None:
        """See :class:`compute_server.jobs.JobObserver`."""
        del problem, steps
        self._bar.update(self._task, description="evaluating")

    def compared(self, problem: Problem, steps: int) -> None:
        """See :class:`compute_server.jobs.JobObserver`."""
        del problem
        self._bar.update(self._task, completed=steps, description="leaving one classifier out")


@contextmanager
def _observer(job: m.Job) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps · confidence {task.fields[sure]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        yield _Bar(bar, job_steps(job.settings))


def _colors(texture: VertexTexture) -> bytes:
    """Vertex colours as an ``.npy`` file: [V, 3] uint8, display-encoded."""
    buffer = io.BytesIO()
    np.save(buffer, texture.colors)
    return buffer.getvalue()


def _print(result: m.Result, settings: m.Settings, out: Path) -> None:
    console = Console(highlight=False)
    for caution in (*cautions(settings), *result.notes):
        console.print(caution)
    for name, figures in result.models.items():
        before, after = figures.held_out.before, figures.held_out.after
        console.print(
            f"{name} ({'trained' if figures.trained else 'held out'}), {figures.held_out_views} unseen views: "
            f"confidence {before.mean:.3f} → {after.mean:.3f}, top-1 {before.top1:.0%} → {after.top1:.0%}"
        )
    console.print(f"Written to {out}")
