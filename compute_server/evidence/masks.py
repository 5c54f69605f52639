"""Scenes like a job's with another part of the surface free to change."""

from __future__ import annotations

import msgspec
import numpy as np

from shared.scene import Scene

from ..render.geometry import from_mesh
from ..texel_surface import vertex_surface


def with_mask(scene: Scene, mask: np.ndarray) -> Scene:
    """`scene` with the mask ``[V]``."""
    return msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, mask=mask.astype(np.float32)))


def unmasked(scene: Scene) -> Scene:
    """`scene` with all of its surface free."""
    return with_mask(scene, np.ones(len(scene.mesh.positions)))


def is_masked(scene: Scene) -> bool:
    """Whether a part of the surface is not free, or not quite."""
    return bool((scene.mesh.mask < 1).any())


def belted(scene: Scene, share: float) -> Scene:
    """`scene` with a mask that leaves free what lies around the middle of its height: this `share` of the surface."""
    surface = vertex_surface(from_mesh(scene.mesh))
    upward = surface.position[:, 2].argsort()
    below = (surface.area[upward].cumsum(0) / surface.area.sum()).numpy()
    mask = np.zeros(len(scene.mesh.positions))
    mask[surface.texel[upward].numpy()[abs(below - 0.5) <= share / 2]] = 1.0
    return with_mask(scene, mask)


def part_of(scene: Scene, share: float) -> tuple[str, Scene]:
    """What "masked" means for `scene`, in words, and the scene with it: its own mask, or else a belt."""
    if is_masked(scene):
        return "its own mask", scene
    return f"a belt of {share:.0%} of the surface", belted(scene, share)
