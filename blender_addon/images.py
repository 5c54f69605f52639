# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes images that lie inside the .blend. Knows nothing of textures and results."""

from __future__ import annotations

import bpy


def packed_image(name: str, data: bytes) -> bpy.types.Image:
    """An sRGB image of a PNG file's bytes, as if loaded and packed. Blender decodes it when somebody looks at it."""
    image = bpy.data.images.new(name, 1, 1, alpha=False)
    image.colorspace_settings.name = "sRGB"
    image.pixels[:] = (0.0, 0.0, 0.0, 1.0)  # an image packed before that may come back from undo without its file
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    return image
