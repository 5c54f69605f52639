"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_server(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; ended when the block is left."""
    command = [sys.executable, "-m", "compute_server.cli", "serve", "--bind", "tcp://127.0.0.1:0", "--exit-with-parent"]
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().split()[-1]
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
