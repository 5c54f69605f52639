"""The 2D baseline: a patch made without the object, in expectation over flat transformations on backgrounds.

After Brown et al., "Adversarial Patch" (2017): the patch is moved, turned and scaled at random on pictures, and pushed
to be seen as the target. Only then it is put on the object, as the paper does for its Table 1.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.errors import JobFailed

from .ensemble import as_precise, whole_loss
from .optimize import Checkpoint, Forgetful, Keeper, Observer, StepReport, Trace, classifier_loss, goes_on, schedule
from .problem import Problem
from .render.color import from_bytes
from .sites import on_patch
from .steppers import stepper
from .views import background_pictures, generators

#: The patch's edge is between these shares of the picture's, and it is turned by up to so many degrees to either side.
SCALES, TURN = (0.3, 0.8), 20.0
#: Edge of the patch in texels: as fine as the classifier could see it.
TEXELS = 192


def optimise_flat(problem: Problem, observer: Observer, keeper: Keeper | None = None) -> Trace:
    """The loop of the baseline: as many steps and pictures as the job would take with the object."""
    settings = problem.job.settings
    keeper = keeper or Forgetful()
    rng = generators(settings.seed).flat
    behind = background_pictures(problem.job.scene.rig, settings.backgrounds, rng)
    place = patch_places(problem)
    patch = problem.texture.start.mean(dim=0).expand(TEXELS, TEXELS, 3).clone()
    walker = stepper(settings.stepper)
    trace = Trace(theta=on_object(patch, place))
    if (kept := keeper.load()) is not None:
        patch, trace = kept.theta, kept.trace
        behind.restore(kept.streams[0])
        walker.restore(kept.mover)

    def checkpoint() -> Checkpoint:
        return Checkpoint(trace=trace, theta=patch, mover=walker.state(), streams=(behind.state(),))

    while goes_on(trace, settings.steps, observer):
        began = time.perf_counter()
        step = trace.steps
        report, slope = _gradient(problem, patch, list(itertools.islice(behind, settings.views)), step, rng)
        by = walker.move(slope, settings.alpha * schedule(step, settings.steps))
        patch = (patch + by.reshape(patch.shape)).clamp(0.0, 1.0)
        seconds = time.perf_counter() - began
        trace.theta = on_object(patch, place)
        report = dataclasses.replace(report, theta=trace.theta, seconds=seconds)
        trace.add(report)
        observer.stepped(problem, report)
        keeper.offer(checkpoint)
    keeper.save(checkpoint())
    return trace


def patch_places(problem: Problem) -> Tensor:
    """Where each row of Θ lies on the patch, ``[K, 2]``."""
    position = torch.zeros(len(problem.texture.original), 3)
    position[problem.surface.texel] = problem.surface.position
    texels = problem.texture.target[: len(problem.texture.start)].cpu()
    return on_patch(problem.sites[0], position[texels]).to(problem.device)


def _gradient(
    problem: Problem, patch: Tensor, backgrounds: list[np.ndarray], step: int, rng: np.random.Generator
) -> tuple[StepReport, Tensor]:
    """Loss of the patch on backgrounds, and its gradient ``[S · S, 3]``."""
    free = patch.detach().requires_grad_()
    images = pasted(free, backgrounds, problem.size, rng)
    began = time.perf_counter()
    value, certainty, slope = _judged(problem, images.detach())
    images.backward(slope)  # type: ignore[no-untyped-call]
    assert free.grad is not None
    if not math.isfinite(value):
        raise JobFailed(f"The loss became {value} at step {step + 1}.")
    report = StepReport(
        step=step + 1,
        loss=value,
        confidence=certainty,
        pictures=images.detach(),
        theta=patch,
        seconds=0.0,
        classifier_seconds=time.perf_counter() - began,
    )
    return report, free.grad.reshape(-1, 3)


def _judged(problem: Problem, images: Tensor) -> tuple[float, Tensor, Tensor]:
    """The loss of pictures, the first classifier's confidence in each, and the loss's gradient; in parts where the
    classifiers are to take fewer at once."""
    parts = torch.split(images, problem.pictures_at_once or len(images))
    shared = [(len(part) / len(images), part) for part in parts]
    whole = whole_loss(problem.classifiers, shared, problem.target, problem.job.settings) if len(parts) > 1 else None
    total, certainties, slopes = 0.0, [], []
    with as_precise(problem.classifiers, images):
        for share, part in shared:
            seen = part.detach().requires_grad_()
            loss, certainty = classifier_loss(problem, seen, None, None if whole is None else whole[1])
            slopes.append(torch.autograd.grad(loss * share, seen)[0])
            certainties.append(certainty)
            total += share * float(loss.detach())
    return total if whole is None else float(whole[0]), torch.cat(certainties), torch.cat(slopes)


def pasted(patch: Tensor, backgrounds: list[np.ndarray], size: int, rng: np.random.Generator) -> Tensor:
    """Pictures ``[N, size, size, 3]`` of the `patch` ``[S, S, 3]`` (row 0 at the top) at random places on each of the
    backgrounds ``[B, B, 3] uint8``; differentiable with respect to the patch."""
    behind = torch.cat([_stretched(background, size) for background in backgrounds]).to(patch)
    grids = torch.cat([_placed(size, rng) for _ in backgrounds]).to(patch)
    planar = torch.cat([patch.permute(2, 0, 1), torch.ones_like(patch[None, :, :, 0])])
    planar = planar.expand(len(backgrounds), -1, -1, -1)
    drawn = functional.grid_sample(planar, grids, padding_mode="zeros", align_corners=False)
    color, alpha = drawn[:, :3], drawn[:, 3:]
    return (color + (1 - alpha) * behind).permute(0, 2, 3, 1).contiguous()


def _stretched(background: np.ndarray, size: int) -> Tensor:
    planar = from_bytes(torch.tensor(background)).permute(2, 0, 1)[None]
    return functional.interpolate(planar, size=(size, size), mode="bilinear", align_corners=False)


def _placed(size: int, rng: np.random.Generator) -> Tensor:
    """Where each pixel of a picture lies on a patch that is somewhere in it, ``[1, size, size, 2]``."""
    scale, angle = rng.uniform(*SCALES), math.radians(rng.uniform(-TURN, TURN))
    x, y = rng.uniform(-1, 1, 2) * (1 - scale)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = torch.tensor([[cosine, sine, -cosine * x - sine * y], [-sine, cosine, sine * x - cosine * y]])
    return functional.affine_grid(matrix[None].float(), [1, 3, size, size], align_corners=False)


def on_object(patch: Tensor, place: Tensor) -> Tensor:
    """The patch's colours ``[K, 3]`` at places ``[K, 2]`` of it: (0, 0) is its lower left corner."""
    grid = (place * 2 - 1) * torch.tensor([1.0, -1.0]).to(place)
    planar = patch.permute(2, 0, 1)[None]
    drawn = functional.grid_sample(
        planar, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return drawn[0, :, 0].T
