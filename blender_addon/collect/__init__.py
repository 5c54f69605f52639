# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a shared `Scene` out of Blender data. The one thing it adds to the file is a UV map, where one is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from .._shared import arrays, errors, scene
from .bake import bake_corners, bake_image
from .cameras import read_camera
from .find import check_can_show, check_object, find_collection, find_object, nearest_first
from .light_maps import SAMPLES as LIGHT_MAP_SAMPLES
from .light_maps import SIZE as LIGHT_MAP_SIZE
from .light_maps import bake_light_maps
from .measure import coverage, shared_texels
from .mesh import check_uvs, evaluated, is_usable, read_mask, read_mesh, render_uv_map, triangle_uvs
from .rig import RigChoice, bounding_sphere, read_rig, rig_left_out
from .surface import read_surfaces
from .surroundings import read_surroundings
from .texture import (
    Look,
    Mixed,
    Pictured,
    bake_size,
    check_picture,
    read_look,
    uv_texture,
    vertex_texture,
    without_bake,
)
from .unwrap import UV_MAP, add_uv_map
from .view_transform import read_view_transform

__all__ = [
    "BakeChoice",
    "Collected",
    "RigChoice",
    "bounding_sphere",
    "collect",
    "coverage",
    "find_collection",
    "find_object",
    "nearest_first",
    "read_camera",
    "shared_texels",
]

LARGEST_TEXTURE = 16384
BEFORE_BAKING, BEFORE_CHECKS = 0.1, 0.95
"""The share of the work that is done when light maps are begun, and when all is there but the last checks."""
MOST_SHARED = 0.01
"""The share of a texture that two faces may both show when something is baked to it."""


@dataclass(frozen=True)
class Collected:
    """A validated scene, and what the write-back has to know of where it came from.

    ``uv_map`` names the UV map that the texture lives in ("" for vertex textures). ``own_rig`` is False when the
    cameras were made up. ``left_out`` says what the server does not model, a sentence each.
    """

    scene: scene.Scene
    uv_map: str
    own_rig: bool
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class BakeChoice:
    """How light maps are baked: their edge in texels, and samples for each of them."""

    size: int = LIGHT_MAP_SIZE
    samples: int = LIGHT_MAP_SAMPLES


def collect(
    context: Any,
    obj: Any,
    *,
    mask: str | None,
    invert_mask: bool = False,
    texture: str = "uv",
    texture_size: int | None = None,
    init: str = "own",
    uv: str = "own",
    rig: RigChoice = RigChoice(),  # noqa: B008  # frozen
    light: str = "open",
    bake: BakeChoice = BakeChoice(),
    on_progress: Callable[[float], None] = lambda _: None,
) -> Collected:
    """The scene of a job on mesh object `obj`, as its view layer has it at the current frame.

    `mask` names a vertex group; `texture` is "uv" or "vertex"; `texture_size` in texels (None: the object's own);
    `init` is "own" or "#RRGGBB". `uv` is "own" for a UV map of the object, where one will do, or "new" for a map made
    for the job. `light` is "open", "traced" (the surroundings are read) or "baked" (light maps are, as `bake` says).
    `on_progress` is called with the share that is done, 0 to 1. Raises :class:`InvalidInput` that names what cannot be
    used, before anything is added to the file.
    """
    _check_options(texture, texture_size, uv, light)

    def told(share: float) -> None:
        on_progress(share * BEFORE_BAKING if light == "baked" else share * BEFORE_CHECKS)

    context.view_layer.update()
    check_object(context, obj)
    check_can_show(obj, vertex_colors=texture == "vertex")
    with evaluated(context, obj) as (result, mesh):
        look = read_look(result, mesh, init)
        weights = read_mask(result, mesh, mask, invert=invert_mask)
        told(0.3)
        surfaces = read_surfaces(result, mesh)
        own = (texture, uv) == ("uv", "own")
        uv_map = _own_uv_map(result, mesh, look, atlas=light == "baked") if own else ""
        shared_mesh = msgspec.structs.replace(
            read_mesh(result, mesh, uv_map=uv_map, mask=weights), surfaces=surfaces.all, surface=surfaces.which
        )
    told(0.5)
    views, own_rig = read_rig(context, shared_mesh, rig)
    told(0.6)
    with _taking_back_a_new_uv_map(obj):
        if texture == "vertex":
            start: scene.Texture = _vertex_start(context, obj, look, own=init == "own")
        else:
            if not uv_map:
                uv_map, layout = _new_uv_map(context, obj)
                shared_mesh = msgspec.structs.replace(shared_mesh, uv=layout)
            told(0.8)
            start = _uv_start(context, obj, look, uv_map, texture_size)
        told(1.0)
        whole = scene.Scene(
            mesh=shared_mesh,
            texture=start,
            rig=views,
            surroundings=read_surroundings(context, obj) if light == "traced" else None,
            view_transform=read_view_transform(context),
            unit=context.scene.unit_settings.scale_length,
        )
        if light == "baked":
            whole = _with_light_maps(context, obj, whole, uv_map, bake, on_progress)
        arrays.validate(whole, "scene")
        scene.check_scene(whole)
    on_progress(1.0)
    left_out = (*surfaces.left_out, *rig_left_out(context, rig))
    return Collected(scene=whole, uv_map=uv_map, own_rig=own_rig, left_out=left_out)


