"""``assistive-server run``: one job from a file, in this process, without a server."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from shared import messages as m
from shared import report_files, reporting
from shared.errors import InvalidInput
from shared.presets import cautions
from shared.scene import VertexTexture, View

from .files import make_folder, write_files
from .jobfile import read_job
from .jobs import choose_device, png, run_job
from .optimize import StepReport
from .problem import Problem
from .waiting import job_steps

#: The files that may hold what a job made.
TEXTURES = {"texture.png", "patch.png", "importance.png", "colors.npy"}


def run_file(jobfile: Path, out: Path, device: str, rasterizer: str) -> int:
    """Do the job in `jobfile`; write ``texture.png`` (or ``colors.npy``), ``result.json``, ``report.html`` with its
    pictures and plots and, where only a part of the surface could change, ``patch.png`` into `out`."""
    job = read_job(jobfile)
    if job.settings.blender_every:
        raise InvalidInput(
            f"The job in {jobfile} asks for Blender's pictures, and there is no Blender here.",
            hint="Repeat it with the add-on's command, or leave out --blender-every.",
        )
    make_folder(out)
    with job_bar(job) as observer:
        result = run_job(job, choose_device(device), observer, rasterizer=rasterizer)
    files = _pictures(result)
    report = reporting.report(
        result,
        job.settings,
        object_name=job.scene.mesh.name,
        command=shlex.join(["assistive-server", "run", str(jobfile), "--out", str(out)]),
        vertex_note="The colours are in colors.npy.",
    )
    files |= report_files.of_report(report, result.plots, files, "result.json")
    if isinstance(result.texture, VertexTexture):
        files["colors.npy"] = _colors(result.texture)
    write_files(out, files)
    for path in (*(out / name for name in TEXTURES), *out.glob("before/[0-9]*.png"), *out.glob("after/[0-9]*.png")):
        if path.relative_to(out).as_posix() not in files:  # of an earlier job in the same folder
            path.unlink(missing_ok=True)
    _print(result, job.settings, out)
    return 0


def _pictures(result: m.Result) -> dict[str, bytes]:
    """The PNG files of a result by their names in its folder."""
    files: dict[str, bytes] = {}
    if result.texture_png is not None:
        files["texture.png"] = result.texture_png.tobytes()
    if result.patch is not None:
        files["patch.png"] = result.patch.png.tobytes()
    if result.importance_png is not None:
        files["importance.png"] = result.importance_png.tobytes()
    for folder, pictures in (("before", result.pictures_before), ("after", result.pictures_after)):
        files |= {f"{folder}/{number:02}.png": png(picture).tobytes() for number, picture in enumerate(pictures)}
    return files


class _Bar:
    """Moves a progress bar."""

    def __init__(self, bar: Progress, steps: int, title: str) -> None:
        self._bar = bar
        self._title = title
        self._task = bar.add_task("preparing", total=steps, sure=0.0)

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """See :class:`compute_server.optimize.Observer`."""
        del problem
        sure = float(report.confidence.mean())
        self._bar.update(self._task, completed=report.step, description=self._title, sure=sure)

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
def job_bar(job: m.Job, title: str = "optimising") -> Iterator[_Bar]:
    """An observer that shows how far a job is; `title` is what it says while it takes steps."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps · confidence {task.fields[sure]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        yield _Bar(bar, job_steps(job.settings), title)


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
