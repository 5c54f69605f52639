# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes as patches: lattices of points that carry their own UVs. A closed shape is a list of patches; one patch is one
UV island, which cannot overlap itself because its lattice does not fold. Knows no bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Patch:
    """A lattice of quads. Neighbouring patches of a shell share their border points, which are welded later."""

    points: Floats  # [R, C, 3] metres
    uv: Floats  # [R, C, 2] metres on the surface, not yet placed on the texture
    painted: Bools  # [R-1, C-1] cells of the "mask"
    kept: Bools  # [R-1, C-1] cells that exist; the others are holes
    density: float = 1.0  # texels per metre relative to the visible surfaces


Shell = list[Patch]


def patch(
    points: Floats,
    *,
    uv: Floats | None = None,
    painted: Bools | bool = False,
    kept: Bools | bool = True,
    density: float = 1.0,
) -> Patch:
    """A patch over `points` [R, C, 3]; its UVs are unrolled unless given."""
    cells = (points.shape[0] - 1, points.shape[1] - 1)
    return Patch(
        points=points,
        uv=unrolled(points) if uv is None else uv,
        painted=np.broadcast_to(np.asarray(painted), cells),
        kept=np.broadcast_to(np.asarray(kept), cells),
        density=density,
    )


def unrolled(points: Floats) -> Floats:
    """UVs [R, C, 2] that lay the lattice out as a rectangle, each row and column at its mean length."""
    across = np.linalg.norm(np.diff(points, axis=1), axis=2).mean(axis=0)
    along = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    u, v = (np.concatenate([[0.0], np.cumsum(steps)]) for steps in (across, along))
    return np.stack(np.meshgrid(u, v), axis=-1)


def flat(points: Floats, axes: tuple[int, int]) -> Floats:
    """UVs [R, C, 2] that look straight at the patch: the two named coordinates."""
    return points[..., list(axes)]


def moved(shell: Shell, offset: Sequence[float]) -> Shell:
    """The same shell, `offset` metres further."""
    return [replace(part, points=part.points + np.asarray(offset)) for part in shell]


def turned(shell: Shell, axes: tuple[int, int, int], signs: tuple[int, int, int] = (1, 1, 1)) -> Shell:
    """The same shell with coordinate i taken from `axes[i]` times `signs[i]`: turns by right angles, and mirrors."""
    return [replace(part, points=part.points[..., list(axes)] * np.asarray(signs)) for part in shell]


def lathe(
    profile: Sequence[Sequence[float]],
    segments: int,
    *,
    start: float = 0.0,
    painted: Bools | bool = False,
    density: float = 1.0,
) -> Patch:
    """`profile`, a line of (radius, height), turned round Z from the angle `start`. Discs are laid out as discs,
    walls as rectangles."""
    radius, height = np.asarray(profile, dtype=np.float64).T
    angle = start + np.linspace(0.0, 2.0 * np.pi, segments + 1)
    points = np.stack(
        [
            np.outer(radius, np.cos(angle)),
            np.outer(radius, np.sin(angle)),
            np.repeat(height[:, None], segments + 1, axis=1),
        ],
        axis=-1,
    )
    drawn = np.hypot(np.diff(radius), np.diff(height)).sum()
    is_disc = abs(radius[-1] - radius[0]) > 0.7 * drawn
    return patch(points, uv=flat(points, (0, 1)) if is_disc else None, painted=painted, density=density)


def ticks(*stops: float, step: float) -> Floats:
    """Coordinates from the first stop to the last: every stop, and even steps of at most `step` between them."""
    parts = [
        np.linspace(low, high, max(1, int(np.ceil(abs(high - low) / step - 1e-9))), endpoint=False)
        for low, high in pairwise(stops)
    ]
    return np.concatenate([*parts, [stops[-1]]])


def block(x: Floats, y: Floats, z: Floats) -> Floats:
    """A solid lattice [X, Y, Z, 3] with these coordinates, to be bent into shape and then skinned."""
    return np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)


def rounded(solid: Floats, half: Floats, radius: float) -> Floats:
    """A block of half size `half` [3] about the origin with its edges and corners rounded."""
    core = np.clip(solid, radius - half, half - radius)
    beyond = solid - core
    length = np.linalg.norm(beyond, axis=-1, keepdims=True)
    reach = np.abs(beyond).max(axis=-1, keepdims=True)
    squeeze: Floats = np.divide(reach, length, out=np.ones_like(length), where=length > 0)
    return core + beyond * squeeze


class Skin(NamedTuple):
    """The six sides of a solid lattice, each a lattice of points [R, C, 3]."""

    x_min: Floats
    x_max: Floats
    y_min: Floats
    y_max: Floats
    z_min: Floats
    z_max: Floats


def skin(solid: Floats) -> Skin:
    """The sides of a solid lattice [X, Y, Z, 3]; together they are closed."""
    return Skin(solid[0], solid[-1], solid[:, 0], solid[:, -1], solid[:, :, 0], solid[:, :, -1])


def slab(low: Sequence[float], high: Sequence[float], *, step: float, painted: bool = False) -> Shell:
    """A plain box between two corners, in cells of at most `step` metres."""
    solid = block(*(ticks(a, b, step=step) for a, b in zip(low, high, strict=True)))
    return [patch(side, painted=painted) for side in skin(solid)]
