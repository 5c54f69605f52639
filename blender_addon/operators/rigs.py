# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes cameras and lights around the object that an artist can see and edit. What is read of them: see `collect`."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np

from .._shared import scene
from ..collect import bounding_sphere, rigs
from ..collect.find import CAMERAS, LIGHTS
from ..collect.lights import WORLD
from ..collect.mesh import evaluated, read_mask, read_mesh
from .common import allowed, reported, usable_object, why_not_usable

DISPLAY_SIZE = 0.25
"""How large cameras are drawn, in radii of the object."""
DISTANCE_TURN, FOCAL_TURN = (math.sqrt(5) - 1) / 2, math.sqrt(2) - 1
"""Irrational, and unrelated: distance follows neither direction nor focal length."""


class _RigOperator:
    """When a rig can be made."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """In Object Mode, around a mesh object."""
        reason = "Only in Object Mode." if context.mode != "OBJECT" else why_not_usable(context)
        return allowed(cls, reason)


class ASSISTIVE_OT_create_camera_rig(_RigOperator, bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Put cameras around the object, in a collection that the next job takes its views from"""

    bl_idname = "assistive.create_camera_rig"
    bl_label = "Create Camera Rig"
    bl_options = {"REGISTER", "UNDO"}

    azimuths: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Azimuths", description="Cameras on each ring", default=rigs.AZIMUTHS, min=1, max=64
    )
    azimuth_from: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Azimuth From", description="Degrees; 0 is the front (-Y), 90 is +X", default=0.0, min=-360.0, max=360.0
    )
    azimuth_to: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Azimuth To", description="Degrees; 0 is the front (-Y), 90 is +X", default=360.0, min=-360.0, max=360.0
    )
    rings: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Rings", description="Rings of cameras, one above the other", default=len(rigs.ELEVATIONS), min=1, max=16
    )
    elevation_from: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Elevation From", description="Degrees; 90 is above", default=min(rigs.ELEVATIONS), min=-90.0, max=90.0
    )
    elevation_to: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Elevation To", description="Degrees; 90 is above", default=max(rigs.ELEVATIONS), min=-90.0, max=90.0
    )
    distance_from: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Distance From", description="1 is where the object fills the frame", default=1.0, min=0.5, max=20.0
    )
    distance_to: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Distance To", description="1 is where the object fills the frame", default=1.0, min=0.5, max=20.0
    )
    focal_from: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Focal Length From", description="mm, on a sensor of 36 mm", default=50.0, min=10.0, max=300.0
    )
    focal_to: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Focal Length To", description="mm, on a sensor of 36 mm", default=50.0, min=10.0, max=300.0
    )

    @reported
    def execute(self, context: Any) -> set[str]:
        """Makes a new collection of cameras and chooses it for the next job."""
        mesh = surface(context, usable_object(context))
        center, radius = bounding_sphere(mesh)
        cameras = self._cameras(mesh.positions[np.unique(mesh.triangles)], center)
        collection = new_collection(context, CAMERAS)
        for camera in cameras:
            made = rigs.make_camera(context, camera, collection)
            made.data.display_size = DISPLAY_SIZE * radius
        settings = context.scene.assistive
        settings.camera_collection, settings.cameras = collection, "COLLECTION"
        self.report({"INFO"}, f"Made {len(cameras)} cameras in the collection {collection.name!r}")
        return {"FINISHED"}

    def _cameras(self, points: np.ndarray, center: scene.Vector) -> tuple[scene.Camera, ...]:
        directions = [
            (float(round(elevation, 3)), float(round(azimuth, 3)))
            for row, elevation in enumerate(_even(self.elevation_from, self.elevation_to, self.rings))
            for azimuth in _ring(self.azimuth_from, self.azimuth_to, self.azimuths, turn=row / self.rings)
        ]
        focals = _mixed(self.focal_from, self.focal_to, len(directions), FOCAL_TURN)
        return rigs.framing(
            points,
            center,
            directions,
            fields_of_view=2 * np.arctan(rigs.SENSOR_MM / 2 / focals),
            factors=_mixed(self.distance_from, self.distance_to, len(directions), DISTANCE_TURN),
        )


