# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads Blender's lights and world as light states in physical units. Makes none up: see `rigs`.

Emission is read as one colour per light and for the world: textures on lights, spread and sizes of point lights are
left out, an image around the world counts as its mean, and meshes that glow give no light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._shared import errors, scene
from . import color
from .find import rendered_objects
from .texture import image_pixels, is_linear
from .versions import is_normalized, light_gain, light_tint, node_tree

WORLD = "assistive_world"
"""The custom property of a light state's collection: the linear radiance of its uniform surrounding, (r, g, b)."""
FAINT_WORLD = 0.1
"""Radiance up to which a world without lamps is Blender's default grey rather than somebody's lighting."""


def read_scene_lights(context: Any) -> tuple[scene.LightState, ...]:
    """The one state of all lights that are rendered, and the world; empty when that is dark."""
    world = read_world(context.scene.world)
    shown = [obj for obj in rendered_objects(context) if obj.type == "LIGHT"]
    lit = shown or max(world) > FAINT_WORLD
    return (_state(context, context.scene.name, shown, world),) if lit else ()


def read_states(context: Any, collection: Any) -> tuple[scene.LightState, ...]:
    """One state for each child of `collection` that is enabled in renders; the collection itself need not be.

    Lights that lie in the collection itself belong to every state. The world is the scene's, unless the child has a
    :data:`WORLD` of its own. Raises :class:`InvalidInput` when there is no light.
    """
    children = [child for child in collection.children if not child.hide_render]
    common = _lamps(context, collection.objects)
    states = [
        _state(context, child.name, [*common, *_lamps(context, child.all_objects)], _world(context, child))
        for child in children
    ] or [_state(context, collection.name, common, _world(context, collection))]
    lit = tuple(state for state in states if state.lights or any(state.world))
    if not lit:
        raise errors.InvalidInput(
            f"There is no light in the collection {collection.name!r}.",
            hint="Add lights that are enabled in renders, or delete the collection to have them made.",
        )
    return lit


def _lamps(context: Any, objects: Any) -> list[Any]:
    """The lights among `objects` that can be evaluated and are not disabled in renders."""
    there = context.view_layer.objects
    return [obj for obj in objects if obj.type == "LIGHT" and not obj.hide_render and obj.name in there]


def _world(context: Any, collection: Any) -> scene.Vector:
    own = collection.get(WORLD)
    return read_world(context.scene.world) if own is None else vector(own)


def _state(context: Any, name: str, objects: list[Any], world: scene.Vector) -> scene.LightState:
    depsgraph = context.evaluated_depsgraph_get()
    lights = tuple(read_light(obj.evaluated_get(depsgraph)) for obj in objects)
    return scene.LightState(name=name, lights=lights, world=world)


def read_light(obj: Any) -> scene.Light:
    """One light object in shared units."""
    matrix = np.array(obj.matrix_world, np.float64)
    return READERS[obj.data.type](obj.data, matrix)


def _read_point(light: Any, matrix: np.ndarray) -> scene.Light:
    return scene.PointLight(power=_power(light, _ball_area(light)), position=vector(matrix[:3, 3]))


def _read_sun(light: Any, matrix: np.ndarray) -> scene.Light:
    disk = math.pi * math.sin(light.angle / 2) ** 2 if light.angle > 0 else 1.0
    return scene.SunLight(power=_power(light, disk), direction=_direction(matrix))


def _read_spot(light: Any, matrix: np.ndarray) -> scene.Light:
    return scene.SpotLight(
        power=_power(light, _ball_area(light)),
        position=vector(matrix[:3, 3]),
        direction=_direction(matrix),
        angle=light.spot_size,
        blend=light.spot_blend,
    )


def _read_area(light: Any, matrix: np.ndarray) -> scene.Light:
    round_ = light.shape in ("DISK", "ELLIPSE")
    height = light.size_y if light.shape in ("RECTANGLE", "ELLIPSE") else light.size
    axis_x, axis_y = matrix[:3, 0] * light.size, matrix[:3, 1] * height
    if np.cross(axis_y, axis_x) @ _direction(matrix) < 0:  # a mirrored lamp still shines along its -Z
        axis_x = -axis_x
    area = float(np.linalg.norm(axis_x) * np.linalg.norm(axis_y)) * (math.pi / 4 if round_ else 1.0)
    return scene.AreaLight(
        power=_power(light, area),
        position=vector(matrix[:3, 3]),
        axis_x=vector(axis_x),
        axis_y=vector(axis_y),
        shape="ellipse" if round_ else "rectangle",
    )


