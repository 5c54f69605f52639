"""Assistive images: a picture gets a change within ε that classifiers recognise it better by, and nobody sees.

Section 2 of the paper. The picture keeps its own size; classifiers see it resized as they always do, and gradients flow
back through that. No files and no sockets here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shared import messages as m
from shared import targets
from shared.errors import InvalidInput
from shared.targets import Target

from .augment import augmented
from .classifiers import Classifier, labels, loaded
from .ensemble import as_precise, check_models, ensemble_loss, verdicts
from .objectives import confidence, is_right
from .optimize import schedule
from .render.color import from_bytes
from .steppers import moved, stepper

#: The picture so far is judged, in 8 bits, after so many steps.
JUDGE_EVERY = 5
TOP = 5


def assist(picture: np.ndarray, settings: m.ImageSettings, device: torch.device) -> m.Assisted:
    """`picture` ``[H, W, 3] uint8`` (display-encoded sRGB) as one that is recognised better.

    What comes back is the best of the pictures judged on the way, as bytes, or the very same if none was better.
    """
    check_models(settings)
    if picture.size == 0:
        raise InvalidInput("The picture is empty.")
    classifiers = [loaded(name, device) for name in settings.models]
    held_out = [loaded(name, device) for name in dict.fromkeys(settings.held_out_models)]
    original = torch.tensor(picture, device=device)
    target = _target(settings.target, classifiers[0], original)
    best = _optimised(original, settings, classifiers, target)
    change = best.int() - original.int()
    return m.Assisted(
        picture=best.cpu().numpy(),
        target=target,
        models={
            each.spec.name: _figures(each, original, best, target, trained=each in classifiers)
            for each in (*classifiers, *held_out)
        },
        improved=not torch.equal(best, original),
        max_change=int(change.abs().max()),
        l2=float((change / 255.0).norm()),
    )


@torch.no_grad()
def _target(query: str, classifier: Classifier, original: Tensor) -> Target:
    """The target that is asked for, or what the picture is already taken for."""
    if query:
        return targets.resolve(query, labels())
    best = int(classifier.logits(from_bytes(original)[None]).argmax())
    return Target(name=labels()[best], indices=(best,))


def _optimised(
    original: Tensor, settings: m.ImageSettings, classifiers: Sequence[Classifier], target: Target
) -> Tensor:
    start = from_bytes(original).reshape(-1, 3)
    walker, theta = stepper(settings.stepper), start
    best, best_score = original, _score(classifiers, original, target)
    for step in range(settings.steps):
        free = theta.detach().requires_grad_()
        images = free.reshape(1, *original.shape)
        if settings.augment:
            images = augmented(images, settings.augment, np.random.default_rng((settings.seed, step)))
        with as_precise(classifiers, images.detach()):
            ensemble_loss(classifiers, images, target, settings)[0].backward()  # type: ignore[no-untyped-call]
        assert free.grad is not None
        by = walker.move(free.grad, settings.alpha * schedule(step, settings.steps))
        theta = moved(theta, by, start, settings.epsilon, settings.norm)
        if (step + 1) % JUDGE_EVERY == 0 or step + 1 == settings.steps:
            candidate = _rounded(theta.reshape(original.shape), original, settings)
            score = _score(classifiers, candidate, target)
            if score > best_score:
                best, best_score = candidate, score
    return best


def _rounded(theta: Tensor, original: Tensor, settings: m.ImageSettings) -> Tensor:
    """Θ as bytes that are within ε of the `original` too."""
    levels = (theta * 255 - original).double()
    if settings.norm == "l2":  # towards the original, so that no channel's change grows
        change = levels.trunc()
    else:
        most = int(settings.epsilon * 255 + 1e-6)
        change = levels.round().clamp(-most, most)
    return (original + change).to(torch.uint8)


@torch.no_grad()
def _score(classifiers: Sequence[Classifier], picture: Tensor, target: Target) -> tuple[int, float]:
    """How many of the classifiers are right, then their mean confidence."""
    images = from_bytes(picture)[None]
    logits = [classifier.logits(images) for classifier in classifiers]
    right = sum(int(is_right(each, target)[0]) for each in logits)
    return right, sum(float(confidence(each, target)[0]) for each in logits) / len(logits)


def _figures(classifier: Classifier, before: Tensor, after: Tensor, target: Target, *, trained: bool) -> m.ImageFigures:
    # One at a time, as in `_score`: a batch of two may round differently.
    first, second = (
        verdicts(classifier, from_bytes(picture)[None], target, labels(), TOP)[0] for picture in (before, after)
    )
    return m.ImageFigures(trained=trained, before=first, after=second)
