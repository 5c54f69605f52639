"""What Blender's Principled BSDF reflects besides diffuse light: a GGX layer over the diffuse base, and metal.

All of it is affine in the albedo (the base colour): a ``part`` that is multiplied by it, and an ``added`` one.
Sources: GGX and its masking term Heitz 2014, sampled by visible normals (Heitz 2018); energy that rough surfaces lose
to single scattering given back as in Turquin 2019; Fresnel of the layer as a remapped dielectric, of metal as
Schlick's; the layer takes its directional albedo from the base below, as Cycles' Principled BSDF does (Blender 4.0 and
later).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.scene import Surface

#: Directions that the tables know, by the cosine to the normal, and half vectors in each of their sums.
ANGLES = 48
STRATA = 48
#: Smoother than this is no different in a picture, and single precision would not hold it.
SMOOTHEST = 0.02


@dataclass(frozen=True)
class Materials:
    """The surfaces of a mesh: ``surface [T]`` or None (all the first), and by surface and cosine the tables of
    :func:`_tabulated`, ``table [M, ANGLES, 4]``; ``values [M, 4]`` are roughness, metallic, F0, η; ``tint [M, 3]``.
    ``albedo [3]`` is that of the metal."""

    surface: Tensor | None
    values: Tensor
    tint: Tensor
    table: Tensor
    albedo: Tensor

    @classmethod
    def of(
        cls,
        surfaces: Sequence[Surface],
        surface: np.ndarray | None,
        albedo: Sequence[float],
        device: torch.device | str = "cpu",
    ) -> Materials | None:
        """Those of a mesh; None when all of them are matte.

        Light that goes on between the facets of rough metal is not affine in its albedo: it is taken as it is at
        `albedo`, the mean of the object's.
        """
        if all(each.metallic == 0 and each.specular == 0 for each in surfaces):
            return None
        rows = [(max(s.roughness, SMOOTHEST), s.metallic, s.specular, _index(s.specular)) for s in surfaces]
        return cls(
            surface=None if surface is None else torch.from_numpy(surface.astype(np.int64)).to(device),
            values=torch.tensor(rows, dtype=torch.float32, device=device),
            albedo=torch.tensor(albedo, dtype=torch.float32, device=device),
            tint=torch.tensor([each.specular_tint for each in surfaces], dtype=torch.float32, device=device),
            table=torch.from_numpy(np.stack([_tabulated(row[0], row[3]) for row in rows])).to(device, torch.float32),
        )

    def roughness(self, triangle: Tensor) -> Tensor | float:
        """That of samples on ``triangle [P]``, ``[P]``; one number if all have the same."""
        if self.surface is None:
            return float(self.values[0, 0])
        return self.values[:, 0][self.surface[triangle.long()]]

    def at(self, triangle: Tensor, cos_eye: Tensor) -> Material:
        """The materials of samples on ``triangle [P]``, seen at ``cos_eye [P]`` to the normal."""
        which = torch.zeros_like(triangle, dtype=torch.int64) if self.surface is None else self.surface[triangle.long()]
        roughness, metallic, f0, eta = self.values[which].unbind(dim=1)
        place = cos_eye.clamp(0.0, 1.0) * ANGLES - 0.5
        low = place.floor().clamp_(0, ANGLES - 2)
        share = (place - low)[:, None].clamp_(0.0, 1.0)
        table = self.table.to(cos_eye.dtype)
        row = low.long()
        facets = table[which, row] * (1 - share) + table[which, row + 1] * share
        energy, fresnel, schlick, mean_energy = facets.unbind(dim=1)
        tinted = f0[:, None] * self.tint[which]
        return Material(roughness, metallic, tinted, f0, eta, energy, fresnel, schlick, mean_energy, self.albedo)


@dataclass(frozen=True)
class Material:
    """Surfaces at P samples, all ``[P]`` but the tinted ``f0 [P, 3]``; ``plain`` is F0 without its tint, ``eta`` the
    index of refraction that it follows from. At the sample's angle to the eye: ``energy`` (of a mirror that reflects
    everything, single scattering), ``fresnel`` (the layer's mean position between F0 and 1), ``schlick`` (the mean of
    Schlick's (1 − cos)⁵), ``mean_energy`` over all angles. ``albedo [3]`` is that of the metal."""

    roughness: Tensor
    metallic: Tensor
    f0: Tensor
    plain: Tensor
    eta: Tensor
    energy: Tensor
    fresnel: Tensor
    schlick: Tensor
    mean_energy: Tensor
    albedo: Tensor

    @property
    def layer(self) -> Tensor:
        """The directional albedo of the dielectric layer ``[P, 3]``; nothing without any specular reflection."""
        there = ((self.plain > 0) * self.energy * self.layer_scattering)[:, None]
        return there * (self.f0 + (1 - self.f0) * self.fresnel[:, None])

    def _scattered(self, reflectance: Tensor) -> Tensor:
        """The factor ``[P, C]`` by which light between facets adds to single scattering, for a mean `reflectance`."""
        lost, mean = ((1 - self.energy) / self.energy)[:, None], self.mean_energy[:, None]
        return 1 + lost * reflectance * mean / (1 - reflectance * (1 - mean))

    @property
    def layer_scattering(self) -> Tensor:
        """:meth:`_scattered` of the layer, by its mean reflectance over all angles (d'Eon's fit for dielectrics)."""
        mean = (self.eta - 1) / (4.08567 + 1.00071 * self.eta)
        return self._scattered(mean.clamp(0.0, 1.0)[:, None])[:, 0]

    @property
    def metal_scattering(self) -> Tensor:
        """:meth:`_scattered` of metal ``[P, 3]``, by Schlick's mean reflectance."""
        return self._scattered((self.albedo + (1 - self.albedo) / 21).to(self.energy.dtype))


def diffuse(material: Material) -> Tensor:
    """How much of the diffuse light is left, ``[P]``: what metal and the layer above do not take."""
    return (1 - material.metallic) * (1 - material.layer.amax(dim=1))


def ambient(material: Material) -> tuple[Tensor, Tensor]:
    """The reflection of a surrounding of radiance one: ``part`` (times the albedo) and ``added``, [P, 3]."""
    metal = (material.metallic * material.energy)[:, None] * material.metal_scattering
    schlick = material.schlick[:, None]
    layer = (1 - material.metallic)[:, None] * material.layer
    return metal * (1 - schlick), layer + metal * schlick


def specular(material: Material, normal: Tensor, toward_eye: Tensor, toward_light: Tensor) -> tuple[Tensor, Tensor]:
    """Reflected radiance for an irradiance of one on a surface that faces the light: BRDF × cosθ of the light.

    Unit directions ``[P, 3]``; ``part`` (times the albedo) and ``added``, ``[P, 3]``, zero below the horizon.
    """
    half = torch.nn.functional.normalize(toward_eye + toward_light, dim=1)
    cos_half = (normal * half).sum(dim=1).clamp(0.0, 1.0)
    cos_eye = (normal * toward_eye).sum(dim=1).clamp(1e-4, 1.0)
    cos_light = (normal * toward_light).sum(dim=1).clamp(0.0, 1.0)
    between = (toward_light * half).sum(dim=1).clamp(0.0, 1.0)
    square = material.roughness**4
    density = square / (math.pi * (cos_half**2 * (square - 1) + 1) ** 2)
    lit = _masking(cos_light, square) + _masking(cos_eye, square) + 1
    shape = density / (4 * cos_eye * lit) * (cos_light > 0)
    schlick = ((1 - between) ** 5)[:, None]
    metal = (material.metallic * shape)[:, None] * material.metal_scattering
    remapped = (_dielectric(between, material.eta) - material.plain) / (1 - material.plain).clamp_min(1e-6)
    fresnel = material.f0 + (1 - material.f0) * remapped.clamp(0.0, 1.0)[:, None]
    there = (material.plain > 0) * (1 - material.metallic) * shape * material.layer_scattering
    return metal * (1 - schlick), there[:, None] * fresnel + metal * schlick


def _masking(cos: Tensor, square: Tensor) -> Tensor:
    """Smith's Λ of GGX with α² = `square`."""
    tangent = (1 - cos**2) / (cos**2).clamp_min(1e-12)
    return ((1 + square * tangent).sqrt() - 1) / 2


def _index(f0: float) -> float:
    """The index of refraction of a dielectric that reflects `f0` at normal incidence."""
    root = math.sqrt(min(f0, 0.99))
    return (1 + root) / (1 - root)


def _dielectric(cos: Tensor, eta: Tensor) -> Tensor:
    """Fresnel reflectance of unpolarised light from outside, at cosine `cos` to the normal."""
    g = (eta**2 - 1 + cos**2).clamp_min(1e-12).sqrt()
    minus, plus = (g - cos) / (g + cos), cos * (g + cos) - 1
    return 0.5 * minus**2 * (1 + (plus / (cos * (g - cos) + 1)) ** 2)


def _tabulated(roughness: float, eta: float) -> np.ndarray:
    """``energy``, ``fresnel``, ``schlick`` and ``mean_energy`` of :class:`Material` by angle, [ANGLES, 4] float64.

    Means over half vectors drawn as they are visible, on a grid of the unit square.
    """
    cos = torch.from_numpy((np.arange(ANGLES) + 0.5) / ANGLES)[:, None]
    grid = torch.from_numpy((np.arange(STRATA) + 0.5) / STRATA)
    u, v = (each.reshape(1, -1) for each in torch.meshgrid(grid, grid, indexing="ij"))
    weight, between = _visible(cos, u, v, roughness**2)
    energy = weight.mean(dim=1)
    index = torch.tensor(eta, dtype=torch.float64)
    plain = ((index - 1) / (index + 1)) ** 2
    remapped = ((_dielectric(between, index) - plain) / (1 - plain)).clamp_min(0.0)
    share = energy.clamp_min(1e-12)
    fresnel, schlick = (weight * remapped).mean(dim=1) / share, (weight * (1 - between) ** 5).mean(dim=1) / share
    mean = (2 * cos[:, 0] * energy).sum() / (2 * cos[:, 0]).sum()
    return torch.stack([energy, fresnel, schlick, mean.expand_as(energy)], dim=1).numpy()


def _visible(cos: Tensor, u: Tensor, v: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """For eyes at `cos` [A, 1] and points of the unit square [1, S]: the weight of the reflected ray (G₂ / G₁, 0 below
    the horizon) and the cosine between half vector and eye, [A, S] (Heitz 2018, algorithm 1)."""
    sin = (1 - cos**2).sqrt()
    stretched_x, stretched_z = alpha * sin, cos
    length = (stretched_x**2 + stretched_z**2).sqrt()
    x, z = stretched_x / length, stretched_z / length
    radius, angle = u.sqrt(), 2 * math.pi * v
    first, second = radius * torch.cos(angle), radius * torch.sin(angle)
    blend = (1 + z) / 2
    second = (1 - blend) * (1 - first**2).clamp_min(0.0).sqrt() + blend * second
    third = (1 - first**2 - second**2).clamp_min(0.0).sqrt()
    # The frame around the stretched eye (x, 0, z): across is y, up is (−z, 0, x).
    half_x, half_y, half_z = alpha * (third * x - second * z), alpha * first, (third * z + second * x).clamp_min(0.0)
    norm = (half_x**2 + half_y**2 + half_z**2).sqrt().clamp_min(1e-12)
    between = ((half_x * sin + half_z * cos) / norm).clamp(0.0, 1.0)
    cos_light = 2 * between * half_z / norm - cos
    square = torch.tensor(alpha**2, dtype=cos.dtype)
    masked = 1 + _masking(cos, square)
    weight = masked / (masked + _masking(cos_light.clamp_min(1e-6), square))
    return weight * (cos_light > 0), between
