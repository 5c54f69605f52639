"""The scene as both sides know it: one object, its texture, the cameras and lights around it.

Everything is in Blender's world space (right-handed, +Z up, metres); cameras look along −Z with +Y up. The add-on makes
a :class:`Scene` out of Blender data and the server never sees anything else. Random views are *data* too: a
:class:`View` can be drawn by the server's renderer and by Cycles alike.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np

from .arrays import Array, Matrix4, Picture, Pictures
from .errors import InvalidInput

Vector = tuple[float, float, float]
"""A point or direction in world space, or a linear Rec.709 colour."""


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Triangles of the evaluated object, in world space.

    Positions are indexed by vertex; normals and texture coordinates belong to triangle corners, so that seams and hard
    edges need no doubled vertices. ``mask`` is the soft weight (0 keep, 1 free) of each vertex.
    """

    name: str
    positions: Annotated[np.ndarray, Array("float32", "V", 3)]
    triangles: Annotated[np.ndarray, Array("int32", "T", 3, below="V")]
    normals: Annotated[np.ndarray, Array("float32", "T", 3, 3)]
    uv: Annotated[np.ndarray, Array("float32", "T", 3, 2)]
    mask: Annotated[np.ndarray, Array("float32", "V", low=0.0, high=1.0)]


class UvTexture(msgspec.Struct, frozen=True, tag="uv"):
    """A texture image: display-encoded sRGB, row 0 at the bottom (v = 0), as Blender and UV space have it."""

    image: Annotated[np.ndarray, Array("uint8", "H", "W", 3)]


class VertexTexture(msgspec.Struct, frozen=True, tag="vertex"):
    """A colour per vertex: display-encoded sRGB, interpolated over triangles in scene-linear."""

    colors: Annotated[np.ndarray, Array("uint8", "V", 3)]


Texture = UvTexture | VertexTexture


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A camera by its matrices for a square frame, as Blender gives them: ``clip = projection @ view @ world``."""

    name: str
    view: Matrix4
    projection: Matrix4


class PointLight(msgspec.Struct, frozen=True, kw_only=True, tag="point"):
    """``power`` in W (RGB): E = power · cosθ / (4π d²)."""

    power: Vector
    position: Vector


class SunLight(msgspec.Struct, frozen=True, kw_only=True, tag="sun"):
    """``power`` in W/m² (RGB): E = power · cosθ. ``direction`` is where the light travels."""

    power: Vector
    direction: Vector


class SpotLight(msgspec.Struct, frozen=True, kw_only=True, tag="spot"):
    """A point light inside a smooth cone; not divided by the cone. ``angle`` is the full cone angle in radians."""

    power: Vector
    position: Vector
    direction: Vector
    angle: float
    blend: float


class AreaLight(msgspec.Struct, frozen=True, kw_only=True, tag="area"):
    """One-sided emitter with radiance power / (π A). ``axis_x``, ``axis_y`` are its full edges (or diameters), metres.

    It emits along ``axis_y × axis_x`` (−Z of Blender's lamp).
    """

    power: Vector
    position: Vector
    axis_x: Vector
    axis_y: Vector
    shape: Literal["rectangle", "ellipse"] = "rectangle"


Light = PointLight | SunLight | SpotLight | AreaLight


class LightState(msgspec.Struct, frozen=True, kw_only=True):
    """All light there is at one time: lamps, and ``world``, the radiance of a uniform surrounding (linear RGB)."""

    name: str
    lights: tuple[Light, ...] = ()
    world: Vector = (0.0, 0.0, 0.0)


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
    jobs that ask for them; there may be none.
    """

    cameras: tuple[Camera, ...]
    lights: tuple[LightState, ...]
    center: Vector
    camera_jitter: CameraJitter = CameraJitter()
    light_jitter: LightJitter = LightJitter()
    backgrounds: Pictures | None = None


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a job knows of the world."""

    mesh: Mesh
    texture: Texture
    rig: Rig


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
    if not rig.cameras:
        raise InvalidInput("There is no camera.", hint="Add one that sees the object.")
    if not rig.lights or not any(state.lights or any(state.world) for state in rig.lights):
        raise InvalidInput("There is no light.", hint="Add a light, or give the world a colour.")
