"""How sure a figure is: 95 % intervals over views, by the bootstrap. Both sides of the wire use these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
DRAWS = 4000
#: So many numbers are drawn at a time, which bounds memory.
CHUNK = 1 << 20

Interval = tuple[float, float]


def of_mean(values: Sequence[float], seed: int = 0) -> Interval:
    """The percentile bootstrap's interval of the mean of at least one value, the same for the same `seed`."""
    given = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // len(given))
    means = [
        given[rng.integers(len(given), size=(min(at_once, DRAWS - start), len(given)))].mean(axis=1)
        for start in range(0, DRAWS, at_once)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def of_share(right: Sequence[bool], seed: int = 0) -> Interval:
    """The interval of a share of views. Where all views agree the bootstrap knows no spread; the exact binomial bound
    takes its place: 64 of 64 says 94 % or more, not 100 %."""
    count, found = len(right), sum(right)
    bound = ((1 - LEVEL) / 2) ** (1 / count)
    if found == count:
        return bound, 1.0
    return (0.0, 1 - bound) if found == 0 else of_mean(right, seed)


def of_change(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Interval:
    """The interval of the mean change over the same views."""
    return of_mean([new - old for old, new in zip(before, after, strict=True)], seed)
