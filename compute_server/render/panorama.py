"""Light from all around: what an equirectangular picture of the surroundings brings to a surface, if nothing hides it.

Directions and rows are those of :data:`shared.scene.Panoramas`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import panorama_kernels

#: Rows of the tables that light is summed into; it changes slowly with direction.
ROWS = 32
#: Rows of the picture that the sums go over.
SOURCE_ROWS = 64
#: Below this roughness a reflection is as sharp as the picture.
SHARP = 0.15
#: Coefficients of spherical harmonics of degree 0 to 3.
HARMONICS = 16


@dataclass(frozen=True)
class Panorama:
    """One surrounding: ``radiance [H, 2H, 3]``; ``irradiance [ROWS, 2 ROWS, 3]`` (W/m²) by the surface's normal;
    ``harmonics [16, 3]``, its projection on real spherical harmonics."""

    radiance: Tensor
    irradiance: Tensor
    harmonics: Tensor
    _reflected: dict[float, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def reflected(self, roughness: float) -> Tensor:
        """:func:`reflected` by surfaces of that roughness; kept, as it takes longer than all else of a step."""
        if roughness not in self._reflected:
            self._reflected[roughness] = reflected(self.radiance, roughness)
        return self._reflected[roughness]


def prepare(radiance: Tensor) -> Panorama:
    """The tables of a picture ``[H, 2H, 3]``."""
    source = _shrunk(radiance, SOURCE_ROWS)
    toward, solid = directions(SOURCE_ROWS, radiance.device)
    light = source.reshape(-1, 3) * solid[:, None]
    normals, _ = directions(ROWS, radiance.device)
    irradiance = (normals @ toward.T).clamp_min_(0.0) @ light
    return Panorama(
        radiance=radiance,
        irradiance=irradiance.reshape(ROWS, 2 * ROWS, 3),
        harmonics=harmonics(toward).T @ light,
    )


def reflected(radiance: Tensor, roughness: float) -> Tensor:
    """Mean radiance around each direction, weighted as a GGX mirror of that roughness seen from straight above would
    (Karis 2013): ``[R, 2R, 3]``, or the picture itself for a sharp mirror."""
    if roughness < SHARP:
        return radiance
    source = _shrunk(radiance, SOURCE_ROWS)
    toward, solid = directions(SOURCE_ROWS, radiance.device)
    mirror, _ = directions(ROWS, radiance.device)
    cos = (mirror @ toward.T).clamp_(-1.0, 1.0)
    half = ((1 + cos) / 2).clamp_min_(0.0)  # cos² of the angle to the half vector
    square = roughness**4
    weight = cos.clamp_min_(0.0) * solid / (half * (square - 1) + 1).square_()
    mean = weight @ source.reshape(-1, 3) / weight.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return mean.reshape(ROWS, 2 * ROWS, 3)


def look_up(table: Tensor, direction: Tensor, turn: float = 0.0) -> Tensor:
    """Values ``[P, C]`` of an equirectangular ``table [R, 2R, C]`` in unit directions ``[P, 3]``, bilinear; what it
    shows is turned by `turn` (radians, counter-clockwise from above)."""
    if direction.device.type == "cpu" and direction.dtype == torch.float32 and table.shape[2] == 3:
        return panorama_kernels.look_up(table, direction, turn)
    return look_up_reference(table, direction, turn)


def look_up_reference(table: Tensor, direction: Tensor, turn: float = 0.0) -> Tensor:
    """:func:`look_up` in torch."""
    rows, columns, channels = table.shape
    x, y, z = turned(direction, turn).unbind(dim=1)
    u = 0.5 - torch.atan2(y, x) / (2 * math.pi)
    v = 0.5 + torch.asin(z.clamp(-1.0, 1.0)) / math.pi
    x, y = u * columns - 0.5, (v * rows - 0.5).clamp_(0.0, rows - 1.0)
    x0, y0 = x.floor(), y.floor().clamp_max_(rows - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    left, right = torch.remainder(x0, columns).long(), torch.remainder(x0 + 1, columns).long()
    low, flat = y0.long() * columns, table.reshape(-1, channels)
    bottom = flat[low + left] * (1 - fx) + flat[low + right] * fx
    top = flat[low + columns + left] * (1 - fx) + flat[low + columns + right] * fx
    return bottom * (1 - fy) + top * fy


def turned(direction: Tensor, turn: float) -> Tensor:
    """Where a panorama turned by `turn` (radians, counter-clockwise from above) shows what lies in `direction`."""
    if turn == 0.0:
        return direction
    x, y, z = direction.unbind(dim=1)
    cos, sin = math.cos(turn), math.sin(turn)
    return torch.stack([x * cos + y * sin, y * cos - x * sin, z], dim=1)


def turned_harmonics(coefficients: Tensor, turn: float) -> Tensor:
    """The coefficients ``[16, 3]`` of a surrounding after turning it by `turn` about +Z: pairs of the same degree and
    order turn as the corners of a circle do."""
    result = coefficients.clone()
    for degree in (1, 2, 3):
        middle = degree * (degree + 1)
        for order in range(1, degree + 1):
            cos, sin = math.cos(order * turn), math.sin(order * turn)
            plus, minus = coefficients[middle + order], coefficients[middle - order]
            result[middle + order] = cos * plus - sin * minus
            result[middle - order] = sin * plus + cos * minus
    return result


def directions(rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Unit directions of the pixels' centres ``[2 rows², 3]``, and the solid angle of each pixel (4π in all)."""
    columns = 2 * rows
    azimuth = math.pi - (torch.arange(columns, device=device) + 0.5) * (2 * math.pi / columns)
    edges = torch.sin(torch.linspace(-math.pi / 2, math.pi / 2, rows + 1, dtype=torch.float64, device=device))
    elevation = (torch.arange(rows, device=device) + 0.5) * (math.pi / rows) - math.pi / 2
    flat, height = torch.cos(elevation)[:, None], torch.sin(elevation)[:, None].expand(rows, columns)
    toward = torch.stack([flat * torch.cos(azimuth), flat * torch.sin(azimuth), height], dim=2)
    solid = (edges.diff() * (2 * math.pi / columns)).to(torch.float32)[:, None].expand(rows, columns)
    return toward.reshape(-1, 3), solid.reshape(-1)


