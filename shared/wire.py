"""Messages as ZeroMQ multiparts: one msgpack header, then one frame for each array. No sockets, no pickle.

The header holds protocol version, request id and the message, in which each array is a reference (frame, dtype, shape).
Frames are the arrays' own memory on sending and read-only views of the received memory on arrival: nothing is copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .arrays import validate
from .errors import InvalidInput, ProtocolMismatch
from .messages import Message
from .scene import Scene
from .version import PROTOCOL, VERSION

#: dtypes that may cross the wire (little-endian); anything else is refused before memory is touched.
DTYPES = frozenset({"|u1", "<u2", "<i4", "<f4", "<f8"})


class ArrayRef(msgspec.Struct, frozen=True, array_like=True):
    """Where an array's bytes are, and how to read them."""

    frame: int
    dtype: str
    shape: tuple[int, ...]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message with the number of the request it belongs to (0 for events)."""

    protocol: int
    version: str
    request: int
    message: Message


class _Preamble(msgspec.Struct):
    """The part of the header that every protocol version shares."""

    protocol: int
    version: str = "?"
    request: int = 0


Frame = bytes | memoryview

#: What decoding raises for bytes that are no message: wrong structure, text that is not UTF-8, absurdly deep nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def pack(message: Message, request: int = 0) -> list[Frame]:
    """The multipart for `message`. Arrays are sent from where they are, so they must not change until sent."""
    return _encoded(Envelope(protocol=PROTOCOL, version=VERSION, request=request, message=message))


def fingerprint(scene: Scene) -> str:
    """The SHA-256 of the bytes that `scene` has on the wire, in hexadecimal: the same for the same scene, on either
    side, in any process."""
    digest = hashlib.sha256()
    for frame in _encoded(scene):
        digest.update(frame)
    return digest.hexdigest()


def _encoded(value: Envelope | Scene) -> list[Frame]:
    """A header that refers to the arrays of `value`, and the frames that have them."""
    frames: list[Frame] = []

    def reference(value: Any) -> ArrayRef:
        if not isinstance(value, np.ndarray):
            raise NotImplementedError(f"{type(value).__name__} cannot cross the wire")
        array = np.ascontiguousarray(value)
        frames.append(array.reshape(-1).view(np.uint8).data)
        return ArrayRef(frame=len(frames), dtype=array.dtype.str, shape=array.shape)

    header = msgspec.msgpack.encode(value, enc_hook=reference)
    return [header, *frames]


def unpack(frames: Sequence[Frame]) -> Envelope:
    """The message in a received multipart, its arrays checked against what their fields declare.

    Raises :class:`ProtocolMismatch` for another protocol version, :class:`InvalidInput` for anything malformed.
    """
    if not frames:
        raise InvalidInput("The message has no frames.")
    _check_protocol(peek(frames[0]))

    def dereference(kind: type, value: Any) -> Any:
        if kind is not np.ndarray:
            raise NotImplementedError(f"{kind} cannot be read off the wire")
        return _view(msgspec.convert(value, ArrayRef), frames)

    try:
        envelope = msgspec.msgpack.decode(frames[0], type=Envelope, dec_hook=dereference)
    except _UNREADABLE as error:
        raise InvalidInput(f"The message cannot be read: {error}.") from error
    validate(envelope.message)
    return envelope


def peek(header: Frame) -> _Preamble:
    """Protocol, version and request number of any header, also of other protocol versions."""
    try:
        return msgspec.msgpack.decode(header, type=_Preamble)
    except _UNREADABLE as error:
        raise InvalidInput(f"The message cannot be read: {error}.") from error


def _check_protocol(preamble: _Preamble) -> None:
    if preamble.protocol == PROTOCOL:
        return
    older = "the other side" if preamble.protocol < PROTOCOL else "this side"
    raise ProtocolMismatch(
        f"This side is version {VERSION} (protocol {PROTOCOL}), "
        f"the other side {preamble.version} (protocol {preamble.protocol}).",
        hint=f"Update {older}.",
    )


def _view(ref: ArrayRef, frames: Sequence[Frame]) -> np.ndarray:
    """A read-only array over a received frame; InvalidInput when reference and frame disagree."""
    if ref.dtype not in DTYPES:
        raise InvalidInput(f"An array has dtype {ref.dtype}, which may not cross the wire.")
    if not 1 <= ref.frame < len(frames):
        raise InvalidInput(f"An array refers to frame {ref.frame} of {len(frames)}.")
    if any(size < 0 for size in ref.shape):
        raise InvalidInput(f"An array has the impossible shape {list(ref.shape)}.")
    data = memoryview(frames[ref.frame]).toreadonly()
    dtype = np.dtype(ref.dtype)
    count = int(np.prod([int(size) for size in ref.shape], dtype=object)) if ref.shape else 1
    if count * dtype.itemsize != data.nbytes:
        raise InvalidInput(f"An array of shape {list(ref.shape)} {ref.dtype} came with {data.nbytes} bytes.")
    return np.frombuffer(data, dtype=dtype).reshape(ref.shape)


def save_message(message: Message, path: Path) -> None:
    """Write `message` to a file, its frames after one another in one msgpack list."""
    path.write_bytes(msgspec.msgpack.encode([bytes(frame) for frame in pack(message)]))


def load_message(path: Path) -> Message:
    """The message in a file that :func:`save_message` wrote; InvalidInput that names the file otherwise."""
    try:
        frames = msgspec.msgpack.decode(path.read_bytes(), type=list[bytes])
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except _UNREADABLE as error:
        raise InvalidInput(f"{path} is not a job file.", hint="Write one with the add-on's --save-job.") from error
    try:
        return unpack(frames).message
    except (InvalidInput, ProtocolMismatch) as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
