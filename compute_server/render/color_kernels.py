"""The sRGB transfer function compiled for the CPU, equal to the torch functions in ``color`` by test.

A power function takes longer than all else that is done to a value. The exponents are those of a square root or two
times a smooth function, which a polynomial gives to the last bits of float32, eight values at a time: Chebyshev
interpolants of (q^(5/3) − 1) · 1.055 / (q − 1) and (s^0.8 − 1) / (s − 1), so that 1 stays 1.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .compiled import flat
from .vectors import fma

_f = np.float32


@nb.njit(cache=True, inline="always")
def _polynomial(t, a, b, c, d, e, f, g, h, i, j):  # type: ignore[no-untyped-def]
    """a t⁹ + b t⁸ + … + j."""
    p = fma(fma(fma(fma(a, t, b), t, c), t, d), t, e)
    return fma(fma(fma(fma(fma(p, t, f), t, g), t, h), t, i), t, j)


@nb.njit(cache=True)
def encoded(linear):  # type: ignore[no-untyped-def]
    """Display-encoded sRGB of one linear float32."""
    x = min(max(linear, _f(0)), _f(1))
    q = np.sqrt(np.sqrt(max(x, _f(0.0031308))))
    t = q - _f(0.62)
    p = _polynomial(
        t,
        _f(0.08476483821868896), _f(-0.06823626905679703),
        _f(0.02741999924182892), _f(-0.027366293594241142),
        _f(0.03294342756271362), _f(-0.03771541267633438),
        _f(0.051981121301651), _f(-0.10342198610305786),
        _f(0.6480554938316345), _f(1.5247461795806885),
    )  # fmt: skip
    power = fma(q - _f(1), p, _f(1))
    return _f(12.92) * x if x <= _f(0.0031308) else power


@nb.njit(cache=True)
def encoded_slope(linear, value):  # type: ignore[no-untyped-def]
    """The slope of :func:`encoded`, whose result is `value`; none where it clips."""
    power = (value + _f(0.055)) / max(linear, _f(0.0031308)) * _f(1 / 2.4)
    slope = _f(12.92) if linear <= _f(0.0031308) else power
    return slope if linear >= _f(0) and linear <= _f(1) else _f(0)


@nb.njit(cache=True)
def _root(y):  # type: ignore[no-untyped-def]
    """y^0.4."""
    s = np.sqrt(y)
    t = s - _f(0.65)
    p = _polynomial(
        t,
        _f(-0.18963104486465454), _f(0.14893457293510437),
        _f(-0.061063457280397415), _f(0.052411723881959915),
        _f(-0.05353882163763046), _f(0.05053636059165001),
        _f(-0.05227978900074959), _f(0.06424888968467712),
        _f(-0.11166203767061234), _f(0.8328998684883118),
    )  # fmt: skip
    return fma(s - _f(1), p, _f(1))


@nb.njit(cache=True)
def _curved(value):  # type: ignore[no-untyped-def]
    """(value + 0.055) / 1.055 on the curved part; exactly 1 at 1. A division takes as long as half the polynomial."""
    return fma(max(value, _f(0.04045)), _f(1 / 1.055), _f(0.055 / 1.055))


@nb.njit(cache=True)
def decoded(value):  # type: ignore[no-untyped-def]
    """Linear of one display-encoded float32 in [0, 1]."""
    y = _curved(value)
    return value * _f(1 / 12.92) if value <= _f(0.04045) else y * y * _root(y)


@nb.njit(cache=True)
def decoded_slope(value):  # type: ignore[no-untyped-def]
    """The slope of :func:`decoded`."""
    y = _curved(value)
    return _f(1 / 12.92) if value <= _f(0.04045) else y * _root(y) * _f(2.4 / 1.055)


def encode(linear: Tensor) -> Tensor:
    """Stands for ``color.srgb_encode_reference``."""
    result = torch.empty(linear.shape)
    _encode(flat(linear), flat(result))
    return result


def encode_gradient(grad: Tensor, linear: Tensor, encoded: Tensor) -> Tensor:
    """The gradient of linear values from that of the encoded ones, for :func:`encode`."""
    result = torch.empty(linear.shape)
    _encode_gradient(flat(grad), flat(linear), flat(encoded), flat(result))
    return result


def decode(encoded: Tensor) -> Tensor:
    """Stands for ``color.srgb_decode_reference``."""
    result = torch.empty(encoded.shape)
    _decode(flat(encoded), flat(result))
    return result


def decode_gradient(grad: Tensor, encoded: Tensor) -> Tensor:
    """The gradient of encoded values from that of the linear ones, for :func:`decode`."""
    result = torch.empty(encoded.shape)
    _decode_gradient(flat(grad), flat(encoded), flat(result))
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _encode(linear, result):  # type: ignore[no-untyped-def]
    for i in nb.prange(linear.shape[0]):
        result[i] = encoded(linear[i])


@nb.njit(cache=True, parallel=True, nogil=True)
def _encode_gradient(grad, linear, value, result):  # type: ignore[no-untyped-def]
    for i in nb.prange(linear.shape[0]):
        result[i] = grad[i] * encoded_slope(linear[i], value[i])


@nb.njit(cache=True, parallel=True, nogil=True)
def _decode(value, result):  # type: ignore[no-untyped-def]
    for i in nb.prange(value.shape[0]):
        result[i] = decoded(value[i])


@nb.njit(cache=True, parallel=True, nogil=True)
def _decode_gradient(grad, value, result):  # type: ignore[no-untyped-def]
    for i in nb.prange(value.shape[0]):
        result[i] = grad[i] * decoded_slope(value[i])
