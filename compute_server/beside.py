"""Work on a GPU beside the main stream: what the host has to wait for there does not wait for all that is under way."""

from __future__ import annotations

import dataclasses
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


def _tensors(made: object) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif dataclasses.is_dataclass(made):
        for field in dataclasses.fields(made):
            yield from _tensors(getattr(made, field.name))
    elif isinstance(made, Sequence) and not isinstance(made, str):
        for each in made:
            yield from _tensors(each)
