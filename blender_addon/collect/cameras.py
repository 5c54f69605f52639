# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads Blender's cameras as matrices for a square frame. Makes none up: see `rigs`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .._shared import errors, scene

FRAME = 1024
"""Edge of the square frame that projections are asked for; only its aspect matters."""


def read_cameras(context: Any, collection: Any | None) -> tuple[scene.Camera, ...]:
    """The cameras in `collection`, or all of the view layer; there may be none in that.

    Raises :class:`InvalidInput` for panoramic cameras, and for a collection without a camera.
    """
    candidates = context.view_layer.objects if collection is None else collection.all_objects
    cameras = [obj for obj in candidates if obj.type == "CAMERA" and obj.name in context.view_layer.objects]
    if collection is not None and not cameras:
        raise errors.InvalidInput(
            f"There is no camera in the collection {collection.name!r}.",
            hint="Add cameras to it, or delete the collection to have them made.",
        )
    return tuple(read_camera(context, obj) for obj in cameras)


def read_camera(context: Any, obj: Any, *, width: int = FRAME, height: int = FRAME) -> scene.Camera:
    """One camera object by its matrices for a frame of `width` × `height`: fit, shift and orthographic scale are
    Blender's own."""
    if obj.data.type == "PANO":
        raise errors.InvalidInput(
            f"Camera {obj.name!r} is panoramic.", hint="Make it perspective or orthographic, or remove it."
        )
    depsgraph = context.evaluated_depsgraph_get()
    world = np.array(obj.evaluated_get(depsgraph).matrix_world, np.float64)
    projection = obj.calc_matrix_camera(depsgraph, x=width, y=height)
    return scene.Camera(
        name=obj.name,
        view=np.linalg.inv(without_scale(world)),
        projection=np.array(projection, np.float64),
        aspect=width / height,
    )


def without_scale(matrix: np.ndarray) -> np.ndarray:
    """A 4 × 4 object matrix with the length of its axes removed, as Blender does for cameras."""
    result = matrix.copy()
    result[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    return result


def may_see(camera: scene.Camera, positions: np.ndarray) -> bool:
    """False when the bounding box of `positions` [V, 3] lies wholly beyond one side of the camera's view."""
    sides = zip(positions.min(axis=0), positions.max(axis=0), strict=True)
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*sides)])
    clip = corners @ (camera.projection @ camera.view).T
    beyond = np.concatenate([clip[:, :3] > clip[:, 3:], clip[:, :3] < -clip[:, 3:]], axis=1)
    return not beyond.all(axis=0).any()
