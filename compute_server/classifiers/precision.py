"""Which precision a classifier's gradient survives: what is faster on a GPU must still point the same way.

It often does not. On a CPU, EfficientNet-Lite's gradients for a smooth picture have a cosine of 0.6 to the true ones in
float16 and of 0.1 in bfloat16, which has fewer digits; for noise it is 0.988 and 0.93. TF32, in which cuDNN convolves
float32 unless it is told not to, has as many digits as float16: there it was 0.976 on a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

#: The least cosine to the float32 gradient.
LEAST_COSINE = 0.99

Precision = Literal["half", "tf32", "single"]
"""float16 where autocast takes it, float32 whose products have TF32's digits, or float32."""


def chosen(logits: Callable[[Tensor], Tensor], images: Tensor) -> Precision:
    """The fastest precision on a GPU in which the gradient of `images` through `logits` is much the same."""
    exact = slope_of(logits, images)
    if cosine(exact, slope_of(logits, images, torch.float16)) >= LEAST_COSINE:
        return "half"
    with tf32(allowed=True):
        rounded = slope_of(logits, images)
    return "tf32" if cosine(exact, rounded) >= LEAST_COSINE else "single"


@contextlib.contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Whether cuDNN may convolve float32 in TF32, forward and backward."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def cosine(one: Tensor, other: Tensor) -> float:
    """That of the angle between two gradients of any one shape."""
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def slope_of(logits: Callable[[Tensor], Tensor], images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The gradient of `images` ``[N, H, W, 3]`` from logits along one random direction, with autocast to `dtype`."""
    seen = images.detach().requires_grad_()
    reduced = dtype is not None
    with torch.enable_grad(), torch.autocast(images.device.type, dtype, enabled=reduced):
        found = logits(seen).float()
    direction = torch.randn(found.shape[1], generator=torch.Generator().manual_seed(0)).to(found.device)
    (slope,) = torch.autograd.grad((found @ direction).sum(), seen)
    return slope
