"""Light that nothing hides on matte surfaces, compiled for the CPU: all lamps of all views in one call.

Stands for the torch functions of ``lights`` that ``Lighting.reflect`` is made of, equal to them by test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba as nb
import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Lamp, LightState, PointLight, SpotLight, SunLight

from .lights import AREA_NODES, NEAR_AREA_NODES, NEARNESS, area_nodes

SUN, POINT, SPOT, AREA = range(4)
KINDS: dict[type, int] = {SunLight: SUN, PointLight: POINT, SpotLight: SPOT, AreaLight: AREA}


def radiance(
    states: Sequence[LightState], position: Tensor, normal: Tensor, view_start: Tensor, share: float
) -> Tensor:
    """`share` times the radiance ``[P, 3]`` of a white matte surface under the lamps and the uniform world of each
    view's state."""
    worlds = np.array([state.world for state in states], np.float32).reshape(-1, 3)
    result = torch.empty(position.shape)
    surface = position.numpy(), normal.numpy(), view_start.numpy()
    arguments = *surface, *_tables(states), worlds, share / math.pi, result.numpy()
    _radiance(*arguments)
    return result


def _tables(states: Sequence[LightState]) -> tuple[np.ndarray, ...]:
    """The lamps of all states: their kinds and values (see `_values`), where the points of area lamps begin and end
    (far and near), those points (offset from the lamp, weight), and where the lamps of each state begin."""
    lamps = [lamp for state in states for lamp in state.lamps]
    first = np.cumsum([0, *(len(state.lamps) for state in states)])
    nodes = [
        area_nodes(lamp, count) if isinstance(lamp, AreaLight) else np.zeros((0, 4))
        for lamp in lamps
        for count in (AREA_NODES, NEAR_AREA_NODES)
    ]
    ends = np.cumsum([0, *map(len, nodes)])
    spans = np.stack([ends[:-2:2], ends[1:-1:2], ends[2::2]], axis=1) if lamps else np.zeros((0, 3), np.int64)
    kinds = np.array([KINDS[type(lamp)] for lamp in lamps], np.int64)
    values = np.array([_values(lamp) for lamp in lamps], np.float32).reshape(-1, 13)
    points = np.concatenate([np.zeros((0, 4)), *nodes]).astype(np.float32)
    return kinds, values, spans, points, first


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


@nb.njit(cache=True, parallel=True, nogil=True)
def _radiance(  # type: ignore[no-untyped-def]
    position, normal, view_start, kinds, values, spans, nodes, first, worlds, share, result
):
    share = np.float32(share)
    for view in nb.prange(view_start.shape[0] - 1):
        begin, end = np.uint64(view_start[view]), np.uint64(view_start[view + 1])
        around = share * np.float32(math.pi)
        r, g, b = worlds[view, 0] * around, worlds[view, 1] * around, worlds[view, 2] * around
        for p in range(begin, end):
            result[p, 0], result[p, 1], result[p, 2] = r, g, b
        for lamp in range(first[view], first[view + 1]):
            kind, value = kinds[lamp], values[lamp]
            r, g, b = share * value[0], share * value[1], share * value[2]
            place = value[3], value[4], value[5]
            d_x, d_y, d_z = value[6], value[7], value[8]
            one, other = value[9], value[10]
            low, high = spans[lamp, 0], spans[lamp, 1]
            if kind == AREA and _nearest(position, begin, end, place) < value[11]:
                low, high = spans[lamp, 1], spans[lamp, 2]
            for p in range(begin, end):
                n_x, n_y, n_z = normal[p, 0], normal[p, 1], normal[p, 2]
                x, y, z = position[p, 0] - place[0], position[p, 1] - place[1], position[p, 2] - place[2]
                outward = x * d_x + y * d_y + z * d_z
                if kind == SUN:
                    incident = -(n_x * d_x + n_y * d_y + n_z * d_z)
                elif kind == AREA:
                    incident = _area(nodes, low, high, x, y, z, n_x, n_y, n_z, max(outward, np.float32(0)), one, other)
                else:
                    inverse = np.float32(1) / np.sqrt(max(x * x + y * y + z * z, np.float32(1e-12)))
                    incident = -(n_x * x + n_y * y + n_z * z) * inverse * inverse * inverse
                    incident *= np.float32(1 / (4 * math.pi))
                    if kind == SPOT:
                        t = min(max((outward * inverse - one) / other, np.float32(0)), np.float32(1))
                        incident *= t * t * (np.float32(3) - np.float32(2) * t)
                incident = max(incident, np.float32(0))
                result[p, 0] += incident * r
                result[p, 1] += incident * g
                result[p, 2] += incident * b


@nb.njit(cache=True)
def _nearest(position, begin, end, place):  # type: ignore[no-untyped-def]
    """The least squared distance of the samples of a view from a lamp."""
    least = np.float32(np.inf)
    for p in range(begin, end):
        x, y, z = position[p, 0] - place[0], position[p, 1] - place[1], position[p, 2] - place[2]
        least = min(least, x * x + y * y + z * z)
    return least


@nb.njit(cache=True)
def _area(nodes, low, high, x, y, z, n_x, n_y, n_z, emitted, tangent, softness):  # type: ignore[no-untyped-def]
    """Irradiance at `x`, `y`, `z` from an area lamp for a power of one; see ``lights._area``."""
    zero, total = np.float32(0), np.float32(0)
    for k in range(np.uint64(low), np.uint64(high)):
        away_x, away_y, away_z = x - nodes[k, 0], y - nodes[k, 1], z - nodes[k, 2]
        square = max(away_x * away_x + away_y * away_y + away_z * away_z, np.float32(1e-12))
        received = max(-(n_x * away_x + n_y * away_y + n_z * away_z), zero) / (square * square)
        if tangent >= zero:
            cos = max(emitted / np.sqrt(square), np.float32(1e-6))
            angle = np.sqrt(max(np.float32(1) / (cos * cos) - np.float32(1), zero))
            received *= max((tangent - angle) / softness, zero)
        total += received * nodes[k, 3]
    return total * emitted * np.float32(1 / math.pi)
