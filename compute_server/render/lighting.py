"""All light of a scene on the object's surface: what of it each sample sends to the eye, as a function of its albedo.

Lamps, surroundings, shadows, baked maps and reflections come together here. Radiance is affine in the albedo:
``scale · albedo + added``. No gradients flow through it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.scene import Lamp, LightState, Scene, UvTexture, Vector, View

from . import gloss_kernels, light_kernels, light_maps, lights, panorama, principled, shadow_kernels
from .color import from_bytes, srgb_decode
from .gbuffer import GBuffer
from .geometry import Geometry
from .light_maps import Ambient
from .occlusion import Occlusion
from .on_gpu import kernels_for
from .principled import Materials
from .rasterizer import Rasterizer

Mode = Literal["open", "traced", "baked"]


@dataclass(frozen=True)
class Reflected:
    """Radiance of samples towards the eye: ``scale [P, 3] · albedo + added [P, 3]``; nothing is added on matte
    surfaces (None)."""

    scale: Tensor
    added: Tensor | None


@dataclass(frozen=True)
class _Points:
    """The samples ``start`` to ``end`` of a G-buffer, which are one view's, seen from the homogeneous point ``place``.

    What not every scene needs is found when it is asked for.
    """

    surface: GBuffer
    start: int
    end: int
    place: np.ndarray

    @functools.cached_property
    def position(self) -> Tensor:
        """``[P, 3]``."""
        return self.surface.position[self.start : self.end]

    @functools.cached_property
    def normal(self) -> Tensor:
        """Unit length, ``[P, 3]``."""
        return self.surface.normal[self.start : self.end]

    @functools.cached_property
    def uv(self) -> Tensor:
        """``[P, 2]``."""
        return self.surface.uv[self.start : self.end]

    @functools.cached_property
    def triangle(self) -> Tensor:
        """``[P] int64``."""
        return self.surface.visibility.triangle[self.start : self.end].long()

    @functools.cached_property
    def weights(self) -> Tensor:
        """Barycentric, ``[P, 3]``."""
        first = self.surface.visibility.barycentric[self.start : self.end]
        return torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)

    @functools.cached_property
    def number(self) -> Tensor:
        """Where each lies among the samples of its view, ``[P]``."""
        visibility = self.surface.visibility
        return visibility.sample[self.start : self.end] % (visibility.height * visibility.width)

    @functools.cached_property
    def eye(self) -> Tensor:
        """Unit directions towards the eye, ``[P, 3]``."""
        place = lights.vector(self.place, self.position)
        return torch.nn.functional.normalize(place[:3] - place[3] * self.position, dim=1)

    @property
    def mirrored(self) -> Tensor:
        """Unit directions in which the surface mirrors, ``[P, 3]``."""
        if self.position.device.type == "cpu" and self.position.dtype == torch.float32:
            return gloss_kernels.mirrored(self.position, self.normal, self.place)
        return 2 * lights.dot(self.normal, self.eye)[:, None] * self.normal - self.eye


def _by_view(surface: GBuffer, view_start: Tensor, eyes: np.ndarray) -> list[_Points]:
    bounds = view_start.tolist()
    return [_Points(surface, start, end, eye) for start, end, eye in zip(bounds[:-1], bounds[1:], eyes, strict=True)]


@dataclass(frozen=True)
class Lighting:
    """The light of one job. ``occlusion`` is there in the mode "traced" only, and so is ``ambient``, when light states
    have surroundings; ``maps [K, H, W, 3]`` only in the mode "baked"; ``materials`` None: all is matte."""

    geometry: Geometry
    mode: Mode = "open"
    materials: Materials | None = None
    panoramas: tuple[panorama.Panorama, ...] = ()
    occlusion: Occlusion | None = None
    ambient: Ambient | None = None
    maps: Tensor | None = None

    def reflect(
        self, views: Sequence[View], surface: GBuffer, view_start: Tensor, eyes: np.ndarray, share: float = 1.0
    ) -> Reflected:
        """`share` times the light of each view on its samples; `eyes` are those of ``geometry.eye_points``."""
        if self.geometry.device.type == "cpu":
            return self._reflect_compiled(views, surface, view_start, eyes, share)
        states, compiled = [view.lights for view in views], kernels_for(surface.position)
        if compiled is not None and self.is_plain(states):
            worlds = [state.world for state in states]
            given = states, surface.position, surface.normal, view_start
            return Reflected(compiled.radiance(*given, share, worlds), None)
        found = self.reflect_reference(views, surface, view_start, eyes)
        return Reflected(found.scale.mul_(share), None if found.added is None else found.added.mul_(share))

    def _reflect_compiled(
        self, views: Sequence[View], surface: GBuffer, view_start: Tensor, eyes: np.ndarray, share: float
    ) -> Reflected:
        states = [view.lights for view in views]
        points = _by_view(surface, view_start, eyes)
        lamps = light_kernels.lamps_of(states, surface.position, view_start)
        visible = self._seen(states, lamps, surface) if self.mode == "traced" else None
        if self.mode == "baked":
            baked = [self._baked_samples(state, each) for state, each in zip(states, points, strict=True)]
            scale = torch.cat(baked).mul_(share / math.pi)
        else:
            worlds = [state.world if self._uniform(state) else (0.0, 0.0, 0.0) for state in states]
            scale = light_kernels.radiance(lamps, surface.position, surface.normal, share, worlds, visible)
            for state, each in zip(states, points, strict=True):
                if not self._uniform(state):
                    scale[each.start : each.end] += self._surrounding(state, each).mul_(share / math.pi)
        if self.materials is None:
            return Reflected(scale, None)
        around = None
        if any(state.panorama is not None for state in states):
            mirrored = [self._mirrored(state, each) for state, each in zip(states, points, strict=True)]
            around = torch.cat(mirrored)
        given = lamps, [state.world for state in states], self.materials, surface, eyes, share
        return Reflected(scale, gloss_kernels.reflect(scale, *given, around, visible))

    def is_plain(self, states: Sequence[LightState]) -> bool:
        """Whether matte surfaces get all their light from lamps that nothing hides, and from a world that is the same
        all around."""
        return self.mode == "open" and self.materials is None and all(map(self._uniform, states))

    def _uniform(self, state: LightState) -> bool:
        """Whether what is all around brings the same light to every surface."""
        return state.panorama is None and (self.ambient is None or not any(state.world))

    def _seen(self, states: Sequence[LightState], lamps: light_kernels.Lamps, surface: GBuffer) -> Tensor:
        """Whether samples see each lamp of their view, ``[L, P] bool``; the views with the most have L."""
        assert self.occlusion is not None
        most = max(len(state.lamps) for state in states)
        result = torch.empty(most, len(surface.position), dtype=torch.bool)
        given, shapes = (surface, self.geometry.flat_normals), shadow_kernels.shapes(states)
        for index, seen in enumerate(result):
            rays = shadow_kernels.rays(lamps, shapes, index, *given, self.occlusion.offset)
            torch.logical_and(rays[2] > 0, ~self.occlusion.hidden(*rays), out=seen)
        return result

    def reflect_reference(
        self, views: Sequence[View], surface: GBuffer, view_start: Tensor, eyes: np.ndarray
    ) -> Reflected:
        """:meth:`reflect` in torch."""
        points = _by_view(surface, view_start, eyes)
        parts = [self._reflect(view.lights, each) for view, each in zip(views, points, strict=True)]
        added = [part.added for part in parts if part.added is not None]
        return Reflected(torch.cat([part.scale for part in parts]), torch.cat(added) if added else None)

    def _reflect(self, state: LightState, points: _Points) -> Reflected:
        visible = [self._visible(lamp, points) for lamp in state.lamps] if self.mode == "traced" else None
        scale = self._irradiance(state, points, visible).mul_(1 / math.pi)
        if self.materials is None:
            return Reflected(scale, None)
        cos_eye = lights.dot(points.normal, points.eye)
        material = self.materials.at(points.triangle, cos_eye)
        scale *= principled.diffuse(material)[:, None]
        added = torch.zeros_like(scale)
        part, plus = principled.ambient(material)
        around = self._mirrored(state, points)
        scale += part * around
        added += plus * around
        for index, lamp in enumerate(state.lamps):
            power = lights.vector(lamp.power, points.position)
            for toward, received in lights.emitters(lamp, points.position):
                part, plus = principled.specular(material, points.normal, points.eye, toward)
                light = (received if visible is None else received * visible[index])[:, None] * power
                scale += part * light
                added += plus * light
        return Reflected(scale, added)

    def _irradiance(self, state: LightState, points: _Points, visible: list[Tensor] | None) -> Tensor:
        if self.mode == "baked":
            return self._baked(state, points)
        if visible is None:
            return lights.irradiance(state.lamps, points.position, points.normal) + self._surrounding(state, points)
        result = self._surrounding(state, points)
        for lamp, seen in zip(state.lamps, visible, strict=True):
            incident = lights.incidence(lamp, points.position, points.normal) * seen
            result = result + incident[:, None] * lights.vector(lamp.power, points.position)
        return result

    def _visible(self, lamp: Lamp, points: _Points) -> Tensor:
        assert self.occlusion is not None
        facing = lights.incidence(lamp, points.position, points.normal) > 0
        flat = self.geometry.flat_normals[points.triangle]
        return self.occlusion.visible(lamp, points.position, flat, facing, points.number)

    def _surrounding(self, state: LightState, points: _Points) -> Tensor:
        """Irradiance [P, 3] of what is all around."""
        world = lights.vector(state.world, points.position)
        if not any(state.world):
            return torch.zeros_like(points.position)
        if self.ambient is not None:
            where = light_maps.Surface(points.uv, points.triangle, points.weights)
            return self.ambient.irradiance(self.geometry, self._harmonics(state, points), where) * world
        if state.panorama is None:
            return (math.pi * world).expand(points.position.shape)
        table = self.panoramas[state.panorama].irradiance
        return panorama.look_up(table, points.normal, state.turn) * world

    def _harmonics(self, state: LightState, points: _Points) -> Tensor:
        """Radiance all around as coefficients [16, 3]."""
        if state.panorama is None:
            uniform = torch.zeros(panorama.HARMONICS, 3, device=points.position.device)
            uniform[0] = math.sqrt(4 * math.pi)
            return uniform
        found = self.panoramas[state.panorama].harmonics
        return panorama.turned_harmonics(found, state.turn)

    def _mirrored(self, state: LightState, points: _Points) -> Tensor:
        """Mean radiance [P, 3] of the surroundings where the surface mirrors them."""
        assert self.materials is not None
        world = lights.vector(state.world, points.position)
        if state.panorama is None:
            return world.expand(points.position.shape)
        direction = points.mirrored
        shown = self.panoramas[state.panorama]
        roughness = self.materials.roughness(points.triangle)
        if isinstance(roughness, float):
            return panorama.look_up(shown.reflected(roughness), direction, state.turn) * world
        result = torch.zeros_like(points.position)
        for each in torch.unique(roughness).tolist():
            here = torch.nonzero(roughness == each).reshape(-1)
            result[here] = panorama.look_up(shown.reflected(each), direction[here], state.turn)
        return result * world

    def _baked(self, state: LightState, points: _Points) -> Tensor:
        assert self.maps is not None
        total = torch.zeros(self.maps.shape[1:], device=self.maps.device)
        for map_, power in _mapped(state):
            total += self.maps[map_] * lights.vector(power, total)
        return light_maps.sample(total, points.uv)

    def _baked_samples(self, state: LightState, points: _Points) -> Tensor:
        """:meth:`_baked` by what each source's map says at the samples, of which there are fewer than texels."""
        assert self.maps is not None
        total = torch.zeros_like(points.position)
        for map_, power in _mapped(state):
            total.addcmul_(light_maps.sample(self.maps[map_], points.uv), lights.vector(power, total))
        return total


