"""Places a patch: searches its site, and leaves free only what it covers there."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.messages import PatchSite
from shared.scene import View

from .optimize import batch_gradient, batch_of, mover
from .problem import SIGHT, Problem, covered_texels
from .render import gbuffer
from .render.geometry import clip_from_world, eye_points
from .sites import candidates, covers, ranked
from .steppers import moved
from .texel_surface import triangle_areas
from .texture import texture_model
from .views import generators, random_views

#: Sites are judged in so many views, so many at a time.
VIEWS, CHUNK = 24, 8
#: The loss after so many steps says more than its gradient does before the first: so many sites are tried, no two of
#: them nearer than an edge, and the loss is the mean of the last few steps.
TRIALS, TRIAL_STEPS, TRIAL_TAIL = 4, 24, 6
#: Edge of the pictures in which is looked which triangles can be seen.
AREA_SIGHT = 256


def placed(problem: Problem, cancelled: Callable[[], bool] = lambda: False) -> Problem:
    """`problem` with its patch at a site: the best found by :func:`find_sites` and a short trial of the first of them,
    or a random one of those that can be seen. `cancelled` is asked between steps; True ends the trials."""
    settings = problem.job.settings
    sites = find_sites(problem)
    if settings.patch_site == "best":
        sites = _tried(problem, sites, cancelled)
    else:
        taken = int(generators(settings.seed).sites.integers(len(sites)))
        sites = [sites[taken], *sites[:taken], *sites[taken + 1 :]]
    return dataclasses.replace(_at(problem, sites[0]), sites=tuple(sites))


def _at(problem: Problem, site: PatchSite) -> Problem:
    """`problem` with only what a patch at `site` covers free to change."""
    weight = _only_at(problem, site)
    texture = texture_model(problem.job.scene, weight, problem.device)
    return dataclasses.replace(problem, texture=texture, weight=weight, covered=covered_texels(texture))


def _tried(problem: Problem, sites: Sequence[PatchSite], cancelled: Callable[[], bool]) -> list[PatchSite]:
    """The sites with the first few of them tried: those by what came of it, then the others as they were."""
    finalists: list[PatchSite] = []
    for site in sites:
        if len(finalists) < TRIALS and all(math.dist(site.center, other.center) >= site.edge for other in finalists):
            finalists.append(site)
    others = [site for site in sites if site not in finalists]
    steps = min(TRIAL_STEPS, problem.job.settings.steps)
    if steps == 0 or len(finalists) == 1:
        return list(sites)
    tried = []
    for site in finalists:
        losses = list(itertools.takewhile(lambda _: not cancelled(), _trial(_at(problem, site), steps)))
        if len(losses) < steps:
            return list(sites)
        tried.append(msgspec.structs.replace(site, trial=statistics.fmean(losses[-TRIAL_TAIL:])))
    return [*sorted(tried, key=lambda site: site.trial or 0.0), *others]


def _trial(problem: Problem, steps: int) -> Iterator[float]:
    """The losses of the job's first `steps` steps, all on the same views whatever the site is."""
    settings, texture = problem.job.settings, problem.texture
    stream = random_views(problem.job.scene.rig, generators(settings.seed).train, settings.backgrounds)
    walker, theta = mover(problem), texture.start
    try:
        for step in range(steps):
            views = list(itertools.islice(stream, settings.views))
            report, slope = batch_gradient(problem, theta, batch_of(problem, views, 1), step)
            by = walker.move(slope, settings.alpha)
            theta = moved(theta, by, texture.start, settings.epsilon, settings.norm)
            yield report.loss
    finally:
        problem.replays.clear()


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
        total += batch_gradient(problem, start, batch_of(problem, chunk, settings.samples), number)[1]
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
