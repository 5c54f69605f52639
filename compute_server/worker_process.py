"""The child process that computes, as the front sees it: started, spoken to, found dead, started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import zmq

from shared import messages as m
from shared.wire import Frame, pack

from . import security
from .orders import Order, pack_order


def worker_environment() -> dict[str, str]:
    """The environment a computing process runs in.

    glibc gives freed blocks of some MiB back to the system and takes them again in every step; told to keep them, a
    step of the classifier takes 10–25 % less. (M_MMAP_THRESHOLD would not do: it is ignored above 32 MiB.)

    OpenMP's threads wait for each other by spinning, for milliseconds, which on a machine where Blender renders too can
    make everything two to three times slower. Told not to spin at all, they take so long to wake up that a pass through
    EfficientNet-Lite0 takes 27 ms more, however few views it has (8 views, two cores: 139 instead of 112 ms). So they
    spin a little: some 30 µs with GNU's OpenMP, which is torch's on Linux (122 ms; with two other programs on the cores
    no slower than without any spinning).
    """
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_TOP_PAD_": str(1 << 26)}
    return {**keep, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000", **os.environ}


class WorkerProcess:
    """The child process that computes, and the socket to it."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], folder: Path, arguments: Sequence[str], door: security.Door
    ) -> None:
        self._context = context
        self._door = door
        self._folder = folder
        self._arguments = arguments
        self._outbox: deque[list[Frame]] = deque()
        self._starts = 0
        self.socket: zmq.Socket[bytes]
        self._process: subprocess.Popen[bytes]
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self._outbox.clear()
        self.socket = self._context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        # A file socket in a folder that only this user may enter, where the system has them and the path is short.
        path = f"{self._folder}/{self._starts}"
        file_socket = zmq.has("ipc") and len(path) < zmq.IPC_PATH_MAX_LEN
        if not file_socket:
            self._door.secure(self.socket, security.WORKER)
        self.socket.bind(f"ipc://{path}" if file_socket else "tcp://127.0.0.1:*")
        address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        command = [sys.executable, "-m", "compute_server.worker", address, *self._arguments]
        # The worker ends when its standard input does, which is when this process is gone, however it went.
        environment = {**worker_environment(), **security.worker_keys(self._door)}
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)

    def send(self, message: m.Message, request: int = 0) -> None:
        """One message to the worker. Never waits: what a worker that is still starting cannot take yet is kept."""
        self._outbox.append(pack(message, request))
        self.flush()

    def order(self, order: Order) -> None:
        """As :meth:`send`, of an order."""
        self._outbox.append(pack_order(order))
        self.flush()

    def flush(self) -> None:
        """Send what was kept, as far as the worker takes it."""
        while self._outbox:
            try:
                self.socket.send_multipart(self._outbox[0], zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._outbox.popleft()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def exit_reason(self) -> str:
        """Why the process ended, for a person."""
        code = self._process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def wait(self, timeout_s: float) -> None:
        """Until the process has ended, or `timeout_s` are over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def kill(self) -> None:
        """End the process by force, whatever it does."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """A new process after the old one has died."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.socket.close(linger=0)
        self._start()

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.socket.close(linger=0)
