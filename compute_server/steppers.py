"""How Θ moves against its gradient, and the ball it stays in. Each stepper is one small object with one job."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from shared.errors import InvalidInput

from . import stepper_kernels

MOMENTUM = 0.9


class Stepper(Protocol):
    """Says how far Θ goes in a step; keeps what it must remember."""

    def move(self, gradient: Tensor, alpha: float) -> Tensor:
        """How far Θ goes in a step of size `alpha` (display-encoded units) against `gradient`, both ``[K, 3]``; the
        gradient may be written over, as there is room for few textures' worth in a processor's caches."""

    def state(self) -> dict[str, Tensor]:
        """What it remembers, by name: :meth:`restore` makes a new one go on from there."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what another one did."""


class Sign:
    """−α · sign ∇: every texel moves equally far."""

    def move(self, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if gradient.device.type == "cpu" and gradient.dtype == torch.float32:
            return stepper_kernels.sign(gradient, alpha)
        return gradient.sign().mul_(-alpha)

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""


class MomentumSign:
    """−α · sign g with g ← μg + ∇/‖∇‖₁ (Dong et al., "Boosting adversarial attacks with momentum", 2018)."""

    def __init__(self) -> None:
        self._velocity: Tensor | None = None

    def move(self, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if self._velocity is None:
            self._velocity = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
        least = torch.finfo(gradient.dtype).tiny
        if gradient.device.type == "cpu" and gradient.dtype == torch.float32:
            size = max(stepper_kernels.mean_size(gradient), least)
            return stepper_kernels.momentum(self._velocity, gradient, size, MOMENTUM, alpha)
        size = (torch.linalg.vector_norm(gradient, ord=1) / gradient.numel()).clamp_min_(least)
        return momentum_reference(self._velocity, gradient, size, alpha)

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        return {} if self._velocity is None else {"velocity": self._velocity.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""
        kept = state.get("velocity")
        self._velocity = None if kept is None else kept.clone()


def momentum_reference(velocity: Tensor, gradient: Tensor, size: Tensor, alpha: float) -> Tensor:
    """The step of :class:`MomentumSign` in torch; `velocity` is changed, and nothing waits for the scalar `size`."""
    velocity.mul_(MOMENTUM).addcdiv_(gradient, size)
    return velocity.sign().mul_(-alpha)


class Adam:
    """torch's own Adam, on a parameter that is always 0: where it stands makes no difference to a step."""

    def __init__(self) -> None:
        self._parameter: Tensor | None = None
        self._kept: dict[str, Tensor] = {}
        self._optimizer: torch.optim.Adam | None = None

    def move(self, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        if self._parameter is None or self._optimizer is None:
            self._parameter = torch.zeros_like(gradient)
            self._optimizer = torch.optim.Adam([self._parameter], lr=alpha)
            self._optimizer.state[self._parameter].update(self._kept)
        self._parameter.zero_()
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
            self._parents.append(parent.to(torch.int32))
            self._sizes.append(len(cells))
        self._on_cpu = cells.device.type == "cpu"
        on_cpu = zip(self._parents, self._sizes, strict=True) if self._on_cpu else ()
        self._children = [stepper_kernels.children(parent, size) for parent, size in on_cpu]
        self._steppers = [make() for _ in range(count)]

    def move(self, gradient: Tensor, alpha: float) -> Tensor:
        """See :class:`Stepper`."""
        slopes = [gradient]
        for octave in range(len(self._parents)):
            slopes.append(self._summed(slopes[-1], octave))
        share = alpha / len(self._steppers)
        far = self._steppers[-1].move(slopes[-1], share)
        for octave in reversed(range(len(self._parents))):
            far = self._onto(self._steppers[octave].move(slopes[octave], share), octave, far)
        return far

    def _summed(self, slope: Tensor, octave: int) -> Tensor:
        """A slope of the cells of one scale as that of the blocks of the next."""
        if self._on_cpu and slope.dtype == torch.float32:
            return stepper_kernels.block_sums(slope, *self._children[octave])
        return slope.new_zeros(self._sizes[octave], slope.shape[1]).index_add_(0, self._parents[octave], slope)

    def _onto(self, far: Tensor, octave: int, above: Tensor) -> Tensor:
        """How far cells go, with their blocks."""
        if self._on_cpu and far.dtype == torch.float32:
            return stepper_kernels.add_blocks(far, *self._children[octave], above)
        return far + above.index_select(0, self._parents[octave])

    def state(self) -> dict[str, Tensor]:
        """See :class:`Stepper`."""
        kept: dict[str, Tensor] = {}
        for octave, stepper in enumerate(self._steppers):
            kept |= {f"{octave} stepper {name}": value for name, value in stepper.state().items()}
        return kept

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`Stepper`."""
        for octave, stepper in enumerate(self._steppers):
            own = f"{octave} stepper "
            stepper.restore({name.removeprefix(own): value for name, value in state.items() if name.startswith(own)})


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


def moved(theta: Tensor, by: Tensor, start: Tensor, epsilon: float | None, norm: str) -> Tensor:
    """Θ + `by`, clipped as :func:`project` says; all ``[K, 3]``. `by` may be written over."""
    cubic = epsilon is None or norm == "linf"
    if cubic and theta.device.type == "cpu" and theta.dtype == torch.float32:
        return stepper_kernels.moved(theta, by, start, math.inf if epsilon is None else epsilon)
    return project(theta + by, start, epsilon, norm)


def project(theta: Tensor, start: Tensor, epsilon: float | None, norm: str) -> Tensor:
    """Θ clipped to [0, 1] and to the ball of radius `epsilon` around `start` (None: no ball), both ``[K, 3]``."""
    if epsilon is not None and norm == "linf":
        theta = torch.minimum(torch.maximum(theta, start - epsilon), start + epsilon)
    elif epsilon is not None:
        offset = theta - start
        theta = start + offset * (epsilon / offset.norm().clamp_min(epsilon))
    return theta.clamp(0.0, 1.0)
