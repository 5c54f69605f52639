"""``assistive-server compare`` and ``report``: pages of jobs that have ended, from their folders. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shared.compare_page import compare_page
from shared.errors import InvalidInput
from shared.report_files import read_run
from shared.report_page import page

from .files import make_folder, write_files


def compare_folders(folders: Sequence[Path], out: Path) -> int:
    """Write the page that compares the jobs in `folders` to the file `out`."""
    if len(folders) < 2:
        raise InvalidInput(f"There is nothing to compare {folders[0]} with.", hint="Name two folders or more.")
    _write(out, compare_page([read_run(folder) for folder in folders]))
    return 0


def remake(folder: Path) -> int:
    """Write ``report.html`` into the folder of a job, from its report and pictures as they are now."""
    run = read_run(folder)
    _write(folder / "report.html", page(run.report, run.pictures, run.plots))
    return 0


def _write(out: Path, text: str) -> None:
    make_folder(out.parent)
    write_files(out.parent, {out.name: text.encode()})
    print(f"Written: {out}")
