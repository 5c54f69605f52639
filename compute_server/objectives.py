"""What is made small (objectives of logits and regularisers of the texture) and how it is judged. No renderer here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.messages import Stats
from shared.targets import Target

from . import variation_kernels

Objective = Callable[[Tensor, Target], Tensor]


def cross_entropy(logits: Tensor, target: Target) -> Tensor:
    """−log Σ_{y∈S} p_y for each row of ``[N, classes]``, [N]: the probability that any class of the set is meant."""
    return torch.logsumexp(logits, dim=1) - torch.logsumexp(_of(target, logits), dim=1)


def margin(logits: Tensor, target: Target) -> Tensor:
    """Greatest logit outside the set minus greatest logit inside it, [N]; does not saturate as cross-entropy does."""
    inside = _of(target, logits).amax(dim=1)
    outside = logits.index_fill(1, constant(target.indices, torch.int64, logits.device), -torch.inf).amax(dim=1)
    return outside - inside


OBJECTIVES: dict[str, Objective] = {"cross_entropy": cross_entropy, "margin": margin}


def objective(name: str) -> Objective:
    """The objective called `name`."""
    if name not in OBJECTIVES:
        raise InvalidInput(f"No objective is called {name!r}.", hint=f"There are {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name]


def combined(losses: Tensor, weights: Tensor, kind: str) -> Tensor:
    """One loss of those of several classifiers ``[M]``: their mean under `weights` ``[M]``, or with `kind` "worst"
    log Σ wᵢ exp(lossᵢ) / Σ wᵢ, whose gradient goes to the classifiers that do worst."""
    share = weights / weights.sum()
    return torch.logsumexp(losses + share.log(), dim=0) if kind == "worst" else (losses * share).sum()


def confidence(logits: Tensor, target: Target) -> Tensor:
    """Probability of the target set in each row, [N]."""
    return _of(target, logits.softmax(dim=1)).sum(dim=1)


def _of(target: Target, values: Tensor) -> Tensor:
    """The columns of ``[N, classes]`` that are in the target set."""
    return values.index_select(1, constant(target.indices, torch.int64, values.device))


@functools.cache
def constant(values: tuple[int, ...] | tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` on `device`, brought there once: a step that is replayed as a CUDA graph can bring nothing."""
    return torch.tensor(values, dtype=dtype, device=device)


def is_right(logits: Tensor, target: Target) -> Tensor:
    """Whether each row's top-1 class is in the target set, [N] bool."""
    return torch.isin(logits.argmax(dim=1), constant(target.indices, torch.int64, logits.device))


def stats(confidences: Tensor, right: Tensor) -> Stats:
    """The figures of a set of views."""
    return Stats(
        mean=float(confidences.double().mean()),
        top1=float(right.double().mean()),
        min=float(confidences.min()),
        p5=float(confidences.double().quantile(0.05)),
    )


def total_variation(image: Tensor, covered: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring texels ``[H, W, C]`` that are both ``covered [H, W]``."""
    if image.device.type == "cpu" and image.dtype == torch.float32 and image.shape[2] == 3:
        return _Variation.apply(image, covered)  # type: ignore[no-any-return]
    return total_variation_reference(image, covered)


def total_variation_reference(image: Tensor, covered: Tensor) -> Tensor:
    """:func:`total_variation` in torch."""
    vertical = (covered[1:] & covered[:-1])[..., None]
    horizontal = (covered[:, 1:] & covered[:, :-1])[..., None]
    differences = ((image[1:] - image[:-1]).abs() * vertical).sum() + (
        (image[:, 1:] - image[:, :-1]).abs() * horizontal
    ).sum()
    pairs = (vertical.sum() + horizontal.sum()).clamp_min(1)
    return differences / (pairs * image.shape[-1])


class _Variation(torch.autograd.Function):
    """The compiled variation, which finds its gradient on the way."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, covered: Tensor) -> Tensor:
        found, gradient = variation_kernels.total_variation(image, covered)
        ctx.save_for_backward(gradient)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None
