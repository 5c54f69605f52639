# SPDX-License-Identifier: GPL-3.0-or-later
"""A second Blender without a window that follows a job on a copy of the open file, so that the artist's stays free.

What it does there is in `companion`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import companion, local_server, output
from ._shared import errors, messages

GRACE_S = 5.0
#: What the lines begin with in which `follow` says how far it is.
SAYS = "rendering"


@dataclass(frozen=True)
class Found:
    """What a check has found: its part of the report (``check`` and ``models``), a sheet (PNG file), and the view with
    the widest gap, [2 · H, 2 · W, 3] uint8: by the server and by Blender; their difference, and Blender's before."""

    report: dict[str, Any]
    sheet: bytes
    worst: np.ndarray


class Background:
    """A copy of the open file, and later the Blender that works on it. For the main thread.

    Raises :class:`OutputFailed` when the copy cannot be written.
    """

    def __init__(self, job: messages.Job, *, uv_map: str, samples: int, engine: str, check: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="assistive-", ignore_cleanup_errors=True)
        self._home = Path(self._folder.name)
        self._job, self._uv_map, self._check = job, uv_map, check
        self._render = ["--check-samples", str(samples), "--check-engine", engine]
        self._blender = _blender(self._home / "scene.blend")  # bpy is for this thread only
        self._starter: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""
        try:
            with _no_thumbnail():
                output.save_copy(self._home / "scene.blend")
        except OSError as error:
            self._folder.cleanup()
            raise errors.OutputFailed(
                f"The copy of the file that the check in Blender needs cannot be written: {error}.",
                hint="Switch the check off, or make room on the disk of temporary files.",
            ) from error

    @property
    def running(self) -> bool:
        """Whether there is, or was, a Blender at work."""
        return self._starter is not None

    def start(self, address: str) -> None:
        """Let a Blender follow the job, which the server at `address` has. Once is enough."""
        if self._starter is None:
            self._starter = threading.Thread(target=self._run, args=(address,), name="assistive background")
            self._starter.start()

    def _run(self, address: str) -> None:
        """Start the process; on a thread, as the job of a million triangles takes half a second to write."""
        arguments = ["follow", "--job", str(self._home / "job"), "--uv-map", self._uv_map, "--server", address]
        arguments += ["--out", str(self._home / "out"), *self._render, "--exit-with-parent"]
        arguments += [] if self._check else ["--no-check"]
        try:
            output.save_job(self._job, self._home / "job")
            with (self._home / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._blender, *arguments],
                    stdin=subprocess.PIPE,  # its end of file tells it that we are gone
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows only
                )
        except (errors.OutputFailed, OSError) as error:
            self._problem = str(error)

    def ended(self) -> bool:
        """Whether the Blender has been at work and is not any more, or could not begin."""
        return bool(self._problem) or (self._process is not None and self._process.poll() is not None)

    def progress(self) -> str:
        """How far the Blender is, in its own words; empty while it has said nothing."""
        return next((line for line in reversed(self._lines()) if line.startswith(SAYS)), "")

    def _lines(self) -> list[str]:
        """What the log says, also of Blender itself."""
        log = self._home / "log"
        return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []

    def found(self) -> Found | None:
        """What the check has found; None if there was none to be made.

        Raises :class:`JobFailed` with the last words of a Blender that failed.
        """
        if self._process is None or self._process.returncode:
            words = next((line.strip() for line in reversed(self._lines()) if line.strip()), "").removeprefix("error: ")
            raise errors.JobFailed(
                f"The Blender in the background failed: {self._problem or words or 'no reason given'}"
            )
        out = self._home / "out"
        if not (out / companion.REPORT).is_file():
            return None
        report = json.loads((out / companion.REPORT).read_text(encoding="utf-8"))
        return Found(report, (out / companion.SHEET).read_bytes(), np.load(out / companion.WORST))

    def stop(self) -> None:
        """End the Blender, if there is one, and remove all files."""
        if self._starter is not None:
            self._starter.join()
        if self._process is not None:
            local_server.end_process(self._process, GRACE_S)
        self._folder.cleanup()


@contextmanager
def _no_thumbnail() -> Iterator[None]:
    """With a window, saving a file draws the viewport once more for its thumbnail: seconds for a million triangles."""
    preferences = bpy.context.preferences
    kind, dirty = preferences.filepaths.file_preview_type, preferences.is_dirty
    preferences.filepaths.file_preview_type = "NONE"
    try:
        yield
    finally:
        preferences.filepaths.file_preview_type = kind
        preferences.is_dirty = dirty


def available() -> bool:
    """Whether there is a Blender to be started: an extension inside the bpy module has no command line."""
    return bool(bpy.app.binary_path) or __package__ == "blender_addon"


def _blender(file: Path) -> list[str]:
    """The command that has this Blender's commands on `file`; under the bpy module it is Python's."""
    if not bpy.app.binary_path:
        return [sys.executable, "-m", "blender_addon", str(file)]
    # The add-on is named once more, as it may have been enabled for this session only.
    return [bpy.app.binary_path, "--background", str(file), "--addons", str(__package__), "--command", "assistive"]
