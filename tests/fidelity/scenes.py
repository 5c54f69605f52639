"""The scenes that both renderers draw: one for each thing that may go wrong. Each builds itself in an empty Blender."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from blender_addon import samples

from . import textures

UNSHADOWED, SHADOWED = 0.010, 0.020
"""The mean error (display-encoded) that a scene may have."""


@dataclass(frozen=True)
class Case:
    """One scene: `build` puts an object, lights and cameras into an empty file and gives the object.

    `light` is the mode of ``Settings.light``; `bar` the mean error allowed; `size` height and width of the pictures.
    With a `target` the confidence of a classifier in both pictures is compared.
    """

    name: str
    what: str
    build: Callable[[], Any]
    light: str = "open"
    bar: float = UNSHADOWED
    size: tuple[int, int] = (160, 160)
    target: str = ""


# --- parts ------------------------------------------------------------------------------------------------------------


def material(
    color: Any = (0.5, 0.5, 0.5), *, roughness: float = 1.0, metallic: float = 0.0, level: float = 0.0
) -> tuple[Any, Any]:
    """A Principled material and its shader; matte unless told."""
    made = bpy.data.materials.new("Material")
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    shader = next(node for node in made.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    shader.inputs["Specular IOR Level"].default_value = level
    return made, shader


def pattern(size: int = 256, cell: int = 16, seed: int = 3) -> Any:
    """An image of cells in random colours: edges, and nothing that repeats."""
    count = size // cell
    cells = np.random.default_rng(seed).uniform(0.05, 0.95, (count, count, 3))
    pixels = np.ones((size, size, 4), np.float32)
    pixels[..., :3] = cells.repeat(cell, axis=0).repeat(cell, axis=1)
    image = bpy.data.images.new("Pattern", size, size)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def textured(obj: Any, image: Any) -> Any:
    """`obj` in the colours of `image`, matte."""
    made, shader = material()
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    made.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    obj.data.materials.clear()
    obj.data.materials.append(made)
    return obj


def ball(radius: float = 1.0, segments: int = 96, **look: Any) -> Any:
    """A smooth sphere about the origin."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=segments, ring_count=segments // 2, radius=radius)
    bpy.ops.object.shade_smooth()
    bpy.context.object.data.materials.append(material(**look)[0])
    return bpy.context.object


def block(**look: Any) -> Any:
    """A cube, turned."""
    bpy.ops.mesh.primitive_cube_add(size=1.4, rotation=(0.3, 0.2, 0.6))
    bpy.context.object.data.materials.append(material(**look)[0])
    return bpy.context.object


def camera(place: tuple[float, float, float], at: tuple[float, float, float] = (0, 0, 0), **settings: Any) -> Any:
    """A camera that looks from `place` at `at`."""
    data = bpy.data.cameras.new("Camera")
    data.lens = 50
    for name, value in settings.items():
        setattr(data, name, value)
    return _aimed(bpy.data.objects.new("Camera", data), place, at)


def lamp(kind: str, place: tuple[float, float, float], energy: float, **settings: Any) -> Any:
    """A lamp that shines from `place` on the origin."""
    data = bpy.data.lights.new(kind.title(), kind)
    data.energy = energy
    for name, value in settings.items():
        setattr(data, name, value)
    return _aimed(bpy.data.objects.new(kind.title(), data), place, (0, 0, 0))


def _aimed(obj: Any, place: tuple[float, float, float], at: tuple[float, float, float]) -> Any:
    from mathutils import Vector

    bpy.context.scene.collection.objects.link(obj)
    obj.location = place
    obj.rotation_mode = "QUATERNION"
    obj.rotation_quaternion = (Vector(at) - Vector(place)).to_track_quat("-Z", "Y")
    return obj


