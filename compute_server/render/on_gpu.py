"""What is particular to GPUs: where compiled kernels take the place of torch functions, and how arrays come there."""

from __future__ import annotations

import functools
import logging
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

_log = logging.getLogger(__name__)


def kernels_for(values: Tensor) -> Any:
    """The module ``gpu_kernels`` for float32 `values` on a CUDA device where Triton is installed, else None."""
    return _kernels() if values.device.type == "cuda" and values.dtype == torch.float32 else None


def uploaded(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`array` as a tensor on `device`; the host does not wait until it is there."""
    values = torch.as_tensor(array).to(dtype)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@functools.cache
def _kernels() -> Any:
    if find_spec("triton") is None:
        _log.warning("Samples are worked out by torch's own functions, several times slower: Triton is not installed.")
        return None
    from . import gpu_kernels

    return gpu_kernels
