"""What front and worker say to one another besides the client's own messages. It never crosses the network.

A job is handed over as the folder that it is stored in: however large it is, it costs the front no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.errors import ErrorData
from shared.wire import Frame

_MARK = b"order:"


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Do the job in `folder`, from its last checkpoint if it has one. ``cancelled``: its end has been asked for."""

    job_id: str
    folder: str
    queued_s: float
    cancelled: bool


class Pause(msgspec.Struct, frozen=True, tag=True):
    """Finish the step, write a checkpoint, and exit."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """The worker is alive and gets on."""


class Kept(msgspec.Struct, frozen=True, tag=True):
    """A checkpoint of this job has been written."""

    job_id: str
    step: int


class Over(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job has ended: its result lies in its folder, or there is an error."""

    job_id: str
    cancelled: bool = False
    error: ErrorData | None = None


Order = Begin | Pause | Beat | Kept | Over


def pack_order(order: Order) -> list[Frame]:
    """`order` as a multipart."""
    return [_MARK + msgspec.msgpack.encode(order)]


def unpack_order(frames: Sequence[Frame]) -> Order | None:
    """The order in a multipart; None where it holds a message instead."""
    head = memoryview(frames[0])
    if head[: len(_MARK)] != _MARK:
        return None
    order: Order = msgspec.msgpack.decode(head[len(_MARK) :], type=Order)
    return order
