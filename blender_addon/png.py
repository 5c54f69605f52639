# SPDX-License-Identifier: GPL-3.0-or-later
"""8-bit RGB PNG files from arrays, with the standard library alone. Writing only; the server's own PNGs pass as they
are."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def encode(picture: np.ndarray) -> bytes:
    """`picture` ([H, W, 3] uint8, display-encoded, row 0 at the top) as a PNG file; the same array, the same bytes."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row starts with its filter's number, 0 for none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
