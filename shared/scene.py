"""The scene as both sides know it: one object, its texture, the cameras and lights around it.

Everything is in Blender's world space (right-handed, +Z up, metres); cameras look along −Z with +Y up. The add-on makes
a :class:`Scene` out of Blender data and the server never sees anything else. Random views are *data* too: a
:class:`View` can be drawn by the server's renderer and by Cycles alike.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
import numpy as np

from .arrays import Array, Matrix4, Picture, Pictures
from .errors import InvalidInput

Vector = tuple[float, float, float]
"""A point or direction in world space, or a linear Rec.709 colour."""
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Index = Annotated[int, msgspec.Meta(ge=0)]
Panoramas = Annotated[np.ndarray, Array("float32", "K", "H", "W", 3, low=0.0)]
"""Radiance (linear Rec.709) all around, equirectangular, row 0 at the bottom (−Z). As Blender has it, a direction d
lies at u = ½ − atan2(d.y, d.x) / 2π, v = ½ + asin(d.z) / π: the middle column looks along +X."""
LightMaps = Annotated[np.ndarray, Array("float32", "K", "H", "W", 3, low=0.0)]


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """How one material reflects light besides its albedo, in the terms of Blender's Principled BSDF.

    ``roughness`` is Blender's (its square is GGX's α). ``specular`` is the reflectance of the dielectric at normal
    incidence (F0: 0.04 for an index of refraction of 1.5), tinted by ``specular_tint``; at 0 all light is diffuse.
    """

    roughness: Fraction = 1.0
    metallic: Fraction = 0.0
    specular: Fraction = 0.0
    specular_tint: Vector = (1.0, 1.0, 1.0)


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Triangles of the evaluated object, in world space.

    Positions are indexed by vertex; normals and texture coordinates belong to triangle corners, so that seams and hard
    edges need no doubled vertices. ``mask`` is the soft weight (0 keep, 1 free) of each vertex. ``surface`` says which
    of ``surfaces`` each triangle has (None: the first).
    """

    name: str
    positions: Annotated[np.ndarray, Array("float32", "V", 3)]
    triangles: Annotated[np.ndarray, Array("int32", "T", 3, below="V")]
    normals: Annotated[np.ndarray, Array("float32", "T", 3, 3)]
    uv: Annotated[np.ndarray, Array("float32", "T", 3, 2)]
    mask: Annotated[np.ndarray, Array("float32", "V", low=0.0, high=1.0)]
    surfaces: Annotated[tuple[Surface, ...], msgspec.Meta(min_length=1, max_length=4096)] = (Surface(),)
    surface: Annotated[np.ndarray, Array("int32", "T", low=0)] | None = None


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What else stands around and takes light away from the object: triangles in world space, never drawn."""

    positions: Annotated[np.ndarray, Array("float32", "V", 3)]
    triangles: Annotated[np.ndarray, Array("int32", "T", 3, below="V")]


class UvTexture(msgspec.Struct, frozen=True, tag="uv"):
    """A texture image: display-encoded sRGB, row 0 at the bottom (v = 0), as Blender and UV space have it."""

    image: Annotated[np.ndarray, Array("uint8", "H", "W", 3)]


class VertexTexture(msgspec.Struct, frozen=True, tag="vertex"):
    """A colour per vertex: display-encoded sRGB, interpolated over triangles in scene-linear."""

    colors: Annotated[np.ndarray, Array("uint8", "V", 3)]


Texture = UvTexture | VertexTexture


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A camera by its matrices, as Blender gives them: ``clip = projection @ view @ world``.

    ``aspect`` is width / height of the frame that the projection is for.
    """

    name: str
    view: Matrix4
    projection: Matrix4
    aspect: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0


class PointLight(msgspec.Struct, frozen=True, kw_only=True, tag="point"):
    """``power`` in W (RGB): E = power · cosθ / (4π d²). A ``radius`` (metres) softens its shadows.

    ``map``, here and in the other lights, is the index of the scene's light map that holds what this light brings to
    the surface at a power of one (None: there is none).
    """

    power: Vector
    position: Vector
    radius: NotNegative = 0.0
    map: Index | None = None


