"""The thread that owns the socket: it connects, starts servers, hands jobs in, and always says what became of it."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.jobs import small_job
from helpers.proxy import Proxy

from blender_addon import session as s
from blender_addon._shared import client, errors, messages
from blender_addon.connection import Connection
from blender_addon.local_server import LocalServer, server_command

PATIENCE_S = 120.0


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    yield made
    made.close()
    assert not made._thread.is_alive()


def until(connection: Connection, kind: type) -> tuple[Any, list[Any]]:
    """The next event of a `kind`, and those before it."""
    deadline, before = time.monotonic() + PATIENCE_S, []
    while True:
        event = connection.next_event(max(0.01, deadline - time.monotonic()))
        assert event is not None, f"{kind.__name__} never came, only {before}"
        if isinstance(event, kind):
            return event, before
        before.append(event)


def test_a_server_that_answers_tells_its_labels_and_classifiers(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=True))
    connected, _ = until(connection, s.Connected)
    assert (connected.address, connected.local) == (server_address, False)  # the one already there is used
    targets, _ = until(connection, messages.Targets)
    assert "school bus" in targets.labels
    models, _ = until(connection, messages.Models)
    assert "efficientnet_lite0" in [info.name for info in models.models]


def test_an_address_where_nobody_answers_is_said_to_be_silent(connection: Connection) -> None:
    connection.do(s.Connect("tcp://127.0.0.1:9", start=False))
    lost, _ = until(connection, s.Lost)
    assert lost.problem.startswith("No answer from tcp://127.0.0.1:9.")


def test_a_server_is_started_where_nobody_answers_and_ends_with_the_connection() -> None:
    connection = Connection(functools.partial(LocalServer, device="cpu"))
    try:
        connection.do(s.Connect("tcp://127.0.0.1:9", start=True))
        until(connection, s.Starting)
        connected, _ = until(connection, s.Connected)
        assert connected.local
    finally:
        connection.close()
    with pytest.raises(errors.ServerUnreachable), client.Client(connected.address) as asked:
        asked.hello(timeout_s=1.0)


def test_a_server_that_cannot_be_started_is_quoted() -> None:
    words = "import sys; sys.exit('no torch here')"
    connection = Connection(functools.partial(LocalServer, command=[sys.executable, "-c", words]))
    try:
        connection.do(s.Connect("tcp://127.0.0.1:9", start=True))
        lost, _ = until(connection, s.Lost)
        assert "ended with code 1 at its start" in lost.problem
        assert "no torch here" in lost.problem
    finally:
        connection.close()


def test_a_job_is_reported_from_its_acceptance_to_its_contact_sheet(
    connection: Connection, server_address: str
) -> None:
    connection.do(s.Connect(server_address, start=False))
    until(connection, s.Connected)
    connection.do(s.Submit(small_job("whole", preview_every_s=0.01)))
    accepted, _ = until(connection, messages.Accepted)
    assert accepted.job_id == "whole"
    finished, before = until(connection, s.Finished)
    assert (finished.job_id, finished.result.outcome) == ("whole", "finished")
    drawn, _ = until(connection, s.SheetDrawn)
    assert (drawn.job_id, drawn.sheet[:4]) == ("whole", b"\x89PNG")
    assert {messages.Progress, s.PreviewReady} <= {type(event) for event in before}
    preview = connection.take_preview()
    assert preview is not None
    assert preview.texels is not None
    assert preview.texels.shape == (128, 128)
    assert connection.take_preview() is None


def test_a_preview_holds_the_texture_in_one_float_for_each_texel(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=False))
    connection.do(s.Submit(small_job("packed", preview_every_s=0.01)))
    until(connection, s.PreviewReady)
    preview = connection.take_preview()
    assert preview is not None
    assert preview.texels is not None
    packed = preview.texels.astype(np.int64)
    image = np.stack([packed & 255, packed >> 8 & 255, packed >> 16], axis=-1)
    assert np.array_equal(image, preview.message.texture.image)


def test_a_job_that_is_refused_says_why(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=False))
    connection.do(s.Submit(small_job("misspelt", target="golf bll")))
    failed, _ = until(connection, s.Failed)
    assert failed.job_id == "misspelt"
    assert "golf ball" in failed.problem


def test_cancelling_brings_the_best_so_far(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=False))
    connection.do(s.Submit(small_job("long", steps=100_000, preview_every_s=0.01)))
    until(connection, s.PreviewReady)
    connection.do(s.Cancel("long"))
    finished, _ = until(connection, s.Finished)
    assert finished.result.outcome == "cancelled"


def test_a_job_that_is_watched_again_is_told_of_its_end(connection: Connection, server_address: str) -> None:
    with client.Client(server_address) as other:
        other.submit(small_job("left"))
        other.wait("left")
    connection.do(s.Connect(server_address, start=False))
    connection.do(s.Watch("left"))
    finished, _ = until(connection, s.Finished)
    assert finished.job_id == "left"


def test_a_job_that_no_server_knows_has_failed(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=False))
    connection.do(s.Watch("never heard of"))
    failed, _ = until(connection, s.Failed)
    assert "never heard of" in failed.problem


def test_what_an_earlier_server_still_had_to_tell_is_dropped(connection: Connection, server_address: str) -> None:
    connection.do(s.Connect(server_address, start=False))
    until(connection, messages.Models)
    connection.do(s.Submit(small_job("earlier", steps=100_000, preview_every_s=0.01)))
    until(connection, s.PreviewReady)
    connection.do(s.Disconnect())
    assert connection.next_event() is None
    with client.Client(server_address) as other:
        other.cancel("earlier")


def test_a_command_that_cannot_be_read_is_said_to_be_so() -> None:
    with pytest.raises(errors.ServerUnreachable, match="cannot be read"):
        server_command("'/opt/my venv/assistive-server")


def test_a_connection_that_is_cut_hands_in_again_and_hears_of_the_end(
    connection: Connection, server_address: str
) -> None:
    with Proxy(server_address) as proxy:
        connection.do(s.Connect(proxy.address, start=False))
        until(connection, messages.Models)
        connection.do(s.Submit(small_job("cut", steps=2)))
        proxy.cut()
        until(connection, messages.Progress)
        proxy.cut()
        finished, before = until(connection, s.Finished)
    assert finished.job_id == "cut"
    assert not [event for event in before if isinstance(event, s.Failed | s.Lost)]
