# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras and lights made up around an object, and shared cameras and lights made into Blender objects.

The made-up rigs are pure functions of the object's bounding sphere; reading rigs out of a scene is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bpy
import msgspec
import numpy as np
from mathutils import Matrix

from .._shared import scene
from .lights import vector
from .panorama import link_panorama, surrounding

CAMERA_JITTER = scene.CameraJitter(azimuth=25.0, elevation=10.0, roll=4.0, distance=0.15, zoom=0.05, shift=0.04)
LIGHT_JITTER = scene.LightJitter(azimuth=180.0, stops=0.6, tint=0.1)

FIELD_OF_VIEW = math.radians(40.0)
ELEVATIONS = (5.0, 25.0, 45.0)
AZIMUTHS = 8
FILL = 0.9
"""How much of the frame the object takes, in its longer direction, as seen by a camera made up for it."""
LAMP_DISTANCE = 4.0
"""How far lamps are from the centre, in radii."""
SENSOR_MM = 36.0


def default_cameras(positions: np.ndarray, center: scene.Vector) -> tuple[scene.Camera, ...]:
    """24 cameras on three rings around points ``[V, 3]`` (metres), each ring turned against the one below.

    Each looks at `center` from where the points just take `FILL` of its frame, as a person would frame them.
    """
    step = 360.0 / AZIMUTHS
    directions = [
        (elevation, step * (column + row / len(ELEVATIONS)))
        for row, elevation in enumerate(ELEVATIONS)
        for column in range(AZIMUTHS)
    ]
    return framing(positions, center, directions)


def framing(
    positions: np.ndarray,
    center: scene.Vector,
    directions: Sequence[tuple[float, float]],
    *,
    fields_of_view: np.ndarray | float = FIELD_OF_VIEW,
    factors: np.ndarray | float = 1.0,
) -> tuple[scene.Camera, ...]:
    """Cameras in `directions` (elevation, azimuth in degrees) that look at `center`, in whose frames points [V, 3] just
    take :data:`FILL`, or which are `factors` times as far away.

    `fields_of_view` (radians) and `factors` are one for each camera, or one for all.
    """
    offsets = np.ascontiguousarray((positions - np.array(center)).T)
    count = len(directions)
    views, scales = (np.broadcast_to(values, count) for values in (fields_of_view, factors))
    return tuple(
        _framing(offsets, center, elevation, azimuth, float(view), float(scale))
        for (elevation, azimuth), view, scale in zip(directions, views, scales, strict=True)
    )


def _framing(
    offsets: np.ndarray, center: scene.Vector, elevation: float, azimuth: float, field_of_view: float, factor: float
) -> scene.Camera:
    """One camera, for points at `offsets` [3, V] from `center`."""
    right, up, back = frame(np.array(center) - _around(center, 1.0, azimuth, elevation)).T
    # A point at (x, y, z) in camera axes lies within the frame from distance d when max(|x|, |y|) ≤ F·tan·(d − z).
    spread = FILL * math.tan(field_of_view / 2)
    sides = np.stack([right, -right, up, -up]) / spread + back
    distance = factor * float((sides @ offsets).max())
    return scene.Camera(
        name=f"elevation {elevation:g} azimuth {azimuth:g}",
        view=look_at(_around(center, distance, azimuth, elevation), center),
        projection=_perspective(field_of_view, near=distance / 100, far=distance * 100),
    )


def _around(center: scene.Vector, distance: float, azimuth: float, elevation: float) -> np.ndarray:
    """The point at `distance` from `center` in a direction given in degrees (azimuth 0 is -Y, Blender's front)."""
    turn, rise = math.radians(azimuth), math.radians(elevation)
    direction = np.array((math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise)))
    return np.asarray(center + distance * direction)


def direction(offset: np.ndarray) -> tuple[float, float]:
    """Elevation and azimuth, in degrees, of a point at `offset` [3] from the centre: the other way round of
    :func:`_around`."""
    x, y, z = offset.tolist()
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(x, -y)) % 360.0


def like(
    cameras: Sequence[scene.Camera], center: scene.Vector, directions: Sequence[tuple[float, float]]
) -> tuple[scene.Camera, ...]:
    """Cameras in `directions` (as of :func:`framing`) that look at `center`, each from as far and through the same lens
    as the one of `cameras` that is nearest to its direction."""
    offsets = [np.linalg.inv(camera.view)[:3, 3] - center for camera in cameras]
    units = np.array([offset / np.linalg.norm(offset) for offset in offsets])
    found = []
    for elevation, azimuth in directions:
        toward = _around((0.0, 0.0, 0.0), 1.0, azimuth, elevation)
        nearest = int(np.argmax(units @ toward))
        eye = np.array(center) + np.linalg.norm(offsets[nearest]) * toward
        name = f"elevation {elevation:g} azimuth {azimuth:g}"
        found.append(msgspec.structs.replace(cameras[nearest], name=name, view=look_at(eye, center)))
    return tuple(found)


