"""What is particular to GPUs: where compiled kernels take the place of torch functions, and how arrays come there."""

from __future__ import annotations

import functools
import logging
import subprocess
from typing import Any

import numpy as np
import torch
from torch import Tensor

_log = logging.getLogger(__name__)


def kernels_for(values: Tensor, on_cpu: Any = None) -> Any:
    """The module of compiled kernels for float32 `values`: `on_cpu` for a CPU, ``gpu_kernels`` for a CUDA device where
    Triton works. None: torch's functions do the work, as they do for all other values."""
    if values.dtype != torch.float32 or values.device.type not in ("cpu", "cuda"):
        return None
    return on_cpu if values.device.type == "cpu" else _kernels(values.device)


def uploaded(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`array` as a tensor on `device`; the host does not wait until it is there."""
    values = torch.as_tensor(array).to(dtype)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@functools.cache
def _kernels(device: torch.device) -> Any:
    try:
        from . import gpu_kernels

        gpu_kernels.encode(torch.zeros(1, device=device))
    # Not there, made for another torch, without a C compiler or Python's headers, or for newer GPUs only.
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        _log.warning("Samples are worked out by torch's own functions, several times slower: no Triton (%s).", error)
        return None
    return gpu_kernels
