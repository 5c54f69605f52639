# SPDX-License-Identifier: GPL-3.0-or-later
"""A world as a panorama: whatever its nodes make of it, rendered all around; and a panorama as a world.

The stage is a scene of its own, and nothing of it stays in the file.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bpy
import numpy as np
from mathutils import Euler

from .._shared import scene
from .versions import look_all_around, node_tree

NAME = "Assistive surroundings"
HEIGHT = 256
"""Rows of a panorama, half as many as columns: 0.7° a pixel."""
SAMPLES = 64
#: What a light path says of the light that falls on a surface, where a world shows something else to the camera.
LIGHT_PATH = {"Is Diffuse Ray": 1.0, "Is Reflection Ray": 1.0}


def render_panorama(context: Any, world: Any) -> np.ndarray:
    """The radiance of `world` in all directions as :data:`shared.scene.Panoramas` has it, [HEIGHT, 2 HEIGHT, 3]."""
    made: list[Any] = []
    try:
        stage = bpy.data.scenes.new(NAME)
        made.append(stage)
        stage.world = _as_it_lights(world, made)
        stage.frame_current = context.scene.frame_current
        stage.camera = _camera(stage, made)
        _set_up(stage)
        with TemporaryDirectory() as folder:
            return _render(stage, Path(folder) / "surroundings.exr")
    finally:
        bpy.data.batch_remove(made)


def _as_it_lights(world: Any, made: list[Any]) -> Any:
    """A copy of `world` that shows to the camera what it gives to surfaces."""
    copy = world.copy()
    made.append(copy)
    tree = node_tree(copy)
    if tree is not None:
        for link in [link for link in tree.links if link.from_node.bl_idname == "ShaderNodeLightPath"]:
            socket, asked = link.to_socket, link.from_socket.name
            tree.links.remove(link)
            socket.default_value = LIGHT_PATH.get(asked, 0.0)
    return copy


def _camera(stage: Any, made: list[Any]) -> Any:
    data = bpy.data.cameras.new(NAME)
    data.type = "PANO"
    look_all_around(data)
    camera = bpy.data.objects.new(NAME, data)
    made += [data, camera]
    camera.rotation_euler = Euler((np.pi / 2, 0.0, -np.pi / 2))  # the middle looks along +X
    stage.collection.objects.link(camera)
    return camera


def _set_up(stage: Any) -> None:
    render = stage.render
    render.engine, render.resolution_x, render.resolution_y = "CYCLES", 2 * HEIGHT, HEIGHT
    render.use_compositing = render.use_sequencer = False
    render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
    stage.cycles.device, stage.cycles.samples, stage.cycles.pixel_filter_type = "CPU", SAMPLES, "BOX"
    stage.cycles.use_adaptive_sampling = stage.cycles.use_denoising = False


def _render(stage: Any, path: Path) -> np.ndarray:
    images = set(bpy.data.images)
    stage.render.filepath = str(path)
    try:
        bpy.ops.render.render(write_still=True, scene=stage.name)
        image = bpy.data.images.load(str(path))
        pixels = np.empty(HEIGHT * 2 * HEIGHT * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.batch_remove(set(bpy.data.images) - images)
    radiance = pixels.reshape(HEIGHT, 2 * HEIGHT, -1)[..., :3]
    return np.ascontiguousarray(np.nan_to_num(radiance, posinf=0.0).clip(min=0.0))


def link_panorama(world: Any, panorama: np.ndarray, turn: float) -> Any:
    """Give the background of `world` the colours of `panorama`, turned by `turn` radians; returns the image.

    The image is in use by nothing else: who removes the world removes it too.
    """
    height, width, _ = panorama.shape
    image = bpy.data.images.new(NAME, width, height, float_buffer=True)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = panorama
    image.pixels.foreach_set(pixels.ravel())
    tree = world.node_tree
    background = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeBackground")
    tint = tuple(background.inputs["Color"].default_value)
    place, mapping = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
    picture, mix = tree.nodes.new("ShaderNodeTexEnvironment"), tree.nodes.new("ShaderNodeMix")
    mapping.inputs["Rotation"].default_value = (0.0, 0.0, -turn)
    picture.image = image
    mix.data_type, mix.blend_type = "RGBA", "MULTIPLY"
    sockets = {socket.identifier: socket for socket in mix.inputs}
    sockets["Factor_Float"].default_value, sockets["B_Color"].default_value = 1.0, tint
    tree.links.new(place.outputs["Generated"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], picture.inputs["Vector"])
    tree.links.new(picture.outputs["Color"], sockets["A_Color"])
    mixed = next(socket for socket in mix.outputs if socket.identifier == "Result_Color")
    tree.links.new(mixed, background.inputs["Color"])
    return image


class Panoramas:
    """The panoramas of a job as they are met, each world once."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._numbers: dict[int, int] = {}
        self._found: list[np.ndarray] = []

    def number(self, world: Any) -> int:
        """Which panorama `world` is; it is rendered when it is met first."""
        key = world.session_uid
        if key not in self._numbers:
            self._numbers[key] = len(self._found)
            self._found.append(render_panorama(self._context, world))
        return self._numbers[key]

    def all(self) -> np.ndarray | None:
        """What a :class:`shared.scene.Rig` holds, [K, HEIGHT, 2 HEIGHT, 3]; None when there is none."""
        return np.stack(self._found) if self._found else None


def surrounding(state: scene.LightState, panoramas: np.ndarray | None) -> np.ndarray | None:
    """The panorama that `state` is surrounded by; None for a plain world."""
    return None if state.panorama is None or panoramas is None else panoramas[state.panorama]
