"""Which parts of a texture classifiers look at: gradient × input, gathered over views into the texture's layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.scene import View

from .evaluate import in_chunks
from .objectives import margin
from .problem import Problem
from .render.color import from_bytes
from .texture import PADDING, pad

#: Views are drawn and differentiated this many at a time, which bounds memory.
CHUNK = 8
#: What single texels contribute is noise: a map is smoothed over this share of the texture's size to either side.
SMOOTH = 1 / 64
#: In a picture of a map, white is what only this share of the surface exceeds.
BRIGHTEST = 0.01


def gradient_importance(problem: Problem, texture: Tensor, views: Sequence[View]) -> Tensor:
    """How much each texel of the 8-bit `texture` ``[N, 3]`` matters, ``[N]`` on the CPU, 0 where no surface is.

    That is |∂m/∂Θ · (Θ − c)|, with m the mean margin of the job's classifiers for the target over `views`, and c the
    mean colour of the surface: to first order, what the margin would lose if the texel had that colour. Smoothed for UV
    textures.
    """
    covered = covered_places(problem)
    encoded = from_bytes(texture).requires_grad_()
    slope = torch.zeros_like(encoded)

    def add(some: Sequence[View]) -> None:
        transport = problem.renderer.prepare(some, problem.size, problem.job.settings.samples)
        images = problem.renderer.draw(problem.texture.pool_of_encoded(encoded), transport)
        losses = [margin(classifier.logits(images), problem.target).sum() for classifier in problem.classifiers]
        mean = torch.stack(losses).sum() / (len(losses) * len(views))
        slope.add_(torch.autograd.grad(mean, encoded)[0])

    in_chunks(add, views, min(CHUNK, problem.pictures_at_once or CHUNK))
    theta = encoded.detach()
    found = (slope * (theta - theta[covered].mean(dim=0))).sum(dim=1).abs() * covered
    return smoothed(problem, found).cpu()


def covered_places(problem: Problem) -> Tensor:
    """Which texels (or vertices) the surface covers, ``[N]`` bool."""
    return torch.from_numpy(problem.weight >= 0).to(problem.device)


def smoothed(problem: Problem, values: Tensor) -> Tensor:
    """A map ``[N]`` as means over the covered texels around each covered one; that of vertices as it is."""
    if problem.texture.layout is None:
        return values
    height, width = problem.texture.shape[:2]
    radius = round(SMOOTH * max(height, width))
    covered = covered_places(problem).to(values).reshape(1, 1, height, width)

    def blurred(image: Tensor) -> Tensor:
        return functional.avg_pool2d(image, 2 * radius + 1, stride=1, padding=radius)

    around = blurred(values.reshape(covered.shape) * covered) / blurred(covered).clamp_min(1e-12)
    return (around * covered).reshape(-1)


def importance_picture(problem: Problem, importance: Tensor) -> np.ndarray:
    """A map ``[N]`` of a UV texture as a greyscale picture ``[H, W] uint8``, row 0 at the top: white is what matters
    most. What no surface covers is filled from near it, as in the texture itself."""
    values = importance.numpy()
    brightest = np.quantile(values[problem.weight >= 0], 1 - BRIGHTEST) or values.max() or 1.0
    picture = (padded(problem, importance).numpy() / brightest).clip(0, 1) * 255
    height, width = problem.texture.shape[:2]
    return picture.round().astype(np.uint8).reshape(height, width)[::-1]


def padded(problem: Problem, importance: Tensor) -> Tensor:
    """A map ``[N]`` of a UV texture in which what no surface covers has the value of what lies near it."""
    height, width = problem.texture.shape[:2]
    target, follows = pad(problem.weight.reshape(height, width), max(2, round(PADDING * max(height, width))))
    filled = importance.clone()
    filled[torch.from_numpy(target)] = importance[torch.from_numpy(follows)]
    return filled