class SunLight(msgspec.Struct, frozen=True, kw_only=True, tag="sun"):
    """``power`` in W/m² (RGB): E = power · cosθ. ``direction`` is where the light travels; ``angle`` (radians) is the
    sun's diameter as seen from the ground."""

    power: Vector
    direction: Vector
    angle: NotNegative = 0.0
    map: Index | None = None


class SpotLight(msgspec.Struct, frozen=True, kw_only=True, tag="spot"):
    """A point light inside a smooth cone; not divided by the cone. ``angle`` is the full cone angle in radians."""

    power: Vector
    position: Vector
    direction: Vector
    angle: float
    blend: float
    radius: NotNegative = 0.0
    map: Index | None = None


class AreaLight(msgspec.Struct, frozen=True, kw_only=True, tag="area"):
    """One-sided emitter with radiance power / (π A). ``axis_x``, ``axis_y`` are its full edges (or diameters), metres.

    It emits along ``axis_y × axis_x`` (−Z of Blender's lamp), within a full cone of ``spread`` (radians; π: no limit).
    """

    power: Vector
    position: Vector
    axis_x: Vector
    axis_y: Vector
    shape: Literal["rectangle", "ellipse"] = "rectangle"
    spread: Annotated[float, msgspec.Meta(ge=0.0, le=math.pi + 1e-6)] = math.pi
    map: Index | None = None


class GlowLight(msgspec.Struct, frozen=True, kw_only=True, tag="glow"):
    """The light of whatever glows in the scene besides lamps and world; known by its light map only."""

    power: Vector
    map: Index


Lamp = PointLight | SunLight | SpotLight | AreaLight
Light = Lamp | GlowLight


class LightState(msgspec.Struct, frozen=True, kw_only=True):
    """All light there is at one time: lamps, and the surrounding.

    The surrounding's radiance is ``world`` (linear RGB) from everywhere, or, where ``panorama`` says which of the rig's
    panoramas it is, ``world`` × that image, turned by ``turn`` (radians, counter-clockwise as seen from above).
    ``world_map`` is the index of the light map of the surrounding at a ``world`` of one.
    """

    name: str
    lights: Annotated[tuple[Light, ...], msgspec.Meta(max_length=4096)] = ()
    world: Vector = (0.0, 0.0, 0.0)
    panorama: Index | None = None
    turn: float = 0.0
    world_map: Index | None = None

    @property
    def lamps(self) -> tuple[Lamp, ...]:
        """The lights that are known by where they are, not only by a light map."""
        return tuple(light for light in self.lights if not isinstance(light, GlowLight))


class CameraJitter(msgspec.Struct, frozen=True, kw_only=True):
    """How far a random view strays from its rig camera, each uniformly to both sides.

    Angles in degrees about the rig's centre (``roll`` about the camera's axis); ``distance`` and ``zoom`` are factors
    (0.1: between 1/1.1 and 1.1 times); ``shift`` moves the object in the frame, in frame widths.
    """

    azimuth: float = 10.0
    elevation: float = 8.0
    roll: float = 3.0
    distance: float = 0.1
    zoom: float = 0.05
    shift: float = 0.04


class LightJitter(msgspec.Struct, frozen=True, kw_only=True):
    """How far a random light strays from its state: turned about the vertical axis (degrees), in strength
    (photographic stops), and in colour (a factor for each channel, as for distance)."""

    azimuth: float = 30.0
    stops: float = 0.5
    tint: float = 0.1


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """The cameras and light states an object is to be recognised under, and the freedom around them.

    ``center`` is the point that random views turn about. ``backgrounds`` are pictures to stand behind the object, for
    jobs that ask for them; there may be none. ``panoramas`` are surroundings that light states refer to.
    """

    cameras: Annotated[tuple[Camera, ...], msgspec.Meta(max_length=4096)]
    lights: Annotated[tuple[LightState, ...], msgspec.Meta(max_length=4096)]
    center: Vector
    camera_jitter: CameraJitter = CameraJitter()
    light_jitter: LightJitter = LightJitter()
    backgrounds: Pictures | None = None
    panoramas: Panoramas | None = None


