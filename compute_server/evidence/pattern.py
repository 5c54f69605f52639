"""Robust patterns (the paper's section 4.3): the colours and parts that classifiers want of an object when its whole
texture is free, which of them matter, and whether other seeds find the same."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.scene import UvTexture, View

from ..classifiers import Classifier
from ..evaluate import judge
from ..importance import covered_places, gradient_importance
from ..objectives import stats
from ..problem import Problem
from ..render.sampling import accumulate, build_pool
from .drawing import OUTLINED
from .masks import unmasked

#: Colours that a texture is told by.
COLORS = 5
GREY = 128


@dataclass(frozen=True)
class Asked:
    """How closely to look: textures of so many seeds, occlusion by so many cells along a side, in so many views."""

    seeds: int
    cells: int
    occlusion_views: int


@dataclass(frozen=True)
class Pattern:
    """What was found of one texture ``[N, 3] uint8``, on the CPU.

    ``gradient [N]`` is its importance by gradient × input, ``occlusion [N]`` the confidence that is lost when the cell
    a texel lies in has the mean colour; 0 where no surface is.
    """

    texture: Tensor
    gradient: Tensor
    occlusion: Tensor


def flat_start(job: m.Job, seed: int) -> m.Job:
    """`job` with all of its surface free, from a flat grey, within no bounds."""
    if not isinstance(job.scene.texture, UvTexture):
        raise InvalidInput(
            "The object of this job has vertex colours; patterns are found in UV textures.",
            hint="Collect it with --texture uv.",
        )
    grey = UvTexture(np.full_like(job.scene.texture.image, GREY))
    scene = unmasked(msgspec.structs.replace(job.scene, texture=grey))
    settings = msgspec.structs.replace(job.settings, epsilon=None, patch=0.0, method="rendered", seed=seed)
    return msgspec.structs.replace(job, scene=scene, settings=settings)


def looked_into(
    problem: Problem,
    texture: Tensor,
    views: Sequence[View],
    asked: Asked,
    done: Callable[[float], None] = lambda _: None,
) -> Pattern:
    """Which parts of `texture` matter to the job's classifiers in `views`; the first few of them for occlusion.

    `done` is told the share of the cells that are done.
    """
    gradient = gradient_importance(problem, texture, views)
    return Pattern(texture, gradient, occlusion(problem, texture, views[: asked.occlusion_views], asked.cells, done))


@torch.no_grad()
def occlusion(
    problem: Problem,
    texture: Tensor,
    views: Sequence[View],
    cells: int,
    done: Callable[[float], None] = lambda _: None,
) -> Tensor:
    """Mean confidence over `views` that is lost when a cell of UV space has the surface's mean colour, for each texel
    ``[N]``; 0 where no surface is. `cells` lie along either side of the texture."""
    prepared = problem.renderer.prepare(views, problem.size, problem.job.settings.samples)

    def confidence(changed: Tensor) -> float:
        images = problem.renderer.draw(problem.texture.pool_of(changed), prepared)
        return statistics.fmean(_mean(each, images, problem) for each in problem.classifiers)

    covered = covered_places(problem)
    mean = texture[covered].double().mean(dim=0).round().to(texture)
    whole, lost = confidence(texture), torch.zeros(len(texture))
    cell = cell_of(problem, cells)
    for number in range(cells * cells):
        inside = (cell == number) & covered
        if bool(inside.any()):
            lost[inside.cpu()] = whole - confidence(torch.where(inside[:, None], mean, texture))
        done((number + 1) / cells**2)
    return lost


def _mean(classifier: Classifier, images: Tensor, problem: Problem) -> float:
    figures = judge(classifier, images, problem.target)
    return stats(figures.confidence, figures.right).mean


def cell_of(problem: Problem, cells: int) -> Tensor:
    """Which of `cells` × `cells` cells each texel lies in, ``[N]``."""
    height, width = problem.texture.shape[:2]
    rows, columns = (torch.arange(side) * cells // side for side in (height, width))
    return (rows[:, None] * cells + columns).reshape(-1).to(problem.device)


def agreement(maps: Sequence[Tensor], covered: Tensor) -> float | None:
    """The mean correlation of each pair of maps (or textures) ``[N, …]`` on the `covered` texels ``[N]``; None for one
    alone, or where nothing varies."""
    flat = [each[covered].double().reshape(-1) for each in maps]
    pairs = [_correlation(one, other) for one, other in itertools.combinations(flat, 2)]
    known = [each for each in pairs if each is not None]
    return statistics.fmean(known) if known else None


def _correlation(one: Tensor, other: Tensor) -> float | None:
    one, other = one - one.mean(), other - other.mean()
    scale = float(one.norm() * other.norm())
    return float(one @ other) / scale if scale > 0 else None


def dominant_colors(colors: Tensor) -> list[tuple[tuple[int, int, int], float]]:
    """The few colours that ``[P, 3] uint8`` are nearest to, with the share of each, greatest first."""
    strip = Image.fromarray(colors.cpu().numpy()[None])
    reduced = strip.quantize(COLORS, method=Image.Quantize.MEDIANCUT, kmeans=COLORS, dither=Image.Dither.NONE)
    palette = np.array(reduced.getpalette()).reshape(-1, 3)
    counts = np.bincount(np.asarray(reduced).ravel(), minlength=len(palette))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [((int(palette[i, 0]), int(palette[i, 1]), int(palette[i, 2])), counts[i] / counts.sum()) for i in order]


def important(importance: Tensor, covered: Tensor) -> float:
    """Above this value lies what matters most: a tenth of the `covered` texels."""
    return float(importance[covered].double().quantile(1 - OUTLINED))


def on_view(problem: Problem, importance: Tensor, view: View, size: int) -> np.ndarray:
    """How much what each pixel of a view shows matters, ``[size, size]``; NaN where there is no surface."""
    transport = problem.renderer.prepare([view], size, problem.job.settings.samples)
    share = torch.full_like(transport.light, 1 / problem.job.settings.samples)
    plain = dataclasses.replace(transport, light=share, base=torch.zeros_like(transport.base))
    values = torch.stack([importance, torch.ones_like(importance), importance], dim=1).to(problem.device)
    assert problem.texture.layout is not None
    seen = accumulate(build_pool(values.reshape(problem.texture.shape), problem.texture.layout), plain)[0].cpu()
    return torch.where(seen[..., 1] > 0, seen[..., 0] / seen[..., 1].clamp_min(1e-6), torch.nan).numpy()
