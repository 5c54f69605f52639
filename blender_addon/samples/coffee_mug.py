# SPDX-License-Identifier: GPL-3.0-or-later
"""A coffee mug, 95 mm high, handle towards +X. Wall and handle are one surface. Knows no bpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .patches import Bools, Floats, Patch, Shell, lathe, patch, ticks

RADIUS = 0.041
HEIGHT = 0.095
THICKNESS = 0.004
SEGMENTS = 64
AROUND = 16  # points of the handle's cross-section: the border of a hole of 4 × 4 cells in the wall
RINGS = 30
BAND = (0.010, 0.086)  # where the print goes
BAND_EDGE = 0.0006  # a thin row along the band's edges, so that the mask ends sharply
HANDLE_SECTOR = np.radians(27.0)  # no print this close to the handle
UPPER, LOWER = 0.072, 0.025  # heights of the handle's ends
HANDLE_REACH = 0.030


def shells() -> list[Shell]:
    """The mug as one closed shell."""
    wall = _outer_wall()
    upper, lower = (_first_hole_row(wall, height) for height in (UPPER, LOWER))
    kept = np.ones(wall.kept.shape, dtype=bool)
    for row in (upper, lower):
        wall = replace(wall, points=_with_round_hole(wall.points, row))
        kept[row : row + 4, [-2, -1, 0, 1]] = False
    handle = _handle(_hole_border(wall, upper, down=True), _hole_border(wall, lower, down=False))
    return [[replace(wall, kept=kept), handle, *_turned_parts()]]


def _outer_wall() -> Patch:
    low, high = BAND
    rows = ticks(0.004, low, low + BAND_EDGE, high - BAND_EDGE, high, HEIGHT - THICKNESS / 2, step=0.0038)
    profile = [(RADIUS - 0.0025, 0.0), (RADIUS - 0.0007, 0.0013), *((RADIUS, z) for z in rows)]
    wall = lathe(profile, SEGMENTS)
    return replace(wall, painted=_in_band(wall.points))


def _with_round_hole(points: Floats, first_row: int) -> Floats:
    """The wall's points, moved around a hole so that its border, a square of 4 × 4 cells, becomes round."""
    points = points.copy()
    heights = points[first_row - 1 : first_row + 6, SEGMENTS // 2, 2].copy()
    for row, column in np.ndindex(7, 7):
        i, j = row - 3, column - 3
        reach = max(abs(i), abs(j))
        pull = (0.4 if reach == 3 else 1.0) * (1.0 - reach / max(np.hypot(i, j), 1.0))
        angle = (1.0 - pull) * j * 2.0 * np.pi / SEGMENTS
        height = heights[3] + (1.0 - pull) * (heights[row] - heights[3])
        # The wall's first and last column are the same line.
        points[first_row - 1 + row, [j % SEGMENTS, j % SEGMENTS or SEGMENTS]] = _on_wall(angle, height)
    return points


def _on_wall(angle: float, height: float) -> tuple[float, float, float]:
    return RADIUS * float(np.cos(angle)), RADIUS * float(np.sin(angle)), height


def _in_band(points: Floats) -> Bools:
    """Cells [R-1, C-1] of the print: a band all round, except beside the handle."""
    centre = (points[:-1, :-1] + points[1:, 1:]) / 2
    away = np.abs(np.arctan2(centre[..., 1], centre[..., 0])) > HANDLE_SECTOR
    band: Bools = away & (centre[..., 2] > BAND[0]) & (centre[..., 2] < BAND[1])
    return band


def _turned_parts() -> Shell:
    """Rim, inside and foot: everything but the outer wall."""
    inner, top, floor = RADIUS - THICKNESS, HEIGHT - THICKNESS / 2, 0.006
    arc = np.linspace(0.0, np.pi, 7)
    rim = [(inner + THICKNESS / 2 * (1 + np.cos(a)), top + THICKNESS / 2 * np.sin(a)) for a in arc]
    inside = [(inner, z) for z in ticks(top, floor + 0.008, step=0.005)]
    bend = [(inner - 0.008 * (1 - np.cos(a)), floor + 0.008 * (1 - np.sin(a))) for a in np.linspace(0, np.pi / 2, 5)]
    base = [(r, floor) for r in ticks(inner - 0.008, 0.0, step=0.006)]
    foot = [(r, 0.0) for r in (RADIUS - 0.0025, RADIUS - 0.006)]
    hollow = [(r, 0.0015) for r in ticks(RADIUS - 0.008, 0.0, step=0.007)]
    return [
        lathe(rim, SEGMENTS),
        lathe(inside + bend[1:], SEGMENTS, density=0.6),
        lathe(base, SEGMENTS, density=0.6),
        lathe(foot + hollow, SEGMENTS, density=0.6),
    ]


def _first_hole_row(wall: Patch, height: float) -> int:
    """The lowest of the five rows of points around `height`."""
    return int(np.abs(wall.points[:, 0, 2] - height).argmin()) - 2


def _angles() -> Floats:
    # From the side that faces the mug, where the UV seam is out of sight, once round and back.
    angles: Floats = np.linspace(0.5 * np.pi, 2.5 * np.pi, AROUND + 1)
    return angles


def _hole_border(wall: Patch, first_row: int, *, down: bool) -> Floats:
    """The wall's points [17, 3] around a hole, in the order of the handle's rings."""
    around = np.stack([np.cos(_angles()), np.sin(_angles())], axis=-1)
    steps = np.rint(2.0 * around / np.abs(around).max(axis=1, keepdims=True)).astype(int)
    rows = first_row + 2 + steps[:, 1] * (-1 if down else 1)
    border: Floats = wall.points[rows, steps[:, 0] % SEGMENTS]
    return border


def _handle(start: Floats, end: Floats) -> Patch:
    """A tube from one hole's border [17, 3] to the other's, along half a stretched circle in the plane y = 0."""
    turn = np.linspace(0.0, np.pi, RINGS)
    middle, half = (UPPER + LOWER) / 2, (UPPER - LOWER) / 2
    out = np.abs(np.sin(turn)) ** 0.8
    path = np.stack([RADIUS + HANDLE_REACH * out, np.zeros(RINGS), middle + half * np.cos(turn)], axis=-1)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    sideways = np.array([0.0, 1.0, 0.0])
    inward = np.cross(sideways, tangent)
    angle = _angles()[None, :, None]
    rings = path[:, None] + 0.0062 * np.cos(angle) * sideways + 0.0046 * np.sin(angle) * inward[:, None]
    return patch(_flared(rings, start, end))


def _flared(rings: Floats, start: Floats, end: Floats, reach: int = 4) -> Floats:
    """Rings that widen into the holes they join at both ends."""
    share: Floats = np.clip(1.0 - np.arange(len(rings)) / reach, 0.0, 1.0)[:, None, None] ** 2.0
    flared: Floats = rings + share * (start - rings[0]) + share[::-1] * (end - rings[-1])
    return flared
