# SPDX-License-Identifier: GPL-3.0-or-later
"""A school bus with a bonnet, 10 m long, facing −Y. Knows no bpy.

It is modelled as (length, width, height) with the front towards +length, and turned at the end. The body is one solid
lattice: stations along the bus, columns across it, rows up it. Windows are cells of its skin that are pressed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .patches import Bools, Floats, Shell, flat, lathe, moved, patch, skin, slab, turned

HALF_WIDTH = 1.2
FLOOR = 0.48  # of the body; the sides reach down to it, except over the wheels
REAR, WALL_TOP, WALL_FOOT, FRONT = -4.85, 3.30, 3.60, 4.85  # the wall holds the windscreen
AXLES = (-2.40, 4.20)
WHEEL_RADIUS, ARCH_RADIUS = 0.48, 0.57
WINDOWS = [-4.45 + 0.74 * n for n in range(10)]
WINDOW_WIDTH, BEVEL, PRESS = 0.66, 0.03, 0.045
PANE_ROWS = (12, 14)  # of the side windows, counted in `_rows`
DOOR_ROWS = (3, 5)
GRILLE_ROWS = (3, 9)
WINDSCREEN = (0.25, 0.80)  # from the wall's top to its foot


@dataclass(frozen=True)
class _Section:
    """Half a cross-section: rows from the skirt to the shoulder, and how far the roof rises above it."""

    half_width: Floats  # [K]
    height: Floats  # [K]
    crown: float


@dataclass(frozen=True)
class _Stations:
    """Where the cross-sections stand. All arrays are [S]."""

    length: Floats
    hood: Floats  # 0 is the body's section, 1 the hood's
    shrink: Floats


def shells() -> list[Shell]:
    """The bus as closed shells: body, wheels, and what is mounted on it."""
    parts = [_body(), *_wheels(), *_bumpers(), *_mirrors(), *_lamps(), _stop_sign()]
    return [turned(part, axes=(1, 0, 2), signs=(1, -1, 1)) for part in parts]


# --- the lattice of the body ---


def _columns() -> Floats:
    """Across the roof, -1 to 1; they frame the grille, and two panes with a pillar between them."""
    half = np.array([0.04, 0.07, 0.3, 0.52, 0.55, 0.95, 0.98, 1.08, 1.15, 1.187, HALF_WIDTH]) / HALF_WIDTH
    return np.concatenate([-half[::-1], [0.0], half])


def _floor_columns() -> Floats:
    """Across the underside, -1 to 1: as many as `_columns`, with a step where the wheel wells begin."""
    half = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.70, 0.86, 1.03, HALF_WIDTH]) / HALF_WIDTH
    return np.concatenate([-half[::-1], [0.0], half])


def _rows(skirt: float) -> Floats:
    """Heights of the body's rows: skirt, panel, rub rail, panel, window, shoulder."""
    panel = skirt + 0.03 + (1.10 - skirt) * np.array([0.0, 0.16, 0.20, 0.50, 0.80, 0.84, 1.0])
    return np.concatenate([[skirt], panel, [1.15, 1.24, 1.26, 1.58, 1.61, 1.89, 2.17, 2.20, 2.28, 2.36]])


def _body_section(skirt: float) -> _Section:
    height = _rows(skirt)
    half_width = np.full(len(height), HALF_WIDTH)
    half_width[8:10] += 0.025  # the rub rail
    return _Section(half_width, height, crown=0.64)


def _hood_section(skirt: float) -> _Section:
    rows = _rows(skirt)
    share = np.clip((rows - 1.13) / (2.36 - 1.13), 0.0, 1.0)
    return _Section(1.08 - 0.24 * np.sin(np.pi / 2 * share), np.minimum(rows, 1.13) + 0.36 * share, crown=0.13)


def _skirt(length: float) -> float:
    """The lower edge of the sides, raised over the wheels."""
    arches = [np.sqrt(max(0.0, ARCH_RADIUS**2 - (length - axle) ** 2)) for axle in AXLES]
    return FLOOR + float(max(arches))


def _slice(section: _Section, skirt: float) -> Floats:
    """The points (width, height) of a cross-section, [J, K, 2]."""
    across = _columns()[:, None]
    width = across * section.half_width
    rise = section.crown * (1.0 - np.abs(across) ** 3.0) ** (1.0 / 3.0)
    lift = np.zeros(len(section.height))
    lift[-2:] = 0.5, 1.0  # the roof's curve reaches the end walls only above their windows
    height = section.height + rise * lift
    width[:, 0] = _floor_columns() * section.half_width[0]
    height[:, 0] = np.where(np.abs(_floor_columns()) * HALF_WIDTH < 0.69, FLOOR, skirt)
    return np.stack([width, height], axis=-1)


def _side_stations() -> Floats:
    """Where the body's sections stand: at window edges, and round the rear wheel arch."""
    edges = [s + d for s in WINDOWS for d in (0.0, BEVEL, WINDOW_WIDTH / 2, WINDOW_WIDTH - BEVEL, WINDOW_WIDTH)]
    fixed = np.array([REAR, -4.65, *edges, 3.10, WALL_TOP])
    arch = _arch_stations(AXLES[0])
    clear = np.abs(arch[:, None] - fixed).min(axis=1) > 0.02
    stations: Floats = np.sort(np.concatenate([fixed, arch[clear]]))
    return stations


