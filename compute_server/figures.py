"""How a running server stands, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """How the server stands. ``ended`` counts jobs by how they ended, since its start."""

    running: int
    waiting: int
    ended: dict[str, int]
    workers_lost: int
    clients_behind: int
    silent_s: float
