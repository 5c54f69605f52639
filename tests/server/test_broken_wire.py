"""Whatever breaks, wire, worker or server: a job ends once, its texture is the same, and its client hears of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from helpers.jobs import small_job
from helpers.proxy import Proxy
from helpers.server import LastingServer, child_of

from compute_server.bench_scene import bench_scene
from compute_server.ledger import Ledger
from shared import errors, keys
from shared import messages as m
from shared.client import Client
from shared.scene import Scene, UvTexture
from shared.wire import join, pack, unpack

SETTINGS = {"steps": 6, "alpha": 0.05, "held_out_views": 1, "check_views": 0, "octaves": 2, "stepper": "momentum"}


def job(name: str, scene: Scene | None = None, **settings: object) -> m.Job:
    return small_job(name, scene or bench_scene(64), **{**SETTINGS, **settings})


def texture(result: m.Result) -> bytes:
    assert isinstance(result.texture, UvTexture)
    return result.texture.image.tobytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingServer]:
    with LastingServer(tmp_path_factory.mktemp("home"), "--checkpoint-s", "0") as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(server: LastingServer) -> bytes:
    """The texture of :func:`job` when nothing happens to it."""
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("undisturbed"))
        return texture(client.wait("undisturbed", silence_s=120))


def after_step(client: Client, job_id: str, step: int) -> None:
    for event in client.events(job_id, silence_s=120):
        assert not isinstance(event, m.Ended), "it ended too early"
        if isinstance(event, m.Progress) and event.step >= step:
            return


def test_a_server_that_is_killed_comes_back_with_its_jobs_where_they_were(
    server: LastingServer, undisturbed: bytes
) -> None:
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("outlives the server"))
        client.submit(job("waits meanwhile", steps=1))
        after_step(client, "outlives the server", 3)
        server.kill()
        server.start()
        steps = []
        result = client.wait(
            "outlives the server",
            on_event=lambda event: steps.append(event.step) if isinstance(event, m.Progress) else None,
            silence_s=120,
        )
        assert texture(result) == undisturbed
        assert next(step for step in steps if step) >= 3  # not from the start
        assert client.wait("waits meanwhile", silence_s=120).steps == 1


def test_a_worker_that_is_killed_costs_nothing_but_time(server: LastingServer, undisturbed: bytes) -> None:
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("outlives the worker"))
        after_step(client, "outlives the worker", 2)
        os.kill(child_of(server.process.pid), signal.SIGKILL)
        assert texture(client.wait("outlives the worker", silence_s=120)) == undisturbed


def test_a_server_that_is_asked_to_end_finishes_the_step_and_goes_on_from_it(
    server: LastingServer, undisturbed: bytes
) -> None:
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("paused"))
        after_step(client, "paused", 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        server.kill()
        server.start()
        assert texture(client.wait("paused", silence_s=120)) == undisturbed


def test_a_cancel_is_not_forgotten_by_a_server_that_is_killed_at_once(server: LastingServer) -> None:
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("to be cancelled", steps=5000))
        after_step(client, "to be cancelled", 1)
        server.process.send_signal(signal.SIGSTOP)
        # Written by another program, as the command does it.
        Ledger(server.home).ask_cancel("to be cancelled")
        server.kill()
        server.start()
        assert client.wait("to be cancelled", silence_s=120).outcome == "cancelled"
        assert client.request(m.Watch("to be cancelled"), m.Accepted).state == "cancelled"


def test_the_command_cancels_a_running_job(server: LastingServer) -> None:
    with Client(server.address, timeout_s=60) as client:
        client.submit(job("by command", steps=5000))
        after_step(client, "by command", 1)
        command = [sys.executable, "-m", "compute_server.cli", "jobs", "cancel", "by command"]
        subprocess.run([*command, "--home", str(server.home)], check=True)
        assert client.wait("by command", silence_s=120).outcome == "cancelled"


# --- the wire ---------------------------------------------------------------------------------------------------------


def test_connections_that_are_cut_again_and_again_lose_no_end(server: LastingServer, undisturbed: bytes) -> None:
    with Proxy(server.address) as proxy, Client(proxy.address, timeout_s=60) as client:
        client.submit(job("cut"))
        for event in client.events("cut", silence_s=120):
            if isinstance(event, m.Progress):
                proxy.cut()
            if isinstance(event, m.Ended):
                assert event.result is not None
                assert texture(event.result) == undisturbed
        assert client.request(m.Watch("cut"), m.Accepted).state == "done"


def test_an_upload_that_is_cut_is_sent_again_and_is_one_job(server: LastingServer) -> None:
    big = bench_scene(1024)
    with Proxy(server.address) as proxy, Client(proxy.address, timeout_s=60) as client:
        proxy.delay_s = 0.02

        def cut_midway() -> None:
            while proxy.passed < 1 << 20:
                time.sleep(0.005)
            proxy.cut()
            proxy.delay_s = 0.0

        cutter = threading.Thread(target=cut_midway)
        cutter.start()
        accepted = client.submit(job("large", scene=big, steps=0))
        cutter.join()
        assert accepted.job_id == "large"
        assert client.wait("large", silence_s=120).steps == 0


def test_a_wire_that_holds_everything_back_for_a_while_loses_nothing(server: LastingServer, undisturbed: bytes) -> None:
    with Proxy(server.address) as proxy, Client(proxy.address, timeout_s=60) as client:
        client.submit(job("held back"))
        after_step(client, "held back", 1)
        proxy.stalled = True
        with Client(server.address, timeout_s=60) as other:
            other.request(m.Watch("held back"), m.Accepted)
            other.wait("held back", silence_s=120)
        proxy.stalled = False
        assert texture(client.wait("held back", silence_s=120)) == undisturbed


def test_who_does_not_listen_neither_slows_the_job_nor_makes_the_server_grow(server: LastingServer) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf, Client(server.address, timeout_s=60) as client:
        for option in (zmq.RCVHWM, zmq.RCVBUF):
            deaf.setsockopt(option, 1)
        deaf.setsockopt(zmq.LINGER, 0)
        keys.credentials(server.address).secure(deaf)
        deaf.connect(server.address)
        watched = job("told to the deaf", scene=bench_scene(1024), steps=40, preview_every_s=1e-6, views=1)
        deaf.send_multipart(pack(m.Submit(watched), 1))
        while True:  # taken by now
            try:
                client.request(m.Watch(watched.id), m.Accepted)
                break
            except errors.UnknownJob:
                time.sleep(0.05)
        after_step(client, watched.id, 5)
        early = memory(server.process.pid)
        client.wait(watched.id, silence_s=120)
        assert memory(server.process.pid) - early < 40 << 20  # 35 previews of 3 MiB would be 105
        kinds: list[type] = []
        deadline = time.monotonic() + 60
        while m.Ended not in kinds:
            assert time.monotonic() < deadline, f"the end was never told, only {kinds}"
            if deaf.poll(5_000):
                kinds.append(type(unpack(join(list(deaf.recv_multipart()))).message))
            else:  # who takes nothing for a minute is given up; as a client does, it asks again
                deaf.send_multipart(pack(m.Watch(watched.id), 2))
        assert kinds.count(m.Preview) < 40


def memory(pid: int) -> int:
    """Bytes that a process holds."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def test_the_front_answers_at_once_while_a_large_scene_comes_in_and_a_job_runs(server: LastingServer) -> None:
    scene = bench_scene(64)
    pictures = np.random.default_rng(0).integers(0, 256, (64, 1024, 1024, 3), np.uint8)  # 200 MB
    scene = msgspec.structs.replace(scene, rig=msgspec.structs.replace(scene.rig, backgrounds=pictures))
    with Client(server.address, timeout_s=60) as one, Client(server.address, timeout_s=60) as other:
        one.submit(job("runs meanwhile", steps=5000))
        after_step(one, "runs meanwhile", 1)
        uploaded = threading.Event()

        def upload() -> None:
            other.submit(job("huge", scene=scene, steps=0))
            uploaded.set()

        thread = threading.Thread(target=upload)
        thread.start()
        times = []
        while not uploaded.is_set():
            began = time.monotonic()
            one.hello()
            times.append(time.monotonic() - began)
        thread.join()
        one.cancel("huge")
        one.cancel("runs meanwhile")
        one.wait("runs meanwhile", silence_s=120)
        assert len(times) > 3
        assert float(np.percentile(times, 99)) < 0.1, sorted(times)[-20:]


def test_a_home_is_worked_in_by_one_server(server: LastingServer) -> None:
    command = [sys.executable, "-m", "compute_server.cli", "serve", "--bind", "tcp://127.0.0.1:0"]
    second = subprocess.run([*command, "--home", str(server.home)], stderr=subprocess.PIPE, check=False)
    assert second.returncode == errors.AddressInUse.exit_code
    assert b"Another server keeps its jobs in" in second.stderr
