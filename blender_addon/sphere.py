# SPDX-License-Identifier: GPL-3.0-or-later
"""The confidence sphere as numbers: its cells, their colours, which of them a ray meets, which are the weakest.

Arrays in, arrays out. No bpy: what draws it is `sphere_view`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ._shared import scene

SCALE = 1.15
"""The sphere's radius, in radii of the sphere around the object."""
PARTS = 4
"""A cell is drawn as so many by so many flat pieces."""
PIECES = 2 * PARTS * PARTS
"""Triangles of each cell."""
GAP = 0.05
"""The share of a cell that is left free at its borders, so that cells can be told apart."""
LONE_CELL = 20.0
"""How high a cell is, in degrees, where there is only one elevation."""
RIGHT = np.array([(0.89, 0.953, 0.902), (0.106, 0.471, 0.216)])
"""Display-encoded colours of a confidence of 0 and 1 where top-1 is right: green, the darker the surer."""
WRONG = np.array([(0.698, 0.094, 0.169), (0.984, 0.89, 0.875)])
"""The same where it is wrong: red, the darker the less sure of the target."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object was when its job began: the centre of its rig and its radius around that (metres), and its matrix
    to the world, row by row."""

    center: scene.Vector
    radius: float
    matrix: tuple[tuple[float, ...], ...]


class Shown(NamedTuple):
    """Which part of a survey is looked at: indices of a texture, a classifier and a light."""

    texture: int
    model: int
    light: int


@dataclass(frozen=True)
class Around:
    """What a survey has found, and where.

    ``confidence``, ``right`` and ``top1`` (a class) are indexed by texture, classifier, light, elevation and azimuth.
    A cell is counted by elevation first: row · len(azimuths) + column. Angles are those of :class:`messages.Survey`.
    """

    textures: tuple[str, ...]
    models: tuple[str, ...]
    lights: tuple[str, ...]
    azimuths: np.ndarray
    elevations: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    top1: np.ndarray
    placement: Placement

    @property
    def radius(self) -> float:
        """Of the sphere, in metres."""
        return SCALE * self.placement.radius

    def angles(self, cell: int) -> tuple[float, float]:
        """Azimuth and elevation of the middle of a cell, in degrees."""
        row, column = divmod(cell, len(self.azimuths))
        return float(self.azimuths[column]), float(self.elevations[row])


def read(report: Mapping[str, Any]) -> Around | None:
    """The survey in a result's report; None where there is none, or it is not known where the object was."""
    found = report.get("survey") or {}
    try:
        placement = msgspec.convert(found["placement"], Placement)
        confidence = np.array(found["confidence"], np.float32)
        top1 = np.array(found["top1"], np.int32)
        around = Around(
            textures=tuple(found["textures"]),
            models=tuple(found["models"]),
            lights=tuple(found["lights"]),
            azimuths=np.array(found["azimuths"], float),
            elevations=np.array(found["elevations"], float),
            confidence=confidence,
            right=np.isin(top1, report["target"]["indices"]),
            top1=top1,
            placement=placement,
        )
    except (KeyError, TypeError, ValueError, msgspec.ValidationError):
        return None
    parts = (around.textures, around.models, around.lights, around.elevations, around.azimuths)
    shape = tuple(len(part) for part in parts)
    return around if confidence.shape == top1.shape == shape and 0 not in shape else None


# --- cells ------------------------------------------------------------------------------------------------------------


def directions(azimuths: np.ndarray, elevations: np.ndarray) -> np.ndarray:
    """Unit vectors [..., 3] in directions given in degrees, as in :class:`messages.Survey`."""
    turn, rise = np.radians(azimuths), np.radians(elevations)
    flat = np.cos(rise)
    return np.stack(np.broadcast_arrays(np.cos(turn) * flat, np.sin(turn) * flat, np.sin(rise)), axis=-1)


def borders(around: Around) -> tuple[np.ndarray, np.ndarray]:
    """The borders of columns [A + 1] and rows [E + 1] of cells, in degrees."""
    rows = _borders(around.elevations, LONE_CELL)
    return _borders(around.azimuths, 360.0), np.clip(rows, -90.0, 90.0)


