"""What a step does on a GPU as CUDA graphs: asked for once, and then replayed, hundreds of kernels in one call.

Where there are small batches the host takes several times as long to ask for a classifier's kernels as the device takes
to run them. A graph needs fixed shapes, and nothing in it may wait for the device.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])


class Replays:
    """Graphs of functions, by name and shape. What they give is overwritten by the next call of the same name."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[object, ...], Callable[..., Any]] = {}

    def __call__(self, name: str, function: Callable[[Tensor], Result], given: Tensor) -> Result:
        """``function(given)``, differentiable with respect to `given`, which has to require its gradient. `name` always
        stands for the same function. One that cannot be captured (control flow that depends on values, say) is called
        as it is, and so are all functions of tensors on a CPU."""
        if given.device.type != "cuda":
            return function(given)
        key = (name, given.shape, given.dtype)
        if key not in self._graphs:
            self._graphs[key] = _captured(name, function, given)
        return cast(Result, self._graphs[key](given))

    def clear(self) -> None:
        """Give back the memory of all graphs."""
        self._graphs.clear()


def _captured(name: str, function: Callable[[Tensor], Result], given: Tensor) -> Callable[..., Any]:
    sample = given.detach().clone().requires_grad_()
    try:
        with warnings.catch_warnings():
            # torch's own warm-up keeps what it accumulated on another stream.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
            return cast(Callable[..., Any], torch.cuda.make_graphed_callables(function, (sample,)))
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        _log.info("The step's part %r is not replayed as a CUDA graph: %s", name, error)
        torch.cuda.synchronize(given.device)
        return function
