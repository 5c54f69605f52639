# SPDX-License-Identifier: GPL-3.0-or-later
"""Bakes what each source of light brings to the object, with Cycles: shadows, bounces, neighbours and all.

Light transport is linear in the sources, so one map for each source at a power of one is enough for any mixture. The
object's own colours bounce light as the job's first texture does. Nothing of it stays in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import bpy
import msgspec
import numpy as np

from .._shared import scene
from . import rigs
from .bake import bake_onto, temporary
from .mesh import evaluated
from .surroundings import may_glow, put_copies
from .versions import node_tree

NAME = "Assistive light"
SIZE, SAMPLES = 256, 64
POWER = 1e8
"""What sources are baked with, before the map is divided by it: beside that what glows in the scene does not count."""
WHITE = (1.0, 1.0, 1.0)
DARK = scene.LightState(name=NAME)


def bake_light_maps(
    context: Any,
    obj: Any,
    rig: scene.Rig,
    texture: scene.UvTexture,
    uv_map: str,
    *,
    size: int = SIZE,
    samples: int = SAMPLES,
    on_progress: Callable[[float], None] = lambda _: None,
) -> tuple[scene.Rig, np.ndarray]:
    """`rig` with its light states pointing at light maps, and those, [K, size, size, 3] float32 (see
    :class:`shared.scene.Scene`), on the UV map `uv_map` of `obj`.

    `on_progress` is called with the share of maps that are done.
    """
    with temporary() as made:
        stage, image = _stage(context, obj, texture, uv_map, size, samples, made)
        glows = may_glow([other for other in stage.collection.objects if other.name != stage[NAME]])
        sources = _sources(rig, glow=glows)
        maps = []
        for number, source in enumerate(sources):
            maps.append(_bake(context, stage, image, source, rig.panoramas, uv_map, size))
            on_progress((number + 1) / len(sources))
    numbers = {_key(source): number for number, source in enumerate(sources)}
    states = tuple(_mapped(state, numbers, glow=glows) for state in rig.lights)
    return msgspec.structs.replace(rig, lights=states), np.stack(maps)


# --- sources ----------------------------------------------------------------------------------------------------------


def _sources(rig: scene.Rig, *, glow: bool) -> list[scene.LightState]:
    """Each source of light of any state for itself, at :data:`POWER`; what glows is a state without lights."""
    found = {_key(source): source for state in rig.lights for source in (*map(_alone, state.lamps), *_around(state))}
    if glow:
        found[_key(DARK)] = DARK
    return list(found.values())


def _alone(lamp: scene.Lamp) -> scene.LightState:
    return scene.LightState(name=NAME, lights=(msgspec.structs.replace(lamp, power=(POWER,) * 3, map=None),))


def _around(state: scene.LightState) -> list[scene.LightState]:
    if not any(state.world):
        return []
    return [scene.LightState(name=NAME, world=(POWER,) * 3, panorama=state.panorama, turn=state.turn)]


def _key(source: scene.LightState) -> bytes:
    return msgspec.json.encode(source)


def _mapped(state: scene.LightState, numbers: dict[bytes, int], *, glow: bool) -> scene.LightState:
    lamps = [msgspec.structs.replace(lamp, map=numbers[_key(_alone(lamp))]) for lamp in state.lamps]
    glows = [scene.GlowLight(power=WHITE, map=numbers[_key(DARK)])] if glow else []
    around = _around(state)
    world_map = numbers[_key(around[0])] if around else None
    return msgspec.structs.replace(state, lights=(*lamps, *glows), world_map=world_map)


# --- the stage --------------------------------------------------------------------------------------------------------


def _stage(
    context: Any, obj: Any, texture: scene.UvTexture, uv_map: str, size: int, samples: int, made: list[Any]
) -> tuple[Any, Any]:
    """A scene with a matte copy of `obj` among its neighbours, and the image that is baked to. The name of the copy is
    the scene's property :data:`NAME`."""
    stage = bpy.data.scenes.new(NAME)
    made.append(stage)
    stage.frame_current = context.scene.frame_current
    stage.render.engine = "CYCLES"
    cycles = stage.cycles
    cycles.device, cycles.samples = "CPU", samples
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.sample_clamp_indirect = cycles.light_sampling_threshold = 0.0
    image = bpy.data.images.new(NAME, size, size, float_buffer=True)
    made.append(image)
    with evaluated(context, obj) as (result, _):
        depsgraph = context.evaluated_depsgraph_get()
        mesh = bpy.data.meshes.new_from_object(result, preserve_all_data_layers=True, depsgraph=depsgraph)
        made.append(mesh)
        copy = bpy.data.objects.new(NAME, mesh)
        made.append(copy)
        copy.matrix_world = result.matrix_world
    mesh.materials.clear()
    mesh.materials.append(_matte(texture, uv_map, image, made))
    stage.collection.objects.link(copy)
    made += put_copies(context, obj, stage.collection, seen=True)
    stage[NAME] = copy.name
    return stage, image


def _matte(texture: scene.UvTexture, uv_map: str, target: Any, made: list[Any]) -> Any:
    """A diffuse material in the colours of `texture` whose active image is `target`."""
    height, width, _ = texture.image.shape
    colors = bpy.data.images.new(NAME, width, height)
    material = bpy.data.materials.new(NAME)
    made += [colors, material]
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = texture.image / np.float32(255)
    colors.pixels.foreach_set(pixels.ravel())
    if node_tree(material) is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    kinds = ("UVMap", "TexImage", "BsdfDiffuse", "OutputMaterial", "TexImage")
    place, picture, diffuse, output, active = (tree.nodes.new(f"ShaderNode{kind}") for kind in kinds)
    place.uv_map, picture.image, active.image = uv_map, colors, target
    tree.links.new(place.outputs["UV"], picture.inputs["Vector"])
    tree.links.new(picture.outputs["Color"], diffuse.inputs["Color"])
    tree.links.new(diffuse.outputs["BSDF"], output.inputs["Surface"])
    tree.nodes.active = active
    return material


def _bake(
    context: Any, stage: Any, image: Any, source: scene.LightState, panoramas: np.ndarray | None, uv_map: str, size: int
) -> np.ndarray:
    """The irradiance of one source, [size, size, 3]. Cycles gives what a white surface would send out, E / π."""
    copy = stage.collection.objects[stage[NAME]]
    own = set(stage.collection.objects)
    images = set(bpy.data.images)
    with context.temp_override(scene=stage, view_layer=stage.view_layers[0]):
        rigs.make_lights(context, source, stage.collection, panoramas)
    try:
        bake_onto(
            context,
            stage,
            copy,
            kind="DIFFUSE",
            pass_filter={"DIRECT", "INDIRECT"},
            target="IMAGE_TEXTURES",
            uv_layer=uv_map,
            margin=max(4, size // 16),
            use_clear=True,
        )
        rgba = np.empty(size * size * 4, np.float32)
        image.pixels.foreach_get(rgba)
    finally:
        lamps = set(stage.collection.objects) - own
        made = {lamp.data for lamp in lamps} | (set(bpy.data.images) - images) | {stage.world}
        bpy.data.batch_remove([*lamps, *made])
    irradiance = rgba.reshape(size, size, 4)[..., :3] * np.float32(math.pi / (1.0 if source is DARK else POWER))
    return np.nan_to_num(irradiance).clip(min=0.0)
