"""Light of lamps on matte surfaces, compiled for the CPU: all lamps of all views in one call.

Stands for the torch functions of ``lights`` that ``Lighting.reflect_reference`` is made of, equal to them by test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Lamp, LightState, PointLight, SpotLight, SunLight, Vector

from .compiled import flat, pieces
from .lights import AREA_NODES, NEAR_AREA_NODES, NEARNESS, area_nodes

SUN, POINT, SPOT, AREA = range(4)
#: Samples that are looked at together, so that what lies between two loops stays in the cache.
BLOCK = 512
KINDS: dict[type, int] = {SunLight: SUN, PointLight: POINT, SpotLight: SPOT, AreaLight: AREA}


class Lamps(NamedTuple):
    """The lamps of the states of all views: ``kinds [L]`` and ``values [L, 13]`` (see `_values`); ``nodes [K, 4]``, the
    points of each (offset from the lamp, weight; one, but of area lamps), and ``used [L, 2]``, where they begin and
    end; where the lamps of each view begin, ``first [N + 1]``; and the ``pieces [C, 3]`` of the views' samples (see
    `compiled.pieces`), each of which one thread lights."""

    pieces: np.ndarray
    kinds: np.ndarray
    values: np.ndarray
    used: np.ndarray
    nodes: np.ndarray
    first: np.ndarray


def radiance(
    lamps: Lamps,
    position: Tensor,
    normal: Tensor,
    share: float,
    worlds: Sequence[Vector],
    visible: Tensor | None = None,
) -> Tensor:
    """`share` times the radiance ``[P, 3]`` of a white matte surface under the lamps of each view and a uniform world
    of that of `worlds`; ``visible [L, P] bool`` says whether samples see each lamp of their view (None: they do)."""
    result = torch.empty(position.shape)
    around = np.array(worlds, np.float32).reshape(-1, 3)
    arguments = flat(position), flat(normal), *lamps, around, flags(visible), share / math.pi, flat(result)
    _radiance(*arguments)
    return result


def flags(visible: Tensor | None) -> np.ndarray:
    """`visible` as kernels take it: empty for None."""
    return np.zeros(0, np.bool_) if visible is None else flat(visible)


class Table(NamedTuple):
    """The lamps of the states of all views, wherever samples lie: ``kinds``, ``values``, ``nodes`` and ``first`` as in
    :class:`Lamps`; ``spans [L, 3]`` says where the nodes of each for far samples begin, and those for near ones, and
    end."""

    kinds: np.ndarray
    values: np.ndarray
    spans: np.ndarray
    nodes: np.ndarray
    first: np.ndarray


def table_of(states: Sequence[LightState]) -> Table:
    """The lamps of each view's state."""
    lamps = [lamp for state in states for lamp in state.lamps]
    nodes = [
        area_nodes(lamp, count) if isinstance(lamp, AreaLight) else np.zeros((1, 4))
        for lamp in lamps
        for count in (AREA_NODES, NEAR_AREA_NODES)
    ]
    ends = np.cumsum([0, *map(len, nodes)])
    return Table(
        kinds=np.array([KINDS[type(lamp)] for lamp in lamps], np.int64),
        values=np.array([_values(lamp) for lamp in lamps], np.float32).reshape(-1, 13),
        spans=np.stack([ends[:-2:2], ends[1:-1:2], ends[2::2]], axis=1) if lamps else np.zeros((0, 3), np.int64),
        nodes=np.concatenate([np.zeros((0, 4)), *nodes]).astype(np.float32),
        first=np.cumsum([0, *(len(state.lamps) for state in states)]),
    )


def lamps_of(states: Sequence[LightState], position: Tensor, view_start: Tensor) -> Lamps:
    """The lamps of each view's state, with as many points as do for samples at ``position [P, 3]``."""
    table = table_of(states)
    used = np.empty((len(table.kinds), 2), np.int64)
    _choose_points(flat(position), view_start.numpy(), table.kinds, table.values, table.spans, table.first, used)
    return Lamps(pieces(view_start), table.kinds, table.values, used, table.nodes, table.first)


