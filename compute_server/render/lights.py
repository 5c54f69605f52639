"""Irradiance of Blender's lights at surface points, with Blender's units. No shadows, no textures.

Formulas: DESIGN.md §3, agreed with Cycles. Spot falloff as in Cycles' ``spot_light_attenuation``: smoothstep of
(cosθ in the spot's frame − cos of the half angle) / blend.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from shared.scene import AreaLight, Light, LightState, PointLight, SpotLight, SunLight, Vector

#: Gauss–Legendre nodes per axis of an area light: exact to a polynomial of degree 5 in each.
AREA_NODES = 3


def irradiance(state: LightState, position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance E in W/m² (linear RGB) at points `position [P, 3]` with unit `normal [P, 3]`; [P, 3].

    The uniform world of radiance L adds π·L: every point sees half of it unhindered.
    """
    total = (math.pi * _vector(state.world, position)).expand(position.shape).clone()
    for light in state.lights:
        total += _incident(light, position, normal)[:, None] * _vector(light.power, position)
    return total


def _incident(light: Light, position: Tensor, normal: Tensor) -> Tensor:
    """Irradiance for a power of one, [P]."""
    if isinstance(light, SunLight):
        return (normal @ -_unit(light.direction, position)).clamp_min(0.0)
    if isinstance(light, PointLight):
        return _from_point(_vector(light.position, position), position, normal)[0] / (4 * math.pi)
    if isinstance(light, SpotLight):
        return _spot(light, position, normal)
    return _area(light, position, normal)


def _from_point(origin: Tensor, position: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """cosθ / d² of a point seen from the surface [P], and the unit direction towards it [P, 3]."""
    toward = origin - position
    square = (toward * toward).sum(dim=1).clamp_min(1e-12)
    direction = toward * square.rsqrt()[:, None]
    return (normal * direction).sum(dim=1).clamp_min(0.0) / square, direction


def _spot(light: SpotLight, position: Tensor, normal: Tensor) -> Tensor:
    incident, toward = _from_point(_vector(light.position, position), position, normal)
    cos_angle = -(toward @ _unit(light.direction, position))
    cos_half = math.cos(light.angle / 2)
    smooth = max(light.blend * (1 - cos_half), 1e-6)
    t = ((cos_angle - cos_half) / smooth).clamp(0.0, 1.0)
    return incident * t * t * (3 - 2 * t) / (4 * math.pi)


def _area(light: AreaLight, position: Tensor, normal: Tensor) -> Tensor:
    axis_x, axis_y = np.array(light.axis_x), np.array(light.axis_y)
    emits = _unit(tuple(np.cross(axis_y, axis_x)), position)
    total = torch.zeros_like(position[:, 0])
    for x, y, weight in _area_nodes(light.shape):
        point = _vector(tuple(np.array(light.position) + x * axis_x + y * axis_y), position)
        incident, toward = _from_point(point, position, normal)
        total += weight * incident * -(toward @ emits).clamp_max(0.0)
    # Radiance is power / (π A); the sum over nodes stands for the integral over A divided by A.
    return total / math.pi


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
