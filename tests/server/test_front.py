"""The server as its clients see it: always an answer, nothing lost, and alive after whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from helpers.jobs import small_job
from helpers.server import alive, child_of, running_server

from compute_server.bench_scene import bench_scene
from compute_server.front import Front
from shared import errors, keys
from shared import messages as m
from shared.client import Client
from shared.scene import LightState, SunLight
from shared.version import VERSION
from shared.wire import pack, unpack


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_server() as (_, address):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, timeout_s=60) as client:
        yield client


def wait_for(client: Client, job_id: str, kind: type[m.Event]) -> m.Event:
    for event in client.events(job_id, silence_s=120):
        if isinstance(event, kind):
            return event
    raise AssertionError(f"{job_id} ended without a {kind.__name__}")


def test_hello_is_answered_with_version_and_device(client: Client) -> None:
    client.request(m.ListTargets(), m.Targets)  # by now the worker has said what it computes on
    welcome = client.hello()
    assert welcome.version == VERSION
    assert welcome.device.startswith(("cpu", "cuda"))


def test_targets_are_the_thousand_classes(client: Client) -> None:
    labels = client.request(m.ListTargets(), m.Targets).labels
    assert len(labels) == 1000
    assert labels[817] == "sports car"


def test_models_say_which_can_be_used_now(client: Client) -> None:
    models = {model.name: model for model in client.request(m.ListModels(), m.Models).models}
    assert models["efficientnet_lite0"].available
    assert models["efficientnet_lite0"].size == 224
    assert "resnet50" in models


def test_a_job_reports_progress_preview_and_result(client: Client) -> None:
    job = small_job("whole", steps=3, preview_every_s=1e-6)
    client.submit(job)
    events: list[m.Event] = []
    result = client.wait(job.id, on_event=events.append, silence_s=120)
    steps = [event.step for event in events if isinstance(event, m.Progress) and event.phase == "optimising"]
    previews = [event for event in events if isinstance(event, m.Preview)]
    assert steps == [1, 2, 3]
    assert len(previews) == 3
    assert previews[0].worst_view.shape == (224, 224, 3)
    assert result.outcome == "finished"
    assert result.timing.queue_s >= 0


def test_a_job_that_asks_for_blenders_pictures_waits_for_them_and_says_what_they_were(client: Client) -> None:
    job = small_job("drawn", steps=3, blender_every=2)
    client.submit(job)
    asked: list[m.Draw] = []

    def draw(event: m.Event) -> None:
        if isinstance(event, m.Draw):
            asked.append(event)
            grey = np.full((len(event.views), event.size, event.size, 3), 128, np.uint8)
            client.request(m.Drawn(job_id=event.job_id, step=event.step, pictures=grey), m.Accepted)

    result = client.wait(job.id, on_event=draw, silence_s=120)
    assert [(event.step, len(event.views), event.size) for event in asked] == [(0, 2, 224), (2, 2, 224)]
    assert [each.step for each in result.exchanges] == [1, 3]
    assert all(each.mean_error > 0.01 for each in result.exchanges)


def test_who_comes_while_a_job_waits_for_pictures_is_asked_for_them_and_cancelling_ends_the_wait(
    client: Client, address: str
) -> None:
    job = small_job("waits for pictures", steps=3, blender_every=1)
    client.submit(job)
    wait_for(client, job.id, m.Draw)
    with Client(address, timeout_s=60) as late:
        late.request(m.Watch(job.id), m.Accepted)
        assert isinstance(late.poll(5), m.Draw)
    client.cancel(job.id)
    assert client.wait(job.id, silence_s=120).exchanges == ()


def test_pictures_of_the_wrong_shape_fail_their_job_by_a_sentence(client: Client) -> None:
    job = small_job("shape", steps=2, blender_every=1)
    client.submit(job)
    asked = wait_for(client, job.id, m.Draw)
    assert isinstance(asked, m.Draw)
    drawn = m.Drawn(job_id=job.id, step=asked.step, pictures=np.zeros((1, 8, 8, 3), np.uint8))
    client.request(drawn, m.Accepted)
    with pytest.raises(errors.InvalidInput, match="shape"):
        client.wait(job.id, silence_s=120)


def test_the_same_job_twice_is_one_job_and_its_result_is_kept(client: Client, address: str) -> None:
    job = small_job("once", steps=1)
    client.submit(job)
    first = client.wait(job.id, silence_s=120)
    with Client(address, timeout_s=60) as other:
        assert other.submit(job).state == "done"
        again = other.wait(job.id, silence_s=120)
    assert again.timing == first.timing


def test_cancel_takes_effect_within_a_step_and_keeps_what_there_is(client: Client) -> None:
    job = small_job("long", steps=5000)
    client.submit(job)
    wait_for(client, job.id, m.Progress)
    client.cancel(job.id)
    result = client.wait(job.id, silence_s=120)
    assert result.outcome == "cancelled"
    assert result.steps < 50


def test_a_waiting_job_can_be_cancelled_before_it_begins(client: Client) -> None:
    first, second = small_job("first", steps=5000), small_job("second")
    client.submit(first)
    assert client.submit(second).position >= 1
    client.cancel(second.id)
    with pytest.raises(errors.JobFailed, match="before it began"):
        client.wait(second.id, silence_s=120)
    client.cancel(first.id)
    client.wait(first.id, silence_s=120)


def test_pictures_are_classified_while_a_job_runs(client: Client) -> None:
    job = small_job("busy", steps=5000)
    client.submit(job)
    wait_for(client, job.id, m.Progress)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 100, 80, 3), np.uint8)
    classified = client.request(m.Classify(pictures, "efficientnet_lite0", "cars", top=4), m.Classified)
    client.cancel(job.id)
    client.wait(job.id, silence_s=120)
    assert len(classified.verdicts) == 3
    for verdict in classified.verdicts:
        confidences = [prediction.confidence for prediction in verdict.top]
        assert len(confidences) == 4
        assert confidences == sorted(confidences, reverse=True)


def test_a_contact_sheet_comes_as_a_png(client: Client) -> None:
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    sheet = client.request(m.DrawSheet(pictures, pictures, "efficientnet_lite0", "golf ball"), m.Sheet)
    assert sheet.png[:4].tobytes() == b"\x89PNG"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"target": "glof ball"}, errors.UnknownTarget),
        ({"models": ("resnet51",)}, errors.UnknownModel),
    ],
)
def test_a_failing_job_is_a_typed_error_and_the_server_lives_on(client: Client, settings: dict, error: type) -> None:
    job = small_job(f"wrong {settings}", **settings)
    client.submit(job)
    with pytest.raises(error):
        client.wait(job.id, silence_s=120)
    assert client.hello().version == VERSION


def test_missing_weights_name_the_file(client: Client) -> None:
    job = small_job("weights", models=("vgg19_bn",))
    client.submit(job)
    with pytest.raises(errors.MissingWeights, match=r"vgg19_bn-\w+\.pth"):
        client.wait(job.id, silence_s=120)


def test_a_bad_array_is_refused_by_the_name_of_its_field(client: Client) -> None:
    scene = bench_scene(16)
    positions = scene.mesh.positions.copy()
    positions[5, 1] = np.nan
    scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, positions=positions))
    with pytest.raises(errors.InvalidInput, match=r"job\.scene\.mesh\.positions holds NaN"):
        client.submit(small_job("nan", scene=scene))


def test_a_mesh_without_faces_is_refused_at_once(client: Client) -> None:
    scene = bench_scene(16)
    empty = {"triangles": (0, 3), "normals": (0, 3, 3), "uv": (0, 3, 2)}
    arrays = {name: getattr(scene.mesh, name)[:0].reshape(shape) for name, shape in empty.items()}
    scene = msgspec.structs.replace(scene, mesh=msgspec.structs.replace(scene.mesh, **arrays))
    with pytest.raises(errors.InvalidInput, match="'bench body' has no faces"):
        client.submit(small_job("faceless", scene=scene))


def test_lights_beyond_all_bounds_fail_their_job_and_not_the_server(client: Client) -> None:
    scene = bench_scene(16)
    state = LightState(name="nova", lights=(SunLight(power=(1e39, 1e39, 1e39), direction=(0.0, 0.0, -1.0)),))
    scene = msgspec.structs.replace(scene, rig=msgspec.structs.replace(scene.rig, lights=(state,)))
    job = small_job("nova", scene=scene)
    client.submit(job)
    with pytest.raises(errors.JobFailed):
        client.wait(job.id, silence_s=120)
    after = small_job("after the nova", steps=1)
    client.submit(after)
    assert client.wait(after.id, silence_s=120).outcome == "finished"


def test_a_job_that_waited_longest_can_still_be_cancelled_after_many_others(client: Client) -> None:
    first = small_job("runs meanwhile", steps=5000)
    client.submit(first)
    waiting = small_job("waits", steps=1)
    client.submit(waiting)
    for number in range(40):
        client.submit(small_job(f"other {number}", steps=1))
        client.cancel(f"other {number}")
    assert client.cancel(waiting.id).state == "cancelled"
    client.cancel(first.id)
    assert client.wait(first.id, silence_s=120).outcome == "cancelled"


def test_the_front_answers_while_its_worker_is_still_starting() -> None:
    with running_server() as (_, address), Client(address, timeout_s=60) as client:
        client.submit(small_job("early", steps=0))
        began = time.monotonic()
        welcome = client.hello()
        assert time.monotonic() - began < 0.5
        assert welcome.device == ""  # the worker has not spoken yet


def test_a_job_without_classifiers_is_refused(client: Client) -> None:
    with pytest.raises(errors.InvalidInput, match="models"):
        client.submit(small_job("nobody to ask", models=()))


def test_an_unknown_job_is_said_to_be_unknown(client: Client) -> None:
    with pytest.raises(errors.UnknownJob, match="nobody"):
        client.cancel("nobody")


def test_garbage_and_other_versions_are_refused_and_the_server_lives_on(client: Client, address: str) -> None:
    context = zmq.Context()
    raw = context.socket(zmq.DEALER)
    keys.credentials(address).secure(raw)
    raw.connect(address)
    other = msgspec.msgpack.encode({"protocol": 999, "version": "9.9", "request": 5, "message": {}})
    answers = []
    for frames in ([b"\xff garbage"], [other], [b""], [pack(m.Hello("x"))[0], b"a frame nobody asked for"]):
        raw.send_multipart(frames)
        assert raw.poll(10_000)
        answers.append(unpack(raw.recv_multipart()).message)
    context.destroy(linger=0)
    assert [type(answer) for answer in answers] == [m.Refused, m.Refused, m.Refused, m.Welcome]
    assert isinstance(answers[1], m.Refused)
    assert answers[1].error.code == "protocol-mismatch"
    assert "9.9" in answers[1].error.message
    assert client.hello().version == VERSION


def test_a_job_that_kills_its_worker_twice_fails_and_the_next_job_runs() -> None:
    with running_server() as (process, address), Client(address, timeout_s=60) as client:
        job = small_job("doomed", steps=5000)
        client.submit(job)
        first = child_of(process.pid)
        wait_for(client, job.id, m.Progress)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: child_of(process.pid) != first)
        second = child_of(process.pid)
        assert client.request(m.Watch(job.id), m.Accepted).state in ("queued", "running")
        os.kill(second, signal.SIGKILL)
        with pytest.raises(errors.JobFailed, match="ended unexpectedly"):
            client.wait(job.id, silence_s=120)
        after = small_job("after", steps=1)
        client.submit(after)
        assert client.wait(after.id, silence_s=120).outcome == "finished"


def test_a_worker_that_hangs_is_ended_and_its_job_goes_on() -> None:
    with running_server("--hang-s", "30") as (process, address), Client(address, timeout_s=60) as client:
        job = small_job("stuck", steps=3)
        client.submit(job)
        wait_for(client, job.id, m.Progress)
        os.kill(child_of(process.pid), signal.SIGSTOP)
        began = time.monotonic()
        assert client.hello().version == VERSION
        assert time.monotonic() - began < 1
        assert client.wait(job.id, silence_s=240).outcome == "finished"


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes through /proc")
def test_no_process_outlives_a_server_that_is_killed() -> None:
    with running_server() as (process, _):
        worker = child_of(process.pid)
        process.kill()
        process.wait(10)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{worker}/cmdline").exists() and alive(worker):
            assert time.monotonic() < deadline, "the worker is still there"
            os.sched_yield()


def wait_until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def test_an_address_in_use_is_said_so() -> None:
    context = zmq.Context()
    taken = context.socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    with pytest.raises(errors.AddressInUse, match=str(port)):
        Front(f"tcp://127.0.0.1:{port}")
    context.destroy(linger=0)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="http://x"):
        Front("http://x")


def test_the_front_imports_no_torch() -> None:
    code = "import sys, compute_server.front, compute_server.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_serving_ends_when_asked_to() -> None:
    front = Front("tcp://127.0.0.1:0")
    stop = threading.Event()
    thread = threading.Thread(target=front.serve, args=(stop.is_set,))
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
