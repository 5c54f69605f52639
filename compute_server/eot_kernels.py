"""What is worked out for each random view, compiled: its camera's matrices, and the pixels of its background.

NumPy takes a microsecond and more for each step with so little data, and a GPU waits for it. Draws nothing at random:
numbers come from ``views``.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True)
def inverse(matrix):  # type: ignore[no-untyped-def]
    """Of an affine 4 × 4 matrix, by cross products."""
    a, b, c, x = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    d, e, f, y = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    g, h, i, z = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    result = np.zeros((4, 4))
    result[0, 0], result[0, 1], result[0, 2] = e * i - f * h, c * h - b * i, b * f - c * e
    result[1, 0], result[1, 1], result[1, 2] = f * g - d * i, a * i - c * g, c * d - a * f
    result[2, 0], result[2, 1], result[2, 2] = d * h - e * g, b * g - a * h, a * e - b * d
    result[:3, :3] /= a * result[0, 0] + b * result[1, 0] + c * result[2, 0]
    for row in range(3):
        result[row, 3] = -(result[row, 0] * x + result[row, 1] * y + result[row, 2] * z)
    result[3, 3] = 1.0
    return result


@nb.njit(cache=True, nogil=True)
def rotation(x, y, z, angle):  # type: ignore[no-untyped-def]
    """4 × 4 rotation about a unit axis through the origin (Rodrigues)."""
    s, t = math.sin(angle), 1 - math.cos(angle)
    result = np.zeros((4, 4))
    result[0, 0], result[0, 1], result[0, 2] = 1 - t * (y * y + z * z), t * x * y - s * z, t * x * z + s * y
    result[1, 0], result[1, 1], result[1, 2] = t * x * y + s * z, 1 - t * (x * x + z * z), t * y * z - s * x
    result[2, 0], result[2, 1], result[2, 2] = t * x * z - s * y, t * y * z + s * x, 1 - t * (x * x + y * y)
    result[3, 3] = 1.0
    return result


@nb.njit(cache=True, nogil=True)
def _product(one, other):  # type: ignore[no-untyped-def]
    result = np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            for k in range(4):
                result[row, column] += one[row, k] * other[k, column]
    return result


@nb.njit(cache=True, nogil=True)
def orbit(to_world, center, azimuth, elevation, distance, highest):  # type: ignore[no-untyped-def]
    """A camera's matrix to world space, moved about `center` by `azimuth` and `elevation` (radians; it ends no higher
    or lower than `highest`), and `distance` times as far away."""
    x, y, z = to_world[0, 3] - center[0], to_world[1, 3] - center[1], to_world[2, 3] - center[2]
    horizontal = math.hypot(x, y)
    now = math.atan2(z, horizontal)
    rise = min(max(now + elevation, -highest), highest) - now
    if horizontal > 1e-9:
        side = rotation(y / horizontal, -x / horizontal, 0.0, rise)
    else:
        side = rotation(to_world[0, 0], to_world[1, 0], to_world[2, 0], rise)
    placed = to_world.copy()
    placed[0, 3], placed[1, 3], placed[2, 3] = x * distance, y * distance, z * distance
    moved = _product(_product(rotation(0.0, 0.0, 1.0, azimuth), side), placed)
    for row in range(3):
        moved[row, 3] += center[row]
    return moved


@nb.njit(cache=True, nogil=True)
def jittered(view, projection, center, turn, distance, zoom, shift, highest):  # type: ignore[no-untyped-def]
    """The matrices of a camera that goes about `center` by `turn` (azimuth, elevation, roll in radians) to `distance`
    times its distance, and whose picture is `zoom` times as large and shifted by `shift`, a share of the frame."""
    moved = orbit(inverse(view), center, turn[0], turn[1], distance, highest)
    moved = _product(moved, rotation(0.0, 0.0, 1.0, turn[2]))
    frame = np.eye(4)
    frame[0, 0], frame[1, 1] = zoom, zoom
    frame[0, 3], frame[1, 3] = 2 * shift[0], 2 * shift[1]  # NDC is two units wide
    return inverse(moved), _product(frame, projection)


@nb.njit(cache=True, nogil=True)
def _byte(value):  # type: ignore[no-untyped-def]
    return np.uint8(min(max(value, 0.0), 1.0) * 255)


@nb.njit(cache=True, nogil=True)
def bytes_of(colors):  # type: ignore[no-untyped-def]
    """Display-encoded ``[count, 3]`` as bytes, clipped."""
    result = np.empty(colors.shape, np.uint8)
    for row in range(colors.shape[0]):
        for channel in range(3):
            result[row, channel] = _byte(colors[row, channel])
    return result


@nb.njit(cache=True, nogil=True)
def horizon(colors, split, noise):  # type: ignore[no-untyped-def]
    """Two vertical gradients that meet at row `split`, from the first of ``colors [4, 3]`` to the second and from the
    third to the last, plus ``noise [B, B]``; ``[B, B, 3] uint8``."""
    size = noise.shape[0]
    result = np.empty((size, size, 3), np.uint8)
    for row in range(size):
        first, begin, many = (0, 0, split) if row < split else (2, split, size - split)
        share = (row - begin) / max(many - 1, 1)
        for channel in range(3):
            color = colors[first, channel] + (colors[first + 1, channel] - colors[first, channel]) * share
            for column in range(size):
                result[row, column, channel] = _byte(color + noise[row, column])
    return result


@nb.njit(cache=True, nogil=True)
def blocks(colors, boxes, size):  # type: ignore[no-untyped-def]
    """Rectangles ``boxes [K, 4]`` (x, y, width, height) on one another, in ``colors [K + 1, 3] uint8``, of which the
    first is the ground's; ``[size, size, 3]``."""
    result = np.empty((size, size, 3), np.uint8)
    result[:] = colors[0]
    for index in range(boxes.shape[0]):
        x, y, width, height = boxes[index]
        for row in range(max(y, 0), min(y + height, size)):
            for column in range(max(x, 0), min(x + width, size)):
                for channel in range(3):
                    result[row, column, channel] = colors[index + 1, channel]
    return result


@nb.njit(cache=True, nogil=True)
def falling(spectrum, log_frequency, power):  # type: ignore[no-untyped-def]
    """``spectrum [B, B / 2 + 1]`` over frequency to a power, in place."""
    for row in range(spectrum.shape[0]):
        for column in range(spectrum.shape[1]):
            spectrum[row, column] *= math.exp(-power * log_frequency[row, column])


@nb.njit(cache=True, nogil=True)
def mixed(field, dark, light):  # type: ignore[no-untyped-def]
    """Between two colours ``[3]`` as ``field [B, B]`` is small or large, which spans four of its deviations;
    ``[B, B, 3] uint8``."""
    scale = 0.25 / field.std()
    result = np.empty((field.shape[0], field.shape[1], 3), np.uint8)
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            blend = 0.5 + field[row, column] * scale
            for channel in range(3):
                result[row, column, channel] = _byte(dark[channel] + blend * (light[channel] - dark[channel]))
    return result
