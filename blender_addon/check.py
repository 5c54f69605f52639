# SPDX-License-Identifier: GPL-3.0-or-later
"""The check: the object as it is now, rendered by Blender from given views. It renders; others judge the pictures.

Everything it needs is made in a temporary scene and removed again, so nothing of the artist's scene changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import bpy
import numpy as np

from ._shared import scene as shared_scene
from .collect import color, rigs, versions, view_transform
from .collect.surroundings import put_copies

Neighbours = Literal["none", "unseen", "seen"]
Engine = Literal["cycles", "eevee"]


def render_views(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    views: Sequence[shared_scene.View],
    *,
    size: int | tuple[int, int],
    samples: int = 64,
    engine: Engine = "cycles",
    panoramas: np.ndarray | None = None,
    neighbours: Neighbours = "none",
    on_view: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Pictures of `obj` in each of `views`: [K, H, W, 3] uint8, display-encoded, row 0 at the top.

    `size` is an edge, or height and width. Light is traced with shadows and bounces, around the object alone or among
    the other objects of the scene, `neighbours`, which cameras see or do not see. `panoramas` are those of the
    rig that `views` refer to. Backgrounds are put behind in linear light, as the server does it; then the scene's own
    view transform is applied, by Blender. `on_view` is called with the number of pictures done after each.
    """
    height, width = (size, size) if isinstance(size, int) else size
    pictures = np.empty((len(views), height, width, 3), dtype=np.uint8)
    rendered = render_linear(
        context, obj, views, size=size, samples=samples, engine=engine, panoramas=panoramas, neighbours=neighbours
    )
    with view_of(context.scene) as show, contextlib.closing(rendered):
        for number, (view, linear) in enumerate(zip(views, rendered, strict=True)):
            pictures[number] = color.to_bytes(show(over_background(linear, view.background)))
            if on_view is not None:
                on_view(number + 1)
    return pictures


def render_linear(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    views: Sequence[shared_scene.View],
    *,
    size: int | tuple[int, int],
    samples: int,
    engine: Engine = "cycles",
    panoramas: np.ndarray | None,
    neighbours: Neighbours,
) -> Generator[np.ndarray, None, None]:
    """The renders behind :func:`render_views`: [H, W, 4] float32 each, linear and premultiplied, row 0 at the top."""
    height, width = (size, size) if isinstance(size, int) else size
    with (
        _shown(obj),
        _studio(
            context, obj, height=height, width=width, samples=samples, engine=engine, neighbours=neighbours
        ) as studio,
        TemporaryDirectory() as folder,
    ):
        for number, view in enumerate(views):
            yield _linear(context, studio, view, panoramas, Path(folder) / f"{number}.exr")


@contextmanager
def view_of(owner: bpy.types.Scene) -> Iterator[view_transform.Develop]:
    """What the artist's scene makes of linear colours."""
    if view_transform.is_standard(owner):
        yield color.encode
        return
    with view_transform.developing(owner) as develop:
        yield develop


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
def _studio(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    *,
    height: int,
    width: int,
    samples: int,
    engine: Engine,
    neighbours: Neighbours,
) -> Iterator[bpy.types.Scene]:
    """A scene with nothing in it but `obj`, and its neighbours, current inside the block; gone afterwards."""
    frame, images = context.scene.frame_current, set(bpy.data.images)
    studio = bpy.data.scenes.new("Assistive check")
    copies: list[bpy.types.Object] = []
    try:
        studio.collection.objects.link(obj)
        if neighbours != "none":
            copies += put_copies(context, obj, studio.collection, seen=neighbours == "seen")
        studio.frame_current = frame
        _set_up_render(studio, height, width)
        if engine == "eevee":
            _set_up_eevee(studio, samples)
        else:
            _set_up_cycles(studio, samples)
        with context.temp_override(scene=studio, view_layer=studio.view_layers[0]):
            yield studio
    finally:
        # Not scenes.remove: Blender 4.3 crashes in it under --command, where there is no window to take the scene from.
        bpy.data.batch_remove([studio, *copies])
        # Rendering leaves an image of its own behind, which is the artist's if it was there before.
        bpy.data.batch_remove([image for image in set(bpy.data.images) - images if image.type == "RENDER_RESULT"])


def _set_up_render(studio: bpy.types.Scene, height: int, width: int) -> None:
    """Pictures in scene-linear floats, without the world in them and without any look."""
    render = studio.render
    render.resolution_x, render.resolution_y = width, height
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


def _set_up_eevee(studio: bpy.types.Scene, samples: int) -> None:
    """EEVEE needs a GPU, or a graphics driver that does without; its first picture waits for shaders to be compiled."""
    studio.render.engine = versions.EEVEE
    studio.render.filter_size = 1.0
    studio.eevee.taa_render_samples = samples


def _set_up_cycles(studio: bpy.types.Scene, samples: int) -> None:
    studio.render.engine = "CYCLES"
    cycles = studio.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.seed = 0
    cycles.pixel_filter_type = "BOX"
    cycles.film_exposure = 1.0
    cycles.sample_clamp_indirect = cycles.light_sampling_threshold = 0.0


@contextmanager
def _staged(
    context: bpy.types.Context, studio: bpy.types.Scene, view: shared_scene.View, panoramas: np.ndarray | None
) -> Iterator[None]:
    """The view's camera, lights and world in the studio; gone afterwards, also when making them failed half-way."""
    own, images = set(studio.collection.objects), set(bpy.data.images)
    try:
        studio.camera = rigs.make_camera(context, view.camera, studio.collection)
        rigs.make_lights(context, view.lights, studio.collection, panoramas)
        yield
    finally:
        made = set(studio.collection.objects) - own
        data = {temporary.data for temporary in made}
        data |= {image for image in set(bpy.data.images) - images if image.type != "RENDER_RESULT"}
        bpy.data.batch_remove([*made, *data, *([studio.world] if studio.world else [])])


# --- pictures ---------------------------------------------------------------------------------------------------------


def _linear(
    context: bpy.types.Context,
    studio: bpy.types.Scene,
    view: shared_scene.View,
    panoramas: np.ndarray | None,
    path: Path,
) -> np.ndarray:
    """One render, [H, W, 4] float32, linear, premultiplied, row 0 at the top."""
    with _staged(context, studio, view, panoramas):
        studio.render.filepath = str(path)
        bpy.ops.render.render(write_still=True, scene=studio.name)
    return _load(path, studio.render.resolution_y, studio.render.resolution_x)


def _load(path: Path, height: int, width: int) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    try:
        pixels = np.empty(height * width * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1]


def over_background(rgba: np.ndarray, background: np.ndarray) -> np.ndarray:
    """`rgba` ([H, W, 4] linear, premultiplied) before `background` ([h, w, 3] uint8): [H, W, 3] float32, linear.

    The background is stretched as the server stretches it (bilinear) and mixed in, both in linear light.
    """
    behind = _stretched(color.decode(background / np.float32(255)), *rgba.shape[:2])
    return np.asarray(rgba[..., :3] + (1.0 - rgba[..., 3:]) * behind, np.float32)


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
