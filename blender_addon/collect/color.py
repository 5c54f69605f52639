# SPDX-License-Identifier: GPL-3.0-or-later
"""The sRGB curve, and colours as bytes. For textures only: view transforms belong to the renderer."""

from __future__ import annotations

import re

import numpy as np

from .._shared import errors


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear Rec.709 of any shape as display-encoded sRGB, float32 in [0, 1]; values outside are clipped."""
    clipped = np.clip(np.asarray(linear, np.float32), 0.0, 1.0)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055).astype(np.float32)


def decode(encoded: np.ndarray) -> np.ndarray:
    """Display-encoded sRGB of any shape as linear Rec.709, float32."""
    values = np.asarray(encoded, np.float32)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_bytes(encoded: np.ndarray) -> np.ndarray:
    """Display-encoded values of any shape as uint8; exact for what came from bytes."""
    scaled = np.clip(encoded, 0.0, 1.0) * np.float32(255.0)
    return np.asarray(np.rint(scaled), np.uint8)


def parse(text: str) -> np.ndarray:
    """``"#RRGGBB"`` as [3] uint8. Raises :class:`InvalidInput` for anything else."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise errors.InvalidInput(
            f"The initial colour {text!r} is no colour.", hint='Give "own", or a colour such as "#808080".'
        )
    return np.frombuffer(bytes.fromhex(text[1:]), np.uint8)
