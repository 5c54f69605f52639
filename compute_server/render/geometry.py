"""The object's surface as tensors on one device, and its projection by cameras."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.scene import Camera, Mesh

from . import kernels
from .on_gpu import uploaded


@dataclass(frozen=True)
class Geometry:
    """Triangles in world space: positions by vertex, normals and texture coordinates by corner.

    ``positions [V, 3]``, ``triangles [T, 3] int64``, ``normals [T, 3, 3]``, ``uv [T, 3, 2]``; float32 unless said.
    """

    positions: Tensor
    triangles: Tensor
    normals: Tensor
    uv: Tensor

    @functools.cached_property
    def flat_normals(self) -> Tensor:
        """The unit normals of the triangles themselves, ``[T, 3]``."""
        a, b, c = self.positions[self.triangles].unbind(dim=1)
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)

    @functools.cached_property
    def faces(self) -> np.ndarray:
        """What ``kernels.interpolate`` asks of triangles, see there: 112 bytes of each; on a CPU."""
        return kernels.faces(self.positions, self.triangles, self.normals, self.uv)

    @functools.cached_property
    def on_host(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and triangles for a rasterizer on the CPU, fetched once."""
        return self.positions.cpu().numpy(), self.triangles.cpu().numpy()

    @functools.cached_property
    def triangles_int32(self) -> Tensor:
        """As rasterizers on the GPU want them."""
        return self.triangles.to(torch.int32).contiguous()

    def clip(self, matrices: np.ndarray) -> Tensor:
        """All vertices in the clip space of each camera, ``[N, V, 4]``; `matrices` are those of
        :func:`clip_from_world`."""
        cameras = uploaded(matrices, torch.float32, self.device)
        homogeneous = torch.nn.functional.pad(self.positions, (0, 1), value=1.0)
        return torch.einsum("nij,vj->nvi", cameras, homogeneous).contiguous()

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.positions.device


def from_mesh(mesh: Mesh, device: torch.device | str = "cpu") -> Geometry:
    """The surface of `mesh` on `device`."""

    def tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.tensor(array, dtype=dtype, device=device)

    return Geometry(
        positions=tensor(mesh.positions, torch.float32),
        triangles=tensor(mesh.triangles, torch.int64),
        normals=tensor(mesh.normals, torch.float32),
        uv=tensor(mesh.uv, torch.float32),
    )


def clip_from_world(cameras: Sequence[Camera]) -> np.ndarray:
    """``[N, 4, 4] float64`` matrices that take world space to OpenGL clip space."""
    return np.stack([camera.projection @ camera.view for camera in cameras])


def eye_points(cameras: Sequence[Camera]) -> np.ndarray:
    """``[N, 4] float64`` homogeneous points that the cameras look from (w = 0: orthographic, a direction).

    A surface point p faces the camera where its normal points to ``eye.xyz − eye.w · p``.
    """
    inverse = np.linalg.inv(clip_from_world(cameras))
    # The eye is what projects to nowhere: clip x = y = w = 0. It lies on the ray through clip ±z.
    eye = inverse @ np.array([0.0, 0.0, -1.0, 0.0])
    scale = np.where(np.abs(eye[:, 3:]) > 1e-12 * np.linalg.norm(eye[:, :3], axis=1, keepdims=True), eye[:, 3:], 1.0)
    return np.asarray(eye / scale)
