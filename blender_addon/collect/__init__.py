# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a shared `Scene` out of Blender data. The one thing it adds to the file is a UV map, where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._shared import arrays, errors, scene
from .cameras import may_see, read_cameras
from .find import check_object, find_object
from .lights import read_states, vector
from .mesh import check_uvs, evaluated, read_mask, read_mesh, render_uv_map, world_positions
from .rigs import CAMERA_JITTER, LIGHT_JITTER, default_cameras, default_lights
from .texture import Look, Pictured, read_look, uv_texture, vertex_texture
from .unwrap import add_uv_map

__all__ = ["Collected", "collect", "find_object"]

LARGEST_TEXTURE = 16384


@dataclass(frozen=True)
class Collected:
    """A validated scene, and what the write-back has to know of where it came from.

    ``uv_map`` names the UV map that the texture lives in ("" for vertex textures). ``own_rig`` is False when the
    cameras were made up.
    """

    scene: scene.Scene
    uv_map: str
    own_rig: bool


def collect(
    context: Any,
    obj: Any,
    *,
    mask: str | None,
    invert_mask: bool = False,
    texture: str = "uv",
    texture_size: int | None = None,
    init: str = "own",
) -> Collected:
    """The scene of a job on mesh object `obj`, as its view layer has it at the current frame.

    `mask` names a vertex group; `texture` is "uv" or "vertex"; `texture_size` in texels (None: the object's own);
    `init` is "own" or "#RRGGBB". Raises :class:`InvalidInput` that names what cannot be used.
    """
    if texture not in ("uv", "vertex"):
        raise errors.InvalidInput(f"There is no texture kind {texture!r}.", hint="Use uv or vertex.")
    if texture_size is not None and not 1 <= texture_size <= LARGEST_TEXTURE:
        raise errors.InvalidInput(
            f"A texture cannot have an edge of {texture_size} texels.", hint=f"Use 1 to {LARGEST_TEXTURE}."
        )
    context.view_layer.update()
    check_object(context, obj)
    with evaluated(context, obj) as (result, mesh):
        look = read_look(result, mesh, init)
        weights = read_mask(result, mesh, mask, invert=invert_mask)
        uv_map = _choose_uv_map(result, mesh, look) if texture == "uv" else ""
    if texture == "uv" and not uv_map:
        uv_map = _add_uv_map(context, obj)
    with evaluated(context, obj) as (result, mesh):
        shared_mesh = read_mesh(result, mesh, uv_map=uv_map or render_uv_map(mesh), mask=weights)
        if texture == "uv":
            check_uvs(result, uv_map, shared_mesh.uv)
            start: scene.Texture = uv_texture(look, texture_size)
        else:
            start = vertex_texture(result, mesh, look, own=init == "own")
    rig, own_rig = read_rig(context, shared_mesh)
    whole = scene.Scene(mesh=shared_mesh, texture=start, rig=rig)
    arrays.validate(whole, "scene")
    scene.check_scene(whole)
    return Collected(scene=whole, uv_map=uv_map, own_rig=own_rig)


def _choose_uv_map(obj: Any, mesh: Any, look: Look) -> str:
    """The UV map that a texture for an evaluated `obj` lives in, "" when one is to be made.

    All that can be wrong with the object is found here, before anything is added to it.
    """
    uv_texture(look, None)  # refuses colours that no image holds
    uv_map = (look.uv_map if isinstance(look, Pictured) else "") or render_uv_map(mesh)
    if not uv_map:
        world_positions(obj, mesh)
    elif uv_map not in mesh.uv_layers:
        raise errors.InvalidInput(
            f"The image of {obj.name!r} is laid out by the UV map {uv_map!r}, which it does not have.",
            hint=f"Its UV maps: {', '.join(repr(layer.name) for layer in mesh.uv_layers) or 'none'}.",
        )
    return uv_map


def _add_uv_map(context: Any, obj: Any) -> str:
    name = render_uv_map(obj.data) or add_uv_map(context, obj)
    with evaluated(context, obj) as (_, mesh):
        if name not in mesh.uv_layers:
            raise errors.InvalidInput(
                f"Modifiers of {obj.name!r} remove its UV map {name!r}.",
                hint="Apply the modifiers and unwrap the result, or use --texture vertex.",
            )
    return name


def read_rig(context: Any, mesh: scene.Mesh) -> tuple[scene.Rig, bool]:
    """The cameras and lights of the scene, or made-up ones around `mesh`, and whether the cameras are the scene's.

    Cameras that cannot see the object are left out. Raises :class:`InvalidInput` when none of them can.
    """
    center, radius = bounding_sphere(mesh)
    own_cameras, own_lights = read_cameras(context), read_states(context)
    cameras = tuple(camera for camera in own_cameras if may_see(camera, mesh.positions))
    if own_cameras and not cameras:
        names = ", ".join(repr(camera.name) for camera in own_cameras)
        raise errors.InvalidInput(f"No camera sees {mesh.name!r}: {names}.", hint="Point one at it, or remove them.")
    rig = scene.Rig(
        cameras=cameras or default_cameras(mesh.positions[mesh.triangles].reshape(-1, 3), center),
        lights=own_lights or default_lights(center, radius),
        center=center,
        camera_jitter=scene.CameraJitter() if cameras else CAMERA_JITTER,
        light_jitter=scene.LightJitter() if own_lights else LIGHT_JITTER,
    )
    return rig, bool(cameras)


def bounding_sphere(mesh: scene.Mesh) -> tuple[scene.Vector, float]:
    """Centre of the bounding box of all faces, and the distance of the vertex that is farthest from it (metres)."""
    used = np.zeros(len(mesh.positions), bool)
    used[mesh.triangles] = True
    positions = mesh.positions[used]
    center = (positions.min(axis=0) + positions.max(axis=0)) / 2
    radius = float(np.linalg.norm(positions - center, axis=1).max())
    if radius == 0:
        raise errors.InvalidInput(f"Object {mesh.name!r} has no extent.", hint="Check its scale.")
    return vector(center), radius
