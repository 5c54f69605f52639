# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads Blender's lights and world as light states in physical units. Makes none up: see `rigs`.

Emission is read as one colour per light; what else nodes make of a light is left out, and said so (:func:`left_out`).
Meshes that glow give no light here: light maps have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._shared import errors, scene
from .find import rendered_objects
from .panorama import Panoramas
from .versions import is_normalized, light_gain, light_tint, node_tree

EMISSION = "ShaderNodeEmission"
WORLD = "assistive_world"
"""The custom property of a light state's collection: the linear radiance of its uniform surrounding, (r, g, b)."""
FAINT_WORLD = 0.1
"""Radiance up to which a world without lamps is Blender's default grey rather than somebody's lighting."""


World = tuple[scene.Vector, int | None]


def read_scene_lights(context: Any, panoramas: Panoramas) -> tuple[scene.LightState, ...]:
    """The one state of all lights that are rendered, and the world; empty when that is dark."""
    world = read_world(context.scene.world, panoramas)
    shown = [obj for obj in rendered_objects(context) if obj.type == "LIGHT"]
    lit = shown or world[1] is not None or max(world[0]) > FAINT_WORLD
    return (_state(context, context.scene.name, shown, world),) if lit else ()


def read_states(context: Any, collection: Any, panoramas: Panoramas) -> tuple[scene.LightState, ...]:
    """One state for each child of `collection` that is enabled in renders; the collection itself need not be.

    Lights that lie in the collection itself belong to every state. The world is the scene's, unless the child has a
    :data:`WORLD` of its own. Raises :class:`InvalidInput` when there is no light.
    """
    children = [child for child in collection.children if not child.hide_render]
    common = _lamps(context, collection.objects)
    states = [
        _state(context, child.name, [*common, *_lamps(context, child.all_objects)], _world(context, child, panoramas))
        for child in children
    ] or [_state(context, collection.name, common, _world(context, collection, panoramas))]
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


def _world(context: Any, collection: Any, panoramas: Panoramas) -> World:
    own = collection.get(WORLD)
    return read_world(context.scene.world, panoramas) if own is None else (vector(own), None)


def _state(context: Any, name: str, objects: list[Any], world: World) -> scene.LightState:
    depsgraph = context.evaluated_depsgraph_get()
    lights = tuple(read_light(obj.evaluated_get(depsgraph)) for obj in objects)
    radiance, panorama = world
    return scene.LightState(name=name, lights=lights, world=radiance, panorama=panorama)


def left_out(context: Any, objects: list[Any]) -> tuple[str, ...]:
    """What of the light `objects` only Blender knows, a sentence each."""
    depsgraph = context.evaluated_depsgraph_get()
    return tuple(sentence for obj in objects for sentence in _left_out(obj.evaluated_get(depsgraph)))


def _left_out(obj: Any) -> list[str]:
    light, found = obj.data, []
    tree = node_tree(light)
    if tree is not None and any(
        socket.is_linked for node in tree.nodes if EMISSION in node.bl_idname for socket in node.inputs
    ):
        found.append(f"Light {obj.name!r} is coloured by nodes.")
    lengths = np.linalg.norm(np.array(obj.matrix_world)[:3, :3], axis=0)
    if light.type in ("POINT", "SPOT") and np.ptp(lengths) > 0.01 * lengths.max():
        found.append(f"Light {obj.name!r} is scaled unevenly.")
    if not light.use_shadow:
        found.append(f"Light {obj.name!r} casts no shadow in Blender.")
    return found


def read_light(obj: Any) -> scene.Light:
    """One light object in shared units."""
    matrix = np.array(obj.matrix_world, np.float64)
    return READERS[obj.data.type](obj.data, matrix)


def _read_point(light: Any, matrix: np.ndarray) -> scene.Light:
    return scene.PointLight(
        power=_power(light, _ball_area(light)), position=vector(matrix[:3, 3]), radius=light.shadow_soft_size
    )


def _read_sun(light: Any, matrix: np.ndarray) -> scene.Light:
    disk = math.pi * math.sin(light.angle / 2) ** 2 if light.angle > 0 else 1.0
    return scene.SunLight(power=_power(light, disk), direction=_direction(matrix), angle=light.angle)


def _read_spot(light: Any, matrix: np.ndarray) -> scene.Light:
    return scene.SpotLight(
        power=_power(light, _ball_area(light)),
        position=vector(matrix[:3, 3]),
        direction=_direction(matrix),
        angle=light.spot_size,
        blend=light.spot_blend,
        radius=light.shadow_soft_size,
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
        spread=light.spread,
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


def read_world(world: Any | None, panoramas: Panoramas) -> tuple[scene.Vector, int | None]:
    """The radiance of a world: one linear colour, or a factor and the number of its panorama."""
    if world is None:
        return (0.0, 0.0, 0.0), None
    tree = node_tree(world)
    if tree is None:
        return vector(world.color), None
    output = tree.get_output_node("CYCLES")
    links = output.inputs["Surface"].links if output is not None else ()
    if not links:
        return (0.0, 0.0, 0.0), None
    background = links[0].from_node
    plain = background.bl_idname in ("ShaderNodeBackground", "ShaderNodeEmission")
    if plain and not background.inputs["Color"].is_linked and not background.inputs["Strength"].is_linked:
        return vector(_socket_radiance(background)), None
    return (1.0, 1.0, 1.0), panoramas.number(world)
