"""Work on a GPU beside the main stream: so that the host need not wait for all that is under way, or so that what fills
only a part of the GPU is done at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


class Beside:
    """A stream of its own on `device`; on a CPU, nothing."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        # Its few small kernels come first: the host waits for them, and for no others.
        self._stream = torch.cuda.Stream(device, priority=-1) if on_gpu else None  # type: ignore[no-untyped-call]
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def __call__(self, make: Callable[[], Made]) -> Made:
        """What `make` gives (a tensor, or dataclasses and sequences of them), for the current stream to use. It may
        take only what the device had made when this was built, or the host has waited for since."""
        if self._stream is None:
            return make()
        with torch.cuda.stream(self._stream):
            made = make()
        current = torch.cuda.current_stream(self._stream.device)
        current.wait_stream(self._stream)
        for tensor in _tensors(made):
            if tensor.is_cuda:
                tensor.record_stream(current)  # its memory is not given away before this stream is done with it
        return made


def side_by_side(makes: Sequence[Callable[[], Tensor]], device: torch.device) -> list[Tensor]:
    """What each of `makes` gives, for the current stream to use; a GPU works on all at once, as far as it has room.

    So it does on their gradients, as torch goes back through each on the stream that it was made on, and in a CUDA
    graph, which this may be a part of. The first is made on the current stream, as all are on a CPU.
    """
    if device.type != "cuda":
        return [make() for make in makes]
    current = torch.cuda.current_stream(device)
    begun = current.record_event()
    found = [make() for make in makes[:1]]
    forked = []
    try:
        for number, make in enumerate(makes[1:]):
            stream = _stream(device, number)
            stream.wait_event(begun)
            forked.append(stream)
            with torch.cuda.stream(stream):
                found.append(make())
    finally:
        # Whatever happens: a graph whose streams have not come together again cannot even be given up.
        # No memory of theirs can be given away too early: what comes next on them waits for the current stream.
        for stream in forked:
            current.wait_stream(stream)
    return found


@functools.cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """Always the same, as the memory that a stream has held is not used by others."""
    del number
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _tensors(made: object) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif dataclasses.is_dataclass(made):
        for field in dataclasses.fields(made):
            yield from _tensors(getattr(made, field.name))
    elif isinstance(made, Sequence) and not isinstance(made, str):
        for each in made:
            yield from _tensors(each)