def _arch_stations(axle: float) -> Floats:
    angle: Floats = np.linspace(0.0, np.pi, 13)
    return axle - ARCH_RADIUS * np.cos(angle)


def _stations() -> _Stations:
    top, foot = WINDSCREEN
    body = np.array([REAR - 0.10, REAR - 0.06, *_side_stations()])
    wall = np.array([0.06, 0.14, top - 0.03, top, 0.43, 0.62, foot, foot + 0.03, 0.92])
    hood = np.array([WALL_FOOT, *_arch_stations(AXLES[1]), FRONT, FRONT + 0.07, FRONT + 0.12])
    length = np.concatenate([body, WALL_TOP + (WALL_FOOT - WALL_TOP) * wall, hood])
    share = np.concatenate([np.zeros_like(body), wall, np.ones_like(hood)])
    shrink = np.ones_like(length)
    shrink[:2] = 0.965, 0.99  # both ends are rounded a little
    shrink[-2:] = 0.985, 0.94
    return _Stations(length, share, shrink)


def _lattice(stations: _Stations) -> Floats:
    """The body's points (length, width, height), [S, J, K, 3]."""
    slices = []
    for length, hood, shrink in zip(stations.length, stations.hood, stations.shrink, strict=True):
        skirt = _skirt(length)
        points = (1.0 - hood) * _slice(_body_section(skirt), skirt) + hood * _slice(_hood_section(skirt), skirt)
        centre = np.array([0.0, 1.5 - 0.5 * hood])
        slices.append(np.insert(centre + shrink * (points - centre), 0, length, axis=-1))
    return np.stack(slices)


# --- its windows and its skin ---


@dataclass(frozen=True)
class _Pane:
    """A block of cells of one side, between two rows and two columns of its points."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def points(self) -> tuple[slice, slice]:
        """Selects the points of the pane, its corners included."""
        return slice(self.rows[0], self.rows[1] + 1), slice(self.columns[0], self.columns[1] + 1)

    @property
    def cells(self) -> tuple[slice, slice]:
        """Selects the cells of the pane."""
        return slice(*self.rows), slice(*self.columns)


def _without(side: Floats, panes: list[_Pane]) -> Bools:
    """The cells of a side [R, C, 3] that are no pane."""
    painted = np.ones((side.shape[0] - 1, side.shape[1] - 1), dtype=bool)
    for pane in panes:
        painted[pane.cells] = False
    return painted


def _between(values: Floats, low: float, high: float) -> tuple[int, int]:
    """The first and last index with a value from `low` to `high`."""
    inside = np.flatnonzero((values > low - 1e-6) & (values < high + 1e-6))
    return int(inside[0]), int(inside[-1])


def _side_panes(length: Floats, *, door: bool) -> list[_Pane]:
    spans = [_between(length, start + BEVEL, start + WINDOW_WIDTH - BEVEL) for start in WINDOWS]
    panes = [_Pane(span, PANE_ROWS) for span in spans]
    return [*panes, _Pane(spans[-1], DOOR_ROWS)] if door else panes


def _twin_columns() -> list[tuple[int, int]]:
    """The columns of the left and the right pane of windscreen and rear window."""
    low, high = 0.07 / HALF_WIDTH, 0.95 / HALF_WIDTH
    return [_between(_columns(), -high, -low), _between(_columns(), low, high)]


def _body() -> Shell:
    stations = _stations()
    solid = _lattice(stations)
    foot = int(np.flatnonzero(stations.hood == 1.0)[0])
    top = int(np.flatnonzero(stations.hood == 0.0)[-1])
    left, right = (_side_panes(stations.length, door=door) for door in (False, True))
    screen = _between(stations.hood[: foot + 1], *WINDSCREEN)
    windscreen = [_Pane(screen, columns) for columns in _twin_columns()]
    rear = [_Pane(columns, PANE_ROWS) for columns in _twin_columns()]
    grille = [_Pane(_between(_columns(), -0.52 / HALF_WIDTH, 0.52 / HALF_WIDTH), GRILLE_ROWS)]
    for panes, side, press in (
        (right, solid[:, 0], (0.0, PRESS, 0.0)),
        (left, solid[:, -1], (0.0, -PRESS, 0.0)),
        (windscreen, solid[:, :, -1], (-PRESS, 0.0, 0.0)),
        (rear, solid[0], (PRESS, 0.0, 0.0)),
        (grille, solid[-1], (-PRESS, 0.0, 0.0)),
    ):
        for pane in panes:
            side[pane.points] += press
    return [
        *_flank(skin(solid).y_min, right, top, foot),
        *_flank(skin(solid).y_max, left, top, foot),
        *_upper_side(skin(solid).z_max, windscreen, top, foot),
        patch(solid[0], uv=flat(solid[0], (1, 2)), painted=_without(solid[0], rear)),
        patch(solid[-1], uv=flat(solid[-1], (1, 2)), painted=_without(solid[-1], grille)),
        patch(skin(solid).z_min, density=0.2),
    ]


def _flank(side: Floats, panes: list[_Pane], top: int, foot: int) -> Shell:
    """One side of the bus: body, the edge of the windscreen's wall, hood."""
    painted = _without(side, panes)
    body, wall, hood = side[: top + 1], side[top : foot + 1], side[foot:]
    return [
        patch(body, uv=flat(body, (0, 2)), painted=painted[:top]),
        patch(wall, painted=painted[top:foot]),
        patch(hood, uv=flat(hood, (0, 2)), painted=painted[foot:]),
    ]


