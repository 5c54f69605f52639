"""Things made one ahead: each in a thread of its own while the one before it is used, where that takes less time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from numba.np.ufunc.parallel import threading_layer

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """What `make`, which works on `device`, gives, one after another; never two at once.

    Compiled kernels that run meanwhile share the cores with those of `make`. That hides a part of its time where cores
    are idle now and then, and costs more than it hides where two of them are one core's threads: the first turns try
    both. Its thread has the same priority: with less of it, whoever takes would wait for all other programs.
    """

    def __init__(
        self, make: Callable[[], Made], device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._make = make
        self._trial = _Trial(clock)
        self._on_cpu = device.type == "cpu"
        self._coming: Future[Made] | None = None

    @property
    def begun(self) -> bool:
        """Whether one has been begun that nobody has taken."""
        return self._coming is not None

    @property
    def settled(self) -> bool:
        """Whether it is known which takes less time."""
        return self._trial.settled

    def take(self) -> Made:
        """The next; what `make` raised is raised here."""
        self._trial.turn()
        coming, self._coming = self._coming, None
        return self._make() if coming is None else coming.result()

    def begin(self) -> None:
        """Have the next made from now on, on a CPU, where kernels may run from two threads at once and where it pays;
        else :meth:`take` will."""
        if self._coming is None and self._on_cpu and self._trial.overlap and kernels_may_overlap():
            # A new thread each time. OpenMP's threads do not wait at the ready where there are more of them than cores,
            # and as long as this thread lives there are those that help it: a step takes a tenth longer.
            thread = ThreadPoolExecutor(1, "ahead")
            self._coming = thread.submit(self._make)
            thread.shutdown(wait=False)

    def wait(self) -> None:
        """Until what has been begun is made."""
        if self._coming is not None:
            self._coming.exception()

    def close(self) -> None:
        """When what has been begun is made."""
        self.wait()


class _Trial:
    """Which turns take less time: those that overlap with the making of what the next one uses, or those that do not.

    Both by turns, a few at a time; the first of each few does not count, as it has what the other way made.
    """

    FEW, TIMES = 3, 4

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = -1
        self._began = 0.0
        self._seconds: dict[bool, list[float]] = {True: [], False: []}
        self.overlap = True
        self.settled = False

    def turn(self) -> None:
        """A new one begins now."""
        if self.settled:
            return
        now = self._clock()
        if self._turn >= 0 and self._turn % self.FEW:
            self._seconds[self.overlap].append(now - self._began)
        self._turn, self._began = self._turn + 1, now
        if self._turn == self.FEW * self.TIMES:
            self.settled = True
            self.overlap = statistics.median(self._seconds[True]) < statistics.median(self._seconds[False])
        else:
            self.overlap = self._turn // self.FEW % 2 == 0


def kernels_may_overlap() -> bool:
    """Whether two threads may run parallel kernels at once: not with numba's own pool, which ends the process then.
    No, too, before the first kernel has run, as numba chooses its pool only then."""
    try:
        return threading_layer() in ("omp", "tbb")  # type: ignore[no-untyped-call]
    except ValueError:
        return False
