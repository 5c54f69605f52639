"""Older and newer sides meet over real sockets: they understand each other, or say which of them is to be updated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import zmq
from helpers.server import running_server

from shared import errors, keys
from shared import messages as m
from shared.client import Client
from shared.version import OLDEST_PROTOCOL, PROTOCOL, VERSION
from shared.wire import unpack


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_server() as (_, address):
        yield address


@pytest.fixture
def ask(address: str) -> Iterator[Any]:
    """Sends a header of one's own making to the real server, and gives what it answers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        keys.credentials(address).secure(socket)
        socket.connect(address)

        def asked(message: dict[str, Any], **header: Any) -> m.Message:
            socket.send(msgspec.msgpack.encode({"version": "9.9", "request": 1, **header, "message": message}))
            assert socket.poll(30_000)
            return unpack(socket.recv_multipart()).message

        yield asked


HELLO = {"type": "Hello", "version": "9.9"}


def test_a_newer_add_on_that_still_speaks_our_protocol_is_answered(ask: Any) -> None:
    assert isinstance(ask({**HELLO, "also": 1}, protocol=PROTOCOL + 1, oldest=PROTOCOL), m.Welcome)


@pytest.mark.parametrize(
    ("header", "message", "update"),
    [
        ({"protocol": PROTOCOL + 1, "oldest": PROTOCOL + 1}, HELLO, "Update the server."),
        ({"protocol": PROTOCOL + 1}, HELLO, "Update the server."),
        ({"protocol": PROTOCOL + 1, "oldest": PROTOCOL}, {"type": "Invented"}, "Update the server."),
        ({"protocol": OLDEST_PROTOCOL - 1, "oldest": 1}, HELLO, "Update the add-on."),
        ({"protocol": OLDEST_PROTOCOL - 1}, {"type": "Forgotten"}, "Update the add-on."),
    ],
)
def test_an_add_on_with_nothing_in_common_is_told_who_is_to_be_updated(
    header: dict[str, int], message: dict[str, Any], update: str, ask: Any
) -> None:
    refused = ask(message, **header)
    assert isinstance(refused, m.Refused)
    assert refused.error.code == "protocol-mismatch"
    assert refused.error.hint == update
    assert f"The server is version {VERSION}" in refused.error.message
    assert "the add-on 9.9" in refused.error.message


@pytest.mark.parametrize(
    ("header", "update"),
    [
        ({"protocol": PROTOCOL + 1, "oldest": PROTOCOL + 1}, "Update the add-on."),
        ({"protocol": OLDEST_PROTOCOL - 1, "oldest": 1}, "Update the server."),
    ],
)
def test_a_server_with_nothing_in_common_is_said_to_be_so_by_the_add_on(header: dict[str, int], update: str) -> None:
    pair = keys.new_pair()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        other.setsockopt(zmq.LINGER, 0)
        other.setsockopt(zmq.CURVE_SERVER, 1)
        other.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(pair.secret))
        port = other.bind_to_random_port("tcp://127.0.0.1")
        own = keys.Credentials(pair.public, keys.own_pair())
        with Client(f"127.0.0.1:{port}", own=own) as client:
            client.send(m.Hello(VERSION))
            identity, *_ = other.recv_multipart()
            reply = {"version": "9.9", "request": 1, **header, "message": {"type": "Whatever"}}
            other.send_multipart([identity, msgspec.msgpack.encode(reply)])
            with pytest.raises(errors.ProtocolMismatch) as caught:
                client.receive(10)
    assert caught.value.hint == update
    assert f"The add-on is version {VERSION}" in caught.value.message