def _values(lamp: Lamp) -> tuple[float, ...]:
    """Power, position and direction (unit; an area lamp's normal), and two numbers: cosine and softness of a spot's
    cone; half an area lamp's cone (negative: no limit) and that squared distance which is near; and 0."""
    position = (0.0, 0.0, 0.0) if isinstance(lamp, SunLight) else lamp.position
    if isinstance(lamp, SunLight):
        return (*lamp.power, *position, *_unit(np.array(lamp.direction)), 0.0, 0.0, 0.0, 0.0)
    if isinstance(lamp, SpotLight):
        cos_half = math.cos(lamp.angle / 2)
        smooth = max(lamp.blend * (1 - cos_half), 1e-6)
        return (*lamp.power, *position, *_unit(np.array(lamp.direction)), cos_half, smooth, 0.0, 0.0)
    if isinstance(lamp, AreaLight):
        half = lamp.spread / 2
        near = (NEARNESS * float(max(np.linalg.norm(lamp.axis_x), np.linalg.norm(lamp.axis_y)))) ** 2
        limits = (math.tan(half), max(math.tan(half) - half, 1e-6)) if half < math.pi / 2 - 1e-4 else (-1.0, 1.0)
        return (*lamp.power, *position, *_unit(np.cross(lamp.axis_y, lamp.axis_x)), *limits, near, 0.0)
    return (*lamp.power, *position, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _unit(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values / max(float(np.linalg.norm(values)), 1e-12)
    return float(x), float(y), float(z)


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _radiance(  # type: ignore[no-untyped-def]
    position, normal, pieces, kinds, values, used, nodes, first, worlds, visible, share, result
):
    """A block of samples after the other; for each lamp a loop with nothing to choose inside, which takes several
    samples at a time."""
    share, samples = np.float32(share), position.shape[0] // 3
    for piece in nb.prange(pieces.shape[0]):
        view, begin, end = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        incident = np.empty(BLOCK, np.float32)
        for start in range(begin, end, BLOCK):
            block = slice(3 * start, 3 * min(start + BLOCK, end))
            p, n, lit = position[block], normal[block], result[block]
            many = lit.shape[0] // 3
            around = share * np.float32(math.pi)
            r, g, b = worlds[view, 0] * around, worlds[view, 1] * around, worlds[view, 2] * around
            for k in range(many):
                lit[3 * k], lit[3 * k + 1], lit[3 * k + 2] = r, g, b
            for lamp in range(first[view], first[view + 1]):
                receive(kinds[lamp], p, n, values[lamp], nodes[used[lamp, 0] : used[lamp, 1]], incident)
                seen = (lamp - first[view]) * samples + start
                hide(incident, visible[seen : seen + many])
                r, g, b = share * values[lamp, 0], share * values[lamp, 1], share * values[lamp, 2]
                for k in range(many):
                    received = max(incident[k], np.float32(0))
                    lit[3 * k] += received * r
                    lit[3 * k + 1] += received * g
                    lit[3 * k + 2] += received * b


@nb.njit(cache=True, parallel=True, nogil=True)
def _choose_points(position, view_start, kinds, values, spans, first, used):  # type: ignore[no-untyped-def]
    """`spans [L, 3]` says where the points of each lamp for far samples begin, and those for near ones, and end."""
    for view in nb.prange(view_start.shape[0] - 1):
        samples = position[3 * view_start[view] : 3 * view_start[view + 1]]
        for lamp in range(first[view], first[view + 1]):
            near = kinds[lamp] == AREA and _nearest(samples, values[lamp]) < values[lamp, 11]
            used[lamp, 0], used[lamp, 1] = spans[lamp, 1 if near else 0], spans[lamp, 2 if near else 1]


@nb.njit(cache=True)
def hide(received, visible):  # type: ignore[no-untyped-def]
    """Samples receive nothing of what they do not see; all see it where `visible` is empty."""
    for k in range(visible.shape[0]):
        received[k] = received[k] if visible[k] else np.float32(0)


@nb.njit(cache=True)
def receive(kind, position, normal, value, nodes, incident):  # type: ignore[no-untyped-def]
    """Irradiance of samples from a lamp for a power of one; below zero on the side that faces away."""
    if kind == SUN:
        _sun(normal, value, incident)
    elif kind == AREA:
        _area_lamp(position, normal, value, nodes, incident)
    elif kind == SPOT:
        _spot(position, normal, value, incident)
    else:
        _point(position, normal, value, incident)


@nb.njit(cache=True, error_model="numpy")
def _sun(normal, value, incident):  # type: ignore[no-untyped-def]
    d_x, d_y, d_z = value[6], value[7], value[8]
    for i in range(normal.shape[0] // 3):
        incident[i] = -(normal[3 * i] * d_x + normal[3 * i + 1] * d_y + normal[3 * i + 2] * d_z)


@nb.njit(cache=True, error_model="numpy")
def _point(position, normal, value, incident):  # type: ignore[no-untyped-def]
    for i in range(position.shape[0] // 3):
        x, y, z = position[3 * i] - value[3], position[3 * i + 1] - value[4], position[3 * i + 2] - value[5]
        square = max(x * x + y * y + z * z, np.float32(1e-12))
        toward = -(normal[3 * i] * x + normal[3 * i + 1] * y + normal[3 * i + 2] * z)
        incident[i] = toward * np.float32(1 / (4 * math.pi)) / (square * np.sqrt(square))


@nb.njit(cache=True, error_model="numpy")
def _spot(position, normal, value, incident):  # type: ignore[no-untyped-def]
    _point(position, normal, value, incident)
    for i in range(position.shape[0] // 3):
        x, y, z = position[3 * i] - value[3], position[3 * i + 1] - value[4], position[3 * i + 2] - value[5]
        cos = (x * value[6] + y * value[7] + z * value[8]) / np.sqrt(max(x * x + y * y + z * z, np.float32(1e-12)))
        t = min(max((cos - value[9]) / value[10], np.float32(0)), np.float32(1))
        incident[i] *= t * t * (np.float32(3) - np.float32(2) * t)


@nb.njit(cache=True, error_model="numpy")
def _area_lamp(position, normal, value, nodes, incident):  # type: ignore[no-untyped-def]
    for i in range(position.shape[0] // 3):
        x, y, z = position[3 * i] - value[3], position[3 * i + 1] - value[4], position[3 * i + 2] - value[5]
        emitted = max(x * value[6] + y * value[7] + z * value[8], np.float32(0))
        n_x, n_y, n_z = normal[3 * i], normal[3 * i + 1], normal[3 * i + 2]
        incident[i] = _area(nodes, x, y, z, n_x, n_y, n_z, emitted, value[9], value[10])


@nb.njit(cache=True)
def _nearest(position, value):  # type: ignore[no-untyped-def]
    """The least squared distance of samples from a lamp."""
    least = np.float32(np.inf)
    for p in range(position.shape[0] // 3):
        x, y, z = position[3 * p] - value[3], position[3 * p + 1] - value[4], position[3 * p + 2] - value[5]
        least = min(least, x * x + y * y + z * z)
    return least


@nb.njit(cache=True, error_model="numpy")
def _area(nodes, x, y, z, n_x, n_y, n_z, emitted, tangent, softness):  # type: ignore[no-untyped-def]
    """Irradiance at `x`, `y`, `z` from an area lamp for a power of one; see ``lights._area``."""
    zero, total = np.float32(0), np.float32(0)
    for k in range(np.uint64(nodes.shape[0])):
        away_x, away_y, away_z = x - nodes[k, 0], y - nodes[k, 1], z - nodes[k, 2]
        square = max(away_x * away_x + away_y * away_y + away_z * away_z, np.float32(1e-12))
        received = max(-(n_x * away_x + n_y * away_y + n_z * away_z), zero) / (square * square)
        if tangent >= zero:
            cos = max(emitted / np.sqrt(square), np.float32(1e-6))
            angle = np.sqrt(max(np.float32(1) / (cos * cos) - np.float32(1), zero))
            received *= max((tangent - angle) / softness, zero)
        total += received * nodes[k, 3]
    return total * emitted * np.float32(1 / math.pi)
