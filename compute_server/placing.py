"""Places a patch: searches its site, and leaves free only what it covers there."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.messages import PatchSite
from shared.scene import View

from .optimize import gradient
from .problem import SIGHT, Problem, covered_texels
from .render import gbuffer
from .render.geometry import clip_from_world, eye_points
from .sites import candidates, covers, ranked
from .texel_surface import triangle_areas
from .texture import texture_model
from .views import generators, random_views

#: Sites are judged in so many views, so many at a time.
VIEWS, CHUNK = 24, 8
#: Edge of the pictures in which is looked which triangles can be seen.
AREA_SIGHT = 256


def placed(problem: Problem) -> Problem:
    """`problem` with its patch at a site: the best by :func:`find_sites`, or a random one of those that can be seen."""
    settings = problem.job.settings
    sites = find_sites(problem)
    if settings.patch_site == "random":
        taken = int(generators(settings.seed).sites.integers(len(sites)))
        sites = [sites[taken], *sites[:taken], *sites[taken + 1 :]]
    weight = _only_at(problem, sites[0])
    texture = texture_model(problem.job.scene, weight, problem.device)
    return dataclasses.replace(
        problem, texture=texture, weight=weight, covered=covered_texels(texture), sites=tuple(sites)
    )


def find_sites(problem: Problem) -> list[PatchSite]:
    """Sites for a patch of the job's size inside its mask, best first. Raises :class:`InvalidInput` if there is none.

    They are judged by the gradient of the loss of the texture as it is, over random views of the rig.
    """
    settings, surface = problem.job.settings, problem.surface
    free = torch.from_numpy(problem.weight)[surface.texel]
    edge = patch_edge(problem, settings.patch)
    rng = generators(settings.seed).sites
    found = candidates(surface, free, edge, rng) if bool((free > 0).any()) else []
    if not found:
        name = problem.job.scene.mesh.name
        raise InvalidInput(
            f"There is no place on {name!r} for a patch of {settings.patch:.1%} of what can be seen of it.",
            hint="Choose another size or a larger texture, widen the mask, or take a UV map that no two places share"
            " (--uv new).",
        )
    views = list(itertools.islice(random_views(problem.job.scene.rig, rng, settings.backgrounds), VIEWS))
    return ranked(found, surface, _slope(problem, views)[surface.texel], [_shown(problem, view) for view in views])


def patch_edge(problem: Problem, share: float) -> float:
    """The edge of a square patch of this `share` of what the rig's cameras see of the surface, in metres."""
    return math.sqrt(share * _seen_area(problem))


def _seen_area(problem: Problem) -> float:
    """How much of the surface the rig's cameras see, in m². What is inside, or doubled, is no place for a patch."""
    renderer, cameras = problem.renderer, problem.job.scene.rig.cameras
    visible = renderer.rasterizer.rasterize(renderer.geometry, clip_from_world(cameras), AREA_SIGHT, AREA_SIGHT)
    return float(triangle_areas(renderer.geometry)[torch.unique(visible.triangle.long())].sum())


def _slope(problem: Problem, views: Sequence[View]) -> Tensor:
    """How much the mean loss over `views` depends on each texel, ``[N]``: the sum of |∂L/∂Θ| over channels."""
    start, settings = problem.texture.start, problem.job.settings
    chunks = [views[first : first + CHUNK] for first in range(0, len(views), CHUNK)]
    total = torch.zeros_like(start)
    for number, chunk in enumerate(chunks):
        transport = problem.renderer.prepare(chunk, problem.size, settings.samples)
        total += gradient(problem, start, transport, number)[1]
    slope = torch.zeros(len(problem.texture.original))
    slope[problem.texture.target[: len(start)].cpu()] = (total / len(chunks)).abs().sum(dim=1).cpu()
    return slope


def _shown(problem: Problem, view: View) -> tuple[Tensor, Tensor]:
    """Positions and normals of what a view shows, ``[P, 3]`` each, on the CPU."""
    renderer, matrices, eyes = problem.renderer, clip_from_world([view.camera]), eye_points([view.camera])
    visible = renderer.rasterizer.rasterize(renderer.geometry, matrices, SIGHT, SIGHT)
    shown = gbuffer.build(renderer.geometry, visible, matrices, eyes)
    return shown.position.cpu(), shown.normal.cpu()


def _only_at(problem: Problem, site: PatchSite) -> np.ndarray:
    """The mask's weights where a patch at `site` covers the surface, 0 elsewhere on it."""
    surface = problem.surface
    inside = surface.texel[covers(site, surface.position, surface.normal)].numpy()
    weight = np.minimum(problem.weight, 0.0)
    weight[inside] = problem.weight[inside]
    return weight