def harmonics(direction: Tensor) -> Tensor:
    """Real orthonormal spherical harmonics of degree 0 to 3 in unit directions ``[P, 3]``, ``[P, 16]`` (Sloan 2008)."""
    x, y, z = direction.unbind(dim=1)
    one = torch.ones_like(x)
    return torch.stack(
        [
            0.282094791773878 * one,
            0.488602511902920 * y,
            0.488602511902920 * z,
            0.488602511902920 * x,
            1.092548430592079 * x * y,
            1.092548430592079 * y * z,
            0.315391565252520 * (3 * z * z - 1),
            1.092548430592079 * x * z,
            0.546274215296040 * (x * x - y * y),
            0.590043589926644 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            0.457045799464466 * y * (5 * z * z - 1),
            0.373176332590115 * z * (5 * z * z - 3),
            0.457045799464466 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            0.590043589926644 * x * (x * x - 3 * y * y),
        ],
        dim=1,
    )


def _shrunk(radiance: Tensor, rows: int) -> Tensor:
    """A picture with fewer rows, each pixel the mean of those it stands for; a smaller one is enlarged."""
    planes = radiance.permute(2, 0, 1)[None]
    if radiance.shape[0] >= rows:
        found = torch.nn.functional.adaptive_avg_pool2d(planes, (rows, 2 * rows))
    else:
        found = torch.nn.functional.interpolate(planes, (rows, 2 * rows), mode="nearest")
    return found[0].permute(1, 2, 0)
