# SPDX-License-Identifier: GPL-3.0-or-later
"""A compute server on this machine, for as long as one block of code needs it. It never outlives Blender."""

from __future__ import annotations

import contextlib
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
from typing import IO, Any

from ._shared import errors

VARIABLE = "ASSISTIVE_SERVER"
PROGRAM = "assistive-server"
ANNOUNCEMENT = "assistive-server listening on "
LOG_LINES = 5


def server_command(configured: str = "") -> list[str]:
    """The command that starts a compute server here.

    What is `configured` comes first (a path, or a command with arguments), then the environment variable
    ASSISTIVE_SERVER, then this Python if the server is installed in it, then `assistive-server` in the active virtual
    environment and on the path. Raises :class:`ServerUnreachable` when there is none.
    """
    if given := configured.strip() or os.environ.get(VARIABLE, "").strip():
        return _split(given)
    # Inside Blender's own binary a `compute_server` that can be seen may still lack all that it needs.
    if not _inside_blender() and importlib.util.find_spec("compute_server") is not None:
        return [sys.executable, "-m", "compute_server.cli"]
    if found := _in_virtual_environment() or shutil.which(PROGRAM):
        return [found]
    raise errors.ServerUnreachable(
        "No compute server is installed on this machine.",
        hint=f"Install assistive-signals with pip, and name its command {PROGRAM} in the add-on's preferences or in "
        f"{VARIABLE}; or give the address of a server elsewhere.",
    )


def _split(command: str) -> list[str]:
    try:
        return [command] if Path(command).is_file() else shlex.split(command, posix=os.name == "posix")
    except (ValueError, OSError) as error:
        raise errors.ServerUnreachable(
            f"The server's command {command!r} cannot be read: {error}.", hint="Give a path, or put spaces in quotes."
        ) from error


def _in_virtual_environment() -> str | None:
    folder = os.environ.get("VIRTUAL_ENV")
    return shutil.which(PROGRAM, path=str(Path(folder) / ("Scripts" if os.name == "nt" else "bin"))) if folder else None


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
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._deadline = 0.0

    def __enter__(self) -> LocalServer:
        try:
            self.start()
            while not self.ready(wait_s=1.0):
                pass
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait for nothing. Raises :class:`ServerUnreachable` when that is impossible."""
        self._process = self._start()
        assert self._process.stdout is not None
        self._lines = _lines(self._process.stdout)
        self._deadline = time.monotonic() + self._start_s

    def ready(self, *, wait_s: float = 0.0) -> bool:
        """Whether the server has said where it listens; waits for that up to `wait_s`.

        Raises :class:`ServerUnreachable` with the server's last words when it has ended or takes too long.
        """
        until = time.monotonic() + wait_s
        while not self.address:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                if time.monotonic() > self._deadline:
                    raise self._failure(f"said nothing for {self._start_s:g} s at its start") from None
                return False
            self._hear(line)
        return True

    def _hear(self, line: str | None) -> None:
        if line is None:
            assert self._process is not None
            self._process.wait(self._grace_s)
            raise self._failure(f"ended with code {self._process.returncode} at its start")
        if line.startswith(ANNOUNCEMENT):
            self.address = line.removeprefix(ANNOUNCEMENT).strip()

    def check_alive(self) -> None:
        """Raise :class:`ServerUnreachable` with the server's last words when its process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failure(f"ended with code {self._process.returncode}")

    def stop(self) -> None:
        """End the process: first by asking, after the grace time by force. Does no harm when there is none."""
        if self._process is not None:
            end_process(self._process, self._grace_s)
            self._process = None
        if self._log is not None:
            with contextlib.suppress(OSError):  # Windows keeps what a process that is just ending has open
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
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows only
                )
            except FileNotFoundError as error:
                raise errors.ServerUnreachable(
                    f"The compute server cannot be started: there is no program {command[0]!r}.",
                    hint="Correct its command.",
                ) from error
            except OSError as error:
                raise errors.ServerUnreachable(
                    f"The compute server cannot be started: {error}.", hint=f"The command was {shlex.join(command)}."
                ) from error

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


def end_process(process: subprocess.Popen[Any], grace_s: float) -> None:
    """End a child: by closing its standard input and asking, after the grace time by force."""
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
