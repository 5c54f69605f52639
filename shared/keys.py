"""Who is who: key pairs, fingerprints, the servers that are trusted, and those of this user that run here.

A client must know a server's public key before it says a word, and a server lets in only keys that it knows. Keys are
CURVE's, 32 bytes, written as 64 hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq
from zmq.utils import z85

from .errors import InvalidInput, ServerUnreachable, UntrustedServer
from .home import home, read_private, write_private

SERVER_KEY, CLIENT_KEY, KNOWN_SERVERS, RUNNING = "server.key", "client.key", "known_servers.json", "running"

Loaded = TypeVar("Loaded")


class KeyPair(msgspec.Struct, frozen=True):
    """A public key and the secret that belongs to it, in hexadecimal."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"  # a secret must not get into a log


class Credentials(msgspec.Struct, frozen=True):
    """What a connection needs: the server's public key, and our own pair."""

    server: str
    own: KeyPair

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket that is about to connect speak to this server only, and encrypt what it says."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(self.server))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(self.own.public))
        socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(self.own.secret))


class Running(msgspec.Struct, frozen=True):
    """A server of this user on this machine: its public key, and its process."""

    key: str
    pid: int


def new_pair() -> KeyPair:
    """A key pair that nobody has had before."""
    public, secret = (z85.decode(half).hex() for half in zmq.curve_keypair())
    return KeyPair(public, secret)


def parse_key(text: str) -> str:
    """A public key as somebody has pasted it. Raises :class:`InvalidInput` for anything else."""
    key = re.sub(r"\s", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise InvalidInput(f"{text.strip()[:80]!r} is no key: a key has 64 digits from 0 to f.")
    return key


def fingerprint(key: str) -> str:
    """What people compare: ``3f2a 91bc …``, eight groups of four digits."""
    digits = hashlib.sha256(bytes.fromhex(key)).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))


def own_pair(name: str = CLIENT_KEY) -> KeyPair:
    """The key pair of this user in that file, made the first time. Raises :class:`InvalidInput`."""
    path = home() / name
    pair = read_json(path, KeyPair)
    if pair is None:
        write_private(path, _json(new_pair()), replace=False)
        pair = read_json(path, KeyPair)
    assert pair is not None, "it was just written"
    return pair


def read_json(path: Path, kind: type[Loaded]) -> Loaded | None:
    """An owner-only file; None when there is none. Raises :class:`InvalidInput` that names it."""
    content = read_private(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.", hint="Correct it, or remove it.") from error


def write_json(path: Path, value: object) -> None:
    """Write an owner-only file that people can read."""
    write_private(path, _json(value))


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


# --- servers that are trusted -----------------------------------------------------------------------------------------


def known_servers() -> Mapping[str, str]:
    """Public keys by address, as they were trusted once."""
    return read_json(home() / KNOWN_SERVERS, dict[str, str]) or {}


def trust(address: str, key: str) -> None:
    """Speak to the server at `address` from now on, as long as it has this public key."""
    write_json(home() / KNOWN_SERVERS, {**known_servers(), address: key})


def trust_first(address: str, key: str) -> None:
    """As :func:`trust`, for an address that is not known yet or has this very key.

    Raises :class:`UntrustedServer` when another key was trusted there: that is what an impostor would look like.
    """
    known = known_servers().get(address)
    if known not in (None, key):
        raise UntrustedServer(
            f"The server at {address} was trusted with another key: {fingerprint(known or '')}, "
            f"not {fingerprint(key)}.",
            hint=f"If it has new keys, remove its line from {home() / KNOWN_SERVERS}.",
        )
    trust(address, key)


# --- servers that run here --------------------------------------------------------------------------------------------


def is_local(address: str) -> bool:
    """Whether a ZeroMQ address is on this machine."""
    scheme, _, rest = address.partition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if scheme == "ipc" or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


@contextlib.contextmanager
def announced(address: str, key: str) -> Iterator[None]:
    """For as long as the block lasts, this user's clients on this machine find the server at `address`."""
    path = _running_file(address)
    write_json(path, Running(key, os.getpid()))
    try:
        yield
    finally:
        with contextlib.suppress(InvalidInput, OSError):
            mine = read_json(path, Running)
            if mine is not None and mine.pid == os.getpid():
                path.unlink()


def credentials(address: str) -> Credentials:
    """What it takes to speak to the server at `address`.

    A server of this user on this machine is found by the file it has left; any other must have been trusted.
    Raises :class:`ServerUnreachable` for an address of this machine where this user has no server,
    :class:`UntrustedServer` for an address elsewhere that is not known.
    """
    running = read_json(_running_file(address), Running) if is_local(address) else None
    key = running.key if running is not None else known_servers().get(address)
    if key is not None:
        return Credentials(key, own_pair())
    if is_local(address):
        raise ServerUnreachable(
            f"No answer from {address}. No server of yours listens there.",
            hint="Start it with `assistive-server serve`, or check the address.",
        )
    raise UntrustedServer(
        f"The server at {address} is not known here, so nothing was sent to it.",
        hint="Its owner sees its key with `assistive-server keys show`; give that once, as --server-key or in the "
        "panel's Server section.",
    )


def _running_file(address: str) -> Path:
    """The file of a server on this machine: by its port, whatever loopback is called."""
    scheme, _, rest = address.partition("://")
    name = rest.rpartition(":")[2] if scheme == "tcp" else hashlib.sha256(rest.encode()).hexdigest()[:16]
    return home() / RUNNING / f"{name}.json"
