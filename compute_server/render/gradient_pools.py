"""The gradient of a pool, summed up by several threads: each has a pool of its own, and all come together in a fixed
order, so that every run gives the same. Of a large texture, only what is looked at is cleared and summed."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .taps import MipLayout
from .vectors import fma, load, store

#: Each thread that scatters has a pool of its own; for large textures fewer threads take part.
MAX_SCATTER_BYTES = 256 << 20
#: Levels of more texels are cleared in blocks of 2^BLOCK_BITS, when something first comes to one: most of a large
#: texture is not looked at in one step.
LARGE_LEVEL = 1 << 18
BLOCK_BITS = 7
_u = np.uint64


@dataclass(frozen=True)
class GradientPools:
    """Pools of so many `texels`, flat: ``result [3 T]`` is that of the first thread, ``others [threads − 1, 3 T]``
    those of the others, and ``cleared [threads, blocks]`` says which blocks have been begun. All but the first
    ``large`` texels are cleared by whoever begins (:func:`begin`), those when something comes to them
    (:func:`reach`)."""

    result: np.ndarray
    others: np.ndarray
    cleared: np.ndarray
    large: int

    @classmethod
    def of(cls, texels: int, layout: MipLayout | None) -> GradientPools:
        """Not cleared. `layout` is that of the texture; None: vertex colours."""
        parts = max(1, min(nb.get_num_threads(), MAX_SCATTER_BYTES // (12 * texels)))
        return cls(
            result=torch.empty(3 * texels).numpy(),
            others=torch.empty(parts - 1, 3 * texels).numpy(),
            cleared=np.zeros((parts, (texels >> BLOCK_BITS) + 1), np.bool_),
            large=texels if layout is None else _large(layout),
        )

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """For a kernel."""
        return self.result, self.others, self.cleared, self.large

    def summed(self) -> Tensor:
        """All together, ``[T, 3]``."""
        _sum(self.result, self.others, self.cleared)
        return torch.from_numpy(self.result).view(-1, 3)


def _large(layout: MipLayout) -> int:
    """Where the levels end that are so large that it pays to look which of their blocks have been cleared."""
    return layout.starts[sum(rows * columns > LARGE_LEVEL for rows, columns in layout.sizes)]


@nb.njit(cache=True)
def begin(part, result, others, cleared, large):  # type: ignore[no-untyped-def]
    """One thread's pool, clear but for the blocks of the first `large` texels, and which of its blocks are clear."""
    pool, mine = result if part == 0 else others[part - 1], cleared[part]
    small = _u(large) >> _u(BLOCK_BITS)
    pool[_u(3) * (small << _u(BLOCK_BITS)) :] = 0
    mine[small:] = True
    return pool, mine


@nb.njit(cache=True)
def _clear(pool, cleared, texel):  # type: ignore[no-untyped-def]
    """Clear the block of a texel where that has not been done."""
    block = texel >> _u(BLOCK_BITS)
    if not cleared[block]:
        cleared[block] = True
        first = _u(3) * (block << _u(BLOCK_BITS))
        # Not a slice, which would be counted as one more owner, and all that calls this would be slower.
        for i in range(first, min(first + _u(3 << BLOCK_BITS), _u(pool.shape[0]))):
            pool[i] = 0


@nb.njit(cache=True, inline="always")
def reach(pool, cleared, large, texel):  # type: ignore[no-untyped-def]
    """Before something is added to a texel."""
    if texel < _u(large):
        _clear(pool, cleared, texel)


@nb.njit(cache=True, inline="always")
def reach_four(pool, cleared, large, at):  # type: ignore[no-untyped-def]
    """Before something is added to four texels of one level."""
    a, b, c, d = at
    if a < _u(large):
        bits = _u(BLOCK_BITS)
        if not (cleared[a >> bits] & cleared[b >> bits] & cleared[c >> bits] & cleared[d >> bits]):
            _clear(pool, cleared, a)
            _clear(pool, cleared, b)
            _clear(pool, cleared, c)
            _clear(pool, cleared, d)


@nb.njit(cache=True)
def add(pool, texel, weight, color):  # type: ignore[no-untyped-def]
    """Add a colour to a texel's, as much of each channel as it weighs."""
    at = _u(3) * texel
    store(pool, at, fma(weight, color, load(pool, at)))


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum(result, others, cleared):  # type: ignore[no-untyped-def]
    """Clear the blocks of `result` that have not been `cleared`, and add those of `others` that have."""
    for block in nb.prange(cleared.shape[1]):
        first = 3 * (block << BLOCK_BITS)
        last = min(first + 3 * (1 << BLOCK_BITS), result.shape[0])
        if not cleared[0, block]:
            result[first:last] = 0
        for part in range(others.shape[0]):
            if cleared[part + 1, block]:
                _add(result[first:last], others[part, first:last])


@nb.njit(cache=True)
def _add(to, more):  # type: ignore[no-untyped-def]
    for i in range(to.shape[0]):
        to[i] += more[i]
