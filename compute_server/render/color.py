"""Between display-encoded sRGB and linear Rec.709.

The torch functions are the definition; for float32 on the CPU compiled ones take their place (``color_kernels``), and
for encoding on a GPU too (``gpu_kernels``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import color_kernels
from .on_gpu import kernels_for


def srgb_decode(encoded: Tensor) -> Tensor:
    """Linear Rec.709 of display-encoded sRGB (IEC 61966-2-1), any shape, values in [0, 1]."""
    return _Decode.apply(encoded) if _compiled(encoded) else srgb_decode_reference(encoded)


def srgb_decode_reference(encoded: Tensor) -> Tensor:
    """:func:`srgb_decode` in torch."""
    power = ((encoded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, power)


def srgb_encode(linear: Tensor) -> Tensor:
    """Display-encoded sRGB of linear Rec.709, any shape; values outside [0, 1] are clipped.

    This is Blender's Standard view transform. The gradient is zero where it clips, but not at 0 and 1 themselves.
    """
    compiled = kernels_for(linear, color_kernels)
    return srgb_encode_reference(linear) if compiled is None else _CompiledEncode.apply(linear, compiled)


def srgb_encode_reference(linear: Tensor) -> Tensor:
    """:func:`srgb_encode` in torch."""
    return _Encode.apply(linear)  # type: ignore[no-any-return]


def _compiled(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == torch.float32


class _Encode(torch.autograd.Function):
    """The transfer function; its slope follows from its value, so the gradient needs no second power."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor) -> Tensor:
        clipped = linear.clamp(0.0, 1.0)
        # 1.055 (p − 1) + 1 rather than 1.055 p − 0.055: it is exactly 1 at 1.
        encoded = clipped.clamp_min(0.0031308).pow_(1 / 2.4).sub_(1.0).mul_(1.055).add_(1.0)
        encoded = torch.where(clipped <= 0.0031308, clipped * 12.92, encoded)
        ctx.save_for_backward(linear, encoded)
        return encoded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        linear, encoded = ctx.saved_tensors
        slope = (encoded + 0.055).div_(linear.clamp_min(0.0031308)).mul_(1 / 2.4)
        slope = torch.where(linear <= 0.0031308, 12.92, slope)
        return grad * slope.masked_fill_((linear < 0.0) | (linear > 1.0), 0.0)


class _CompiledEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, linear: Tensor, compiled: Any) -> Tensor:
        encoded: Tensor = compiled.encode(linear)
        ctx.compiled = compiled
        ctx.save_for_backward(linear, encoded)
        return encoded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.compiled.encode_gradient(grad, *ctx.saved_tensors), None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, encoded: Tensor) -> Tensor:
        ctx.save_for_backward(encoded)
        return color_kernels.decode(encoded)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return color_kernels.decode_gradient(grad, *ctx.saved_tensors)


def saturate(values: Tensor) -> Tensor:
    """`values` clipped to [0, 1], with a gradient of one at 0 and 1 themselves.

    ``Tensor.clamp`` has none there in recent torch: a texel that has reached black or white would stay so for ever.
    """
    return torch.where((values >= 0.0) & (values <= 1.0), values, values.detach().clamp(0.0, 1.0))


def from_bytes(image: Tensor) -> Tensor:
    """8-bit values as float32 in [0, 1]."""
    return image.to(torch.float32) / 255.0


def to_bytes(image: Tensor) -> Tensor:
    """Values in [0, 1] rounded to the nearest of 256 levels."""
    return (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
