# SPDX-License-Identifier: GPL-3.0-or-later
"""A traffic light's head with three lamps under visors, 1.1 m high, facing −Y. Knows no bpy."""

from __future__ import annotations

import numpy as np

from .patches import Floats, Shell, block, lathe, moved, patch, rounded, skin, ticks, turned

WIDTH, DEPTH, MODULE = 0.36, 0.22, 0.34
HUB = 0.05  # height of the pipe stubs above and below
GROOVE = 0.012
FRONT = -DEPTH / 2
LAMP_RADIUS = 0.145
SEGMENTS = 48


def shells() -> list[Shell]:
    """Housing, and for each lamp its lens and its visor, and the stubs of the mast."""
    middle = HUB + 1.5 * MODULE
    lamps = [moved(part, (0.0, FRONT, middle + step * MODULE)) for step in (1, 0, -1) for part in (_lens(), _visor())]
    stubs = [moved(_stub(), (0.0, 0.0, z)) for z in (0.0, HUB + 3 * MODULE - 0.02)]
    return [moved(_housing(), (0.0, 0.0, middle)), *lamps, *stubs]


def _housing() -> Shell:
    """A rounded box, drawn in where its three sections meet."""
    half = np.array([WIDTH, DEPTH, 3 * MODULE]) / 2
    radius, lip = 0.03, 0.012
    joints = [z + d for z in (-MODULE / 2, MODULE / 2) for d in (-lip, 0.0, lip)]
    corner = [0.4 * radius, radius]
    stops = [
        [-h, *(-h + c for c in corner), *inside, *(h - c for c in reversed(corner)), h]
        for h, inside in zip(half, ([], [], joints), strict=True)
    ]
    solid = rounded(block(*(ticks(*line, step=0.033) for line in stops)), half, radius)
    nearest = np.abs(np.abs(solid[..., 2]) - MODULE / 2)
    drawn_in = GROOVE * np.clip(1.0 - nearest / lip, 0.0, 1.0)
    solid[..., :2] *= 1.0 - drawn_in[..., None] / half[:2]
    return [patch(side, painted=True) for side in skin(solid)]


def _lens() -> Shell:
    """A shallow dome in a ring, its back hidden in the housing; about the origin, facing −Y."""
    rise = np.linspace(0.0, np.pi / 2, 9)
    dome_radius = LAMP_RADIUS - 0.02
    dome = [(dome_radius * np.cos(a), 0.004 + 0.035 * np.sin(a)) for a in rise]
    ring = [(LAMP_RADIUS, 0.012), (dome_radius + 0.004, 0.012)]
    back = [(r, -0.01) for r in ticks(LAMP_RADIUS, 0.0, step=0.08)]
    parts = [
        lathe(ring + dome, SEGMENTS),
        lathe([back[0], ring[0]], SEGMENTS, density=0.5),
        lathe(back, SEGMENTS, density=0.1),
    ]
    return turned(parts, axes=(0, 2, 1), signs=(1, -1, 1))


def _visor() -> Shell:
    """A tunnel, open below, cut back towards its lower ends; about the origin, facing −Y."""
    reach = np.radians(125.0)
    solid = block(ticks(-reach, reach, step=0.11), np.array([0.0, 1.0]), ticks(0.0, 1.0, step=0.11))
    return [patch(side, painted=True) for side in skin(_bent_to_tunnel(solid))]


def _bent_to_tunnel(solid: Floats) -> Floats:
    """Takes (angle from the top, 0 inside to 1 outside, 0 root to 1 tip) to a tunnel's points."""
    angle, layer, along = np.moveaxis(solid, -1, 0)
    radius = LAMP_RADIUS + 0.002 + 0.006 * layer
    length = 0.15 + 0.09 * np.cos(angle)
    return np.stack([radius * np.sin(angle), 0.008 - (length + 0.008) * along, radius * np.cos(angle)], axis=-1)


def _stub() -> Shell:
    height, radius = HUB + 0.02, 0.05
    return [
        lathe([(0.0, height), (radius / 2, height), (radius, height)], 32),
        lathe([(radius, z) for z in ticks(height, 0.0, step=0.02)], 32),
        lathe([(radius, 0.0), (radius / 2, 0.0), (0.0, 0.0)], 32),
    ]
