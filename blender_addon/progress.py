# SPDX-License-Identifier: GPL-3.0-or-later
"""How a job looks on the terminal while it runs, and what Ctrl-C does meanwhile. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO

from ._shared import messages

BAR_WIDTH = 24
LOG_EVERY_S = 5.0


class Display:
    """One line that is drawn over on a terminal; a plain line now and then in a log."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every_s: float = LOG_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._every_s = every_s
        self._clock = clock
        self._last = -float("inf")
        self._open = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self._close_line()
        self._write(text + "\n")

    def event(self, event: messages.Event) -> None:
        """Show what the server tells of a job."""
        if isinstance(event, messages.Progress):
            final = event.phase == "optimising" and event.step == event.steps
            self._show(describe(event, with_bar=self._terminal), always=final)

    def count(self, what: str, done: int, total: int) -> None:
        """Show how far a countable piece of work is."""
        head = f"{bar(done, total)} " if self._terminal else ""
        self._show(f"{head}{what} {done}/{total}", always=done == total)

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._close_line()

    def _show(self, text: str, *, always: bool) -> None:
        if self._terminal:
            self._write(f"\r\x1b[K{text}")
            self._open = True
        elif always or self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            self._write(text + "\n")

    def _close_line(self) -> None:
        if self._open:
            self._write("\n")
            self._open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def describe(event: messages.Progress, *, with_bar: bool) -> str:
    """One line about a running job."""
    if event.phase != "optimising":
        return f"{event.phase} …"
    share = event.step / event.steps if event.steps else 1.0
    confidence = sum(event.confidence) / len(event.confidence) if event.confidence else 0.0
    head = f"{bar(event.step, event.steps)} " if with_bar else ""
    return (
        f"{head}step {event.step}/{event.steps} ({share:.0%})  loss {event.loss:.3f}  "
        f"confidence {confidence:.3f}  {duration(event.eta_s)} left"
    )


def bar(done: int, total: int) -> str:
    """`[####    ]`, as full as `done` of `total`."""
    full = round(BAR_WIDTH * done / total) if total else BAR_WIDTH
    return "[" + "#" * full + " " * (BAR_WIDTH - full) + "]"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Interrupts:
    """Ctrl-C inside this block: while `graceful`, the first press only sets `asked`; any other ends the program.

    Blender's Python has no handler of its own, so `KeyboardInterrupt` comes from here.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.graceful = False
        self.asked = False
        self._on_first = on_first
        self._previous: Any = None

    def __enter__(self) -> Interrupts:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # None: the handler there was is not Python's (Blender's own), and cannot be put back from here.
        signal.signal(signal.SIGINT, self._previous if self._previous is not None else signal.SIG_DFL)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.graceful or self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._on_first()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what Blender itself prints on standard output to nowhere; it would drown the job's own lines.

    Some of it comes through Python's `sys.stdout`, the rest goes straight to the file descriptor.
    """
    _flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Empty the buffers of standard output: Python's, and that of the C library, which Blender prints through."""
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # no C library to be found: the worst that happens is a stray line
        ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)
