"""Who may connect to the front: the server's keys, the clients that its owner has let in, and the door itself.

A connection that is not let in gets no answer of any kind; one that is let in no longer is cut.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket as sockets
from collections.abc import Iterator, Mapping
from pathlib import Path

import zmq

from shared import keys
from shared.errors import InvalidInput
from shared.home import home

CLIENTS = "clients.json"
#: What this user's own programs on this machine are called; they need no permission.
LOCAL = "(you, on this machine)"
#: A connection that has not shown its key within this time is cut.
HANDSHAKE_MS = 5000
#: So many connections are remembered before it is looked which of them are still there.
MANY = 1000
#: How the front's connections, and those of its worker, are told apart when keys are looked at.
FRONT, WORKER = "front", "worker"
WORKER_KEYS = "ASSISTIVE_WORKER_KEYS"


# --- clients that were let in -----------------------------------------------------------------------------------------


def clients() -> Mapping[str, str]:
    """Public keys of clients by name. Raises :class:`InvalidInput` when the file cannot be used."""
    found = keys.read_json(home() / CLIENTS, dict[str, str]) or {}
    return {name: keys.parse_key(key) for name, key in found.items()}


def add_client(name: str, key: str) -> str:
    """Let a client in; gives its key as it was understood. Raises :class:`InvalidInput` for a name that is taken."""
    if not re.fullmatch(r"[\w.@ -]{1,64}", name):
        raise InvalidInput(f"{name!r} is no name for a client.", hint="Use letters, digits, and . @ - _")
    known, key = clients(), keys.parse_key(key)
    if known.get(name, key) != key:
        raise InvalidInput(f"There is another client called {name!r}.", hint="Remove it first, or choose another name.")
    keys.write_json(home() / CLIENTS, {**known, name: key})
    return key


def remove_client(name: str) -> None:
    """Let a client in no longer. Raises :class:`InvalidInput` for a name that is not known."""
    known = dict(clients())
    if name not in known:
        names = ", ".join(known) or "none yet"
        raise InvalidInput(f"There is no client called {name!r}.", hint=f"Clients: {names}.")
    del known[name]
    keys.write_json(home() / CLIENTS, known)


def check_bind(bind: str) -> None:
    """Raise :class:`InvalidInput` for an address that others can reach while nobody is let in."""
    if bind.startswith("tcp://") and not keys.is_local(bind) and not clients():
        raise InvalidInput(
            f"{bind} can be reached from other machines, and no client is let in yet.",
            hint="Let one in with `assistive-server keys add NAME KEY`, or bind to 127.0.0.1.",
        )


def announced(address: str, key: str) -> contextlib.AbstractContextManager[None]:
    """For as long as the block lasts, this user's own clients on this machine find the server at `address`."""
    reachable = address if keys.is_local(address) else f"tcp://127.0.0.1:{address.rpartition(':')[2]}"
    return keys.announced(reachable, key)


# --- the door ---------------------------------------------------------------------------------------------------------


class Door:
    """Decides who comes in, for all sockets of one context (ZeroMQ's authentication protocol, RFC 27).

    ``socket`` is to be polled; :meth:`answer` answers what comes there.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.pair = keys.own_pair(keys.SERVER_KEY)
        self.worker = keys.new_pair()
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")
        self._own = keys.own_pair().public
        self._stamp: tuple[int, int, int] | None = None
        self._let_in = self._read()
        self._connections: dict[bytes, tuple[str, int, object]] = {}
        self._many = MANY

    def secure(self, socket: zmq.Socket[bytes], domain: str = FRONT) -> None:
        """Have a socket that is about to be bound let in only whom this door lets in."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(self.pair.secret))
        socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)

    def answer(self) -> None:
        """Say yes or nothing to one connection that asks to come in."""
        version, request, domain, _address, _identity, mechanism, *rest = self.socket.recv_multipart()
        key = rest[0].hex() if mechanism == b"CURVE" and len(rest) == 1 else ""
        yes = self._admits(key, domain.decode(errors="replace"))
        # 300: whoever is not let in is told nothing, and may ask again. 200 comes with the name it has from here on.
        reply = [b"200", b"", key.encode(), b""] if yes else [b"300", b"", b"", b""]
        self.socket.send_multipart([version, request, *reply])

    def _admits(self, key: str, domain: str) -> bool:
        if domain == WORKER:
            return key == self.worker.public
        return domain == FRONT and (key == self._own or key in self._let_in)

    def admits(self, client: bytes, frame: zmq.Frame) -> bool:
        """Whether a message may be looked at: `client` is its connection, `frame` any of its frames.

        It comes from a key that was let in when it connected; that may have been taken back since.
        """
        key = str(frame.get("User-Id"))
        if not self._admits(key, FRONT):
            _cut(frame.get(zmq.SRCFD), None)
            return False
        if client not in self._connections:
            self._forget_closed()
            descriptor = int(frame.get(zmq.SRCFD))
            self._connections[client] = (key, descriptor, _peer(descriptor))
        return True

    def key_of(self, client: bytes) -> str:
        """The public key of a connection that a message has been admitted from: whoever comes back is the same."""
        return self._connections[client][0]

    def _forget_closed(self) -> None:
        """Connections come and go for weeks; once there are many, those that are gone are forgotten."""
        if len(self._connections) >= self._many:
            here = {client: found for client, found in self._connections.items() if _peer(found[1]) == found[2]}
            self._connections, self._many = here, max(MANY, 2 * len(here))

    def refresh(self) -> list[bytes]:
        """Look again who is let in; the connections that were cut, as those who are no longer were at their ends."""
        if self._stamp == _stamp(home() / CLIENTS):
            return []
        self._let_in = self._read()
        gone = [client for client, (key, *_) in self._connections.items() if not self._admits(key, FRONT)]
        for client in gone:
            _, descriptor, peer = self._connections.pop(client)
            _cut(descriptor, peer)
        return gone

    def _read(self) -> frozenset[str]:
        """The keys in the file. One that cannot be used lets nobody in, until it is put right."""
        self._stamp = _stamp(home() / CLIENTS)
        try:
            return frozenset(clients().values())
        except InvalidInput as error:
            logging.error("No client but your own is let in: %s", error)
            return frozenset()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[sockets.socket]:
    """ZeroMQ's own end of a connection, which stays ZeroMQ's."""
    borrowed = sockets.socket(fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _peer(descriptor: int) -> object:
    """Where the other end is, None when the connection is gone."""
    try:
        with _borrowed(descriptor) as end:
            return end.getpeername()
    except OSError:
        return None


def _cut(descriptor: int, peer: object) -> None:
    """End a connection, unless it is gone and its number belongs to that of another `peer` (None: any) by now."""
    with contextlib.suppress(OSError), _borrowed(descriptor) as end:
        if peer is None or end.getpeername() == peer:
            end.shutdown(sockets.SHUT_RDWR)


# --- the worker's socket, where there are no file sockets -------------------------------------------------------------


def worker_keys(door: Door) -> dict[str, str]:
    """What the worker's environment says of the keys it needs on TCP; other users cannot read it."""
    return {WORKER_KEYS: f"{door.pair.public} {door.worker.public} {door.worker.secret}"}


def secure_worker(socket: zmq.Socket[bytes], address: str) -> None:
    """The worker's side: use the keys that the front has given, where the address is not a file socket."""
    given = os.environ.pop(WORKER_KEYS, "")
    if address.startswith("tcp://"):
        server, public, secret = given.split()
        keys.Credentials(server, keys.KeyPair(public, secret)).secure(socket)
