"""What each client still has to get: the newest progress, every answer, every end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from compute_server import outbox
from compute_server.outbox import HIGH_WATER, Outbox
from shared.wire import PIECE, join

PAYLOAD = b"x" * (1 << 20)


class Wire:
    """A ROUTER with an outbox, and a DEALER that takes little unless it listens."""

    def __init__(self) -> None:
        self.gone: list[bytes] = []
        self._context = zmq.Context()
        self.router = self._context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.SNDHWM, HIGH_WATER)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.dealer = self._context.socket(zmq.DEALER)
        for option in (zmq.RCVHWM, zmq.RCVBUF):
            self.dealer.setsockopt(option, 1)
        self.dealer.connect(f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}")
        self.dealer.send(b"here")
        self.client = self.router.recv_multipart()[0]
        self.outbox = Outbox(self.router, lambda job_id: [b"end", job_id.encode()], self.gone.append)

    def close(self) -> None:
        self._context.destroy(linger=0)

    def heard(self, last: list[bytes]) -> list[list[bytes]]:
        """All that the client gets up to a message that starts with `last`, its outbox flushed meanwhile."""
        found: list[list[bytes]] = []
        deadline = time.monotonic() + 30
        while not found or found[-1][: len(last)] != last:
            assert time.monotonic() < deadline, f"{last} never came"
            self.outbox.flush()
            if self.dealer.poll(20):
                found.append(self.dealer.recv_multipart())
        return found


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_of_progress_a_slow_client_gets_the_newest(wire: Wire) -> None:
    for step in range(200):
        wire.outbox.latest(wire.client, "job", int, [b"%d" % step, PAYLOAD])
    steps = [int(frames[0]) for frames in wire.heard([b"199"])]
    assert steps == sorted(steps)
    assert len(steps) < 50


def test_of_ends_a_slow_client_gets_all_and_no_progress_after_one(wire: Wire) -> None:
    for number in range(60):
        wire.outbox.latest(wire.client, f"job {number}", int, [b"progress", PAYLOAD])
        wire.outbox.ended(wire.client, f"job {number}")
    heard = wire.heard([b"end", b"job 59"])
    assert [frames[1] for frames in heard if frames[0] == b"end"] == [b"job %d" % number for number in range(60)]


def test_answers_come_in_order_and_are_never_more_than_so_many(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_ANSWERS", 20)
    for number in range(200):
        wire.outbox.answer(wire.client, [b"%d" % number, PAYLOAD])
    numbers = [int(frames[0]) for frames in wire.heard([b"199"])]
    assert numbers == sorted(numbers)
    assert len(numbers) < 60


def test_a_client_that_is_gone_is_forgotten(wire: Wire) -> None:
    wire.dealer.close(linger=0)

    def forgotten() -> bool:
        wire.outbox.answer(wire.client, [b"hello"])
        return wire.gone == [wire.client] * len(wire.gone) and bool(wire.gone)

    until(forgotten)
    assert len(wire.outbox) == 0


def test_a_large_frame_is_sent_in_pieces(wire: Wire) -> None:
    frames = [b"header", b"x" * (2 * PIECE + 1)]
    wire.outbox.answer(wire.client, frames)
    parts = wire.heard([b"header"])[-1]
    assert max(len(part) for part in parts) == PIECE
    assert [bytes(frame) for frame in join(list(parts))] == frames
