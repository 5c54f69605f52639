"""What a step does on a GPU as CUDA graphs: asked for a few times, and then replayed, hundreds of kernels in one call.

Where there are small batches the host takes several times as long to ask for a classifier's kernels as the device takes
to run them. A graph needs fixed shapes, and nothing in it may wait for the device. It keeps its memory to itself.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

#: So often a function is called as it is before it is captured: what is done once or twice is not worth it.
CALLS_BEFORE = 2

Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])


class Replays:
    """Graphs of functions, by name and shape. What they give is overwritten by the next call of the same name."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[object, ...], Callable[..., Any]] = {}
        self._calls: Counter[tuple[object, ...]] = Counter()

    def __call__(self, name: str, function: Callable[[Tensor], Result], given: Tensor) -> Result:
        """``function(given)``, differentiable with respect to `given`, which has to require its gradient. `name` always
        stands for the same function. One that cannot be captured (control flow that depends on values, say) is called
        as it is, and so are all functions of tensors on a CPU."""
        if given.device.type != "cuda":
            return function(given)
        key = (name, given.shape, given.dtype, torch.backends.cudnn.allow_tf32)
        self._calls[key] += 1
        if self._calls[key] <= CALLS_BEFORE:
            return function(given)
        if key not in self._graphs:
            self._graphs[key] = _captured(name, function, given)
        return cast(Result, self._graphs[key](given))

    def clear(self) -> None:
        """Give back the memory of all graphs."""
        if self._graphs:
            self._graphs.clear()
            gc.collect()  # torch's graphed callables refer to themselves
            torch.cuda.empty_cache()
        self._calls.clear()


def _captured(name: str, function: Callable[[Tensor], Result], given: Tensor) -> Callable[..., Any]:
    """A graph that stands for `function`, or `function` itself."""
    stream = torch.cuda.current_stream(given.device)
    try:
        _refuse_waiting(function, given)
        with warnings.catch_warnings():
            # torch's own warm-up keeps what it accumulated on another stream.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
            sample = given.detach().clone().requires_grad_()
            return cast(Callable[..., Any], torch.cuda.make_graphed_callables(function, (sample,)))
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # a capture that fails at its end leaves its own behind
        if memory := _out_of_memory(error):
            raise memory from error
        _log.warning("The step's part %r is not replayed as a CUDA graph: %s", name, error)
        return function


def _refuse_waiting(function: Callable[[Tensor], Result], given: Tensor) -> None:
    """Raise RuntimeError where the host waits for the device: a capture would end in the middle, and torch's allocator
    would not get over that."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sample = given.detach().requires_grad_()
        found = function(sample)
        first = found if isinstance(found, Tensor) else found[0]
        torch.autograd.grad(first, sample, torch.ones_like(first))
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _out_of_memory(error: BaseException | None) -> torch.cuda.OutOfMemoryError | None:
    """The lack of memory that led to `error`."""
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return error
        error = error.__context__
    return None
