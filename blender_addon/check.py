# SPDX-License-Identifier: GPL-3.0-or-later
"""The check: the object as it is now, rendered in Cycles from given views. It renders; others judge the pictures.

Everything it needs is made in a temporary scene and removed again, so nothing of the artist's scene changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import bpy
import numpy as np

from ._shared import scene as shared_scene
from .collect import color, rigs


def render_views(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    views: Sequence[shared_scene.View],
    *,
    size: int,
    samples: int = 64,
    on_view: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Pictures of `obj` in each of `views`: [K, size, size, 3] uint8, display-encoded sRGB, row 0 at the top.

    Light is traced with shadows and bounces; backgrounds are put behind in linear light, as the server does it.
    `on_view` is called with the number of pictures done after each.
    """
    pictures = np.empty((len(views), size, size, 3), dtype=np.uint8)
    with _shown(obj), _studio(context, obj, size=size, samples=samples) as studio, TemporaryDirectory() as folder:
        for number, view in enumerate(views):
            pictures[number] = _picture(context, studio, view, Path(folder) / f"{number}.exr")
            if on_view is not None:
                on_view(number + 1)
    return pictures


# --- the temporary scene ----------------------------------------------------------------------------------------------


@contextmanager
def _shown(obj: bpy.types.Object) -> Iterator[None]:
    hidden = obj.hide_render
    if hidden:
        obj.hide_render = False
    try:
        yield
    finally:
        if hidden:
            obj.hide_render = True


@contextmanager
def _studio(context: bpy.types.Context, obj: bpy.types.Object, *, size: int, samples: int) -> Iterator[bpy.types.Scene]:
    """A scene with nothing in it but `obj`, current inside the block; gone afterwards."""
    frame, images = context.scene.frame_current, set(bpy.data.images)
    studio = bpy.data.scenes.new("Assistive check")
    try:
        studio.collection.objects.link(obj)
        studio.frame_current = frame
        _set_up_render(studio, size)
        _set_up_cycles(studio.cycles, samples)
        with context.temp_override(scene=studio, view_layer=studio.view_layers[0]):
            yield studio
    finally:
        # Not scenes.remove: Blender 4.3 crashes in it under --command, where there is no window to take the scene from.
        bpy.data.batch_remove([studio])
        # Rendering leaves an image of its own behind, which is the artist's if it was there before.
        bpy.data.batch_remove([image for image in set(bpy.data.images) - images if image.type == "RENDER_RESULT"])


def _set_up_render(studio: bpy.types.Scene, size: int) -> None:
    """Square pictures in scene-linear floats, without the world in them and without any look."""
    render = studio.render
    render.engine = "CYCLES"
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.film_transparent = True
    render.use_persistent_data = True
    render.use_compositing = render.use_sequencer = False
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "32"
    studio.view_settings.view_transform = "Standard"
    studio.view_settings.look = "None"
    studio.view_settings.exposure = 0.0
    studio.view_settings.gamma = 1.0


def _set_up_cycles(cycles: bpy.types.PropertyGroup, samples: int) -> None:
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.seed = 0
    cycles.pixel_filter_type = "BOX"
    cycles.film_exposure = 1.0


@contextmanager
def _staged(context: bpy.types.Context, studio: bpy.types.Scene, view: shared_scene.View) -> Iterator[None]:
    """The view's camera, lights and world in the studio; gone afterwards, also when making them failed half-way."""
    own = set(studio.collection.objects)
    try:
        studio.camera = rigs.make_camera(context, view.camera, studio.collection)
        rigs.make_lights(context, view.lights, studio.collection)
        yield
    finally:
        made = set(studio.collection.objects) - own
        data = {temporary.data for temporary in made}
        bpy.data.batch_remove([*made, *data, *([studio.world] if studio.world else [])])


# --- pictures ---------------------------------------------------------------------------------------------------------


def _picture(context: bpy.types.Context, studio: bpy.types.Scene, view: shared_scene.View, path: Path) -> np.ndarray:
    size = studio.render.resolution_x
    with _staged(context, studio, view):
        studio.render.filepath = str(path)
        bpy.ops.render.render(write_still=True, scene=studio.name)
    return over_background(_load_linear(path, size), view.background)


def _load_linear(path: Path, size: int) -> np.ndarray:
    """The EXR at `path` as [size, size, 4] float32, linear, premultiplied, row 0 at the top."""
    image = bpy.data.images.load(str(path))
    try:
        pixels = np.empty(size * size * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    return pixels.reshape(size, size, 4)[::-1]


def over_background(rgba: np.ndarray, background: np.ndarray) -> np.ndarray:
    """`rgba` ([H, W, 4] linear, premultiplied) before `background` ([h, w, 3] uint8): [H, W, 3] uint8, sRGB.

    The background is stretched as the server stretches it (bilinear) and mixed in, both in linear light.
    """
    behind = _stretched(color.decode(background / np.float32(255)), *rgba.shape[:2])
    return color.to_bytes(color.encode(rgba[..., :3] + (1.0 - rgba[..., 3:]) * behind))


def _stretched(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """`picture` [h, w, 3] as [height, width, 3]."""
    rows, columns = _weights(picture.shape[0], height), _weights(picture.shape[1], width)
    stretched: np.ndarray = np.einsum("yh,hwc,xw->yxc", rows, picture, columns, optimize=True)
    return stretched


def _weights(source: int, target: int) -> np.ndarray:
    """[target, source] triangle filter, wider when shrinking so that nothing is skipped; every row sums to 1."""
    scale = max(source / target, 1.0)
    centers = (np.arange(target) + 0.5) * source / target - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(centers[:, None] - np.arange(source)) / scale)
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised
