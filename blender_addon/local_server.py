# SPDX-License-Identifier: GPL-3.0-or-later
"""A compute server on this machine, for as long as one block of code needs it. It never outlives Blender."""

from __future__ import annotations

import importlib.util
import os
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from ._shared import errors

VARIABLE = "ASSISTIVE_SERVER"
ANNOUNCEMENT = "assistive-server listening on "
LOG_LINES = 5


def server_command() -> list[str]:
    """The command that starts a compute server here.

    The environment variable ASSISTIVE_SERVER comes first, then this Python if the server is installed in it, then
    `assistive-server` on the path. Raises :class:`ServerUnreachable` when there is none.
    """
    if given := os.environ.get(VARIABLE, "").strip():
        return shlex.split(given, posix=os.name == "posix")
    # Inside Blender's own binary a `compute_server` that can be seen may still lack all that it needs.
    if not _inside_blender() and importlib.util.find_spec("compute_server") is not None:
        return [sys.executable, "-m", "compute_server.cli"]
    if found := shutil.which("assistive-server"):
        return [found]
    raise errors.ServerUnreachable(
        "No compute server is installed on this machine.",
        hint=f"Install assistive-signals with pip, name its command in {VARIABLE}, or give --server ADDRESS.",
    )


def _inside_blender() -> bool:
    import bpy

    return bool(bpy.app.binary_path)


class LocalServer:
    """A server process as a context manager; `address` is where it listens, inside the block.

    What it logs goes to a temporary file, or, if `verbose`, to our own standard error.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        command: Sequence[str] | None = None,
        verbose: bool = False,
        start_s: float = 60.0,
        grace_s: float = 10.0,  # the server gives its worker five seconds
    ) -> None:
        self.address = ""
        self._device = device
        self._command = command
        self._verbose = verbose
        self._start_s = start_s
        self._grace_s = grace_s
        self._process: subprocess.Popen[str] | None = None
        self._log: Path | None = None

    def __enter__(self) -> LocalServer:
        try:
            self._process = self._start()
            self.address = self._await_address(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check_alive(self) -> None:
        """Raise :class:`ServerUnreachable` with the server's last words when its process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failure(f"ended with code {self._process.returncode} during the job")

    def stop(self) -> None:
        """End the process: first by asking, after the grace time by force. Does no harm when there is none."""
        if self._process is not None:
            _end(self._process, self._grace_s)
            self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def last_words(self) -> str:
        """The last lines that the server wrote to its log."""
        if self._log is None:
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return "\n".join([line for line in lines if line.strip()][-LOG_LINES:])

    def _start(self) -> subprocess.Popen[str]:
        command = [*(self._command if self._command is not None else server_command()), "serve"]
        command += ["--bind", "tcp://127.0.0.1:0", "--device", self._device, "--exit-with-parent"]
        handle, name = tempfile.mkstemp(prefix="assistive-server-", suffix=".log")
        self._log = Path(name)
        with os.fdopen(handle, "wb") as log:
            try:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # its end of file tells the server that we are gone
                    stdout=subprocess.PIPE,
                    stderr=None if self._verbose else log,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,  # Ctrl-C is for us alone, we pass it on as a request
                )
            except OSError as error:
                raise errors.ServerUnreachable(
                    f"The compute server cannot be started: {error}.", hint=f"The command was {shlex.join(command)}."
                ) from error

    def _await_address(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        lines = _lines(process.stdout)
        deadline = time.monotonic() + self._start_s
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._failure(f"said nothing for {self._start_s:g} s at its start") from None
            if line is None:
                process.wait(self._grace_s)
                raise self._failure(f"ended with code {process.returncode} at its start")
            if line.startswith(ANNOUNCEMENT):
                return line.removeprefix(ANNOUNCEMENT).strip()

    def _failure(self, what: str) -> errors.ServerUnreachable:
        words = self.last_words()
        return errors.ServerUnreachable(
            f"The compute server {what}.", hint=f"Its last words were:\n{words}" if words else ""
        )


def _lines(stream: IO[str]) -> queue.Queue[str | None]:
    """The lines of `stream` as they come, then None. Reading goes on for ever, so that the pipe never fills up."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="assistive-server output", daemon=True).start()
    return lines


def _end(process: subprocess.Popen[str], grace_s: float) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
