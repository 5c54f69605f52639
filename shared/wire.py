"""Messages as ZeroMQ multiparts: one msgpack header, then one frame for each array. No sockets, no pickle.

The header holds protocol versions, request id and the message; arrays are references in it (frame, dtype, shape).
Frames are the arrays' own memory on sending and read-only views of the received memory on arrival: nothing is copied,
but for the frames above 2 MiB, which cross a socket in pieces and are put together on arrival.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from .arrays import validate
from .errors import InvalidInput, ProtocolMismatch
from .messages import Job, Message
from .scene import Scene
from .version import OLDEST_FILE, OLDEST_PROTOCOL, PROTOCOL, VERSION

#: dtypes that may cross the wire (little-endian); anything else is refused before memory is touched.
DTYPES = frozenset({"|u1", "<u2", "<i4", "<f4", "<f8"})


class ArrayRef(msgspec.Struct, frozen=True, array_like=True):
    """Where an array's bytes are, and how to read them."""

    frame: int
    dtype: str
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=8)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message with the number of the request it belongs to (0 for events).

    Its sender speaks `protocol`, and can be read by all who speak at least `oldest`: each header says so anew, and two
    sides understand each other where what they say overlaps.
    """

    protocol: int
    oldest: int = 0
    version: str
    request: int
    message: Message


class _Preamble(msgspec.Struct):
    """The part of the header that every protocol version shares."""

    protocol: int
    version: str = "?"
    request: int = 0
    oldest: int = 0
    message: msgspec.Raw = msgspec.Raw()

    @property
    def kind(self) -> str:
        """What the message calls itself; "" where it does not say."""
        try:
            return msgspec.msgpack.decode(self.message, type=_Tagged).type
        except _UNREADABLE:
            return ""


class _Tagged(msgspec.Struct):
    """The part of a message that says what it is."""

    type: str = ""


Frame = bytes | memoryview

#: A frame is encrypted and decrypted in one go, and for so long the thread that does it serves no other connection:
#: 2 MiB take it some milliseconds, 1 GiB more than a second.
PIECE = 2 << 20

#: What decoding raises for bytes that are no message: wrong structure, text that is not UTF-8, absurdly deep nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


Made = TypeVar("Made")


def _no_arrays(value: Any) -> np.ndarray:
    raise NotImplementedError(f"{type(value).__name__} cannot cross the wire")


def _no_others(kind: type, _array: np.ndarray) -> Any:
    raise NotImplementedError(f"{kind} cannot be read off the wire")


def encode(value: Any, as_array: Callable[[Any], np.ndarray] = _no_arrays) -> list[Frame]:
    """`value` as one header and a frame for each array in it. Arrays are taken from where they are, so they must not
    change until they are sent or written. What is neither data nor array is given to `as_array`."""
    frames: list[Frame] = []

    def reference(value: Any) -> ArrayRef:
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else as_array(value))
        frames.append(array.reshape(-1).view(np.uint8).data)
        return ArrayRef(frame=len(frames), dtype=array.dtype.str, shape=array.shape)

    header = msgspec.msgpack.encode(value, enc_hook=reference)
    return [header, *frames]


def decode(
    frames: Sequence[Frame], kind: type[Made], from_array: Callable[[type, np.ndarray], Any] = _no_others
) -> Made:
    """The value that :func:`encode` made `frames` of; its arrays are views of them. Fields of other kinds are made by
    `from_array`. Raises :class:`InvalidInput` for anything malformed."""

    def dereference(kind: type, value: Any) -> Any:
        array = _view(msgspec.convert(value, ArrayRef), frames)
        return array if kind is np.ndarray else from_array(kind, array)

    try:
        return msgspec.msgpack.decode(frames[0], type=kind, dec_hook=dereference)
    except _UNREADABLE as error:
        raise InvalidInput(f"The message cannot be read: {error}.") from error


def pack(message: Message, request: int = 0) -> list[Frame]:
    """The multipart for `message`. Arrays are sent from where they are, so they must not change until sent."""
    return encode(
        Envelope(protocol=PROTOCOL, oldest=OLDEST_PROTOCOL, version=VERSION, request=request, message=message)
    )


def byte_count(frames: Iterable[Frame]) -> int:
    """How many bytes frames or their parts have together."""
    return sum(memoryview(frame).nbytes for frame in frames)


def split(frames: Sequence[Frame]) -> list[Frame]:
    """A multipart as it crosses a socket: frames of :data:`PIECE` bytes and more in pieces of so many. A piece that is
    full is followed by another of its frame, which may be empty. The header stays whole. Copies nothing."""
    parts = [*frames[:1]]
    for frame in frames[1:]:
        data = memoryview(frame)
        parts += [data[start : start + PIECE] for start in range(0, data.nbytes + 1, PIECE)]
    return parts


def join(parts: list[Frame]) -> list[Frame]:
    """The multipart that :func:`split` made `parts` of. Empties `parts`: memory of pieces is let go as it is copied."""
    coming = deque(parts)
    parts.clear()
    frames = [coming.popleft()] if coming else []
    while coming:
        pieces = 1
        while memoryview(coming[pieces - 1]).nbytes == PIECE and pieces < len(coming):
            pieces += 1
        frames.append(coming.popleft() if pieces == 1 else _joined(coming, pieces))
    return frames


def _joined(coming: deque[Frame], pieces: int) -> Frame:
    """The first so many of the frames that are `coming`, taken from there, as one."""
    whole = np.empty(byte_count(islice(coming, pieces)), np.uint8)
    filled = 0
    for _ in range(pieces):
        piece = np.frombuffer(coming.popleft(), np.uint8)  # numpy copies without holding up other threads
        whole[filled : filled + piece.size] = piece
        filled += piece.size
    return whole.data


def fingerprint(value: Scene | Job) -> str:
    """The SHA-256 of the bytes that a scene or job has on the wire, in hexadecimal: the same for the same value, on
    either side, in any process."""
    digest = hashlib.sha256()
    for frame in encode(value):
        digest.update(frame)
    return digest.hexdigest()


def unpack(
    frames: Sequence[Frame],
    *,
    reader: str = "this side",
    sender: str = "the other side",
    oldest: int = OLDEST_PROTOCOL,
) -> Envelope:
    """The message in a received multipart, its arrays checked against what their fields declare.

    Raises :class:`ProtocolMismatch` for a protocol version before `oldest` or with nothing in common with ours, and for
    what only a newer `sender` can have meant; it says whether it or the `reader` is to be updated. Raises
    :class:`InvalidInput` for anything malformed.
    """
    if not frames:
        raise InvalidInput("The message has no frames.")
    preamble = peek(frames[0])
    if preamble.protocol < oldest:
        raise _mismatch(preamble, reader, sender, older=sender)
    if (preamble.oldest or preamble.protocol) > PROTOCOL:
        raise _mismatch(preamble, reader, sender, older=reader)
    try:
        envelope = decode(frames, Envelope)
    except InvalidInput as error:
        if preamble.protocol > PROTOCOL:
            raise _mismatch(preamble, reader, sender, older=reader) from error
        raise
    validate(envelope.message)
    return envelope


def peek(header: Frame) -> _Preamble:
    """Protocol, version and request number of any header, also of other protocol versions."""
    try:
        return msgspec.msgpack.decode(header, type=_Preamble)
    except _UNREADABLE as error:
        raise InvalidInput(f"The message cannot be read: {error}.") from error


def _mismatch(preamble: _Preamble, reader: str, sender: str, *, older: str) -> ProtocolMismatch:
    said = f"{reader} is version {VERSION} (protocol {PROTOCOL})"
    return ProtocolMismatch(
        f"{said[0].upper()}{said[1:]}, {sender} {preamble.version[:40]} (protocol {preamble.protocol}).",
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
    save_frames(pack(message), path)


def save_frames(frames: Sequence[Frame], path: Path) -> None:
    """Write a multipart to a file, whole or not at all; it is on the disk when this returns. Copies nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as file:
            file.write(b"\xdd" + len(frames).to_bytes(4, "big"))  # msgpack: a list of so many
            for frame in frames:
                data = memoryview(frame)
                file.write(b"\xc6" + data.nbytes.to_bytes(4, "big"))  # msgpack: so many bytes
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load_frames(path: Path, *, mapped: bool = False) -> list[Frame]:
    """The multipart in a file that :func:`save_frames` wrote; InvalidInput that names the file otherwise. `mapped`: as
    views of the file itself, of which nothing is read before it is used."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else file.read()
        return list(msgspec.msgpack.decode(data, type=list[memoryview]))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except (*_UNREADABLE, ValueError) as error:  # a ValueError: an empty file cannot be mapped
        raise InvalidInput(f"{path} is not a job file.", hint="Write one with the add-on's --save-job.") from error


def load_message(path: Path) -> Message:
    """The message in a file that :func:`save_message` wrote; InvalidInput that names the file otherwise."""
    frames = load_frames(path)
    try:
        return unpack(frames, oldest=OLDEST_FILE).message
    except (InvalidInput, ProtocolMismatch) as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error


def load_stored(path: Path) -> Message:
    """As :func:`load_message`, whatever protocol the file was written by: fields that are newer than the file have
    their defaults, and what this version cannot read is an InvalidInput."""
    message = decode(load_frames(path), Envelope).message
    validate(message)
    return message