def _upper_side(side: Floats, panes: list[_Pane], top: int, foot: int) -> Shell:
    """Roof, the wall with the windscreen, the hood's upper side."""
    painted = _without(side, panes)
    wall = side[top : foot + 1]
    return [
        patch(side[: top + 1], painted=painted[:top]),
        patch(wall, uv=flat(wall, (1, 2)), painted=painted[top:foot]),
        patch(side[foot:], painted=painted[foot:]),
    ]


# --- what is mounted on it ---


def _wheels() -> list[Shell]:
    rear, front = ((AXLES[0], 1.15, 0.42), (AXLES[1], 1.05, 0.30))
    return [
        moved(turned(_wheel(width), axes=(0, 2, 1), signs=(1, sign, 1)), (axle, sign * outer, WHEEL_RADIUS))
        for axle, outer, width in (rear, front)
        for sign in (1, -1)
    ]


def _wheel(width: float, segments: int = 22) -> Shell:
    """A wheel about Z with its outer side at height 0."""
    outer = [(0.0, -0.03), (0.07, -0.03), (0.10, -0.06), (0.22, -0.07), (0.25, -0.01), (0.29, 0.0), (0.44, -0.015)]
    shoulder = (WHEEL_RADIUS, -0.05)
    tread = [shoulder, (WHEEL_RADIUS, -width / 2), (WHEEL_RADIUS, 0.05 - width)]
    inner = [tread[-1], (0.44, -width), (0.22, -width), (0.0, -width)]
    return [
        lathe([*outer, shoulder], segments, density=0.7),
        lathe(tread, segments, density=0.4),
        lathe(inner, segments, density=0.2),
    ]


def _bumpers() -> list[Shell]:
    return [
        slab((FRONT + 0.08, -1.08, 0.42), (FRONT + 0.22, 1.08, 0.70), step=0.18),
        slab((REAR - 0.20, -1.14, 0.42), (REAR - 0.06, 1.14, 0.68), step=0.18),
    ]


def _mirrors() -> list[Shell]:
    arm = slab((3.42, 0.90, 2.02), (3.46, 1.33, 2.06), step=0.1)
    glass = slab((3.42, 1.27, 1.72), (3.50, 1.49, 2.12), step=0.1)
    return [turned(part, axes=(0, 1, 2), signs=(1, sign, 1)) for part in (arm, glass) for sign in (1, -1)]


def _lamps() -> list[Shell]:
    """Headlights, and the warning lamps above windscreen and rear window."""
    front = [(FRONT + 0.08, w, 0.98, 0.13) for w in (-0.76, 0.76)]
    front += [(WALL_TOP - 0.02, w, 2.83, 0.095) for w in (-0.70, -0.46, 0.46, 0.70)]
    rear = [(REAR - 0.06, w, 2.62, 0.095) for w in (-0.78, -0.54, 0.54, 0.78)]
    rear += [(REAR - 0.06, w, 1.05, 0.10) for w in (-0.85, 0.85)]
    forward = [moved(turned(_lamp(r), axes=(2, 1, 0)), (x, w, z)) for x, w, z, r in front]
    backward = [moved(turned(_lamp(r), axes=(2, 1, 0), signs=(-1, 1, 1)), (x, w, z)) for x, w, z, r in rear]
    return forward + backward


def _lamp(radius: float, segments: int = 12) -> Shell:
    """A short drum about Z with a domed glass, its base at height 0 for sinking into the body."""
    dome = [(radius * 0.85 * np.cos(a), 0.10 + 0.035 * np.sin(a)) for a in np.linspace(0.0, np.pi / 2, 4)]
    return [
        lathe([(radius, 0.11), *dome], segments, density=0.7),
        lathe([(radius, 0.0), (radius, 0.11)], segments, density=0.4),
        lathe([(radius, 0.0), (0.0, 0.0)], segments, density=0.2),
    ]


def _stop_sign() -> Shell:
    """An octagon, folded against the left side under its windows."""
    radius, thickness = 0.24, 0.03
    plate = [
        lathe([(0.0, thickness), (radius / 2, thickness), (radius, thickness)], 8, start=np.pi / 8, density=0.7),
        lathe([(radius, thickness), (radius, 0.0)], 8, start=np.pi / 8, density=0.4),
        lathe([(radius, 0.0), (0.0, 0.0)], 8, start=np.pi / 8, density=0.2),
    ]
    return moved(turned(plate, axes=(0, 2, 1)), (1.70, HALF_WIDTH + 0.005, 0.84))
