"""How Θ moves against its gradient, and the ball it stays in. Each stepper is one small object with one job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from shared.errors import InvalidInput

MOMENTUM = 0.9


class Stepper(Protocol):
    """Moves Θ one step; keeps what it must remember."""

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """Θ after a step of size `alpha` (display-encoded units) against `gradient`, both ``[K, 3]``."""


class Sign:
    """Θ − α · sign ∇: every texel moves equally far."""

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        return theta - alpha * gradient.sign()


class MomentumSign:
    """Θ − α · sign g with g ← μg + ∇/‖∇‖₁ (Dong et al., "Boosting adversarial attacks with momentum", 2018)."""

    def __init__(self) -> None:
        self._velocity: Tensor | None = None

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        unit = gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)
        self._velocity = unit if self._velocity is None else MOMENTUM * self._velocity + unit
        return theta - alpha * self._velocity.sign()


class Adam:
    """torch's own Adam on Θ."""

    def __init__(self) -> None:
        self._parameter: Tensor | None = None
        self._optimizer: torch.optim.Adam | None = None

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if self._parameter is None or self._optimizer is None:
            self._parameter = theta.clone()
            self._optimizer = torch.optim.Adam([self._parameter], lr=alpha)
        self._parameter.copy_(theta)
        self._parameter.grad = gradient
        self._optimizer.param_groups[0]["lr"] = alpha
        self._optimizer.step()
        return self._parameter.clone()


class Octaves:
    """Moves a texture at several scales at once: one stepper for its texels, one for blocks of 2 × 2 texels, of 4 × 4
    and so on. A block moves as a whole, against the sum of its texels' gradients; each scale has an equal share of α.
    """

    def __init__(self, make: Callable[[], Stepper], texels: Tensor, width: int, count: int) -> None:
        """`texels [K]` says where each row of Θ lies in a texture of this `width` (flat index), `count` how many
        scales there are."""
        row, column = torch.div(texels, width, rounding_mode="floor"), texels % width
        self._blocks = [
            torch.unique((row >> octave) * width + (column >> octave), return_inverse=True)[1]
            for octave in range(count)
        ]
        self._steppers = [make() for _ in range(count)]
        self._offsets: list[Tensor | None] = [None] * count

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        for octave, (block, mover) in enumerate(zip(self._blocks, self._steppers, strict=True)):
            slope = gradient.new_zeros(int(block.max()) + 1, gradient.shape[1]).index_add_(0, block, gradient)
            before = self._offsets[octave]
            before = torch.zeros_like(slope) if before is None else before
            after = mover.step(before, slope, alpha / len(self._steppers))
            self._offsets[octave] = after
            theta = theta + (after - before)[block]
        return theta


STEPPERS: dict[str, type[Stepper]] = {"sign": Sign, "momentum": MomentumSign, "adam": Adam}


def stepper(name: str) -> Stepper:
    """A new stepper called `name`."""
    if name not in STEPPERS:
        raise InvalidInput(f"No stepper is called {name!r}.", hint=f"There are {', '.join(STEPPERS)}.")
    return STEPPERS[name]()


def project(theta: Tensor, start: Tensor, epsilon: float | None, norm: str) -> Tensor:
    """Θ clipped to [0, 1] and to the ball of radius `epsilon` around `start` (None: no ball), both ``[K, 3]``."""
    if epsilon is not None and norm == "linf":
        theta = torch.minimum(torch.maximum(theta, start - epsilon), start + epsilon)
    elif epsilon is not None:
        offset = theta - start
        theta = start + offset * (epsilon / offset.norm().clamp_min(epsilon))
    return theta.clamp(0.0, 1.0)
