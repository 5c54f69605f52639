"""Frozen convolutions, with the activation that clips what they give, as one step of autograd on the CPU.

Gradients go to the picture only, so that of all features nothing need be kept but which of them were clipped: a byte of
each. torch keeps them whole, and copies once more what an in-place ReLU6 is given. EfficientNet-Lite0 takes a quarter
less time so (276 against 207 ms, 15 views of 224², two cores). The first one knows which pixels' gradient is asked for.
Knows no model library.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from compute_server.classifiers import clip_kernels
from compute_server.classifiers.stem_kernels import Stem

#: Activations that clip from 0 up to a limit, as modules and as functions.
LIMITS: dict[object, float] = {
    nn.ReLU: math.inf,
    nn.ReLU6: 6.0,
    functional.relu: math.inf,
    functional.relu6: 6.0,
    torch.relu: math.inf,
}


class FrozenConvolution(nn.Module):
    """A frozen convolution, what it gives clipped to [0, `limit`] (None: left as it is).

    `alone`: what follows is a single convolution, so that nobody else holds the gradient that comes from there, and it
    may be written to. ``needed`` (bool ``[N, H, W]``, None: all) is set for one pass: the gradient of other pixels may
    be 0.
    """

    needed: Tensor | None = None

    def __init__(self, convolution: nn.Conv2d, limit: float | None, *, alone: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.limit = limit
        self.alone = alone

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[N, C, H, W]``; their gradient goes to `x` only."""
        weight = self.convolution.weight
        whole = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
        if x.device.type == "cpu" and whole and not weight.requires_grad:
            result: Tensor = _Frozen.apply(x, self)
            return result
        features: Tensor = self.convolution(x)
        if self.limit is None:
            return features
        return functional.relu(features) if math.isinf(self.limit) else functional.hardtanh(features, 0.0, self.limit)

    @functools.cached_property
    def stem(self) -> Stem | None:
        """How the gradient of pictures is found; None: as that of any features."""
        return Stem.of(self.convolution)


class _Frozen(torch.autograd.Function):
    """See :class:`FrozenConvolution`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: FrozenConvolution) -> Tensor:
        features: Tensor = module.convolution(x)
        ctx.module, ctx.shape, ctx.needed = module, x.shape, module.needed
        if module.limit is not None:
            ctx.save_for_backward(clip_kernels.clip(features, module.limit))
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        module, conv = ctx.module, ctx.module.convolution
        if module.limit is not None:
            (inside,) = ctx.saved_tensors
            grad = clip_kernels.masked(grad, inside, in_place=module.alone)
        if module.stem is not None:
            return module.stem.input_gradient(grad, ctx.shape[2:], ctx.needed), None
        # The gradient of a convolution's input depends on no more than the shape of that input.
        x = torch.empty(ctx.shape, memory_format=torch.channels_last)
        arguments = conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups, [True, False, False]
        slope, _, _ = torch.ops.aten.convolution_backward(grad, x, conv.weight, None, *arguments)
        return slope, None


def frozen(traced: fx.GraphModule) -> fx.GraphModule:
    """`traced`, which is changed, with its convolutions frozen, each one with the activation of `LIMITS` that alone
    follows it."""
    for node in list(traced.graph.nodes):
        conv = _module(traced, node)
        # Exactly: timm's subclasses pad or standardise in a forward of their own.
        if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            continue
        follower = _only_user(node)
        limit = None if follower is None else _limit(traced, follower)
        if follower is not None and limit is not None:
            follower.replace_all_uses_with(node)
            traced.graph.erase_node(follower)
            follower = _only_user(node)
        alone = follower is not None and type(_module(traced, follower)) is nn.Conv2d
        parent, _, child = str(node.target).rpartition(".")
        setattr(traced.get_submodule(parent), child, FrozenConvolution(conv, limit, alone=alone))
    traced.recompile()
    return traced


def first(network: nn.Module) -> FrozenConvolution | None:
    """The frozen convolution that alone takes what `network` is given, if there is one."""
    if not isinstance(network, fx.GraphModule):
        return None
    given = next(node for node in network.graph.nodes if node.op == "placeholder")
    # Whoever asks how many pictures there are looks at none.
    takers = [node for node in given.users if (node.op, node.target) != ("call_method", "size")]
    found = _module(network, takers[0]) if len(takers) == 1 else None
    return found if isinstance(found, FrozenConvolution) else None


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    """What takes the node's result, if that is one node."""
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _limit(traced: fx.GraphModule, node: fx.Node) -> float | None:
    """The upper limit of a clipping activation; None for everything else."""
    return LIMITS.get(type(_module(traced, node)) if node.op == "call_module" else node.target)
