"""Visibility by rays through a BVH with NVIDIA Warp (Apache 2.0, on PyPI): a GPU rasterizer that anyone may use.

A ray for each sample, from the near plane to the far plane. In float32, on any device that Warp knows; its CPU is one
thread and slow, and there so that the same tests run everywhere.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
import warp as wp

from .geometry import Geometry
from .rasterizer import Visibility, in_chunks

#: Views are drawn in chunks of about so many samples, 12 bytes each.
SAMPLES_PER_CHUNK = 32_000_000

# Its greeting would come between our lines, or into JSON.
wp.config.log_level = wp.LOG_ERROR


@wp.kernel  # type: ignore[untyped-decorator]
def _cast(
    mesh: wp.uint64,
    world_from_clip: wp.array(dtype=wp.mat44d),  # type: ignore[valid-type]
    triangle: wp.array(dtype=wp.int32, ndim=3),  # type: ignore[valid-type]
    barycentric: wp.array(dtype=wp.vec2, ndim=3),  # type: ignore[valid-type]
) -> None:
    """The triangle that the ray through each sample meets first (−1: none), and its first two corners' weights."""
    view, row, column = wp.tid()  # type: ignore[misc]
    width, height = wp.float64(triangle.shape[2]), wp.float64(triangle.shape[1])
    x = (wp.float64(column) + wp.float64(0.5)) * wp.float64(2.0) / width - wp.float64(1.0)
    y = wp.float64(1.0) - (wp.float64(row) + wp.float64(0.5)) * wp.float64(2.0) / height
    near = world_from_clip[view] * wp.vec4d(x, y, wp.float64(-1.0), wp.float64(1.0))
    far = world_from_clip[view] * wp.vec4d(x, y, wp.float64(1.0), wp.float64(1.0))
    begin = wp.vec3d(near[0], near[1], near[2]) / near[3]
    way = wp.vec3d(far[0], far[1], far[2]) / far[3] - begin
    length = wp.length(way)
    found = wp.mesh_query_ray(mesh, wp.vec3(begin), wp.vec3(way / length), wp.float32(length))
    triangle[view, row, column] = -1
    if found.result:
        triangle[view, row, column] = found.face
        barycentric[view, row, column] = wp.vec2(found.u, found.v)


class WarpRasterizer:
    """See :class:`~compute_server.render.rasterizer.Rasterizer`. Remembers the BVH of the last geometry."""

    name = "warp"

    def __init__(self, device: torch.device) -> None:
        wp.init()
        self._device = wp.device_from_torch(device)
        self._built: tuple[Geometry, wp.Mesh] | None = None

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device."""
        chunk = max(1, SAMPLES_PER_CHUNK // (height * width))
        with self._stream(geometry.device):
            mesh = self._mesh(geometry)
            return in_chunks(lambda some: self._draw(mesh, some, height, width, geometry.device), matrices, chunk)

    def _stream(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Warp's work in the order of torch's."""
        if device.type != "cuda":
            return contextlib.nullcontext()
        return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))  # type: ignore[no-any-return]

    def _mesh(self, geometry: Geometry) -> wp.Mesh:
        if self._built is None or self._built[0] is not geometry:
            points = wp.from_torch(geometry.positions.contiguous(), dtype=wp.vec3)
            self._built = geometry, wp.Mesh(points, wp.from_torch(geometry.triangles_int32.view(-1)))
        return self._built[1]

    def _draw(
        self, mesh: wp.Mesh, matrices: np.ndarray, height: int, width: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (len(matrices), height, width)
        triangle = torch.empty(shape, dtype=torch.int32, device=device)
        barycentric = torch.zeros(*shape, 2, device=device)
        inverse = wp.array(np.linalg.inv(matrices), dtype=wp.mat44d, device=self._device)
        arrays = [mesh.id, inverse, wp.from_torch(triangle), wp.from_torch(barycentric, dtype=wp.vec2)]
        wp.launch(_cast, shape, arrays, device=self._device)
        return triangle, barycentric
