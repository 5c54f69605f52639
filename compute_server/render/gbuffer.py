"""The G-buffer: what is known of each visible sample before light and texture. No gradients flow through it.

The torch functions are the definition and run on any device; compiled kernels take their place (``kernels.interpolate``
on the CPU, ``gpu_kernels.interpolate`` on a GPU that has Triton), equal to them by test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .geometry import Geometry
from .on_gpu import kernels_for
from .rasterizer import Visibility


@dataclass(frozen=True)
class GBuffer:
    """Packed samples as in :class:`Visibility`, with their interpolated surface.

    ``position [P, 3]`` and unit ``normal [P, 3]`` in world space, the normal on the camera's side; ``uv [P, 2]``;
    ``footprint [P]``: how much UV area one sample covers (geometric mean over directions).
    """

    visibility: Visibility
    position: Tensor
    normal: Tensor
    uv: Tensor
    footprint: Tensor


def build(geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray) -> GBuffer:
    """Interpolate the surface at each visible sample.

    `matrices [N, 4, 4]` and `eyes [N, 4]` are those of ``geometry.clip_from_world`` and ``geometry.eye_points``.
    """
    compiled = kernels_for(geometry.positions, kernels)
    interpolate = interpolate_reference if compiled is None else compiled.interpolate
    position, normal, uv, footprint = interpolate(geometry, visibility, matrices, eyes)
    return GBuffer(visibility, position, normal, uv, footprint)


def interpolate_reference(
    geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Position, facing unit normal, UV and UV footprint of each sample, in torch."""
    triangle = visibility.triangle.long()
    view = torch.div(visibility.sample.long(), visibility.height * visibility.width, rounding_mode="floor")
    first = visibility.barycentric
    weights = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)[:, :, None]
    corners = geometry.positions[geometry.triangles[triangle]]
    position = (corners * weights).sum(dim=1)
    normal = _face_eye((geometry.normals[triangle] * weights).sum(dim=1), position, view, eyes)
    uv_corners = geometry.uv[triangle]
    uv = (uv_corners * weights).sum(dim=1)
    footprint = _footprint(uv_corners, corners, weights, view, matrices, visibility)
    return position, normal, uv, footprint


def _face_eye(normal: Tensor, position: Tensor, view: Tensor, eyes: np.ndarray) -> Tensor:
    eye = torch.tensor(eyes, dtype=torch.float32, device=position.device)[view]
    toward = eye[:, :3] - eye[:, 3:] * position
    facing = torch.where((normal * toward).sum(dim=1, keepdim=True) < 0, -normal, normal)
    return torch.nn.functional.normalize(facing, dim=1)


def _footprint(
    uv: Tensor, corners: Tensor, weights: Tensor, view: Tensor, matrices: np.ndarray, visibility: Visibility
) -> Tensor:
    """|∂uv/∂screen| of a perspective map: twice the UV area · w³ / det(x, y, w of the corners, in samples)."""
    edge_1, edge_2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    uv_area = (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]).abs()
    matrix = torch.tensor(matrices[:, [0, 1, 3]], dtype=torch.float32, device=uv.device)[view]
    xyw = torch.einsum("pij,pcj->pci", matrix, torch.nn.functional.pad(corners, (0, 1), value=1.0))
    to_samples = visibility.width * visibility.height / 4
    det = torch.linalg.det(xyw).abs() * to_samples
    w = (xyw[:, :, 2:] * weights).sum(dim=(1, 2))
    footprint: Tensor = uv_area * w**3 / det.clamp_min(1e-30)
    return footprint
