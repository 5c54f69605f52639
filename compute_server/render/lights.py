"""What Blender's lamps bring to surface points, in Blender's units. Nothing hides them here, and nothing is textured.

Formulas: DESIGN.md §3, agreed with Cycles. Spot falloff as in Cycles' ``spot_light_attenuation``: smoothstep of
(cosθ in the spot's frame − cos of the half angle) / blend. Spread of area lamps as in its
``area_light_spread_attenuation``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Lamp, SpotLight, SunLight, Vector

#: Gauss–Legendre nodes per axis of an area light: exact to a polynomial of degree 2n − 1 in each.
AREA_NODES = 3
#: The same for points nearer than the lamp is wide, where its light changes quickly.
NEAR_AREA_NODES = 8
#: How near that is, in widths of the lamp.
NEARNESS = 1.5


def irradiance(lamps: Sequence[Lamp], position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance E in W/m² (linear RGB) at points `position [P, 3]` with unit `normal [P, 3]`; [P, 3]."""
    if not lamps:
        return torch.zeros_like(position)
    incident = torch.stack([incidence(lamp, position, normal) for lamp in lamps], dim=1)
    return incident @ torch.stack([vector(lamp.power, position) for lamp in lamps])


def incidence(lamp: Lamp, position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance for a power of one, [P]."""
    if isinstance(lamp, SunLight):
        return (normal @ -unit(lamp.direction, position)).clamp_min_(0.0)
    relative = position - vector(lamp.position, position)
    if isinstance(lamp, AreaLight):
        return _area(lamp, relative, normal)
    square = dot(relative, relative).clamp_min_(1e-12)
    inverse = square.rsqrt()
    incident = dot(normal, relative).clamp_max_(0.0) * inverse * inverse * inverse * (-1 / (4 * math.pi))
    return incident * _cone(lamp, relative, square) if isinstance(lamp, SpotLight) else incident


def emitters(lamp: Lamp, position: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The lamp as points: unit directions towards each [P, 3], and the irradiance for a power of one that a surface
    facing it gets from it [P]. Σ received · max(0, n · toward) over all is :func:`incidence`."""
    if isinstance(lamp, SunLight):
        yield -unit(lamp.direction, position).expand(position.shape), torch.ones_like(position[:, 0])
        return
    relative = position - vector(lamp.position, position)
    if isinstance(lamp, AreaLight):
        yield from _area_emitters(lamp, relative)
        return
    square = dot(relative, relative).clamp_min_(1e-12)
    received = 1 / (4 * math.pi * square)
    if isinstance(lamp, SpotLight):
        received = received * _cone(lamp, relative, square)
    yield relative * -square.rsqrt()[:, None], received


def _area_emitters(lamp: AreaLight, relative: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    nodes, weights = _area_nodes(lamp, relative)
    out = unit(tuple(np.cross(lamp.axis_y, lamp.axis_x)), relative)
    for node, weight in zip(nodes, weights, strict=True):
        away = relative - node
        square = dot(away, away).clamp_min_(1e-12)
        cos_lamp = (away @ out).clamp_min_(0.0) * square.rsqrt()
        yield away * -square.rsqrt()[:, None], weight * cos_lamp * _spread(lamp, cos_lamp) / (math.pi * square)


def _spread(lamp: AreaLight, cos_lamp: Tensor) -> Tensor:
    """How much of an area lamp's light goes out at an angle to its normal, [P]; 1 for a lamp without limit."""
    half = lamp.spread / 2
    if half > math.pi / 2 - 1e-4:
        return torch.ones_like(cos_lamp)
    tangent = (cos_lamp.clamp_min(1e-6) ** -2 - 1).clamp_min_(0.0).sqrt_()
    return ((math.tan(half) - tangent) / max(math.tan(half) - half, 1e-6)).clamp_min_(0.0)


def _cone(light: SpotLight, relative: Tensor, square: Tensor) -> Tensor:
    """How much of a spot's light goes towards points at `relative [P, 3]` from it, [P] in [0, 1]."""
    cos_angle = (relative @ unit(light.direction, relative)) * square.rsqrt()
    cos_half = math.cos(light.angle / 2)
    smooth = max(light.blend * (1 - cos_half), 1e-6)
    t = ((cos_angle - cos_half) / smooth).clamp(0.0, 1.0)
    return t * t * (3 - 2 * t)


def _area(light: AreaLight, relative: Tensor, normal: Tensor) -> Tensor:
    """Σ over nodes of weight · cosθ · cosθ′ / d² / π: radiance is power / (π A), and the sum is the mean over A.

    With t from the surface to a node, cosθ · cosθ′ / d² is (n·t)(−e·t) / |t|⁴, and e·t is the same for all nodes.
    Products of points and nodes are matrix products, several times faster than [P, nodes, 3] differences.
    """
    nodes, weights = _area_nodes(light, relative)
    toward_normal = torch.addmm(-dot(normal, relative)[:, None], normal, nodes.T)
    square = torch.addmm(dot(relative, relative)[:, None] + dot(nodes, nodes), relative, nodes.T, alpha=-2)
    square.clamp_min_(1e-12)
    emitted = (relative @ unit(tuple(np.cross(light.axis_y, light.axis_x)), relative)).clamp_min_(0.0)
    received = toward_normal.clamp_min_(0.0) / square.square()
    if light.spread < math.pi - 1e-4:
        received = received * _spread(light, emitted[:, None] * square.rsqrt())
    return (received @ weights) * emitted / math.pi


def dot(a: Tensor, b: Tensor) -> Tensor:
    """a · b for rows of ``[P, 3]``, [P]; torch's sum over a last dimension of three is several times slower."""
    return torch.addcmul(torch.addcmul(a[:, 0] * b[:, 0], a[:, 1], b[:, 1]), a[:, 2], b[:, 2])


def _area_nodes(light: AreaLight, relative: Tensor) -> tuple[Tensor, Tensor]:
    """Points on a lamp relative to its centre [K, 3] and their weights [K] (sum 1), enough for points at `relative`."""
    wide = max(np.linalg.norm(light.axis_x), np.linalg.norm(light.axis_y))
    near = len(relative) > 0 and float(dot(relative, relative).min()) < (NEARNESS * wide) ** 2
    found = area_nodes(light, NEAR_AREA_NODES if near else AREA_NODES)
    return vector(found[:, :3], relative), vector(found[:, 3], relative)


def area_nodes(light: AreaLight, count: int) -> np.ndarray:
    """Points on a lamp relative to its centre, and their weights (sum 1), ``[K, 4]``; `count` on each axis."""
    across = np.array(_unit_nodes(light.shape, count))
    points = across[:, :1] * np.array(light.axis_x) + across[:, 1:2] * np.array(light.axis_y)
    return np.concatenate([points, across[:, 2:]], axis=1)


@functools.cache
def _unit_nodes(shape: str, count: int) -> list[tuple[float, float, float]]:
    """Points on a light of edge (or diameter) 1 about its centre, and their weights (sum 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)  # type: ignore[no-untyped-call]
    if shape == "rectangle":
        return [
            (x / 2, y / 2, wx * wy / 4)
            for x, wx in zip(nodes, weights, strict=True)
            for y, wy in zip(nodes, weights, strict=True)
        ]
    # The disk in polar coordinates: Gauss–Legendre in the squared radius, equal angles.
    angles = (np.arange(2 * count) + 0.5) * math.pi / count
    return [
        (radius * math.cos(a) / 2, radius * math.sin(a) / 2, w / 2 / len(angles))
        for radius, w in zip(np.sqrt((nodes + 1) / 2), weights, strict=True)
        for a in angles
    ]


def vector(values: Vector | tuple[float, ...] | np.ndarray, like: Tensor) -> Tensor:
    """`values` as a tensor of the kind of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def unit(values: Vector | tuple[float, ...], like: Tensor) -> Tensor:
    """`values` as a tensor of length one."""
    return torch.nn.functional.normalize(vector(values, like), dim=0)
