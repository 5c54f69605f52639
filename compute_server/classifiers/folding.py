"""Prepares a network for gradients with respect to its input only: frozen, batch norm folded, features clipped in
place, channels-last.

Not for training: a prepared network has lost its batch norms. Knows no model library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from compute_server.classifiers.frozen import frozen

Module = type[nn.Module]
Splits = Mapping[Module, Callable[[Any], nn.Module]]
"""For a fused module type (norm + activation in one), what gives the equivalent sequence of plain modules."""


def prepared(network: nn.Module, *, splits: Splits | None = None, opaque: Iterable[Module] = ()) -> nn.Module:
    """`network` in eval mode, frozen, with batch norm folded into convolutions where that is exact, channels-last.

    `opaque` types are kept whole, because their control flow depends on their input. Takes `network` over: use only
    what is returned.
    """
    network.eval().requires_grad_(False)
    simplified = _simplified(network, splits or {}, frozenset(opaque))
    return simplified.to(memory_format=torch.channels_last)


def _simplified(network: nn.Module, splits: Splits, opaque: frozenset[Module]) -> nn.Module:
    """`network` (in eval mode) with each batch norm that directly follows a convolution folded into it, and its
    convolutions as :mod:`frozen <compute_server.classifiers.frozen>` ones.

    Returned as it came when its control flow depends on its input, or when there is nothing to fold: what else is in
    such a network (transformers) is not worth the risk of a trace.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        traced = _traced(_split(_traced(network, opaque | splits.keys()), splits), opaque - splits.keys())
    except TraceError:
        return network
    if _repeats_a_module(traced):
        return network
    folded = fuse(traced, inplace=True, no_trace=True)
    assert isinstance(folded, fx.GraphModule)
    return frozen(folded).eval()


class _Tracer(fx.Tracer):
    """Traces through everything except torch's own modules and the given types."""

    def __init__(self, leaves: frozenset[Module]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in self._leaves or super().is_leaf_module(m, module_qualified_name)


def _traced(network: nn.Module, leaves: frozenset[Module]) -> fx.GraphModule:
    return fx.GraphModule(network, _Tracer(leaves).trace(network))


def _split(traced: fx.GraphModule, splits: Splits) -> fx.GraphModule:
    """`traced` with each module of a type in `splits` replaced by its sequence."""
    whole = {name: module for name, module in traced.named_modules() if type(module) in splits}
    for name, module in whole.items():
        parent, _, child = name.rpartition(".")
        setattr(traced.get_submodule(parent), child, splits[type(module)](module))
    return traced


def _repeats_a_module(traced: fx.GraphModule) -> bool:
    """A convolution or norm runs twice; folding would apply its second norm to both runs."""
    calls = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    return any(
        count > 1 and isinstance(traced.get_submodule(name), nn.Conv2d | nn.BatchNorm2d)
        for name, count in calls.items()
    )
