"""What kept views look at of a texture's pool. A picture smaller than the texture reads coarser levels than the finest,
and that has three quarters of all texels: of a large texture most are never read, and need not be written either."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Blocks have 2^BITS texels.
BITS = 7
#: So many texels are found their rows at once, which bounds memory.
AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Excerpt:
    """Some blocks of a pool's finest level, which has ``finest`` texels, and after them all other levels: ``size`` rows
    in all, of which ``kept`` are of the finest level. ``slot [B] int32`` says where blocks are: the first texel of
    block b is in row ``slot_b << BITS``, −1: left out. Blocks keep their order; the last one may be short."""

    slot: Tensor
    kept: int
    finest: int
    size: int

    @classmethod
    def around(cls, texels: Tensor, starts: tuple[int, ...]) -> Excerpt:
        """All blocks that hold any of `texels`, which index a pool whose levels begin, and end, at `starts`."""
        looked_at = torch.zeros((starts[1] + (1 << BITS) - 1) >> BITS, dtype=torch.bool)
        looked_at[(texels[texels < starts[1]] >> BITS).long()] = True
        short = (len(looked_at) << BITS) - starts[1] if looked_at[-1] else 0
        kept = (int(looked_at.sum()) << BITS) - short
        slot = torch.where(looked_at, looked_at.cumsum(0) - 1, -1).to(torch.int32)
        return cls(slot, kept, starts[1], starts[-1] - starts[1] + kept)

    @classmethod
    def everything(cls, starts: tuple[int, ...]) -> Excerpt:
        """The whole pool, as it is."""
        return cls.around(torch.arange(starts[1]), starts)

    def rows(self, texels: Tensor) -> Tensor:
        """Where `texels` of the pool, int32, lie in the excerpt, which has them."""
        result = torch.empty_like(texels)
        for some, to in zip(torch.split(texels, AT_ONCE), torch.split(result, AT_ONCE), strict=True):
            block = (some.clamp_max(self.finest - 1) >> BITS).long()
            finest = (self.slot[block] << BITS) + (some & ((1 << BITS) - 1))
            to.copy_(torch.where(some < self.finest, finest, some + (self.kept - self.finest)))
        return result

    def of_pool(self, pool: Tensor) -> Tensor:
        """The excerpt of a whole pool ``[M, 3]``; differentiable."""
        looked_at = (self.slot >= 0).repeat_interleave(1 << BITS)[: self.finest].to(pool.device)
        return torch.cat([pool[: self.finest][looked_at], pool[self.finest :]])
