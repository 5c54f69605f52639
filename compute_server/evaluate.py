"""How well textures are recognised over a set of views: confidence and top-1 of each classifier. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from shared.messages import Stats
from shared.scene import View
from shared.targets import Target

from .classifiers import Classifier
from .objectives import confidence, is_right, stats
from .render.renderer import Renderer

#: Views are drawn and classified this many at a time, which bounds memory.
CHUNK = 16

Made = TypeVar("Made")


@dataclass(frozen=True)
class Figures:
    """Confidence in the target, the top-1 class and whether it is right, one for each view, ``[N]``."""

    confidence: Tensor
    top1: Tensor
    right: Tensor

    def stats(self) -> Stats:
        """Mean, top-1 and least confidence."""
        return stats(self.confidence, self.right)


def evaluate(
    renderer: Renderer,
    pools: Sequence[Tensor],
    views: Sequence[View],
    classifiers: Sequence[Classifier],
    target: Target,
    samples: int,
    *,
    check: Callable[[], None] = lambda: None,
) -> list[list[Figures]]:
    """Figures of each pool (outer) by each classifier (inner) on the same views, each at the classifier's own size.

    `check` is called between chunks; what it raises ends the evaluation.
    """
    chunks = in_chunks(lambda chunk: _judged(renderer, pools, chunk, classifiers, target, samples, check), views)
    return [
        [_joined([judged[pool][classifier] for judged in chunks]) for classifier in range(len(classifiers))]
        for pool in range(len(pools))
    ]


def in_chunks(work: Callable[[Sequence[View]], Made], views: Sequence[View], count: int = CHUNK) -> list[Made]:
    """What `work` gives of `count` of `views` at a time, and of fewer where the device's memory asks for that."""
    found: list[Made] = []
    start = 0
    while start < len(views):
        chunk = views[start : start + count]
        try:
            found.append(work(chunk))
        except torch.cuda.OutOfMemoryError:
            if len(chunk) == 1:
                raise
            count = len(chunk) // 2
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            continue
        start += len(chunk)
    return found


def _judged(
    renderer: Renderer,
    pools: Sequence[Tensor],
    views: Sequence[View],
    classifiers: Sequence[Classifier],
    target: Target,
    samples: int,
    check: Callable[[], None],
) -> list[list[Figures]]:
    """As :func:`evaluate`, of so few views that they are drawn at once."""
    found: list[dict[int, Figures]] = [{} for _ in pools]
    for size in sorted({classifier.spec.size for classifier in classifiers}):
        check()
        prepared = renderer.prepare(views, size, samples)
        for which, pool in enumerate(pools):
            images = renderer.draw(pool, prepared)
            for index, classifier in enumerate(classifiers):
                if classifier.spec.size == size:
                    found[which][index] = judge(classifier, images, target)
    return [[row[index] for index in range(len(classifiers))] for row in found]


@torch.no_grad()
def judge(classifier: Classifier, images: Tensor, target: Target) -> Figures:
    """Figures of pictures ``[N, H, W, 3]`` by one classifier."""
    logits = classifier.logits(images)
    return Figures(confidence(logits, target).cpu(), logits.argmax(dim=1).cpu(), is_right(logits, target).cpu())


def _joined(parts: Sequence[Figures]) -> Figures:
    return Figures(*(torch.cat([getattr(part, name) for part in parts]) for name in ("confidence", "top1", "right")))


@torch.no_grad()
def render(renderer: Renderer, pool: Tensor, views: Sequence[View], size: int, samples: int) -> Tensor:
    """Display-encoded pictures ``[N, size, size, 3]`` of a pool, in chunks, on the CPU."""
    chunks = in_chunks(lambda chunk: renderer.draw(pool, renderer.prepare(chunk, size, samples)).cpu(), views)
    return torch.cat(chunks) if chunks else torch.zeros(0, size, size, 3)