def surface(context: Any, obj: Any) -> scene.Mesh:
    """The evaluated mesh of `obj`, in world space and without texture coordinates."""
    with evaluated(context, obj) as (result, mesh):
        return read_mesh(result, mesh, uv_map="", mask=read_mask(result, mesh, None, invert=False))


def new_collection(context: Any, name: str) -> Any:
    """A new collection of the scene, called `name` or as Blender makes that unique."""
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    return collection


def _even(first: float, last: float, count: int) -> np.ndarray:
    """`count` values [count] from `first` to `last`, both included; the middle when it is one."""
    return np.linspace(first, last, count) if count > 1 else np.array([(first + last) / 2])


def _ring(first: float, last: float, count: int, *, turn: float) -> np.ndarray:
    """`count` azimuths [count] in degrees; those of a full circle begin at `turn` of a step, and leave out its end."""
    if abs(last - first) < 360.0:
        return _even(first, last, count)
    return first + (np.arange(count) + turn) * math.copysign(360.0, last - first) / count


def _mixed(first: float, last: float, count: int, turn: float) -> np.ndarray:
    """The values of :func:`_even` in the order of the fractions of n · `turn`, so that neighbours differ."""
    order = np.argsort(np.argsort(np.arange(count) * turn % 1.0))
    return np.asarray(_even(first, last, count)[order])


class ASSISTIVE_OT_create_light_rig(_RigOperator, bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Put six common lightings around the object, in collections that only the next job is lit by"""

    bl_idname = "assistive.create_light_rig"
    bl_label = "Create Light Rig"
    bl_options = {"REGISTER", "UNDO"}

    strength: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Strength", description="Photographic stops above common exposure", default=0.0, min=-5.0, max=5.0
    )

    @reported
    def execute(self, context: Any) -> set[str]:
        """Makes a new collection with one collection for each state, and chooses it for the next job."""
        center, radius = bounding_sphere(surface(context, usable_object(context)))
        collection = new_collection(context, LIGHTS)
        collection.hide_render = True  # the artist's own pictures stay as they were
        for state in rigs.default_lights(center, radius):
            _make_state(state, collection, center, radius, gain=2.0**self.strength)
        _hide_children(context, collection)
        settings = context.scene.assistive
        settings.light_collection, settings.lights = collection, "COLLECTION"
        self.report({"INFO"}, f"Made {len(collection.children)} states of light, hidden, in {collection.name!r}")
        return {"FINISHED"}


def _make_state(state: scene.LightState, rig: Any, center: scene.Vector, radius: float, *, gain: float) -> None:
    """A collection inside `rig` with Blender lights for `state`, `gain` times as strong."""
    collection = bpy.data.collections.new(state.name)
    rig.children.link(collection)
    for light in state.lamps:
        made = rigs.make_light(light, state.name, collection)
        made.data.energy *= gain
        if isinstance(light, scene.SunLight):  # a sun shines from everywhere, but is looked for above the object
            made.location = np.array(center) - rigs.LAMP_DISTANCE * radius * np.array(light.direction)
    collection[WORLD] = [gain * channel for channel in state.world]
    collection.id_properties_ui(WORLD).update(
        subtype="COLOR", min=0.0, soft_max=1.0, description="Radiance of the surroundings in this state of the light"
    )


def _hide_children(context: Any, collection: Any) -> None:
    """Close the eyes of the collections in `collection`, which lies in the scene's own one, in all view layers."""
    for view_layer in context.scene.view_layers:
        for child in view_layer.layer_collection.children[collection.name].children:
            child.hide_viewport = True


CLASSES = (ASSISTIVE_OT_create_camera_rig, ASSISTIVE_OT_create_light_rig)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