def _mapped(state: LightState) -> list[tuple[int, Vector]]:
    """Which map each source of light has, and the power that it is to be multiplied by."""
    sources = [*((light.map, light.power) for light in state.lights), (state.world_map, state.world)]
    return [(map_, power) for map_, power in sources if map_ is not None]


def lighting(scene: Scene, geometry: Geometry, mode: Mode, rasterizer: Rasterizer) -> Lighting:
    """The light of `scene` in one of the modes of ``Settings.light``; `rasterizer` is one for the CPU.

    Raises :class:`InvalidInput` when the mode is "baked" and a light has no map.
    """
    device = geometry.device
    if mode == "baked":
        _check_baked(scene)
    occlusion = Occlusion(geometry, scene.surroundings) if mode == "traced" else None
    pictures = () if scene.rig.panoramas is None else scene.rig.panoramas
    return Lighting(
        geometry=geometry,
        mode=mode,
        materials=Materials.of(scene.mesh.surfaces, scene.mesh.surface, _mean_albedo(scene), device),
        panoramas=tuple(panorama.prepare(torch.tensor(picture, device=device)) for picture in pictures),
        occlusion=occlusion,
        ambient=None if occlusion is None else _ambient(scene, geometry, rasterizer, occlusion),
        maps=torch.tensor(scene.light_maps, device=device) if mode == "baked" else None,
    )


def _mean_albedo(scene: Scene) -> list[float]:
    texture = scene.texture
    colors = texture.image if isinstance(texture, UvTexture) else texture.colors
    means: list[float] = srgb_decode(from_bytes(torch.tensor(colors))).reshape(-1, 3).mean(dim=0).tolist()
    return means


def _ambient(scene: Scene, geometry: Geometry, rasterizer: Rasterizer, occlusion: Occlusion) -> Ambient | None:
    if not any(any(state.world) for state in scene.rig.lights):
        return None
    if isinstance(scene.texture, UvTexture):
        return light_maps.ambient_texels(geometry, rasterizer, occlusion)
    return light_maps.ambient_vertices(geometry, occlusion)


def _check_baked(scene: Scene) -> None:
    hint = "Collect the scene with baked light, or choose open or traced."
    if not isinstance(scene.texture, UvTexture):
        raise InvalidInput("Baked light needs a UV texture; this job has vertex colours.", hint=hint)
    for state in scene.rig.lights:
        dark = any(light.map is None for light in state.lights) or (any(state.world) and state.world_map is None)
        if dark or scene.light_maps is None:
            raise InvalidInput(f"Light state {state.name!r} has no baked light maps.", hint=hint)
