"""What compiled kernels share. They see arrays as one-dimensional where they go over all of them: of ``[P, 3]`` the
compiler does not know how far it is from row to row, and then takes one number at a time."""

from __future__ import annotations

import numba as nb
import numpy as np
from torch import Tensor

#: So many samples are looked at together that what is known of them stays in the cache.
BLOCK = 128
_f, _i, _u = np.float32, np.int32, np.uint64


def flat(values: Tensor) -> np.ndarray:
    """``[count]``; of a contiguous tensor it is the same memory."""
    return np.asarray(values.detach().contiguous().view(-1).numpy())


@nb.njit(cache=True, inline="always")
def log2(bits):  # type: ignore[no-untyped-def]
    """log₂ of a float32 ≥ 0 from its bits, an int32 (−127 for 0): its exponent, and of the rest r that 1 + r stands for
    the Chebyshev interpolant of log₂(1 + r) / r, good to 2e-7. numba's own logarithm takes one number at a time."""
    exponent = _f(_i(_i(bits >> _i(23)) - _i(127)))
    r = _f(_i(bits & _i(0x7FFFFF))) * _f(2**-23)
    t = r - _f(0.5)
    p = _f(-0.012077020481228828)
    p = p * t + _f(0.020478863269090652)
    p = p * t + _f(-0.029311062768101692)
    p = p * t + _f(0.052265994250774384)
    p = p * t + _f(-0.09767106920480728)
    p = p * t + _f(0.19134356081485748)
    p = p * t + _f(-0.41625648736953735)
    p = p * t + _f(1.1699247360229492)
    return exponent + r * p


@nb.njit(cache=True, inline="always")
def atan2(y, x):  # type: ignore[no-untyped-def]
    """The angle of float32 (x, y), by the Chebyshev interpolant of atan(t) / t in t², good to 2e-7."""
    a, b = abs(x), abs(y)
    t = min(a, b) / max(a, b, _f(1e-30))
    s = t * t - _f(0.5)
    p = _f(-0.00455979211255908)
    p = p * s + _f(0.007821246981620789)
    p = p * s + _f(-0.011427105404436588)
    p = p * s + _f(0.02084212563931942)
    p = p * s + _f(-0.04025322571396828)
    p = p * s + _f(0.08341792970895767)
    p = p * s + _f(-0.2037530392408371)
    p = p * s + _f(0.8704196810722351)
    angle = t * p
    angle = _f(np.pi / 2) - angle if b > a else angle
    angle = _f(np.pi) - angle if x < 0 else angle
    return -angle if y < 0 else angle


@nb.njit(cache=True, fastmath={"contract"})
def mix(colors, corners, weights, result):  # type: ignore[no-untyped-def]
    """`result [3 P]` becomes Σ weight · colour over four `corners` each, rows of the flat `colors`. The first corners
    of a BLOCK come before the second ones, and so on, and so do the weights."""
    for k in range(_u(result.shape[0] // 3)):
        a, b, c, d = corner_places(corners, k)
        w_a, w_b = weights[k], weights[k + _u(BLOCK)]
        w_c, w_d = weights[k + _u(2 * BLOCK)], weights[k + _u(3 * BLOCK)]
        for channel in range(_u(3)):
            near = w_a * colors[a + channel] + w_b * colors[b + channel]
            result[_u(3) * k + channel] = near + w_c * colors[c + channel] + w_d * colors[d + channel]


@nb.njit(cache=True)
def corner_places(corners, k):  # type: ignore[no-untyped-def]
    """Where the colours of four corners begin. Unsigned indices spare numba its test for negative ones."""
    two, three = _u(2 * BLOCK), _u(3 * BLOCK)
    a, b, c, d = corners[k], corners[k + _u(BLOCK)], corners[k + two], corners[k + three]
    return _u(3) * _u(a), _u(3) * _u(b), _u(3) * _u(c), _u(3) * _u(d)
