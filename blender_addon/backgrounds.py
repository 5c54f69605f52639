# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads folders of pictures and panoramas as backgrounds for a job. Lights nothing, and leaves nothing in the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import bpy
import numpy as np

from ._shared import errors
from .collect import color
from .collect.texture import _sample, image_pixels, is_linear

FIELD_OF_VIEW = math.radians(60.0)
AZIMUTHS = 6
"""Views into each panorama: side by side they go once around."""
MID_GREY = 0.18
LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)

Item = TypeVar("Item")
Size = tuple[int, int]


def read_pictures(folder: str, size: int = 128, limit: int = 64) -> np.ndarray:
    """The middle squares of a folder's pictures by name, [K, size, size, 3] uint8, display-encoded, row 0 at the top.

    Of more than `limit` an even choice is read; float images are exposed to mid grey. `folder` may begin with `//`.
    Raises :class:`InvalidInput` naming the folder when it is missing or holds nothing that Blender can read.
    """
    paths = _evenly(_image_files(folder), limit)
    pictures = [_read(path, lambda own: _covering(own, size)) for path in paths]
    return _as_backgrounds([_middle(picture, size) for picture in pictures if picture is not None], folder)


def read_panoramas(folder: str, size: int = 128, limit: int = 64) -> np.ndarray:
    """Level views of 60° into a folder's equirectangular images; the rest is as in :func:`read_pictures`.

    The first of :data:`AZIMUTHS` looks at the middle of the panorama (Blender's +X), the others farther to the right.
    """
    paths = _evenly(_image_files(folder), math.ceil(limit / AZIMUTHS))  # a large panorama takes seconds to read
    panoramas = [_read(path, lambda own: _panorama_size(own, size)) for path in paths]
    turns = 2 * math.pi * np.arange(AZIMUTHS) / AZIMUTHS
    views = [_view(panorama, turn, size) for panorama in panoramas if panorama is not None for turn in turns]
    return _as_backgrounds(_evenly(views, limit), folder)


def _image_files(folder: str) -> list[Path]:
    """The files in `folder` that have the suffix of an image, by name."""
    if not folder.strip():
        raise errors.InvalidInput("No folder of backgrounds is chosen.", hint="Choose one, or other backgrounds.")
    path = Path(bpy.path.abspath(folder))
    if not path.is_dir():
        raise errors.InvalidInput(f"The folder of backgrounds {folder!r} does not exist.", hint="Choose another.")
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in bpy.path.extensions_image and not file.name.startswith(".")
    )


def _evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """All `items`, or `limit` of them from the first to the last in equal steps."""
    if len(items) <= limit:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def _read(path: Path, fit: Callable[[Size], Size]) -> np.ndarray | None:
    """An image file [H, W, 3] float32, display-encoded, row 0 at the bottom; None when Blender can't read it.

    `fit` says from its own width and height to which it is scaled.
    """
    try:
        with _loaded(path) as image:
            if 0 in image.size:
                return None
            image.scale(*fit(tuple(image.size)))
            return _display_encoded(image)
    except RuntimeError:  # a file that can't be opened, or has no plain picture in it
        return None


@contextmanager
def _loaded(path: Path) -> Iterator[Any]:
    """A new image datablock for a file, while the block runs."""
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        yield image
    finally:
        bpy.data.images.remove(image)


def _display_encoded(image: Any) -> np.ndarray:
    pixels = image_pixels(image)
    if not is_linear(image):
        return pixels
    return np.nan_to_num(color.encode(pixels * _exposure(pixels)))  # renders may hold NaN


def _exposure(linear: np.ndarray) -> float:
    """The factor that brings the median luminance of linear colours [H, W, 3] to mid grey; 1 for black."""
    median = float(np.nanmedian(linear @ LUMINANCE))
    return MID_GREY / median if median > 0 else 1.0


def _covering(own: Size, size: int) -> Size:
    """Width and height whose shorter one is `size`, in the proportion of `own`."""
    width, height = (max(size, round(edge * size / min(own))) for edge in own)
    return width, height


def _middle(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle [size, size, 3] of an image, turned upside down: row 0 at the top."""
    top, left = (np.array(picture.shape[:2]) - size) // 2
    return picture[top : top + size, left : left + size][::-1]


def _panorama_size(own: Size, size: int) -> Size:
    """`own` width and height, but no more pixels per radian than the middle of a view has."""
    per_radian = size / (2 * math.tan(FIELD_OF_VIEW / 2))
    return min(own[0], math.ceil(2 * math.pi * per_radian)), min(own[1], math.ceil(math.pi * per_radian))


def _view(panorama: np.ndarray, turn: float, size: int) -> np.ndarray:
    """A level view [size, size, 3] into a panorama [H, W, 3] (row 0 at the bottom), `turn` radians to the right."""
    places = ((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(FIELD_OF_VIEW / 2)
    right, up = np.meshgrid(places, -places)
    azimuth, elevation = turn + np.arctan(right), np.arctan2(up, np.hypot(1.0, right))
    uv = np.stack([azimuth / (2 * math.pi) + 0.5, elevation / math.pi + 0.5], axis=-1)
    return _sample(panorama, uv.reshape(-1, 2)).reshape(size, size, 3)


def _as_backgrounds(pictures: list[np.ndarray], folder: str) -> np.ndarray:
    if not pictures:
        raise errors.InvalidInput(
            f"The folder of backgrounds {folder!r} has no image that Blender can read.", hint="Choose another folder."
        )
    return color.to_bytes(np.stack(pictures))
