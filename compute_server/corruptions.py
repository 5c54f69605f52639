"""Held-out views under common corruptions: noise, blur, weather and what files do to pictures, in five severities.

The fifteen of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (2019), by the package imagecorruptions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import imagecorruptions
import numpy as np
import torch
from torch import Tensor

from shared.messages import Stats
from shared.scene import View

from .classifiers import Classifier
from .evaluate import judge, render
from .problem import Problem
from .render.color import from_bytes, to_bytes

CORRUPTIONS: tuple[str, ...] = tuple(imagecorruptions.get_corruption_names())
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Row:
    """What one classifier says of one texture under one corruption of one severity (0: none)."""

    texture: str
    classifier: str
    corruption: str
    severity: int
    stats: Stats


def corrupted(pictures: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Pictures ``[N, H, W, 3] uint8`` after a corruption; the same `seed` gives the same noise."""
    takes_seed = "seed" in inspect.signature(imagecorruptions.corruption_dict[corruption]).parameters
    with _seeded(seed):
        return np.stack(
            [
                imagecorruptions.corrupt(
                    each, severity, corruption, **({"seed": int(np.random.randint(2**31))} if takes_seed else {})
                )
                for each in pictures
            ]
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The package draws from numpy's global generator: give it a state of our own for so long."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def corruption_rows(
    problem: Problem,
    pools: Mapping[str, Tensor],
    views: Sequence[View],
    classifiers: Sequence[Classifier],
    *,
    done: Callable[[], None] = lambda: None,
) -> list[Row]:
    """The figures of each texture (linear pools by name) by each classifier under each corruption, on the same views.

    Pictures are corrupted at the size that each classifier wants, with the same noise before and after. `done` is
    called after each kind of corruption of each texture and size.
    """
    rows = []
    for size in sorted({classifier.spec.size for classifier in classifiers}):
        judges = [classifier for classifier in classifiers if classifier.spec.size == size]
        for name, pool in pools.items():
            images = render(problem.renderer, pool, views, size, problem.job.settings.samples)
            clean = to_bytes(images).numpy()
            rows += _judged(problem, name, "none", 0, clean, judges)
            for corruption in CORRUPTIONS:
                for severity in SEVERITIES:
                    changed = corrupted(clean, corruption, severity, problem.job.settings.seed)
                    rows += _judged(problem, name, corruption, severity, changed, judges)
                done()
    return rows


def _judged(
    problem: Problem, texture: str, corruption: str, severity: int, pictures: np.ndarray, judges: Sequence[Classifier]
) -> list[Row]:
    images = from_bytes(torch.from_numpy(pictures)).to(problem.device)
    return [
        Row(texture, each.spec.name, corruption, severity, judge(each, images, problem.target).stats())
        for each in judges
    ]
