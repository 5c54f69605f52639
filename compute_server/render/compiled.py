"""What compiled kernels share. They see arrays as one-dimensional where they go over all of them: of ``[P, 3]`` the
compiler does not know how far it is from row to row, and then takes one number at a time."""

from __future__ import annotations

import numba as nb
import numpy as np
from torch import Tensor

_f, _i = np.float32, np.int32


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
