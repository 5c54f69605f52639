"""What is too much is refused with the limit, and so is nothing at all."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from helpers.jobs import small_job
from helpers.server import running_server

from compute_server.bench_scene import bench_scene
from shared import messages as m
from shared.client import Client
from shared.errors import InvalidInput
from shared.limits import FRAMES, HEADER_BYTES, Limits, check_frames, check_header, check_limits
from shared.wire import PIECE

#: Parts of a message of up to 1 GiB.
MOST = FRAMES + (1 << 30) // PIECE


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([b"h", b"x" * (2 << 20)], "2 MiB; this server takes at most 1 MiB"),
        ([b""] * (MOST + 1), f"at most {MOST} are"),
    ],
)
def test_a_multipart_that_is_too_large_is_refused_with_the_limit(frames: list[bytes], sentence: str) -> None:
    limits = Limits(message_bytes=1 << 20 if len(frames) == 2 else 1 << 30)
    with pytest.raises(InvalidInput, match=sentence):
        check_frames(frames, limits)


@pytest.mark.parametrize("frames", [[], [b""], [b"h" * (HEADER_BYTES + 1), b"x"]])
def test_a_header_that_is_missing_or_too_large_is_not_looked_into(frames: list[bytes]) -> None:
    with pytest.raises(InvalidInput, match=f"at most {HEADER_BYTES}"):
        check_header(frames)


def test_a_scene_with_too_many_triangles_or_texels_is_refused_with_the_limit() -> None:
    submit = m.Submit(small_job("large", scene=bench_scene(64)))
    with pytest.raises(InvalidInput, match="at most 10"):
        check_limits(submit, Limits(triangles=10))
    with pytest.raises(InvalidInput, match="64 × 64 texels; this server takes at most 32 along a side"):
        check_limits(submit, Limits(texture_side=32))
    check_limits(submit, Limits())


def test_light_maps_and_surroundings_without_a_pixel_are_refused() -> None:
    scene, nothing = bench_scene(64), np.zeros((1, 0, 0, 3), np.float32)
    dark = msgspec.structs.replace(scene, light_maps=nothing)
    with pytest.raises(InvalidInput, match="light maps of the scene are empty"):
        check_limits(m.Submit(small_job("dark", scene=dark)), Limits())
    around = msgspec.structs.replace(scene, rig=msgspec.structs.replace(scene.rig, panoramas=nothing))
    with pytest.raises(InvalidInput, match="panoramas of the rig are empty"):
        check_limits(m.Submit(small_job("around", scene=around)), Limits())


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3)])
def test_pictures_that_are_none_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="There is nothing in"):
        check_limits(m.Classify(np.zeros(shape, np.uint8), "efficientnet_lite0", "0"), Limits())


def test_too_many_pixels_are_refused_with_the_limit() -> None:
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(InvalidInput, match="512 pixels; this server takes at most 511"):
        check_limits(m.DrawSheet(pictures, pictures, "efficientnet_lite0", "0"), Limits(pixels=511))


def test_a_server_says_its_limits_and_refuses_what_is_beyond_them() -> None:
    options = ("--max-message-mib", "2", "--max-texture", "32")
    with running_server(*options) as (_, address), Client(address, timeout_s=60) as client:
        with pytest.raises(InvalidInput, match="at most 2 MiB"):  # which it asks for before it sends anything
            client.submit(small_job("bytes", scene=bench_scene(2048)))
        with pytest.raises(InvalidInput, match="at most 32 along a side"):
            client.submit(small_job("texels", scene=bench_scene(64)))
        assert client.hello().jobs_queued == 0


def test_a_refusal_of_what_is_too_large_is_the_answer_to_its_request() -> None:
    with running_server("--max-message-mib", "2") as (_, address), Client(address) as client:
        number = client.send(m.Submit(small_job("bytes", scene=bench_scene(640))))
        envelope = client.receive(60)
        assert envelope is not None
        assert envelope.request == number
        assert isinstance(envelope.message, m.Refused)
        assert "at most 2 MiB" in envelope.message.error.message
