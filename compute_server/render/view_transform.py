"""A scene's view transform as a differentiable function: tetrahedral interpolation in its table of colours.

The torch function is the definition and runs on any device; on the CPU a compiled kernel takes its place, equal to it
by test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shared.scene import ViewTransform

from . import view_kernels
from .color import srgb_encode


@dataclass(frozen=True)
class Table:
    """A view transform's table on one device: ``colors [N³, 3] float32`` in [0, 1], red slowest; see
    :class:`shared.scene.ViewTransform` for ``toe`` and ``top``."""

    colors: Tensor
    size: int
    toe: float
    top: float

    @property
    def scale(self) -> float:
        """Table cells for each doubling of 1 + x / toe."""
        return (self.size - 1) / math.log2(1 + self.top / self.toe)


def encoder(transform: ViewTransform | None, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """The function from linear Rec.709 to display-encoded colours (any shape ``[…, 3]``) that `transform` is.

    None is Blender's Standard view. Where a colour is clipped the gradient is zero, but not at black itself.
    """
    if transform is None:
        return srgb_encode
    colors = torch.from_numpy(transform.table.reshape(-1, 3).astype("float32") / 65535).to(device)
    table = Table(colors, len(transform.table), transform.toe, transform.top)
    return lambda linear: apply(table, linear)


def apply(table: Table, linear: Tensor) -> Tensor:
    """Display-encoded colours ``[…, 3]`` of linear ones; differentiable with respect to them."""
    if linear.device.type == "cpu" and linear.dtype == torch.float32:
        return _Apply.apply(linear, table)  # type: ignore[no-any-return]
    return apply_reference(table, linear)


def apply_reference(table: Table, linear: Tensor) -> Tensor:
    """:func:`apply` in torch.

    The unit cell of the table that a colour lies in is cut into six tetrahedra along its grey diagonal: from its dark
    corner one steps along the channel with the largest fraction first, and weighs the four corners that one meets.
    """
    flat = linear.reshape(-1, 3)
    inside = (flat >= 0) & (flat <= table.top)
    clipped = torch.where(inside, flat, flat.detach().clamp(0.0, table.top))
    place = torch.log2(1 + clipped / table.toe) * table.scale
    cell = place.detach().floor().clamp_(0, table.size - 2)
    share, order = (place - cell).sort(dim=1, descending=True, stable=True)
    strides = torch.tensor([table.size**2, table.size, 1], device=flat.device)
    corner = (cell.long() * strides).sum(dim=1)
    colors = table.colors.to(flat.dtype)
    previous = colors[corner]
    result = previous
    for step in range(3):
        corner = corner + strides[order[:, step]]
        color = colors[corner]
        result = result + share[:, step : step + 1] * (color - previous)
        previous = color
    return result.reshape(linear.shape)


class _Apply(torch.autograd.Function):
    """The compiled operator, and the product with its Jacobian."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, table: Table) -> Tensor:
        ctx.table = table
        ctx.save_for_backward(linear)
        return view_kernels.look_up(linear, table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (linear,) = ctx.saved_tensors
        return view_kernels.look_up_gradient(grad, linear, ctx.table), None
