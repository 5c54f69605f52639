"""How Θ moves against its gradient, and the ball it stays in. Each stepper is one small object with one job."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from shared.errors import InvalidInput

from . import octave_kernels

MOMENTUM = 0.9


class Stepper(Protocol):
    """Moves Θ one step; keeps what it must remember."""

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """Θ after a step of size `alpha` (display-encoded units) against `gradient`, both ``[K, 3]``."""

    def state(self) -> dict[str, Tensor]:
        """What it remembers, by name: :meth:`restore` makes a new one go on from there."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what another one did."""


class Sign:
    """Θ − α · sign ∇: every texel moves equally far."""

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        return torch.sub(theta, gradient.sign(), alpha=alpha)

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""


class MomentumSign:
    """Θ − α · sign g with g ← μg + ∇/‖∇‖₁ (Dong et al., "Boosting adversarial attacks with momentum", 2018)."""

    def __init__(self) -> None:
        self._velocity: Tensor | None = None

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if self._velocity is None:
            self._velocity = torch.zeros_like(gradient)
        # In place: of a large texture each copy takes as long as a classifier's layer.
        size = torch.linalg.vector_norm(gradient, ord=1) / gradient.numel()
        self._velocity.mul_(MOMENTUM).addcdiv_(gradient, size.clamp_min(torch.finfo(gradient.dtype).tiny))
        return torch.sub(theta, self._velocity.sign(), alpha=alpha)

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        return {} if self._velocity is None else {"velocity": self._velocity.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""
        kept = state.get("velocity")
        self._velocity = None if kept is None else kept.clone()


class Adam:
    """torch's own Adam on Θ."""

    def __init__(self) -> None:
        self._parameter: Tensor | None = None
        self._kept: dict[str, Tensor] = {}
        self._optimizer: torch.optim.Adam | None = None

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if self._parameter is None or self._optimizer is None:
            self._parameter = theta.clone()
            self._optimizer = torch.optim.Adam([self._parameter], lr=alpha)
            self._optimizer.state[self._parameter].update(self._kept)
        self._parameter.copy_(theta)
        self._parameter.grad = gradient
        self._optimizer.param_groups[0]["lr"] = alpha
        self._optimizer.step()
        return self._parameter.clone()

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        if self._parameter is None or self._optimizer is None:
            return self._kept
        return dict(self._optimizer.state[self._parameter])

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""
        self._kept = {name: value.reshape(()) if name == "step" else value for name, value in state.items()}


class Octaves:
    """Moves a texture at several scales at once: one stepper for its texels, one for blocks of 2 × 2 texels, of 4 × 4
    and so on. A block moves as a whole, against the sum of its texels' gradients; each scale has an equal share of α.
    """

    def __init__(self, make: Callable[[], Stepper], cells: Tensor, count: int) -> None:
        """`cells [K, D] int64` says where each row of Θ lies on a grid (row and column of a texel, say), `count` how
        many scales there are."""
        self._parents, self._sizes = [], []
        for _ in range(1, count):
            cells, parent = _halved(cells)
            self._parents.append(parent)
            self._sizes.append(len(cells))
        self._on_cpu = cells.device.type == "cpu"
        on_cpu = zip(self._parents, self._sizes, strict=True) if self._on_cpu else ()
        self._children = [octave_kernels.children(parent, size) for parent, size in on_cpu]
        self._steppers = [make() for _ in range(count)]
        self._offsets: list[Tensor | None] = [None] * count

    def step(self, theta: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        slopes = [gradient]
        for octave in range(len(self._parents)):
            slopes.append(self._summed(slopes[-1], octave))
        moved = self._moved(-1, slopes[-1], alpha)
        for octave in reversed(range(len(self._parents))):
            moved = self._onto(self._moved(octave, slopes[octave], alpha), octave, moved)
        return theta + moved

    def _summed(self, slope: Tensor, octave: int) -> Tensor:
        """A slope of the cells of one scale as that of the blocks of the next."""
        if self._on_cpu and slope.dtype == torch.float32:
            return octave_kernels.block_sums(slope, *self._children[octave])
        return slope.new_zeros(self._sizes[octave], slope.shape[1]).index_add_(0, self._parents[octave], slope)

    def _onto(self, moved: Tensor, octave: int, above: Tensor) -> Tensor:
        """How far cells go, with their blocks."""
        if self._on_cpu and moved.dtype == torch.float32:
            return octave_kernels.add_parents(moved, self._parents[octave], above)
        return moved + above[self._parents[octave]]

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        kept = {f"{octave} offset": offset for octave, offset in enumerate(self._offsets) if offset is not None}
        for octave, stepper in enumerate(self._steppers):
            kept |= {f"{octave} stepper {name}": value for name, value in stepper.state().items()}
        return kept

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""
        for octave, stepper in enumerate(self._steppers):
            self._offsets[octave] = state.get(f"{octave} offset")
            own = f"{octave} stepper "
            stepper.restore({name.removeprefix(own): value for name, value in state.items() if name.startswith(own)})

    def _moved(self, octave: int, slope: Tensor, alpha: float) -> Tensor:
        """How far the blocks of one scale go."""
        before = self._offsets[octave]
        before = torch.zeros_like(slope) if before is None else before
        after = self._steppers[octave].step(before, slope, alpha / len(self._steppers))
        self._offsets[octave] = after
        return after - before


def _halved(cells: Tensor) -> tuple[Tensor, Tensor]:
    """The cells ``[L, D]`` of a grid half as fine that hold any of `cells [K, D]`, and which of them each is in."""
    coarse = cells >> 1
    extent = tuple(int(most) + 1 for most in coarse.amax(dim=0))
    strides = [math.prod(extent[axis + 1 :]) for axis in range(len(extent))]
    # One number for a cell: many times faster to sort than its coordinates.
    number, parent = torch.unique((coarse * coarse.new_tensor(strides)).sum(dim=1), return_inverse=True)
    return torch.stack(torch.unravel_index(number, extent), dim=1), parent


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
