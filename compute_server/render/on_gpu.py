"""Where compiled kernels of a GPU take the place of torch functions: on CUDA, where Triton is."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor


def kernels_for(values: Tensor) -> Any:
    """The module ``gpu_kernels`` for float32 `values` on a CUDA device where Triton is installed, else None."""
    return _kernels() if values.device.type == "cuda" and values.dtype == torch.float32 else None


@functools.cache
def _kernels() -> Any:
    if find_spec("triton") is None:
        return None
    from . import gpu_kernels

    return gpu_kernels