def _borders(middles: np.ndarray, alone: float) -> np.ndarray:
    width = middles[1] - middles[0] if len(middles) > 1 else alone
    return np.asarray(middles[0] + width * (np.arange(len(middles) + 1) - 0.5))


def surface(around: Around) -> np.ndarray:
    """All cells as triangles [C · T, 3, 3] in metres, counter-clockwise as seen from outside, T for each cell.

    T is :data:`PIECES`; the cells are in their order.
    """
    columns, rows = borders(around)
    shares = np.linspace(GAP, 1 - GAP, PARTS + 1)
    azimuths = columns[:-1, None] + np.diff(columns)[:, None] * shares
    elevations = rows[:-1, None] + np.diff(rows)[:, None] * shares
    # [E, A, row within a cell, column within a cell, 3]
    points = directions(azimuths[None, :, None, :], elevations[:, None, :, None])
    low, high = points[:, :, :-1], points[:, :, 1:]
    corners = low[..., :-1, :], low[..., 1:, :], high[..., 1:, :], high[..., :-1, :]
    first = np.stack([corners[0], corners[1], corners[2]], axis=-2)
    second = np.stack([corners[0], corners[2], corners[3]], axis=-2)
    triangles = np.stack([first, second], axis=-3).reshape(-1, 3, 3)
    return np.asarray(around.placement.center + around.radius * triangles)


def colors(around: Around, shown: Shown) -> np.ndarray:
    """The display-encoded colours [C, 3] of all cells: green where top-1 is right, red where it is wrong."""
    confidence = np.clip(around.confidence[shown].reshape(-1, 1), 0.0, 1.0)
    green, red = (low + confidence * (high - low) for low, high in (RIGHT, WRONG))
    return np.where(around.right[shown].reshape(-1, 1), green, red)


def means(around: Around, shown: Shown) -> tuple[float, float]:
    """Mean confidence, and the share of cells whose top-1 is right."""
    return float(around.confidence[shown].mean()), float(around.right[shown].mean())


# --- picking ----------------------------------------------------------------------------------------------------------


def pick(around: Around, origin: Sequence[float], direction: Sequence[float]) -> int | None:
    """The cell that a ray (metres) meets first; None where it meets none."""
    start = np.asarray(origin, float) - around.placement.center
    ahead = np.asarray(direction, float) / np.linalg.norm(direction)
    nearest = -float(start @ ahead)
    inside = around.radius**2 - float(start @ start) + nearest**2
    if inside < 0:
        return None
    for distance in (nearest - inside**0.5, nearest + inside**0.5):
        cell = _cell_at(around, start + distance * ahead) if distance > 0 else None
        if cell is not None:
            return cell
    return None


def _cell_at(around: Around, point: np.ndarray) -> int | None:
    """The cell in whose direction `point` [3] is, as seen from the centre."""
    columns, rows = borders(around)
    azimuth = np.degrees(np.arctan2(point[1], point[0]))
    elevation = np.degrees(np.arctan2(point[2], np.hypot(point[0], point[1])))
    row = int(np.searchsorted(rows, elevation, side="right")) - 1
    column = int((azimuth - columns[0]) % 360.0 // (columns[1] - columns[0]))
    there = 0 <= row < len(around.elevations) and column < len(around.azimuths)
    return row * len(around.azimuths) + column if there else None


# --- weak views -------------------------------------------------------------------------------------------------------


def weakest(around: Around, shown: Shown, count: int) -> list[int]:
    """The `count` cells that are recognised least, worst first: those whose top-1 is wrong before those where it is
    right. Neighbours of one that is taken come last, as they tell little new."""
    confidence, right = around.confidence[shown].ravel(), around.right[shown].ravel()
    taken: list[int] = []
    spared: list[int] = []
    for cell in np.lexsort((confidence, right)).tolist():
        near = any(_are_neighbours(cell, other, len(around.azimuths)) for other in taken)
        (spared if near else taken).append(cell)
    return [*taken, *spared][:count]


def _are_neighbours(cell: int, other: int, columns: int) -> bool:
    """Whether two cells touch, at a corner or around the back."""
    (row, column), (other_row, other_column) = divmod(cell, columns), divmod(other, columns)
    apart = abs(column - other_column)
    return abs(row - other_row) <= 1 and min(apart, columns - apart) <= 1
