"""Several classifiers as one: what each says of the same pictures, made one loss and one set of verdicts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.targets import Target

from .beside import side_by_side
from .classifiers import Classifier
from .classifiers.precision import tf32
from .objectives import combined, confidence, constant, objective

#: Pictures are classified this many at a time, which bounds memory.
CHUNK = 16


def check_models(settings: m.Settings | m.ImageSettings) -> None:
    """Raise :class:`InvalidInput` for a classifier both trained on and held out, and for weights that fit none."""
    both = sorted(set(settings.models) & set(settings.held_out_models))
    if both:
        raise InvalidInput(
            f"{both[0]!r} is to be trained on and held out at once.", hint="Leave it out of one of the two."
        )
    if settings.weights and len(settings.weights) != len(settings.models):
        raise InvalidInput(
            f"There are {len(settings.weights)} weights for {len(settings.models)} classifiers.",
            hint="Give one weight for each, or none.",
        )


def as_precise(classifiers: Sequence[Classifier], images: Tensor) -> contextlib.AbstractContextManager[None]:
    """For their losses and gradients: as few digits as the gradients of all `classifiers` survive, which is found with
    the first `images`."""
    for classifier in classifiers:
        classifier.settle(images)
    return tf32(allowed=all(classifier.precision in ("half", "tf32") for classifier in classifiers))


def ensemble_loss(
    classifiers: Sequence[Classifier],
    images: Tensor,
    target: Target,
    settings: m.Settings | m.ImageSettings,
    needed: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of pictures ``[N, H, W, 3]``, and the first classifier's confidence in each ``[N]``.

    `needed`, see :meth:`Classifier.logits`. With `weights` ``[M]`` (see :func:`whole_loss`) it is the sum of the
    classifiers' losses under them.
    """
    losses, certainty = _losses(classifiers, images, target, settings, needed)
    return _combined(losses, settings) if weights is None else (losses * weights).sum(), certainty


@torch.no_grad()
def whole_loss(
    classifiers: Sequence[Classifier],
    parts: Iterable[tuple[float, Tensor]],
    target: Target,
    settings: m.Settings | m.ImageSettings,
) -> tuple[Tensor, Tensor] | None:
    """Where the worst classifier counts most: the loss of pictures that come in parts, each with its share of them all,
    and how fast it grows with the loss of each classifier, ``[M]``, which depends on all parts. None: the loss is the
    mean of the parts' losses, and so is its gradient."""
    if len(classifiers) == 1 or settings.ensemble == "mean":
        return None
    losses = torch.zeros(len(classifiers), device=classifiers[0].device)
    for share, images in parts:
        with as_precise(classifiers, images):
            losses += share * _losses(classifiers, images, target, settings)[0]
    with torch.enable_grad():
        whole = _combined(losses.requires_grad_(), settings)
        (weights,) = torch.autograd.grad(whole, losses)
    return whole.detach(), weights


def _losses(
    classifiers: Sequence[Classifier],
    images: Tensor,
    target: Target,
    settings: m.Settings | m.ImageSettings,
    needed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean loss of pictures by each classifier, ``[M]``, and the first one's confidence in each picture."""
    loss_of = objective(settings.objective)
    images = images.view_as(images)  # where gradients meet that were made side by side: torch warns of leaves
    asked = [functools.partial(classifier.training_logits, images, needed) for classifier in classifiers]
    logits = side_by_side(asked, classifiers[0].device)
    losses = torch.stack([loss_of(each, target).mean() for each in logits])
    return losses, confidence(logits[0].detach(), target)


def _combined(losses: Tensor, settings: m.Settings | m.ImageSettings) -> Tensor:
    weights = constant(tuple(settings.weights) or (1.0,) * len(losses), losses.dtype, losses.device)
    return combined(losses, weights, settings.ensemble)


@torch.no_grad()
def verdicts(
    classifier: Classifier, images: Tensor, target: Target, names: Sequence[str], top: int
) -> tuple[m.Verdict, ...]:
    """What `classifier` says of each of the pictures ``[N, H, W, 3]``, with its `top` classes by `names`."""
    said: list[m.Verdict] = []
    for chunk in torch.split(images, CHUNK) if len(images) else ():  # not every network takes an empty batch
        logits = classifier.logits(chunk)
        best = logits.softmax(dim=1).topk(min(top, len(names)), dim=1)
        for sure, values, indices in zip(
            confidence(logits, target).tolist(), best.values.tolist(), best.indices.tolist(), strict=True
        ):
            found = tuple(m.Prediction(i, names[i], v) for i, v in zip(indices, values, strict=True))
            said.append(m.Verdict(confidence=sure, right=indices[0] in target.indices, top=found))
    return tuple(said)