class ViewTransform(msgspec.Struct, frozen=True, kw_only=True):
    """From scene-linear Rec.709 to display-encoded sRGB, as a table: the view transform, look, exposure and gamma of a
    scene, whatever Blender or a colour configuration makes of them.

    ``table[r, g, b]`` is the display colour (65535: 1) of the linear colour whose channels lie at s = r / (N − 1) and
    so on, with s(x) = log2(1 + x / toe) / log2(1 + top / toe): 0 for black, 1 for ``top``. Beyond ``top`` colours are
    as at ``top``, and what is below 0 is as 0.
    """

    name: str
    toe: Annotated[float, msgspec.Meta(gt=0.0)]
    top: Annotated[float, msgspec.Meta(gt=0.0)]
    table: Annotated[np.ndarray, Array("uint16", "N", "N", "N", 3)]


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a job knows of the world.

    ``light_maps`` are irradiances (W/m², linear Rec.709) on the UV map of the texture, row 0 at the bottom: what one
    source of light brings to the surface at a power of one, shadows and bounces included. ``view_transform`` None is
    Blender's Standard: the sRGB curve, clipped. ``unit`` is the length of one unit of the scene in metres.
    """

    mesh: Mesh
    texture: Texture
    rig: Rig
    surroundings: Surroundings | None = None
    light_maps: LightMaps | None = None
    view_transform: ViewTransform | None = None
    unit: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to be taken: from where, in which light, in front of what (stretched over the frame)."""

    camera: Camera
    lights: LightState
    background: Picture


def check_scene(scene: Scene) -> None:
    """What no single array can say of itself: there is a surface, a free part of it, a camera, and light.

    Raises :class:`InvalidInput` naming the object and what to do.
    """
    mesh, texture, rig = scene.mesh, scene.texture, scene.rig
    if len(mesh.triangles) == 0:
        raise InvalidInput(f"Object {mesh.name!r} has no faces.", hint="Choose an object with a surface.")
    if not mesh.mask.any():
        raise InvalidInput(f"The mask of {mesh.name!r} is empty.", hint="Paint weights above 0 where it may change.")
    if isinstance(texture, VertexTexture) and len(texture.colors) != len(mesh.positions):
        raise InvalidInput(f"{len(texture.colors)} vertex colours do not fit {len(mesh.positions)} vertices.")
    if isinstance(texture, UvTexture) and texture.image.size == 0:
        raise InvalidInput("The texture image is empty.", hint="Give it a size of at least one texel.")
    if mesh.surface is not None and mesh.surface.max() >= len(mesh.surfaces):
        raise InvalidInput(f"Triangles of {mesh.name!r} have surface {mesh.surface.max()} of {len(mesh.surfaces)}.")
    if scene.view_transform is not None and len(scene.view_transform.table) < 2:
        raise InvalidInput(f"The table of the view transform {scene.view_transform.name!r} is too small.")
    if not rig.cameras:
        raise InvalidInput("There is no camera.", hint="Add one that sees the object.")
    if not rig.lights or not any(state.lights or any(state.world) for state in rig.lights):
        raise InvalidInput("There is no light.", hint="Add a light, or give the world a colour.")
    for state in rig.lights:
        _check_indices(scene, state)


def _check_indices(scene: Scene, state: LightState) -> None:
    """What a light state refers to is there."""
    panoramas = 0 if scene.rig.panoramas is None else len(scene.rig.panoramas)
    maps = 0 if scene.light_maps is None else len(scene.light_maps)
    if state.panorama is not None and state.panorama >= panoramas:
        raise InvalidInput(f"Light state {state.name!r} asks for panorama {state.panorama} of {panoramas}.")
    for number in (state.world_map, *(light.map for light in state.lights)):
        if number is not None and number >= maps:
            raise InvalidInput(f"Light state {state.name!r} asks for light map {number} of {maps}.")
