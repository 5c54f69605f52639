"""Worst-case mining: a search for the views and lights in which a texture is recognised least.

Views are searched among those that the rig allows, never beyond: first drawn at random, then the worst of them crossed
with one another (the camera of one, light and background of another). What is found is kept and judged anew with the
texture that has been made of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec
from torch import Tensor

from shared.messages import Settings
from shared.scene import Rig, View

from .views import generators, random_views

#: The search is repeated after so many steps.
EVERY = 25
#: So many views are drawn in each search, so many of the worst are crossed, and so many are kept.
DRAWN, CROSSED, KEPT = 16, 4, 8

#: Judges views: a number ``[N]`` for each, the greater the worse the texture is recognised in it.
Losses = Callable[[Sequence[View]], Tensor]


class Miner:
    """Finds hard views, and gives them out in turn."""

    def __init__(self, rig: Rig, settings: Settings) -> None:
        self.fresh = random_views(rig, generators(settings.seed).mining, settings.backgrounds)
        self.turn = 0
        self.hardest: tuple[View, ...] = ()

    def search(self, losses: Losses) -> None:
        """Look for hard views; keep the worst of those found now and before."""
        found = _worst(losses, [*self.hardest, *itertools.islice(self.fresh, DRAWN)], KEPT + CROSSED)
        crossed = [
            msgspec.structs.replace(one, lights=other.lights, background=other.background)
            for one, other in itertools.permutations(found[:CROSSED], 2)
        ]
        self.hardest = tuple(_worst(losses, [*found, *crossed], KEPT))

    def take(self, count: int) -> list[View]:
        """The next `count` of the hardest views."""
        taken = [self.hardest[(self.turn + number) % len(self.hardest)] for number in range(count)]
        self.turn += count
        return taken


def _worst(losses: Losses, views: Sequence[View], count: int) -> list[View]:
    return [views[index] for index in losses(views).argsort(descending=True, stable=True)[:count].tolist()]
