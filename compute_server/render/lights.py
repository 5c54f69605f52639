"""Irradiance of Blender's lights at surface points, with Blender's units. No shadows, no textures.

Formulas: DESIGN.md §3, agreed with Cycles. Spot falloff as in Cycles' ``spot_light_attenuation``: smoothstep of
(cosθ in the spot's frame − cos of the half angle) / blend.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Lamp, LightState, SpotLight, SunLight, Vector

#: Gauss–Legendre nodes per axis of an area light: exact to a polynomial of degree 5 in each.
AREA_NODES = 3


def irradiance(state: LightState, position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance E in W/m² (linear RGB) at points `position [P, 3]` with unit `normal [P, 3]`; [P, 3].

    The uniform world of radiance L adds π·L: every point sees half of it unhindered.
    """
    world = math.pi * _vector(state.world, position)
    if not state.lamps:
        return world.expand(position.shape)
    incident = torch.stack([_incident(lamp, position, normal) for lamp in state.lamps], dim=1)
    power = torch.stack([_vector(lamp.power, position) for lamp in state.lamps])
    return torch.addmm(world, incident, power)


def _incident(light: Lamp, position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance for a power of one, [P]."""
    if isinstance(light, SunLight):
        return (normal @ -_unit(light.direction, position)).clamp_min_(0.0)
    relative = position - _vector(light.position, position)
    if isinstance(light, AreaLight):
        return _area(light, relative, normal)
    square = _dot(relative, relative).clamp_min_(1e-12)
    inverse = square.rsqrt()
    incident = _dot(normal, relative).clamp_max_(0.0) * inverse * inverse * inverse * (-1 / (4 * math.pi))
    return incident * _cone(light, relative, square) if isinstance(light, SpotLight) else incident


def _cone(light: SpotLight, relative: Tensor, square: Tensor) -> Tensor:
    """How much of a spot's light goes towards points at `relative [P, 3]` from it, [P] in [0, 1]."""
    cos_angle = (relative @ _unit(light.direction, relative)) * square.rsqrt()
    cos_half = math.cos(light.angle / 2)
    smooth = max(light.blend * (1 - cos_half), 1e-6)
    t = ((cos_angle - cos_half) / smooth).clamp(0.0, 1.0)
    return t * t * (3 - 2 * t)


def _area(light: AreaLight, relative: Tensor, normal: Tensor) -> Tensor:
    """Σ over nodes of weight · cosθ · cosθ′ / d² / π: radiance is power / (π A), and the sum is the mean over A.

    With t from the surface to a node, cosθ · cosθ′ / d² is (n·t)(−e·t) / |t|⁴, and e·t is the same for all nodes.
    Products of points and nodes are matrix products, several times faster than [P, nodes, 3] differences.
    """
    axis_x, axis_y = np.array(light.axis_x), np.array(light.axis_y)
    across = np.array(_area_nodes(light.shape))
    nodes = torch.tensor(across[:, :1] * axis_x + across[:, 1:2] * axis_y, dtype=relative.dtype, device=relative.device)
    weights = torch.tensor(across[:, 2], dtype=relative.dtype, device=relative.device)
    toward_normal = torch.addmm(-_dot(normal, relative)[:, None], normal, nodes.T)
    square = torch.addmm(_dot(relative, relative)[:, None] + _dot(nodes, nodes), relative, nodes.T, alpha=-2)
    emitted = (relative @ _unit(tuple(np.cross(axis_y, axis_x)), relative)).clamp_min_(0.0)
    received = (toward_normal.clamp_min_(0.0) / square.clamp_min_(1e-12).square_()) @ weights
    return received * emitted / math.pi


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """a · b for rows of ``[P, 3]``, [P]; torch's sum over a last dimension of three is several times slower."""
    return torch.addcmul(torch.addcmul(a[:, 0] * b[:, 0], a[:, 1], b[:, 1]), a[:, 2], b[:, 2])


def _area_nodes(shape: str) -> list[tuple[float, float, float]]:
    """Points on a light of edge (or diameter) 1 about its centre, and their weights (sum 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(AREA_NODES)  # type: ignore[no-untyped-call]
    if shape == "rectangle":
        return [
            (x / 2, y / 2, wx * wy / 4)
            for x, wx in zip(nodes, weights, strict=True)
            for y, wy in zip(nodes, weights, strict=True)
        ]
    # The disk in polar coordinates: Gauss–Legendre in the squared radius, equal angles.
    angles = (np.arange(2 * AREA_NODES) + 0.5) * math.pi / AREA_NODES
    return [
        (radius * math.cos(a) / 2, radius * math.sin(a) / 2, w / 2 / len(angles))
        for radius, w in zip(np.sqrt((nodes + 1) / 2), weights, strict=True)
        for a in angles
    ]


def _vector(values: Vector | tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _unit(values: Vector | tuple[float, ...], like: Tensor) -> Tensor:
    return torch.nn.functional.normalize(_vector(values, like), dim=0)
