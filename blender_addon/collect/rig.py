# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cameras and lights a job takes: the scene's, those of a collection, or made-up ones around the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._shared import errors, scene
from .cameras import may_see, read_cameras
from .find import CAMERAS, LIGHTS, find_collection, rendered_objects
from .lights import left_out, read_scene_lights, read_states, vector
from .panorama import Panoramas
from .rigs import CAMERA_JITTER, LIGHT_JITTER, default_cameras, default_lights

Source = Literal["auto", "around", "scene"] | Any
"""Made up around the object, those of the scene, or a collection; "auto" is the first there is of: the collection with
the well-known name, the scene's, made-up ones."""


@dataclass(frozen=True)
class RigChoice:
    """What an artist says of the views. Jitter of None is that of the kind of rig; ``backgrounds`` are pictures
    [K, H, W, 3] uint8 for jobs that ask for them."""

    cameras: Source = "auto"
    lights: Source = "auto"
    camera_jitter: scene.CameraJitter | None = None
    light_jitter: scene.LightJitter | None = None
    backgrounds: np.ndarray | None = None


def read_rig(context: Any, mesh: scene.Mesh, choice: RigChoice) -> tuple[scene.Rig, bool]:
    """The cameras and lights that `choice` means for `mesh`, and whether the cameras are the artist's.

    Cameras that cannot see the object are left out. Raises :class:`InvalidInput` when none of them can, and when there
    is none where some were asked for.
    """
    center, radius = bounding_sphere(mesh)
    cameras = _seeing(_own_cameras(context, choice.cameras), mesh)
    panoramas = Panoramas(context)
    lights = _own_lights(context, choice.lights, panoramas)
    rig = scene.Rig(
        cameras=cameras or default_cameras(surface_points(mesh), center),
        lights=lights or default_lights(center, radius),
        center=center,
        camera_jitter=choice.camera_jitter or (scene.CameraJitter() if cameras else CAMERA_JITTER),
        light_jitter=choice.light_jitter or (scene.LightJitter() if lights else LIGHT_JITTER),
        backgrounds=choice.backgrounds,
        panoramas=panoramas.all(),
    )
    return rig, bool(cameras)


def rig_left_out(context: Any, choice: RigChoice) -> tuple[str, ...]:
    """What of the lights that `choice` means only Blender knows, a sentence each."""
    collection = find_collection(context, LIGHTS) if choice.lights == "auto" else choice.lights
    if collection == "around":
        return ()
    whole = collection is None or collection == "scene"
    objects: Any = rendered_objects(context) if whole else collection.all_objects  # type: ignore[union-attr]
    there = context.view_layer.objects
    return left_out(context, [obj for obj in objects if obj.type == "LIGHT" and obj.name in there])


def _own_cameras(context: Any, source: Source) -> tuple[scene.Camera, ...]:
    if source == "around":
        return ()
    if source == "auto":
        return read_cameras(context, find_collection(context, CAMERAS))
    cameras = read_cameras(context, None if source == "scene" else source)
    if not cameras:
        raise errors.InvalidInput("The scene has no camera.", hint="Add one, or have them made around the object.")
    return cameras


def _own_lights(context: Any, source: Source, panoramas: Panoramas) -> tuple[scene.LightState, ...]:
    if source == "around":
        return ()
    collection = find_collection(context, LIGHTS) if source == "auto" else None if source == "scene" else source
    if collection is None:
        lights = read_scene_lights(context, panoramas)
    else:
        lights = read_states(context, collection, panoramas)
    if not lights and source == "scene":
        raise errors.InvalidInput("The scene has no light.", hint="Add one, or have them made around the object.")
    return lights


def _seeing(cameras: tuple[scene.Camera, ...], mesh: scene.Mesh) -> tuple[scene.Camera, ...]:
    seeing = tuple(camera for camera in cameras if may_see(camera, mesh.positions))
    if cameras and not seeing:
        names = ", ".join(repr(camera.name) for camera in cameras)
        raise errors.InvalidInput(f"No camera sees {mesh.name!r}: {names}.", hint="Point one at it, or remove them.")
    return seeing


def bounding_sphere(mesh: scene.Mesh) -> tuple[scene.Vector, float]:
    """Centre of the bounding box of all faces, and the distance of the vertex that is farthest from it (metres)."""
    positions = surface_points(mesh)
    center = (positions.min(axis=0) + positions.max(axis=0)) / 2
    radius = float(np.linalg.norm(positions - center, axis=1).max())
    if radius == 0:
        raise errors.InvalidInput(f"Object {mesh.name!r} has no extent.", hint="Check its scale.")
    return vector(center), radius


def surface_points(mesh: scene.Mesh) -> np.ndarray:
    """The vertices that faces use, [N, 3]."""
    used = np.zeros(len(mesh.positions), bool)
    used[mesh.triangles] = True
    points: np.ndarray = mesh.positions[used]
    return points
