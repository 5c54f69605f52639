"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def start_server(*arguments: str, bind: str = "tcp://127.0.0.1:0") -> tuple[subprocess.Popen[bytes], str]:
    """A new server's process and its address; it ends when its standard input is closed."""
    command = [sys.executable, "-m", "compute_server.cli", "serve", "--bind", bind, "--exit-with-parent"]
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.readline().decode().split()[-1]


def end_server(process: subprocess.Popen[bytes]) -> None:
    """End it in good order; does no harm to one that has been killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@contextmanager
def running_server(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; ended when the block is left."""
    process, address = start_server(*arguments)
    try:
        yield process, address
    finally:
        end_server(process)


class LastingServer:
    """A server that keeps its jobs in `home`, and comes back on the same address after it has been killed."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self._arguments = ("--home", str(home), *arguments)
        self.process, self.address = start_server(*self._arguments)

    def __enter__(self) -> LastingServer:
        return self

    def __exit__(self, *_error: object) -> None:
        end_server(self.process)

    def kill(self) -> None:
        """As the system does it: no time for anything."""
        self.process.kill()
        end_server(self.process)

    def start(self) -> None:
        """Come back."""
        self.process, address = start_server(*self._arguments, bind=self.address)
        assert address == self.address


def child_of(pid: int) -> int:
    """The one child process of `pid`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    raise AssertionError("no worker was started")


def alive(pid: int) -> bool:
    """Whether `pid` still runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
