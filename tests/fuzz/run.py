"""Send a number of malformed messages and connections to a real server, and measure what they do to it.

`cd tests && python -m fuzz.run --messages 20000` prints the figures, and ends with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zmq
from helpers.server import running_server

from shared import errors, keys
from shared import messages as m
from shared.client import Client
from shared.home import VARIABLE
from shared.wire import unpack

from . import guided
from .messages import Multipart, made_up, mutated, noise, seeds

MEMORY_MIB, P99_MS = 200, 100
#: Messages that are under way at once.
AT_ONCE = 20
SLOW_CONNECTIONS = 100
CODES = {kind.code for kind in errors._all_classes(errors.AssistiveError)} - {"error"}


@dataclass
class Found:
    """What the server did."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    untyped: list[str] = field(default_factory=list)
    unanswered: int = 0
    answer_ms: list[float] = field(default_factory=list)
    grown_mib: float = 0.0
    alive: bool = True
    seconds: float = 0.0

    def p99_ms(self) -> float:
        """Of the client that only says hello, all the while."""
        return float(np.percentile(self.answer_ms, 99))

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "the server has ended": self.alive,
            f"{self.unanswered} messages were not answered": not self.unanswered,
            f"answers that are no typed error: {self.untyped[:3]}": not self.untyped,
            f"memory grew by {self.grown_mib:.0f} MiB": self.grown_mib <= MEMORY_MIB,
            f"an answer took {self.p99_ms():.0f} ms at the 99th percentile": self.p99_ms() <= P99_MS,
        }
        return [text for text, kept in promises.items() if not kept]

    def table(self) -> str:
        """For people."""
        sent = ", ".join(f"{count} {kind}" for kind, count in self.sent.items())
        answers = ", ".join(f"{count} {kind}" for kind, count in self.answers.most_common())
        return "\n".join(
            [
                f"sent: {sent}",
                f"answered: {answers}",
                f"a hello meanwhile ({len(self.answer_ms)} times): {np.median(self.answer_ms):.1f} ms in the median, "
                f"{self.p99_ms():.1f} ms at the 99th percentile, {max(self.answer_ms):.1f} ms at most",
                f"memory of the server grew by at most {self.grown_mib:.0f} MiB, in {self.seconds:.0f} s",
            ]
        )


def run(count: int, folder: Path) -> Found:
    """Try `count` messages, and connections that are slow or claim too much, on a server of its own."""
    found = Found()
    messages = _messages(count, folder)
    began = time.monotonic()
    with running_server("--max-jobs", "5") as (process, address):
        with Client(address, timeout_s=120) as client:
            client.request(m.ListTargets(), m.Targets)  # the worker has started
        with _watched(process, address, found):
            _slow_and_oversized(address, found)
            _send_all(address, messages, found)
        found.alive = process.poll() is None
    found.seconds = time.monotonic() - began
    return found


def _messages(count: int, folder: Path) -> dict[str, list[Multipart]]:
    rng = random.Random(8)
    start = seeds()
    reached = guided.found(folder, 20 * count) if importlib.util.find_spec("atheris") else []
    reached = reached[: count // 4]
    invented = made_up(count // 4, start=8)
    random_bytes = [noise(rng) for _ in range(count // 10)]
    rest = count - len(reached) - len(invented) - len(random_bytes)
    return {
        "coverage-guided": reached,
        "property-based": invented,
        "random": random_bytes,
        "mutated": [mutated(rng, start) for _ in range(rest)],
    }


def _send_all(address: str, kinds: dict[str, list[Multipart]], found: Found) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as hostile:
        hostile.setsockopt(zmq.LINGER, 0)
        keys.credentials(address).secure(hostile)
        hostile.connect(address)
        open_ = 0
        for kind, multiparts in kinds.items():
            found.sent[kind] += len(multiparts)
            for frames in multiparts:
                hostile.send_multipart(frames)
                open_ += 1
                while open_ >= AT_ONCE:
                    open_ -= _take(hostile, found, 60_000) or open_
        while open_ > 0 and (taken := _take(hostile, found, 60_000)) is not None:
            open_ -= taken
        found.unanswered += open_


def _take(hostile: zmq.Socket[bytes], found: Found, patience_ms: int) -> int | None:
    """Take one message: 1 for an answer, 0 for an event, None when none comes."""
    if not hostile.poll(patience_ms):
        return None
    message = unpack(hostile.recv_multipart()).message
    if isinstance(message, m.Event):
        return 0
    found.answers[type(message).__name__ if not isinstance(message, m.Refused) else message.error.code] += 1
    if isinstance(message, m.Refused) and message.error.code not in CODES:
        found.untyped.append(str(message.error))
    if isinstance(message, m.Refused) and "failed with" in message.error.message:
        found.untyped.append(message.error.message)
    return 1


def _slow_and_oversized(address: str, found: Found) -> None:
    """Connections that never get anywhere, and frames that are said to be enormous."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    oversized = [b"\x06" + (2**62).to_bytes(8, "big"), b"\x02" + (2**40).to_bytes(8, "big"), b"\x06" + b"\xff" * 8]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(SLOW_CONNECTIONS)]
        for at in range(8):
            for end in slow:
                with contextlib.suppress(OSError):
                    end.send(greeting[at : at + 1])
            time.sleep(0.05)
        for claim in oversized:
            end = stack.enter_context(socket.create_connection((host, int(port))))
            with contextlib.suppress(OSError):
                end.sendall(greeting + claim)
                end.sendall(bytes(1 << 20))
        found.sent["slow connections"] += len(slow)
        found.sent["oversized frames"] += len(oversized)
        time.sleep(0.5)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes], address: str, found: Found) -> Iterator[None]:
    """Another client says hello all the while; the server's memory is looked at."""
    over = threading.Event()
    start = _memory_mib(process.pid)

    def watch() -> None:
        with Client(address, timeout_s=60) as client:
            client.hello()
            while not over.wait(0.01):
                began = time.perf_counter()
                client.hello()
                found.answer_ms.append(1000 * (time.perf_counter() - began))
                found.grown_mib = max(found.grown_mib, _memory_mib(process.pid) - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _memory_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = str(Path(folder) / "home")
        found = run(given.messages, Path(folder) / "corpus")
    print(found.table(), *(f"BROKEN: {promise}" for promise in found.broken()), sep="\n")
    return 1 if found.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
