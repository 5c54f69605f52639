"""``assistive-server jobs``: what is in the ledger, for the server's owner. Works beside a running server."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from shared import messages as m
from shared.errors import InvalidInput
from shared.scene import UvTexture
from shared.wire import load_stored

from .files import make_folder, write_files
from .ledger import Entry, Ledger


def list_jobs(ledger: Ledger) -> int:
    """A table of all jobs, oldest first."""
    table = Table(Column("job", no_wrap=True), "state", "submitted", "took", Column("MiB", justify="right"), "error")
    for entry in ledger.entries():
        error = entry.error.message if entry.error is not None else ""
        size = f"{entry.bytes / (1 << 20):.1f}"
        table.add_row(entry.id, entry.state, _moment(entry.submitted), _duration(entry), size, error)
    Console().print(table)
    return 0


def show_job(ledger: Ledger, job_id: str) -> int:
    """All that the book says of one job, and its settings."""
    entry = ledger.get(job_id)
    stored = load_stored(ledger.folder(job_id) / "job.msg")
    settings = stored.job.settings if isinstance(stored, m.Submit) else None
    told = {**msgspec.to_builtins(entry), "folder": str(ledger.folder(job_id)), "settings": settings}
    print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    return 0


def cancel_job(ledger: Ledger, job_id: str) -> int:
    """Ask for a job's end. A running server looks into the book several times a second."""
    entry = ledger.get(job_id)
    if entry.ended is not None:
        raise InvalidInput(f"Job {job_id!r} has ended already: {entry.state}.")
    ledger.ask_cancel(job_id)
    print(f"{job_id} will end within its next step, or when a server runs again.")
    return 0


def export_job(ledger: Ledger, job_id: str, out: Path) -> int:
    """Write what a job was and what it made into a folder: a file for ``assistive-server run``, texture and result."""
    entry = ledger.get(job_id)
    make_folder(out)
    folder = ledger.folder(job_id)
    shutil.copyfile(folder / "job.msg", out / "submitted.job")
    files = {"entry.json": msgspec.json.format(msgspec.json.encode(entry), indent=2)}
    if entry.ended is not None and entry.error is None:
        ended = load_stored(folder / "result.msg")
        assert isinstance(ended, m.Ended)
        assert ended.result is not None
        result = ended.result
        figures = {"outcome": result.outcome, "steps": result.steps, "models": result.models, "timing": result.timing}
        files["result.json"] = msgspec.json.format(msgspec.json.encode(figures), indent=2)
        if isinstance(result.texture, UvTexture) and result.texture_png is not None:
            files["texture.png"] = result.texture_png.tobytes()
    write_files(out, files)
    print(f"Written to {out}: {', '.join(['submitted.job', *files])}")
    return 0


def prune_jobs(ledger: Ledger, keep_days: float, keep_gib: float) -> int:
    """Forget old jobs now."""
    gone = ledger.prune(keep_days * 86400, round(keep_gib * (1 << 30)))
    print(f"{gone} {'job' if gone == 1 else 'jobs'} removed.")
    return 0


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _duration(entry: Entry) -> str:
    if entry.began is None:
        return ""
    return f"{(entry.ended or time.time()) - entry.began:.0f} s"
