"""Connections that a server must not let in, what each of them gets, and the table of it in docs/reliability.md.

`cd tests && python -m helpers.intruders` starts a server, tries them all and prints the table.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from shared import keys
from shared import messages as m
from shared.client import Client
from shared.home import VARIABLE
from shared.version import VERSION
from shared.wire import pack, unpack

from .server import running_server

#: So long an intruder waits for an answer.
PATIENCE_S = 1.0
#: What ZeroMQ sends to whoever connects: its name, its version, and that it wants CURVE.
GREETING = 64


@dataclass
class Got:
    """What came back: messages, and bytes that are no message; whether the server has ended the connection."""

    messages: int
    bytes: int
    ended: bool = False

    def words(self) -> str:
        """As the table has it."""
        if self.messages:
            return f"{self.messages} messages"
        what = "ZeroMQ's greeting" if self.bytes <= GREETING else "ZeroMQ's greeting and part of the handshake"
        said = f"no message; {what} ({self.bytes} bytes)" if self.bytes else "nothing"
        return said + ("; its connection was ended" if self.ended else "")


@dataclass
class Wire:
    """A connection in the middle that remembers what went through it, both ways."""

    target: tuple[str, int]
    up: list[bytes] = field(default_factory=list)
    down: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[Wire]:
        """Pass on one connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            threading.Thread(target=self._pass_on, args=(listener,), daemon=True).start()
            yield self

    def _pass_on(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            listener.close()  # the first connection only: ZeroMQ would try again
            with client, socket.create_connection(self.target) as server:
                threading.Thread(target=_copy, args=(client, server, self.up), daemon=True).start()
                _copy(server, client, self.down)
                self.ended.set()


def _copy(source: socket.socket, sink: socket.socket, log: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            log.append(data)
            sink.sendall(data)


def _target(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def _asks(address: str, secure: Callable[[zmq.Socket[bytes]], None]) -> Got:
    """A ZeroMQ client that says hello as `secure` has it connect."""
    wire = Wire(_target(address))
    context = zmq.Context()
    asking = context.socket(zmq.DEALER)
    secure(asking)
    with wire.listening():
        asking.connect(wire.address)
        asking.send_multipart(pack(m.Hello(VERSION), 1))
        got = Got(int(bool(asking.poll(round(PATIENCE_S * 1000)))), sum(map(len, wire.down)), wire.ended.is_set())
    context.destroy(linger=0)
    return got


def _raw(address: str, parts: Sequence[bytes]) -> Got:
    """A TCP connection that sends `parts`, and after each of them waits for what comes."""
    got = Got(0, 0)
    with socket.create_connection(_target(address)) as end:
        end.settimeout(PATIENCE_S)
        for part in parts:
            try:
                end.sendall(part)
                answer = end.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
            got.bytes += len(answer)
            got.ended = not answer
            if got.ended:
                break
    return got


def plain_zeromq(address: str) -> Got:
    """Speaks ZeroMQ without any keys."""
    return _asks(address, lambda _socket: None)


def plain_tcp(address: str) -> Got:
    """Speaks something else."""
    return _raw(address, [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b""])


def unknown_key(address: str) -> Got:
    """Knows the server's key; its own was never let in."""
    known = keys.credentials(address)
    return _asks(address, keys.Credentials(known.server, keys.new_pair()).secure)


def wrong_server_key(address: str) -> Got:
    """Was let in; takes the server for another."""
    own = keys.credentials(address).own
    return _asks(address, keys.Credentials(keys.new_pair().public, own).secure)


def replayed(address: str) -> Got:
    """Sends again, byte for byte, what a client that was let in has sent."""
    wire = Wire(_target(address))
    with wire.listening(), Client(wire.address, own=keys.credentials(address)) as client:
        client.hello()
    return _raw(address, [*wire.up, b""])


def removed(address: str) -> Got:
    """Was let in and is connected, when its owner removes it; then asks again."""
    from compute_server.security import add_client, remove_client

    pair = keys.new_pair()
    add_client("removed", pair.public)
    wire = Wire(_target(address))
    with wire.listening(), Client(wire.address, own=keys.Credentials(keys.credentials(address).server, pair)) as client:
        client.hello(timeout_s=30)
        before = sum(map(len, wire.down))
        remove_client("removed")
        ended = wire.ended.wait(10)
        client.send(m.Hello(VERSION))
        message = client.receive(PATIENCE_S)
    return Got(int(message is not None), sum(map(len, wire.down)) - before, ended)


INTRUDERS: dict[str, Callable[[str], Got]] = {
    "plain TCP (an HTTP request)": plain_tcp,
    "ZeroMQ without keys": plain_zeromq,
    "the server's key, but a key of its own that was never let in": unknown_key,
    "a key that was let in, but the wrong key for the server": wrong_server_key,
    "a session of a client that was let in, replayed byte for byte": replayed,
    "a connected client whose key is removed": removed,
}


def let_in(address: str) -> m.Message:
    """For comparison: what a client gets that may come in."""
    context = zmq.Context()
    asking = context.socket(zmq.DEALER)
    keys.credentials(address).secure(asking)
    asking.connect(address)
    asking.send_multipart(pack(m.Hello(VERSION), 1))
    assert asking.poll(30_000)
    message = unpack(asking.recv_multipart()).message
    context.destroy(linger=0)
    return message


def table(address: str) -> list[str]:
    """A line for each intruder."""
    rows = [f"| {name} | {attempt(address).words()} |" for name, attempt in INTRUDERS.items()]
    return ["| who | what it got |", "|---|---|", *rows, f"| a client that was let in | {_kind(let_in(address))} |"]


def _kind(message: m.Message) -> str:
    return f"`{type(message).__name__}`"


def main() -> None:
    """Start a server with keys of its own, try all, print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = str(Path(folder) / "home")
        with running_server() as (_, address):
            print("\n".join(table(address)))


if __name__ == "__main__":
    main()
