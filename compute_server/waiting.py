"""The line of waiting jobs: priorities first, then clients in turn, and for each client first come, first served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared import messages as m

#: A job that was running when the server ended goes on before all others.
RESUMED = 1000


@dataclass(frozen=True)
class Waiter:
    """A job in the line. ``work`` says how much there is to do, in views (see :func:`job_work`)."""

    job_id: str
    client: str
    priority: int
    work: int


class Line:
    """Jobs that wait. Who has just been served comes last among those of the same priority."""

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._served: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._waiters

    def add(self, waiter: Waiter) -> None:
        """Put a job at its client's end."""
        self._waiters[waiter.job_id] = waiter

    def remove(self, job_id: str) -> None:
        """Take a job out."""
        del self._waiters[job_id]
        self._forget_idle()

    def take(self) -> Waiter:
        """The next job, out of the line."""
        waiter = next(self.in_order())
        self._turn += 1
        self._served[waiter.client] = self._turn
        self.remove(waiter.job_id)
        return waiter

    def in_order(self) -> Iterator[Waiter]:
        """The jobs as they will be taken if no more come."""
        left = list(self._waiters.values())
        served, turn = dict(self._served), self._turn
        while left:
            highest = max(waiter.priority for waiter in left)
            urgent = [waiter for waiter in left if waiter.priority == highest]
            waiter = min(urgent, key=lambda each: served.get(each.client, 0))  # of equals the first
            turn += 1
            served[waiter.client] = turn
            left.remove(waiter)
            yield waiter

    def before(self, job_id: str) -> list[Waiter]:
        """The jobs that will be taken before this one."""
        ahead = []
        for waiter in self.in_order():
            if waiter.job_id == job_id:
                break
            ahead.append(waiter)
        return ahead

    def _forget_idle(self) -> None:
        """Whoever has nothing in the line comes anew next time, unless they were the last to be served."""
        here = {waiter.client for waiter in self._waiters.values()}
        self._served = {client: turn for client, turn in self._served.items() if client in here or turn == self._turn}


class Pace:
    """How long a view takes, learnt from the jobs that have run here."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def learn(self, seconds: float, views: int) -> None:
        """A job took `seconds` for `views`; later jobs count for more."""
        if views > 0:
            found = seconds / views
            self._seconds = found if self._seconds is None else 0.7 * self._seconds + 0.3 * found

    def of(self, work: int) -> float | None:
        """The seconds that `work` views will take; None while nothing is known."""
        return None if self._seconds is None else self._seconds * work


def job_steps(settings: m.Settings) -> int:
    """All steps of a job, those of the textures that leave one classifier out included."""
    left_out = len(settings.models) if leaves_out(settings) else 0
    return settings.steps * (1 + left_out)


def leaves_out(settings: m.Settings) -> bool:
    """Whether a job also makes textures that leave one classifier out."""
    return settings.leave_one_out and len(settings.models) > 1


def job_work(settings: m.Settings) -> int:
    """How many views a job draws, roughly: those of its steps and those that it is measured with."""
    return job_steps(settings) * settings.views + 2 * settings.held_out_views
