"""A slow float64 ray caster: what every rasterizer must agree with. It shares no mathematics with any of them.

Each sample becomes a world-space ray from the near to the far plane, met with every triangle by Möller and Trumbore's
test ("Fast, minimum storage ray/triangle intersection", 1997).
"""

from __future__ import annotations

import numpy as np

from shared.scene import Mesh


def rays(matrix: np.ndarray, points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins on the near plane and steps to the far plane, [Q, 3] each, of frame points (column, row) `points` [Q, 2].

    Points are in samples from the frame's top left corner: a sample's centre is at its column and row plus a half.
    """
    ndc = np.stack([points[:, 0] * 2 / width - 1, 1 - points[:, 1] * 2 / height], axis=1)
    inverse = np.linalg.inv(matrix)
    ends = []
    for z in (-1.0, 1.0):
        clip = np.concatenate([ndc, np.full((len(ndc), 1), z), np.ones((len(ndc), 1))], axis=1)
        world = clip @ inverse.T
        ends.append(world[:, :3] / world[:, 3:])
    return ends[0], ends[1] - ends[0]


def meet(body: Mesh, origin: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays [Q, 3] meet the planes of all triangles: weights [Q, T, 3] of the corners and the share t [Q, T] of
    the way to the far plane. NaN or infinite where ray and plane are parallel."""
    corners = body.positions.astype(np.float64)[body.triangles]
    edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(step[:, None], edge_2[None])
    to_origin = origin[:, None] - corners[None, :, 0]
    q = np.cross(to_origin, edge_1[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (p * edge_1).sum(axis=-1)
        second = (to_origin * p).sum(axis=-1) * scale
        third = (q * step[:, None]).sum(axis=-1) * scale
        t = (q * edge_2).sum(axis=-1) * scale
        return np.stack([1 - second - third, second, third], axis=-1), t


def nearest(body: Mesh, matrix: np.ndarray, points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The triangle seen at each frame point `points` [Q, 2], −1 where there is none; [Q]."""
    weights, t = meet(body, *rays(matrix, points, height, width))
    with np.errstate(invalid="ignore"):
        hit = (weights >= 0).all(axis=-1) & (t >= 0) & (t <= 1)
    depth = np.where(hit, t, np.inf)
    winner = depth.argmin(axis=1)
    return np.where(np.isfinite(depth[np.arange(len(points)), winner]), winner, -1)