@contextmanager
def _taking_back_a_new_uv_map(obj: Any) -> Iterator[None]:
    """When the block cannot be done, the UV map that it has added is removed again."""
    there = UV_MAP in obj.data.uv_layers
    try:
        yield
    except errors.AssistiveError:
        if not there and UV_MAP in obj.data.uv_layers:
            obj.data.uv_layers.remove(obj.data.uv_layers[UV_MAP])
        raise


def _check_options(texture: str, texture_size: int | None, uv: str, light: str) -> None:
    if light not in ("open", "traced", "baked"):
        raise errors.InvalidInput(f"There is no light {light!r}.", hint="Use open, traced or baked.")
    if light == "baked" and texture == "vertex":
        raise errors.InvalidInput(
            "Baked light needs a UV texture; this job has vertex colours.", hint="Use a UV texture, or traced light."
        )
    if texture not in ("uv", "vertex"):
        raise errors.InvalidInput(f"There is no texture kind {texture!r}.", hint="Use uv or vertex.")
    if uv not in ("own", "new"):
        raise errors.InvalidInput(f"There is no kind of UV map {uv!r}.", hint="Use own or new.")
    if texture_size is not None and not 1 <= texture_size <= LARGEST_TEXTURE:
        raise errors.InvalidInput(
            f"A texture cannot have an edge of {texture_size} texels.", hint=f"Use 1 to {LARGEST_TEXTURE}."
        )


def _own_uv_map(obj: Any, mesh: Any, look: Look, *, atlas: bool) -> str:
    """The UV map of an evaluated `obj` that its texture can live in, "" when a new one is needed.

    Several images are laid out each for itself. What is baked needs a place of its own for every part of the surface,
    and so does everything with `atlas`.
    """
    pictures = look.pictures if isinstance(look, Mixed) else (look,) if isinstance(look, Pictured) else ()
    for picture in pictures:
        check_picture(obj, mesh, picture)
    uv_map = pictures[0].uv_map if pictures else render_uv_map(mesh)
    if len(pictures) > 1 or not uv_map:
        return ""
    uv = triangle_uvs(obj, mesh, uv_map)
    fits = is_usable(uv) and ((without_bake(look, uv_map) is not None and not atlas) or _is_atlas(uv))
    return uv_map if fits else ""


def _is_atlas(uv: np.ndarray) -> bool:
    """Whether triangles' coordinates [T, 3, 2] stay within the texture and have it to themselves."""
    return bool(uv.min() > -1e-4 and uv.max() < 1.0001) and shared_texels(uv) <= MOST_SHARED


def _new_uv_map(context: Any, obj: Any) -> tuple[str, np.ndarray]:
    """A UV map of `obj` made for jobs, and its coordinates [T, 3, 2]; made now unless there is one already."""
    name = add_uv_map(context, obj)
    with evaluated(context, obj) as (result, mesh):
        if name not in mesh.uv_layers:
            raise errors.InvalidInput(
                f"Modifiers of {obj.name!r} remove its UV map {name!r}.",
                hint="Apply the modifiers and unwrap the result, or use --texture vertex.",
            )
        uv = triangle_uvs(result, mesh, name)
        check_uvs(result, name, uv)
        return name, uv


def _with_light_maps(
    context: Any, obj: Any, whole: scene.Scene, uv_map: str, choice: BakeChoice, on_progress: Callable[[float], None]
) -> scene.Scene:
    assert isinstance(whole.texture, scene.UvTexture)  # see _check_options
    rig, maps = bake_light_maps(
        context,
        obj,
        whole.rig,
        whole.texture,
        uv_map,
        size=choice.size,
        samples=choice.samples,
        on_progress=lambda share: on_progress(BEFORE_BAKING + (BEFORE_CHECKS - BEFORE_BAKING) * share),
    )
    return msgspec.structs.replace(whole, rig=rig, light_maps=maps)


def _uv_start(context: Any, obj: Any, look: Look, uv_map: str, size: int | None) -> scene.UvTexture:
    plain = without_bake(look, uv_map)
    if plain is not None:
        return uv_texture(plain, size)
    return scene.UvTexture(bake_image(context, obj, uv_map, bake_size(look, size)))


def _vertex_start(context: Any, obj: Any, look: Look, *, own: bool) -> scene.VertexTexture:
    shown = bake_corners(context, obj) if isinstance(look, Mixed) else look
    with evaluated(context, obj) as (result, mesh):
        return vertex_texture(result, mesh, shown, own=own)
