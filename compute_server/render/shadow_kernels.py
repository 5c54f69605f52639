"""Rays towards lamps compiled for the CPU: those that ``Occlusion.visible`` sends, of all views at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba as nb
import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Lamp, LightState, SunLight

from .compiled import BLOCK, flat
from .gbuffer import GBuffer
from .light_kernels import AREA, SUN, Lamps, receive
from .occlusion import FAR, OFFSET, R2

_f = np.float32


def shapes(states: Sequence[LightState]) -> np.ndarray:
    """The extent of the lamps of all states, ``[L, 8]``: see :func:`_shape`."""
    return np.array([_shape(lamp) for state in states for lamp in state.lamps], np.float32).reshape(-1, 8)


def rays(
    lamps: Lamps,
    shape: np.ndarray,
    index: int,
    surface: GBuffer,
    flat_normals: Tensor,
    offset: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Origins and unit directions ``[P, 3]`` of rays towards the lamp number `index` of each view, whose :func:`shapes`
    are `shape`, and how far they go, ``[P]``: below 0 where a sample does not face it, or there is none; what
    ``Occlusion.hidden`` says of such a ray means nothing. `flat_normals [T, 3]` are the triangles'."""
    seen = surface.visibility
    origin, direction = torch.zeros(surface.position.shape), torch.zeros(surface.position.shape)
    distance = torch.full((len(seen.sample),), -1.0)
    samples = flat(surface.position), flat(surface.normal), flat(seen.triangle), flat(seen.sample)
    spread = *R2, _f(FAR), _f(OFFSET)
    given = *samples, seen.width * seen.height, flat_normals.numpy(), index, *lamps, shape, spread
    arguments = *given, _f(offset), flat(origin), flat(direction), flat(distance)
    _rays(*arguments)
    return origin, direction, distance


def _shape(lamp: Lamp) -> tuple[float, ...]:
    """The axes of an area lamp, and whether it is round (1); of others their radius, of a sun that at a distance of
    one."""
    if isinstance(lamp, AreaLight):
        return (*lamp.axis_x, *lamp.axis_y, float(lamp.shape == "ellipse"), 0.0)
    return (0.0,) * 6 + (1.0, math.tan(lamp.angle / 2) if isinstance(lamp, SunLight) else lamp.radius)


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _rays(  # type: ignore[no-untyped-def]
    position,
    normal,
    triangle,
    sample,
    area,
    flat_normals,
    index,
    pieces,
    kinds,
    values,
    used,
    nodes,
    first,
    shapes,
    spread,
    offset,
    origin,
    direction,
    distance,
):
    for piece in nb.prange(pieces.shape[0]):
        view, begin, end = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        lamp = first[view] + index
        if lamp < first[view + 1]:
            points = nodes[used[lamp, 0] : used[lamp, 1]]
            incident = np.empty(BLOCK, np.float32)
            for start in range(begin, end, BLOCK):
                stop = min(start + BLOCK, end)
                wide = slice(3 * start, 3 * stop)
                receive(kinds[lamp], position[wide], normal[wide], values[lamp], points, incident)
                for p in range(start, stop):
                    if incident[p - start] > 0:
                        number = sample[p] - view * area
                        toward = _toward(kinds[lamp], position, 3 * p, values[lamp], shapes[lamp], number, spread)
                        x, y, z, far = toward
                        n_x, n_y, n_z = flat_normals[triangle[p]]
                        side = n_x * x + n_y * y + n_z * z
                        lift = offset if side > 0 else -offset if side < 0 else _f(0)
                        direction[3 * p], direction[3 * p + 1], direction[3 * p + 2] = x, y, z
                        origin[3 * p] = position[3 * p] + n_x * lift
                        origin[3 * p + 1] = position[3 * p + 1] + n_y * lift
                        origin[3 * p + 2] = position[3 * p + 2] + n_z * lift
                        distance[p] = far


@nb.njit(cache=True, error_model="numpy")
def _toward(kind, position, at, lamp, shape, number, spread):  # type: ignore[no-untyped-def]
    """Stands for ``occlusion._toward``: the unit direction towards one point of a lamp, and how far that is."""
    first_step, second_step, endless, offset = spread
    across, up = _in_square(number, first_step), _in_square(number, second_step)
    if shape[6] > 0:
        angle, radius = across * _f(2 * math.pi), np.sqrt(up)
        across, up = radius * np.cos(angle), radius * np.sin(angle)
    if kind == SUN:
        x, y, z = _spread(-lamp[6], -lamp[7], -lamp[8], across * shape[7], up * shape[7])
        return x, y, z, endless
    x, y, z = lamp[3] - position[at], lamp[4] - position[at + 1], lamp[5] - position[at + 2]
    if kind == AREA:
        across, up = (across * _f(0.5), up * _f(0.5)) if shape[6] > 0 else (across - _f(0.5), up - _f(0.5))
        x += across * shape[0] + up * shape[3]
        y += across * shape[1] + up * shape[4]
        z += across * shape[2] + up * shape[5]
        far = max(np.sqrt(x * x + y * y + z * z), _f(1e-12))
        return x / far, y / far, z / far, far * (_f(1) - offset)
    far = max(np.sqrt(x * x + y * y + z * z), _f(1e-12))
    wide = shape[7] / far
    x, y, z = _spread(x / far, y / far, z / far, across * wide, up * wide)
    return x, y, z, far * (_f(1) - offset)


@nb.njit(cache=True)
def _in_square(number, step):  # type: ignore[no-untyped-def]
    place = 0.5 + (number + 1.0) * step
    return _f(place - np.floor(place))


@nb.njit(cache=True, error_model="numpy")
def _spread(x, y, z, across, up):  # type: ignore[no-untyped-def]
    """Stands for ``occlusion._spread``: a unit direction moved across itself."""
    a_x, a_y, a_z = (_f(0), -z, y) if abs(z) > _f(0.9) else (-y, x, _f(0))
    unit = _f(1) / max(np.sqrt(a_x * a_x + a_y * a_y + a_z * a_z), _f(1e-12))
    a_x, a_y, a_z = a_x * unit, a_y * unit, a_z * unit
    u_x, u_y, u_z = y * a_z - z * a_y, z * a_x - x * a_z, x * a_y - y * a_x
    x, y, z = x + across * a_x + up * u_x, y + across * a_y + up * u_y, z + across * a_z + up * u_z
    unit = _f(1) / max(np.sqrt(x * x + y * y + z * z), _f(1e-12))
    return x * unit, y * unit, z * unit