def look_at(eye: np.ndarray, target: scene.Vector) -> np.ndarray:
    """The view matrix [4, 4] of a camera at `eye` that looks at `target`, upright."""
    world = np.eye(4)
    world[:3, :3] = frame(np.array(target) - eye)
    world[:3, 3] = eye
    return np.linalg.inv(world)


def frame(forward: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] whose -Z is `forward` and whose Y is as upright as can be."""
    back = -forward / np.linalg.norm(forward)
    up = (0.0, 1.0, 0.0) if abs(back[2]) > 0.9999 else (0.0, 0.0, 1.0)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)


def _perspective(field_of_view: float, *, near: float, far: float) -> np.ndarray:
    scale = 1.0 / math.tan(field_of_view / 2)
    depth, offset = -(far + near) / (far - near), -2 * far * near / (far - near)
    return np.array([[scale, 0, 0, 0], [0, scale, 0, 0], [0, 0, depth, offset], [0, 0, -1, 0]], np.float64)


def default_lights(center: scene.Vector, radius: float) -> tuple[scene.LightState, ...]:
    """Six states around a sphere (metres), each giving a surface that faces it an irradiance of 3 to 4 W/m².

    Under that a surface of albedo 0.8 comes to about 0.8 to 1 of display white. The world's radiance L adds πL.
    """
    return (
        scene.LightState(name="high sun", lights=(_sun(center, 2.2, 35, 60),), world=_grey(0.4, (0.9, 1.0, 1.15))),
        scene.LightState(name="low sun", lights=(_sun(center, 2.4, -50, 18, WARM),), world=_grey(0.35, (0.9, 1, 1.2))),
        scene.LightState(
            name="key and fill",
            lights=(_area(center, radius, 2.4, -40, 35), _area(center, radius, 1.0, 60, 15)),
            world=_grey(0.15),
        ),
        scene.LightState(name="overcast", world=_grey(1.0)),
        scene.LightState(
            name="two lamps",
            lights=(_point(center, radius, 2.3, -60, 45, WARM), _point(center, radius, 1.3, 80, 25)),
            world=_grey(0.2),
        ),
        scene.LightState(name="spot", lights=(_spot(center, radius, 2.4, 20, 50),), world=_grey(0.35)),
    )


WARM = (1.15, 1.0, 0.8)
WHITE = (1.0, 1.0, 1.0)


def _grey(level: float, tint: scene.Vector = WHITE) -> scene.Vector:
    return vector(level * np.array(tint))


def _sun(center: scene.Vector, irradiance: float, azimuth: float, elevation: float, tint: scene.Vector = WHITE) -> Any:
    toward = np.array(center) - _around(center, 1.0, azimuth, elevation)
    return scene.SunLight(power=_grey(irradiance, tint), direction=vector(toward))


def _point(
    center: scene.Vector, radius: float, irradiance: float, azimuth: float, elevation: float, tint: scene.Vector = WHITE
) -> scene.PointLight:
    distance = LAMP_DISTANCE * radius
    power = irradiance * 4 * math.pi * distance**2
    return scene.PointLight(power=_grey(power, tint), position=vector(_around(center, distance, azimuth, elevation)))


def _spot(center: scene.Vector, radius: float, irradiance: float, azimuth: float, elevation: float) -> scene.SpotLight:
    distance = LAMP_DISTANCE * radius
    position = _around(center, distance, azimuth, elevation)
    return scene.SpotLight(
        power=_grey(irradiance * 4 * math.pi * distance**2),
        position=vector(position),
        direction=vector((np.array(center) - position) / distance),
        angle=math.radians(60.0),  # the sphere takes 29 of them: none of it is in the soft edge
        blend=0.5,
    )


def _area(center: scene.Vector, radius: float, irradiance: float, azimuth: float, elevation: float) -> scene.AreaLight:
    distance, edge = LAMP_DISTANCE * radius, 2.0 * radius
    position = _around(center, distance, azimuth, elevation)
    axes = frame(np.array(center) - position)
    return scene.AreaLight(
        power=_grey(irradiance * math.pi * distance**2),
        position=vector(position),
        axis_x=vector(edge * axes[:, 0]),
        axis_y=vector(edge * axes[:, 1]),
    )


def make_camera(context: Any, camera: scene.Camera, collection: Any) -> bpy.types.Object:
    """A Blender camera that sees what `camera` sees in a frame of its aspect, linked to `collection`."""
    data = bpy.data.cameras.new(camera.name)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_MM
    _set_lens(data, camera.projection, camera.aspect)
    obj = _place(data, camera.name, np.linalg.inv(camera.view), collection)
    context.view_layer.update()
    return obj


def _set_lens(data: Any, projection: np.ndarray, aspect: float) -> None:
    """Lens, shift (in widths, both) and clipping of a camera from its projection [4, 4]."""
    depth, offset = projection[2, 2], projection[2, 3]
    if projection[3, 2] == 0:
        data.type, data.ortho_scale = "ORTHO", 2.0 / projection[0, 0]
        data.shift_x, data.shift_y = -projection[0, 3] / 2, -projection[1, 3] / 2 / aspect
        data.clip_start, data.clip_end = (offset + 1) / depth, (offset - 1) / depth
    else:
        data.type, data.lens = "PERSP", projection[0, 0] * SENSOR_MM / 2
        data.shift_x, data.shift_y = projection[0, 2] / 2, projection[1, 2] / 2 / aspect
        data.clip_start = offset / (depth - 1)
        data.clip_end = offset / min(depth + 1, -1e-6)  # float32 may hold no far plane at all


def make_lights(
    context: Any, state: scene.LightState, collection: Any, panoramas: np.ndarray | None = None
) -> list[bpy.types.Object]:
    """Blender lights for `state`, linked to `collection`, and a new world for the scene: of its colour, or with the one
    of `panoramas` that it names (whose image is that world's alone)."""
    objects = [make_light(lamp, f"{state.name} {number}", collection) for number, lamp in enumerate(state.lamps)]
    context.scene.world = _make_world(state)
    panorama = surrounding(state, panoramas)
    if panorama is not None:
        link_panorama(context.scene.world, panorama, state.turn)
    context.view_layer.update()
    return objects


def _make_world(state: scene.LightState) -> bpy.types.World:
    world = bpy.data.worlds.new(state.name)
    if bpy.app.version < (5, 0):
        world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    background, output = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    tree.links.new(background.outputs["Background"], output.inputs["Surface"])
    strength, tint = _strength_and_color(state.world)
    background.inputs["Strength"].default_value = strength
    background.inputs["Color"].default_value = (*tint, 1.0)
    return world


def _strength_and_color(power: scene.Vector) -> tuple[float, scene.Vector]:
    """A power as strength × a colour of at most 1."""
    strength = max(power)
    return (strength, vector(np.array(power) / strength)) if strength > 0 else (0.0, WHITE)


#: Blender's light type for each shared one.
LIGHT_TYPES = {scene.PointLight: "POINT", scene.SunLight: "SUN", scene.SpotLight: "SPOT", scene.AreaLight: "AREA"}


def make_light(light: scene.Lamp, name: str, collection: Any) -> bpy.types.Object:
    data = bpy.data.lights.new(name, LIGHT_TYPES[type(light)])
    data.energy, data.color = _strength_and_color(light.power)
    matrix = np.eye(4)
    if isinstance(light, scene.AreaLight):
        _shape_area(data, light, matrix)
    elif isinstance(light, scene.SunLight):
        data.angle = light.angle
    else:
        data.shadow_soft_size = light.radius
    if isinstance(light, scene.SpotLight):
        data.spot_size, data.spot_blend = light.angle, light.blend
    if isinstance(light, scene.SpotLight | scene.SunLight):
        matrix[:3, :3] = frame(np.array(light.direction))
    if not isinstance(light, scene.SunLight):
        matrix[:3, 3] = light.position
    return _place(data, name, matrix, collection)


def _shape_area(data: Any, light: scene.AreaLight, matrix: np.ndarray) -> None:
    """Size and shape of an area lamp, and the rotation of `matrix`, from the axes of `light`."""
    axis_x, axis_y = np.array(light.axis_x), np.array(light.axis_y)
    data.shape = "ELLIPSE" if light.shape == "ellipse" else "RECTANGLE"
    data.size, data.size_y = np.linalg.norm(axis_x), np.linalg.norm(axis_y)
    data.spread = light.spread
    matrix[:3, 0], matrix[:3, 1] = axis_x / data.size, axis_y / data.size_y
    matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1])


def _place(data: Any, name: str, matrix: np.ndarray, collection: Any) -> bpy.types.Object:
    obj = bpy.data.objects.new(name, data)
    obj.rotation_mode = "QUATERNION"  # Euler angles lose digits near the poles
    obj.matrix_world = Matrix(matrix.tolist())
    collection.objects.link(obj)
    return obj
