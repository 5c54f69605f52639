# SPDX-License-Identifier: GPL-3.0-or-later
"""Places rectangles in the unit square, all at the largest common scale that fits. Knows no bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where one rectangle went: its lower left corner in the unit square, and whether it lies on its side."""

    u: float
    v: float
    on_side: bool


@dataclass(frozen=True)
class _Room:
    u: float
    v: float
    width: float
    height: float

    def left_over(self, width: float, height: float) -> float:
        """How much the tighter direction leaves over; negative when it does not fit."""
        return min(self.width - width, self.height - height)

    def split(self, width: float, height: float) -> list[_Room]:
        """What is free beside and above a rectangle in the lower left corner, cut so that one room stays large."""
        beside, above = self.width - width, self.height - height
        if beside < above:
            return [
                _Room(self.u + width, self.v, beside, height),
                _Room(self.u, self.v + height, self.width, above),
            ]
        return [
            _Room(self.u + width, self.v, beside, self.height),
            _Room(self.u, self.v + height, width, above),
        ]


def pack(sizes: Sequence[tuple[float, float]], *, margin: float) -> tuple[float, list[Place]]:
    """The scale and a place for each of `sizes`, with `margin` (a part of the square) free around every one."""
    scale = sum(width * height for width, height in sizes) ** -0.5
    while (places := _try_to_place(sizes, scale, margin)) is None:
        scale *= 0.985
    return scale, places


def _try_to_place(sizes: Sequence[tuple[float, float]], scale: float, margin: float) -> list[Place] | None:
    rooms = [_Room(0.0, 0.0, 1.0, 1.0)]
    places: dict[int, Place] = {}
    for index in sorted(range(len(sizes)), key=lambda i: max(sizes[i]), reverse=True):
        width, height = (length * scale + 2.0 * margin for length in sizes[index])
        fits = [
            (room.left_over(*size), number, size)
            for number, room in enumerate(rooms)
            for size in ((width, height), (height, width))
            if room.left_over(*size) >= 0.0
        ]
        if not fits:
            return None
        _, number, size = min(fits)
        room = rooms.pop(number)
        rooms += room.split(*size)
        places[index] = Place(room.u + margin, room.v + margin, on_side=size != (width, height))
    return [places[index] for index in range(len(sizes))]
