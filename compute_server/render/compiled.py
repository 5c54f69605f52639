"""What compiled kernels share, and how they are written.

A loop that is to take several numbers at a time has a function of its own, nothing to choose inside, few arrays, and
sees them as one-dimensional: of ``[P, 3]`` the compiler does not know how far it is from row to row. Indices are cast
back to 32 bits wherever numba widens them. Nothing checks them: also what is no number has to lead into the table.

Compiled code is kept on disk, by numba, until the file of a function changes; but what a function calls or takes from
another file is compiled into it. SHARED names the files that others take something from: code is kept by their text.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numba as nb
import numpy as np
import platformdirs
from torch import Tensor

SHARED = ("color_kernels.py", "compiled.py", "excerpt.py", "gradient_pools.py", "light_kernels.py", "vectors.py")
#: So many samples are looked at together that what is known of them stays in the cache.
BLOCK = 128
#: So many one thread takes at a time.
PIECE = 1 << 12
_f, _i, _u = np.float32, np.int32, np.uint64


def flat(values: Tensor) -> np.ndarray:
    """``[count]``; of a contiguous tensor it is the same memory."""
    return np.asarray(values.detach().contiguous().view(-1).numpy())


def _keep_by(names: tuple[str, ...]) -> None:
    """Have numba keep compiled code in a folder for the text that these files have now."""
    text = b"".join(Path(__file__).with_name(name).read_bytes() for name in names)
    chosen: str = nb.config.CACHE_DIR  # type: ignore[attr-defined]
    base = Path(chosen) if chosen else platformdirs.user_cache_path("assistive-signals") / "compiled"
    nb.config.CACHE_DIR = str(base / hashlib.sha256(text).hexdigest()[:16])  # type: ignore[attr-defined]


_keep_by(SHARED)


def pieces(view_start: Tensor) -> np.ndarray:
    """The samples of all views in pieces that lie in one view each: its number, and where they begin and end,
    ``[C, 3]``."""
    bounds = view_start.tolist()
    rows = [
        (view, begin, min(begin + PIECE, end))
        for view, (start, end) in enumerate(itertools.pairwise(bounds))
        for begin in range(start, end, PIECE)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


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
    """The angle of float32 (x, y), by the Chebyshev interpolant of atan(t) / t in t², good to 4e-7."""
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


@nb.njit(cache=True)
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