READERS: Mapping[str, Callable[[Any, np.ndarray], scene.Light]] = {
    "POINT": _read_point,
    "SUN": _read_sun,
    "SPOT": _read_spot,
    "AREA": _read_area,
}


def _ball_area(light: Any) -> float:
    """The area that the power of a point or spot light refers to when it is not normalised (4 m² for radius 0)."""
    radius = light.shadow_soft_size
    return 4 * math.pi * radius**2 if radius > 0 else 4.0


def _power(light: Any, area: float) -> scene.Vector:
    """Colour × energy × 2^exposure × temperature colour × emission node; × `area` when it is not normalised."""
    scale = light.energy * light_gain(light) * (1.0 if is_normalized(light) else area)
    factors = np.array(light.color[:3]) * light_tint(light) * _node_emission(light)
    return vector(factors * scale)


def _node_emission(light: Any) -> np.ndarray:
    """The factor [3] that plain values in a light's emission node give; links are left out."""
    tree = node_tree(light)
    node = None if tree is None else next((n for n in tree.nodes if n.bl_idname == "ShaderNodeEmission"), None)
    return np.ones(3) if node is None else _socket_radiance(node)


def _socket_radiance(node: Any) -> np.ndarray:
    """Colour × strength [3] of an emission or background node; a linked socket counts as 1."""
    tint, strength = node.inputs["Color"], node.inputs["Strength"]
    plain = np.ones(3) if tint.is_linked else np.array(tint.default_value[:3], np.float64)
    return plain * (1.0 if strength.is_linked else strength.default_value)


def _direction(matrix: np.ndarray) -> scene.Vector:
    """Where a lamp shines: its -Z, unit length."""
    return vector(-matrix[:3, 2] / np.linalg.norm(matrix[:3, 2]))


def vector(values: Any) -> scene.Vector:
    """Three numbers as the shared type."""
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def read_world(world: Any | None) -> scene.Vector:
    """The radiance of a world as one linear colour.

    Raises :class:`InvalidInput` for a background that is neither plain nor an image.
    """
    if world is None:
        return (0.0, 0.0, 0.0)
    tree = node_tree(world)
    if tree is None:
        return vector(world.color)
    output = tree.get_output_node("CYCLES")
    links = output.inputs["Surface"].links if output is not None else ()
    if not links:
        return (0.0, 0.0, 0.0)
    background = links[0].from_node
    if background.bl_idname not in ("ShaderNodeBackground", "ShaderNodeEmission"):
        raise _unreadable(world, background)
    return vector(_socket_radiance(background) * _background_color(world, background))


def _background_color(world: Any, background: Any) -> np.ndarray:
    """The mean colour [3] of what is linked into a background's colour; ones when nothing is."""
    links = background.inputs["Color"].links
    if not links:
        return np.ones(3)
    node = links[0].from_node
    if node.bl_idname not in ("ShaderNodeTexEnvironment", "ShaderNodeTexImage") or node.image is None:
        raise _unreadable(world, node)
    pixels = image_pixels(node.image)
    return _mean_radiance(pixels if is_linear(node.image) else color.decode(pixels))


def _mean_radiance(panorama: np.ndarray) -> np.ndarray:
    """Mean [3] over the directions of an equirectangular image [H, W, 3]: rows near the poles are small."""
    height = len(panorama)
    weights = np.sin((np.arange(height) + 0.5) / height * math.pi)
    return np.asarray(weights @ panorama.mean(axis=1, dtype=np.float64) / weights.sum())


def _unreadable(world: Any, node: Any) -> errors.InvalidInput:
    return errors.InvalidInput(
        f"The light of world {world.name!r} is made by the node {node.name!r}.",
        hint="Give its background a plain colour or an image.",
    )
