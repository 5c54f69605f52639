"""The reference rasterizer: plain NumPy in float64, one triangle after the other. Slow, and meant to be read.

Homogeneous rasterization (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997): the
edge functions come from the inverse of the triangle's (x, y, w) matrix, so that triangles which cross the camera's
plane need no clipping and barycentrics are perspective-correct as they stand.
"""

from __future__ import annotations

import numpy as np
import torch

from .geometry import Geometry
from .rasterizer import Visibility, pack


class NumpyRasterizer:
    """See :class:`~compute_server.render.rasterizer.Rasterizer`."""

    name = "numpy"

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device."""
        positions = geometry.positions.cpu().numpy().astype(np.float64)
        triangles = geometry.triangles.cpu().numpy()
        drawn = [_draw(positions, triangles, matrix, height, width) for matrix in matrices]
        triangle = torch.from_numpy(np.stack([view[0] for view in drawn])).to(geometry.device)
        barycentric = torch.from_numpy(np.stack([view[1] for view in drawn])).to(geometry.device)
        return pack(triangle, barycentric)


def _draw(
    positions: np.ndarray, triangles: np.ndarray, matrix: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Triangle index [H, W] (−1: none) and first two barycentrics [H, W, 2] of one view."""
    clip = np.concatenate([positions, np.ones_like(positions[:, :1])], axis=1) @ matrix.T
    x = (np.arange(width) + 0.5) * 2 / width - 1
    y = 1 - (np.arange(height) + 0.5) * 2 / height
    depth = np.full((height, width), np.inf)
    winner = np.full((height, width), -1, dtype=np.int64)
    barycentric = np.zeros((height, width, 2))
    for index, corners in enumerate(triangles):
        corner_clip = clip[corners]
        edges, det = _edges(*corner_clip[:, [0, 1, 3]])
        if det == 0:
            continue
        # Each corner's weight divided by w, times det: linear over the screen.
        over_w = np.stack([x[None, :] * edge[0] + (y[:, None] * edge[1] + edge[2]) for edge in edges], axis=-1)
        inverse_w = over_w.sum(axis=-1)
        z = over_w @ corner_clip[:, 2] / det
        seen = (over_w >= 0).all(axis=-1) & (inverse_w > 0) & (z >= -1) & (z <= 1) & (z < depth)
        depth[seen] = z[seen]
        winner[seen] = index
        barycentric[seen] = over_w[seen][:, :2] / inverse_w[seen][:, None]
    return winner, barycentric


def _edges(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, float]:
    """The inverse of the matrix of rows (x, y, w), transposed and times |determinant|, and |determinant|.

    Not divided: so a shared edge has the very same numbers with opposite sign in both triangles, and no sample falls
    between them.
    """
    edges = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    det = float(a @ edges[0])
    return (edges, det) if det >= 0 else (-edges, -det)
