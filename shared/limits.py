"""What a message may hold at most. A server's owner may set it otherwise; its `Welcome` tells clients how much it is.

Looks at sizes only: whether the values fit their type is for `arrays`, whether they make sense for `scene`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from . import messages as m
from .errors import InvalidInput
from .scene import UvTexture
from .wire import PIECE, Frame, byte_count

MIB = 1 << 20
#: The header describes; what is large goes into frames.
HEADER_BYTES = 4 * MIB
FRAMES = 4096
PICTURE_SIDE = 16384


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one server: bytes of a message, triangles of an object and what stands around it, texels along a
    side of a texture, pixels of all pictures in a request."""

    message_bytes: int = 4096 * MIB
    triangles: int = 20_000_000
    texture_side: int = 16384
    pixels: int = 1 << 28


def check_header(frames: Sequence[Frame]) -> None:
    """Raise :class:`InvalidInput` for a multipart whose header is missing, or too large to be looked into."""
    size = memoryview(frames[0]).nbytes if frames else 0
    if not 0 < size <= HEADER_BYTES:
        raise InvalidInput(f"The message's header has {size} bytes; at most {HEADER_BYTES} are allowed.")


def check_frames(parts: Sequence[Frame], limits: Limits) -> None:
    """Raise :class:`InvalidInput`, which says the limit, for a multipart as it came, of which only the header is to be
    read."""
    check_size(byte_count(parts), limits.message_bytes)
    allowed = FRAMES + limits.message_bytes // PIECE
    if len(parts) > allowed:
        raise InvalidInput(f"The message has {len(parts)} parts; at most {allowed} are allowed.")


def check_size(size: int, allowed: int) -> None:
    """Raise :class:`InvalidInput`, which says the limit, for a message of too many bytes. For either side."""
    if size > allowed:
        raise InvalidInput(
            f"The message has {size / MIB:.0f} MiB; this server takes at most {allowed / MIB:.0f} MiB.",
            hint="Use fewer triangles or smaller textures, or have its owner raise --max-message-mib.",
        )


def check_limits(message: m.Message, limits: Limits) -> None:
    """Raise :class:`InvalidInput`, which says the limit, for a message that asks for too much, or for nothing."""
    if isinstance(message, m.Submit):
        _check_job(message.job, limits)
    elif isinstance(message, m.Classify | m.Drawn):
        _check_pictures([message.pictures], limits)
    elif isinstance(message, m.Assist):
        _check_pictures([message.picture[None]], limits)
    elif isinstance(message, m.DrawSheet):
        _check_pictures([message.before, message.after], limits)
    elif isinstance(message, m.DrawComparison):
        pairs = [message.server_before, message.blender_before, message.server_after, message.blender_after]
        _check_pictures(pairs, limits)


def _check_job(job: m.Job, limits: Limits) -> None:
    scene = job.scene
    around = len(scene.surroundings.triangles) if scene.surroundings is not None else 0
    triangles = len(scene.mesh.triangles) + around
    if triangles > limits.triangles:
        raise InvalidInput(f"The scene has {triangles} triangles; this server takes at most {limits.triangles}.")
    if isinstance(scene.texture, UvTexture) and max(scene.texture.image.shape) > limits.texture_side:
        height, width, _ = scene.texture.image.shape
        raise InvalidInput(
            f"The texture has {width} × {height} texels; this server takes at most {limits.texture_side} along a side."
        )
    for name, images in (("backgrounds", scene.rig.backgrounds), ("panoramas", scene.rig.panoramas)):
        if images is not None and images.size == 0:
            raise InvalidInput(f"The {name} of the rig are empty.")
    if scene.light_maps is not None and scene.light_maps.size == 0:
        raise InvalidInput("The light maps of the scene are empty.", hint="Bake them again.")


def _check_pictures(batches: Sequence[np.ndarray], limits: Limits) -> None:
    for pictures in batches:
        count, height, width, _ = pictures.shape
        if pictures.size == 0:
            raise InvalidInput(f"There is nothing in {count} pictures of {width} × {height} pixels.")
        if max(height, width) > PICTURE_SIDE:
            raise InvalidInput(
                f"A picture has {width} × {height} pixels; at most {PICTURE_SIDE} along a side are allowed."
            )
    pixels = sum(pictures.size // 3 for pictures in batches)
    if pixels > limits.pixels:
        raise InvalidInput(f"The pictures have {pixels} pixels; this server takes at most {limits.pixels} at once.")
