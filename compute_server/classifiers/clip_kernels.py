"""Clipping of features and of their gradients in one pass over memory each, compiled for the CPU."""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor


def clip(features: Tensor, limit: float) -> Tensor:
    """Clip `features` ``[N, C, H, W]`` to [0, `limit`], in place. Which of them lay inside, as bool in their own
    shape and layout."""
    inside = torch.empty_like(features, dtype=torch.bool)
    _clip(_flat(features), np.float32(limit), _flat(inside))
    return inside


def masked(grad: Tensor, inside: Tensor, *, in_place: bool) -> Tensor:
    """`grad` where it is `inside`, elsewhere 0; in the same memory if it may be and is laid out alike."""
    alike = grad.contiguous(memory_format=_layout(inside))
    shared = alike.data_ptr() == grad.data_ptr()
    result = alike if in_place or not shared else alike.clone()
    _mask(_flat(result), _flat(inside))
    return result


def _layout(values: Tensor) -> torch.memory_format:
    channels_last = values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _flat(values: Tensor) -> np.ndarray:
    """The memory of a dense tensor ``[N, C, H, W]`` in one row, whichever way it is laid out."""
    if _layout(values) == torch.channels_last:
        values = values.permute(0, 2, 3, 1)
    return np.asarray(values.view(-1).numpy())


@nb.njit(cache=True, parallel=True, nogil=True)
def _clip(features, limit, inside):  # type: ignore[no-untyped-def]
    for i in nb.prange(features.shape[0]):
        value = features[i]
        inside[i] = (value > np.float32(0)) & (value < limit)
        features[i] = min(max(value, np.float32(0)), limit)


@nb.njit(cache=True, parallel=True, nogil=True)
def _mask(values, inside):  # type: ignore[no-untyped-def]
    for i in nb.prange(values.shape[0]):
        values[i] = values[i] if inside[i] else np.float32(0)
