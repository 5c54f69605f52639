"""Where a patch can go: square sites on the surface, ranked by what a patch there can do.

A site is a sticker: a square in the tangent plane of its centre, which covers the surface beneath it that faces the
same way. Knows no classifier: how much the loss depends on each texel is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.messages import PatchSite
from shared.scene import Vector

from .texel_surface import TexelSurface

#: A sticker covers what faces its own way within 60°, and lies no deeper below it than this share of its edge.
FACING, DEPTH = 0.5, 0.25
#: What faces up or down more than this has its upper edge where +Y is, all else where +Z is.
STEEP = 0.9
#: So many centres are tried, spread evenly over the surface, found among so many points of it.
CANDIDATES, POINTS = 48, 4096
#: Less of the square than this on free surface is no site, and fewer texels carry no picture.
LEAST_AREA, LEAST_TEXELS = 0.3, 16


def covers(site: PatchSite, position: Tensor, normal: Tensor | None = None) -> Tensor:
    """Which of the points ``[P, 3]`` (with these unit normals, if given) a patch at `site` covers, [P] bool."""
    x, y, depth = _coordinates(site, position)
    inside = (x.abs() <= site.edge / 2) & (y.abs() <= site.edge / 2) & (depth.abs() <= DEPTH * site.edge)
    if normal is not None:
        inside &= normal @ torch.tensor(site.normal).to(normal) >= FACING
    return inside


def on_patch(site: PatchSite, position: Tensor) -> Tensor:
    """Where points ``[P, 3]`` lie on a patch at `site`: ``[P, 2]``, (0, 0) its lower left corner, (1, 1) the upper
    right one, as seen from outside."""
    x, y, _ = _coordinates(site, position)
    return torch.stack([x, y], dim=1) / site.edge + 0.5


def _coordinates(site: PatchSite, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right, up and out, in metres from the centre."""
    normal, up = (np.array(each) for each in (site.normal, site.up))
    offset = position - torch.tensor(site.center).to(position)
    right, upward, out = (
        offset @ torch.tensor(axis, dtype=position.dtype, device=position.device)
        for axis in (np.cross(up, normal), up, normal)
    )
    return right, upward, out


def candidates(surface: TexelSurface, free: Tensor, edge: float, rng: np.random.Generator) -> list[PatchSite]:
    """Sites for a patch with this `edge`, spread over the surface, not yet judged but for flatness and area.

    `free [P]` is the mask's weight of each place of `surface`.
    """
    usable = surface.only(free > 0)
    share = usable.area / usable.area.sum()
    drawn = rng.choice(len(share), size=min(POINTS, len(share)), replace=False, p=_probabilities(share))
    centers = usable.only(torch.from_numpy(drawn))
    sites = [
        _site(usable, centers.position[index], centers.normal[index], edge) for index in _spread(centers, CANDIDATES)
    ]
    return [site for site in sites if site is not None and site.area >= LEAST_AREA]


def _probabilities(share: Tensor) -> np.ndarray:
    wide = share.double().numpy().clip(1e-12)
    return np.asarray(wide / wide.sum())


def _spread(centers: TexelSurface, count: int) -> list[int]:
    """Up to `count` of the points, each as far as can be from those before it."""
    chosen = [0]
    nearest = (centers.position - centers.position[0]).norm(dim=1)
    while len(chosen) < min(count, len(centers.position)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (centers.position - centers.position[chosen[-1]]).norm(dim=1))
    return chosen


def _site(surface: TexelSurface, center: Tensor, normal: Tensor, edge: float) -> PatchSite | None:
    """A site around `center`, facing as the surface does there on average."""
    for _ in range(2):  # the second time with the direction that the first has found
        site = _unjudged(center, normal, edge)
        inside = covers(site, surface.position, surface.normal)
        facing = (surface.area * inside) @ surface.normal
        covered = float((surface.area * inside).sum())
        if int(inside.sum()) < LEAST_TEXELS or float(facing.norm()) == 0:
            return None
        normal = torch.nn.functional.normalize(facing, dim=0)
    return msgspec.structs.replace(
        site, flatness=float(facing.norm()) / covered, area=min(1.0, float(facing.norm()) / edge**2)
    )


def _unjudged(center: Tensor, normal: Tensor, edge: float) -> PatchSite:
    out = normal.double().numpy()
    above = np.array([0.0, 0.0, 1.0]) if abs(out[2]) < STEEP else np.array([0.0, 1.0, 0.0])
    up = above - out * (above @ out)
    return PatchSite(
        center=_vector(center.double().numpy()),
        normal=_vector(out),
        up=_vector(up / np.linalg.norm(up)),
        edge=edge,
        gain=0.0,
        visibility=0.0,
        flatness=0.0,
        area=0.0,
        score=0.0,
    )


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


def ranked(
    sites: Sequence[PatchSite], surface: TexelSurface, slope: Tensor, seen: Sequence[tuple[Tensor, Tensor]]
) -> list[PatchSite]:
    """The sites that can be seen, best first.

    `slope [P]` is how much the loss depends on each place of `surface` (sum over channels of |∂L/∂Θ| times its mask),
    `seen` the positions and normals of what each view shows. Raises :class:`InvalidInput` when no site is seen.
    """
    judged = [_judged(site, surface, slope, seen) for site in sites]
    visible = [site for site in judged if site.visibility > 0]
    if not visible:
        raise InvalidInput(
            "No camera sees a place for a patch of this size.",
            hint="Move the cameras, choose another size, or widen the mask.",
        )
    return sorted(visible, key=lambda site: -site.score)


def _judged(site: PatchSite, surface: TexelSurface, slope: Tensor, seen: Sequence[tuple[Tensor, Tensor]]) -> PatchSite:
    gain = float(slope[covers(site, surface.position, surface.normal)].sum())
    visibility = sum(bool(covers(site, *view).any()) for view in seen) / len(seen)
    return msgspec.structs.replace(
        site, gain=gain, visibility=visibility, score=gain * visibility * site.flatness * site.area
    )
