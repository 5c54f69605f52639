"""Things made one ahead: each in a thread of its own while the one before it is used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from numba.np.ufunc.parallel import threading_layer

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """What `make`, which works on `device`, gives, one after another; never two at once.

    Compiled kernels that run meanwhile share the cores with those of `make`. Its thread has the same priority: with
    less of it, whoever takes would wait for all other programs.
    """

    def __init__(self, make: Callable[[], Made], device: torch.device) -> None:
        self._make = make
        self._on_cpu = device.type == "cpu"
        self._pool = ThreadPoolExecutor(1, "ahead")
        self._coming: Future[Made] | None = None

    @property
    def begun(self) -> bool:
        """Whether one has been begun that nobody has taken."""
        return self._coming is not None

    def take(self) -> Made:
        """The next; what `make` raised is raised here."""
        coming, self._coming = self._coming, None
        return self._make() if coming is None else coming.result()

    def begin(self) -> None:
        """Have the next made from now on, on a CPU and where kernels may run from two threads at once; else
        :meth:`take` will."""
        if self._coming is None and self._on_cpu and kernels_may_overlap():
            self._coming = self._pool.submit(self._make)

    def wait(self) -> None:
        """Until what has been begun is made."""
        if self._coming is not None:
            self._coming.exception()

    def close(self) -> None:
        """End the thread after what it has at hand."""
        self._pool.shutdown(cancel_futures=True)


def kernels_may_overlap() -> bool:
    """Whether two threads may run parallel kernels at once: not with numba's own pool, which ends the process then.
    No, too, before the first kernel has run, as numba chooses its pool only then."""
    try:
        return threading_layer() in ("omp", "tbb")  # type: ignore[no-untyped-call]
    except ValueError:
        return False
