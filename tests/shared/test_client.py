"""The client against a real socket that a thread of the test answers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import pytest
import zmq
from helpers.proxy import Proxy
from helpers.scenes import job

from shared import keys
from shared import messages as m
from shared.client import DEFAULT_PORT, Client, outcome, parse_address
from shared.errors import ErrorData, InvalidInput, JobFailed, ProtocolMismatch, ServerUnreachable, UnknownJob
from shared.version import OLDEST_PROTOCOL, PROTOCOL, VERSION
from shared.wire import PIECE, join, pack, split, unpack

#: What a server answers: messages with the request number they are sent under (0: events), in order.
Answer = list[tuple[m.Message, int]]
Handler = Callable[[m.Message, int], Answer]


class Server:
    """A ROUTER in a thread, as a context manager. `handler` answers each request."""

    def __init__(self, handler: Handler, port: int | None = None) -> None:
        self.handler = handler
        self.heard: list[m.Message] = []
        self.largest_part = 0
        self.raw_reply: list[bytes] | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        pair = keys.own_pair(keys.SERVER_KEY)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(pair.secret))
        if port is None:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            self.port = port
            _bind_again(self._socket, port)
        keys.trust(self.address, pair.public)  # for clients that are there before it runs
        self._announced = keys.announced(self.address, pair.public)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        self._announced.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._context.term()
        self._announced.__exit__(None, None, None)

    def _serve(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(10):
                continue
            identity, *parts = self._socket.recv_multipart()
            self.largest_part = max(self.largest_part, *(len(part) for part in parts))
            envelope = unpack(join(list(parts)))
            self.heard.append(envelope.message)
            if self.raw_reply is not None:
                self._socket.send_multipart([identity, *self.raw_reply])
                continue
            for message, number in self.handler(envelope.message, envelope.request):
                self._socket.send_multipart([identity, *split(pack(message, number))])


def _bind_again(socket: zmq.Socket[bytes], port: int) -> None:
    """A port that was just let go may take a moment to be free."""
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.bind(f"tcp://127.0.0.1:{port}")
        except zmq.ZMQError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _progress(step: int, job_id: str = "job-1") -> m.Progress:
    return m.Progress(job_id=job_id, phase="optimising", step=step, steps=9, loss=1.0, confidence=(), eta_s=1.0)


def _welcome(device: str = "cpu") -> m.Welcome:
    return m.Welcome(version=VERSION, device=device, jobs_running=0, jobs_queued=0)


def _accepted(job_id: str = "job-1") -> m.Accepted:
    return m.Accepted(job_id=job_id, state="running", position=0)


def _polite(message: m.Message, number: int) -> Answer:
    """Answers as the real server does, and has every job running."""
    if isinstance(message, m.Hello):
        return [(_welcome(), number)]
    if isinstance(message, m.Submit):
        return [(_accepted(message.job.id), number)]
    if isinstance(message, m.Watch | m.Cancel):
        return [(_accepted(message.job_id), number)]
    return [(m.Refused(ErrorData("invalid-input", "Not here.")), number)]


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
    address = f"tcp://127.0.0.1:{port}"
    keys.trust(address, keys.new_pair().public)
    return address


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", f"tcp://localhost:{DEFAULT_PORT}"),
        ("render.example.org:7000", "tcp://render.example.org:7000"),
        ("tcp://10.0.0.3:1", "tcp://10.0.0.3:1"),
        ("tcp://10.0.0.3", f"tcp://10.0.0.3:{DEFAULT_PORT}"),
        ("  gpu-box:65535 \n", "tcp://gpu-box:65535"),
        ("[::1]", f"tcp://[::1]:{DEFAULT_PORT}"),
        ("tcp://[fe80::2]:99", "tcp://[fe80::2]:99"),
        ("ipc:///tmp/assistive.sock", "ipc:///tmp/assistive.sock"),
    ],
)
def test_an_address_is_a_host_with_or_without_port_and_scheme(text: str, address: str) -> None:
    assert parse_address(text) == address
    assert parse_address(address) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no host"),
        ("   ", "names no host"),
        (":5765", "names no host"),
        ("tcp://", "names no host"),
        ("tcp:///tmp/x", "names no host"),
        ("ipc://", "names no host"),
        ("host/path", "names no host"),
        ("http://host:80", "starts with http://"),
        ("host:", "no valid port"),
        ("host:0", "no valid port"),
        ("host:65536", "no valid port"),
        ("host:-1", "no valid port"),
        ("host:http", "no valid port"),
        ("host:²", "no valid port"),
        ("host:1e3", "no valid port"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        parse_address(text)


def test_a_client_refuses_a_wrong_address_at_once() -> None:
    with pytest.raises(InvalidInput, match="no valid port"):
        Client("host:port")


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_s", [0.0, 0.3])
def test_a_request_to_nobody_ends_within_its_timeout(nobody: str, timeout_s: float) -> None:
    with Client(nobody) as client:
        began = time.monotonic()
        with pytest.raises(ServerUnreachable, match=nobody):
            client.hello(timeout_s=timeout_s)
        assert timeout_s - 0.002 <= time.monotonic() - began < timeout_s + 2.0  # poll() counts whole milliseconds


def test_closing_does_not_wait_for_requests_that_nobody_took(nobody: str) -> None:
    client = Client(nobody)
    with pytest.raises(ServerUnreachable):
        client.request(m.Submit(job()), m.Accepted, timeout_s=0.0)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 2.0


def test_requests_that_are_sent_at_once_are_answered_by_their_numbers() -> None:
    with Server(_polite) as server, Client(server.address) as client:
        first, second = client.send(m.Hello(VERSION)), client.send(m.Watch("job-1"))
        answers = [client.receive(5.0), client.receive(5.0)]
        assert client.receive(0.0) is None
    assert {answer.request: type(answer.message) for answer in answers if answer} == {
        first: m.Welcome,
        second: m.Accepted,
    }


def test_requests_are_answered() -> None:
    with Server(_polite) as server, Client(server.address) as client:
        assert client.hello() == _welcome()
        assert client.submit(job("my job")) == _accepted("my job")
        assert client.cancel("my job") == _accepted("my job")
    assert [type(message) for message in server.heard] == [m.Hello, m.Submit, m.Cancel]


def test_a_refusal_is_raised_as_the_error_it_is() -> None:
    def refuse(_message: m.Message, number: int) -> Answer:
        return [(m.Refused(ErrorData("unknown-job", "No job 'x'.", "Submit it.")), number)]

    told = r"No job 'x'\. Submit it\."
    with Server(refuse) as server, Client(server.address) as client, pytest.raises(UnknownJob, match=told):
        client.cancel("x")


def test_an_answer_of_the_wrong_kind_is_refused() -> None:
    server, told = Server(lambda _message, number: [(_accepted(), number)]), "answered Accepted, not Welcome"
    with server, Client(server.address) as client, pytest.raises(InvalidInput, match=told):
        client.hello()


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    """The first request's answer comes only when the second is asked, before the second's own."""
    held: Answer = []

    def late(_message: m.Message, number: int) -> Answer:
        if not held:
            held.append((_welcome("late"), number))
            return []
        return [*held, (_welcome("own"), number)]

    with Server(late) as server, Client(server.address) as client:
        with pytest.raises(ServerUnreachable):
            client.hello(timeout_s=0.1)
        assert client.hello().device == "own"


def test_a_server_of_another_protocol_is_told_as_such() -> None:
    with Server(_polite) as server, Client(server.address) as client:
        header = bytes(pack(_welcome(), 1)[0])
        for field, own in ((b"\xa8protocol", PROTOCOL), (b"\xa6oldest", OLDEST_PROTOCOL)):
            assert field + bytes([own]) in header
            header = header.replace(field + bytes([own]), field + b"\x63")
        server.raw_reply = [header]
        with pytest.raises(ProtocolMismatch, match="Update the add-on"):
            client.hello()


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_that_come_while_a_request_waits_are_kept_in_order() -> None:
    def chatty(_message: m.Message, number: int) -> Answer:
        return [(_progress(1), 0), (_progress(2), 0), (_welcome(), number), (_progress(3), 0)]

    with Server(chatty) as server, Client(server.address) as client:
        client.hello()
        assert [client.poll(2.0) for _ in range(3)] == [_progress(1), _progress(2), _progress(3)]


def test_polling_without_events_gives_none_after_its_time() -> None:
    with Server(_polite) as server, Client(server.address) as client:
        client.hello()
        assert client.poll() is None
        began = time.monotonic()
        assert client.poll(0.1) is None
        assert 0.098 <= time.monotonic() - began < 2.0


def test_events_end_with_the_end_of_the_job() -> None:
    def run(message: m.Message, number: int) -> Answer:
        end = m.Ended(job_id="job-1", error=ErrorData("job-failed", "Out of memory."))
        events: Answer = [(_progress(1), 0), (_progress(1, "other"), 0), (end, 0), (_progress(9), 0)]
        return [*_polite(message, number), *(events if isinstance(message, m.Submit) else [])]

    with Server(run) as server, Client(server.address) as client:
        client.submit(job())
        seen = [event for event in client.events("job-1", tick_s=0.05) if event is not None]
    assert [type(event) for event in seen] == [m.Progress, m.Ended]
    assert {event.job_id for event in seen} == {"job-1"}


def test_waiting_for_a_job_that_fails_raises_its_error_and_reports_its_progress() -> None:
    def fail(message: m.Message, number: int) -> Answer:
        end = m.Ended(job_id="job-1", error=ErrorData("job-failed", "Out of memory."))
        return [*_polite(message, number), (_progress(1), 0), (end, 0)]

    told: list[m.Event] = []
    with Server(fail) as server, Client(server.address) as client:
        client.submit(job())
        with pytest.raises(JobFailed, match="Out of memory"):
            client.wait("job-1", on_event=told.append)
    assert told[0] == _progress(1)
    assert isinstance(told[-1], m.Ended)


def test_an_end_with_neither_result_nor_error_is_refused() -> None:
    with pytest.raises(InvalidInput, match="job-1"):
        outcome(m.Ended(job_id="job-1"))


def test_a_silent_job_is_asked_for_again() -> None:
    with Server(_polite) as server, Client(server.address) as client:
        assert [next(client.events("job-1", tick_s=0.02)) for _ in range(2)] == [None, None]
    assert server.heard == [m.Watch("job-1"), m.Watch("job-1")]


def test_events_of_a_job_that_the_server_has_forgotten_raise_unknown_job() -> None:
    def forgetful(_message: m.Message, number: int) -> Answer:
        return [(m.Refused(ErrorData("unknown-job", "No job 'job-1'.")), number)]

    with Server(forgetful) as server, Client(server.address) as client, pytest.raises(UnknownJob, match="job-1"):
        list(client.events("job-1", tick_s=0.02))


def test_events_of_a_server_that_stays_silent_raise_unreachable(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(nobody) as client:
        # The request to watch again has a timeout of its own, of seconds.
        original = client.request
        monkeypatch.setattr(client, "request", lambda *a, **_k: original(*a, timeout_s=0.05))
        began = time.monotonic()
        with pytest.raises(ServerUnreachable):
            list(client.events("job-1", silence_s=0.3, tick_s=0.02))
        assert 0.3 < time.monotonic() - began < 3.0


# --- a server that goes and comes back ------------------------------------------------------------------------------


def test_a_client_finds_a_server_that_comes_back_on_the_same_port() -> None:
    first = Server(_polite)
    with Client(first.address) as client:
        with first:
            client.hello()
        with pytest.raises(ServerUnreachable):
            client.hello(timeout_s=0.1)
        with Server(lambda _message, number: [(_welcome("second"), number)], first.port):
            assert client.hello().device == "second"


def test_events_go_on_when_the_server_comes_back_with_the_job() -> None:
    def running(message: m.Message, number: int) -> Answer:
        return [*_polite(message, number), (_progress(1), 0)]

    def ended(message: m.Message, number: int) -> Answer:
        end = m.Ended(job_id="job-1", error=ErrorData("job-failed", "Restarted."))
        return [*_polite(message, number), (end, 0)]

    server = Server(running)
    with Client(server.address) as client:
        with server:
            client.submit(job())
            events: Iterator[m.Event | None] = client.events("job-1", tick_s=0.05)
            assert next(events) == _progress(1)
        with Server(ended, server.port):
            last = [event for event in itertools.islice(events, 200) if event is not None][-1]
    assert isinstance(last, m.Ended)


# --- a wire that breaks -----------------------------------------------------------------------------------------------


def test_a_request_whose_connection_is_cut_is_sent_again() -> None:
    with (
        Server(_polite) as server,
        Proxy(server.address) as proxy,
        Client(proxy.address) as client,
    ):
        client.hello()
        server.heard.clear()
        server.handler = lambda _message, _number: []

        def cut_then_answer() -> None:
            while not server.heard:
                time.sleep(0.005)
            server.handler = _polite
            proxy.cut()

        cutter = threading.Thread(target=cut_then_answer)
        cutter.start()
        assert client.submit(job("my job")) == _accepted("my job")
        cutter.join()
    assert {type(message) for message in server.heard} == {m.Submit}
    assert len(server.heard) >= 2


def test_a_client_knows_that_its_connection_was_lost_and_is_there_again() -> None:
    with Server(_polite) as server, Proxy(server.address) as proxy, Client(proxy.address) as client:
        client.hello()
        assert not client.reconnected()
        proxy.cut()
        client.hello()
        deadline = time.monotonic() + 10
        while not client.reconnected():
            assert time.monotonic() < deadline
        assert not client.reconnected()


def test_large_arrays_cross_in_pieces_either_way() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 2048, 2048, 3), np.uint8)
    assert picture.nbytes > PIECE

    def answer(message: m.Message, number: int) -> Answer:
        assert isinstance(message, m.Classify)
        return [(m.Sheet(png=message.pictures.reshape(-1)), number)]

    with Server(answer) as server, Client(server.address) as client:
        sheet = client.request(m.Classify(pictures=picture, model="m", target="t"), m.Sheet)
        assert server.largest_part == PIECE
    np.testing.assert_array_equal(sheet.png, picture.reshape(-1))