def world(color: tuple[float, float, float], image: Any | None = None) -> None:
    """A plain surrounding, or one with an environment image."""
    made = bpy.context.scene.world = bpy.data.worlds.new("World")
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    background = next(node for node in made.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (*color, 1.0)
    if image is not None:
        node = made.node_tree.nodes.new("ShaderNodeTexEnvironment")
        node.image = image
        made.node_tree.links.new(node.outputs["Color"], background.inputs["Color"])


def sky() -> Any:
    """A panorama in floats: blue above, brown below, a wide bright sun."""
    height, width = 128, 256
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = np.where((v > 0.5)[..., None], (0.3, 0.5, 0.9), (0.25, 0.18, 0.12))
    pixels[..., :3] += 12 * np.exp(-(((u - 0.7) / 0.03) ** 2 + ((v - 0.75) / 0.05) ** 2))[..., None]
    image = bpy.data.images.new("Sky", width, height, float_buffer=True)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def ground(z: float, color: tuple[float, float, float] = (0.45, 0.4, 0.3), size: float = 60.0) -> Any:
    """A floor that stands around the object."""
    bpy.ops.mesh.primitive_plane_add(size=size, location=(0, 0, z))
    bpy.context.object.name = "Ground"
    bpy.context.object.data.materials.append(material(color)[0])
    return bpy.context.object


def view(name: str, exposure: float = 0.0) -> None:
    """The view transform of the scene."""
    settings = bpy.context.scene.view_settings
    settings.view_transform, settings.exposure = name, exposure


def cameras() -> None:
    """Two cameras around an object of a metre or two."""
    camera((3.0, -4.0, 2.0))
    camera((-4.0, -2.5, -0.8))


# --- scenes -----------------------------------------------------------------------------------------------------------


def _lit(*lamps: tuple[Any, ...], look: dict[str, Any] | None = None, body: Callable[..., Any] = ball) -> Any:
    obj = body(**(look or {}))
    for kind, place, energy, settings in lamps:
        lamp(kind, place, energy, **settings)
    cameras()
    return obj


POINT = ("POINT", (3.0, -3.0, 3.0), 500.0, {"shadow_soft_size": 0.0})
SUN = ("SUN", (2.0, -3.0, 4.0), 2.0, {"angle": 0.0, "color": (1.0, 0.9, 0.7)})
SPOT = ("SPOT", (1.0, -5.0, 2.0), 900.0, {"spot_size": 0.5, "spot_blend": 0.4, "shadow_soft_size": 0.0})
AREA = ("AREA", (3.0, -2.0, 2.5), 60.0, {"size": 2.0, "size_y": 1.0, "shape": "RECTANGLE"})
DISK = ("AREA", (2.0, -4.0, 1.0), 70.0, {"size": 1.5, "size_y": 0.8, "shape": "ELLIPSE", "spread": math.radians(100)})


def _panorama(**look: Any) -> Any:
    obj = ball(**look)
    world((1, 1, 1), sky())
    cameras()
    return obj


def _patterned(body: Callable[[], Any] = ball) -> Any:
    obj = textured(body(), pattern())
    lamp(*SUN[:3], **SUN[3])
    world((0.3, 0.35, 0.4))
    cameras()
    return obj


def _in_view(name: str, exposure: float = 0.0) -> Callable[[], Any]:
    def build() -> Any:
        view(name, exposure)
        return _patterned()

    return build


def _orthographic() -> Any:
    obj = textured(block(), pattern())
    lamp(*SUN[:3], **SUN[3])
    camera((3.0, -4.0, 2.0), type="ORTHO", ortho_scale=3.0)
    return obj


def _shifted() -> Any:
    obj = textured(block(), pattern())
    lamp(*SUN[:3], **SUN[3])
    camera((3.0, -4.0, 2.0), shift_x=0.12, shift_y=-0.1, lens=60, sensor_fit="VERTICAL")
    return obj


def _scaled(scale: float) -> Callable[[], Any]:
    def build() -> Any:
        obj = textured(ball(radius=scale), pattern())
        lamp("SUN", (2.0, -3.0, 4.0), 3.0, angle=0.0)
        world((0.3, 0.3, 0.3))
        near = {"clip_start": scale / 100, "clip_end": scale * 100}
        camera((3.0 * scale, -4.0 * scale, 2.0 * scale), **near)
        return obj

    return build


def _many_triangles() -> Any:
    obj = textured(ball(segments=700), pattern(512, 16))
    lamp(*SUN[:3], **SUN[3])
    world((0.2, 0.2, 0.2))
    cameras()
    return obj


def _mirror() -> Any:
    return _panorama(color=(0.9, 0.7, 0.4), roughness=0.3, metallic=1.0)


def _dressed(sample: str) -> Any:
    """A sample in a texture that was made for it."""
    texture = textures.assistive(sample)  # may open another file
    return textured(samples.create(sample), textures.as_image(texture))


def _bus(*, grounded: bool, sunny: bool) -> Any:
    obj = _dressed("school_bus")
    if grounded:
        ground(0.0)
    if sunny:
        lamp("SUN", (3.0, -4.0, 5.0), 4.0, angle=math.radians(2))
        world((0.4, 0.5, 0.6))
    else:
        world((1, 1, 1), sky())
    camera((9.0, -12.0, 5.0), (0, 0, 1.3))
    camera((-11.0, -9.0, 3.0), (0, 0, 1.3))
    return obj


def _mug() -> Any:
    obj = _dressed("coffee_mug")
    lamp("SUN", (2.0, -3.0, 3.0), 3.0, angle=math.radians(3))
    lamp("AREA", (-0.6, -0.6, 0.5), 3.0, size=0.4)
    camera((0.25, -0.3, 0.25), (0, 0, 0.05), clip_start=0.01)
    camera((-0.25, -0.3, 0.05), (0, 0, 0.05), clip_start=0.01)
    return obj


GLOSSY = {"roughness": 0.35, "level": 0.5, "color": (0.2, 0.3, 0.5)}
CLASSIFIED = (224, 224)
BUS, MUG = "school bus", "coffee mug"

CASES = (
    Case("point", "a point lamp on a sphere", lambda: _lit(POINT)),
    Case("spot", "a spot with a soft edge on a cube", lambda: _lit(SPOT, body=block)),
    Case("sun", "a coloured sun on a sphere", lambda: _lit(SUN)),
    Case("area", "a rectangle near a sphere", lambda: _lit(AREA)),
    Case("disk", "an ellipse with spread", lambda: _lit(DISK)),
    Case("several", "five lamps at once", lambda: _lit(POINT, SUN, SPOT, AREA, DISK, body=block)),
    Case("hdri", "a panorama around a sphere", _panorama),
    Case("textured", "a pattern in sun and sky", _patterned),
    Case("glossy", "a shining dielectric under three lamps", lambda: _lit(POINT, SUN, AREA, look=GLOSSY)),
    Case("metal", "brushed brass in a panorama", _mirror),
    Case("agx", "AgX", _in_view("AgX")),
    Case("filmic", "Filmic, one stop up", _in_view("Filmic", 1.0)),
    Case("neutral", "Khronos PBR Neutral", _in_view("Khronos PBR Neutral")),
    Case("exposed", "Standard, one stop up", _in_view("Standard", 1.0)),
    Case("orthographic", "an orthographic camera", _orthographic),
    Case("shifted", "a shifted lens, fitted vertically", _shifted),
    Case("portrait", "pictures of 3:4", _patterned, size=(200, 150)),
    Case("high-poly", "490,000 triangles", _many_triangles),
    Case("tiny", "a millimetre", _scaled(1e-3)),
    Case("huge", "a kilometre", _scaled(1e3)),
    Case("mug", "its own shadows, two soft lamps", _mug, "traced", SHADOWED, CLASSIFIED, MUG),
    Case("bus", "sun and sky", lambda: _bus(grounded=False, sunny=True), "traced", SHADOWED, CLASSIFIED, BUS),
    Case("bus, sun", "on the ground", lambda: _bus(grounded=True, sunny=True), "baked", SHADOWED, CLASSIFIED, BUS),
    Case("bus, HDRI", "on the ground", lambda: _bus(grounded=True, sunny=False), "baked", SHADOWED, CLASSIFIED, BUS),
)
