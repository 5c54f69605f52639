"""Messages as multiparts: they arrive as they were, nothing is copied, and nothing hostile gets through."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers.scenes import camera, flat_picture, job, plane, scene, sun, vertex_texture
from hypothesis import given
from hypothesis import strategies as st

from shared import messages as m
from shared import wire
from shared.errors import ErrorData, InvalidInput, ProtocolMismatch
from shared.scene import (
    AreaLight,
    GlowLight,
    LightState,
    SpotLight,
    Surface,
    Surroundings,
    UvTexture,
    View,
    ViewTransform,
)
from shared.targets import Target
from shared.version import OLDEST_FILE, PROTOCOL, VERSION
from shared.wire import ArrayRef, fingerprint, join, load_message, pack, peek, save_message, split, unpack

RNG = np.random.default_rng(2)
RGB, ABOVE = (1.0, 2.0, 3.0), (0.0, 0.0, 1.0)


def _pictures(count: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def _result() -> m.Result:
    both = m.BeforeAfter(before=m.Stats(0.1, 0.0, 0.01, 0.01), after=m.Stats(0.9, 1.0, 0.8, 0.8))
    lights = LightState(
        name="mixed",
        lights=(
            *sun().lights,
            SpotLight(power=RGB, position=ABOVE, direction=(0.0, 0.0, -1.0), angle=1.0, blend=0.2),
            AreaLight(power=RGB, position=ABOVE, axis_x=(1.0, 0.0, 0.0), axis_y=(0.0, 1.0, 0.0), shape="ellipse"),
        ),
    )
    return m.Result(
        outcome="early",
        steps=12,
        target=Target("jeep", (609,)),
        texture=UvTexture(_pictures()[0]),
        texture_png=np.frombuffer(b"\x89PNG", np.uint8),
        mask_coverage=0.25,
        max_change_outside=0,
        models={"lite0": m.ModelFigures(trained=True, train=both, held_out=both, held_out_views=64)},
        check_views=(View(camera=camera((1, 2, 3)), lights=lights, background=flat_picture(9, 3)),),
        pictures_before=_pictures(),
        pictures_after=_pictures(),
        patch=m.Patch(
            png=np.frombuffer(b"\x89PNG", np.uint8),
            box=(1, 2, 3, 4),
            uv=(0.1, 0.2, 0.3, 0.4),
            width_mm=10.0,
            height_mm=20.0,
            area_mm2=200.0,
        ),
        sites=(
            m.PatchSite(
                center=RGB, normal=RGB, up=RGB, edge=1.0, gain=1.0, visibility=0.5, flatness=1.0, area=1.0, score=0.5
            ),
        ),
        exchanges=(m.Exchange(step=1, server=0.5, blender=0.25, mean_error=0.1, cosine=0.5),),
        timing=m.Timing(queue_s=0.0, optimise_s=1.0, evaluate_s=2.0, step_median_s=0.1, classifier_median_s=0.05),
        versions={"torch": "2"},
        device="cpu",
    )


def _vertex_job() -> m.Job:
    body = plane()
    return m.Job(id="v", scene=scene(body, vertex_texture(body)), settings=m.Settings(target="817", epsilon=0.1))


def _lit_job() -> m.Job:
    """A scene with all that a scene may have."""
    whole = scene()
    return m.Job(
        id="lit",
        scene=msgspec.structs.replace(
            whole,
            mesh=msgspec.structs.replace(
                whole.mesh,
                surfaces=(Surface(roughness=0.25, metallic=0.5, specular=0.04), Surface()),
                surface=np.array([0, 1], np.int32),
            ),
            rig=msgspec.structs.replace(
                whole.rig,
                lights=(LightState(name="glow", lights=(GlowLight(power=RGB, map=0),), panorama=0, world_map=0),),
                panoramas=RNG.uniform(0, 9, (1, 4, 8, 3)).astype(np.float32),
            ),
            surroundings=Surroundings(positions=whole.mesh.positions, triangles=whole.mesh.triangles),
            light_maps=RNG.uniform(0, 9, (1, 4, 4, 3)).astype(np.float32),
            view_transform=ViewTransform(
                name="AgX", toe=0.01, top=8.0, table=RNG.integers(0, 65536, (3, 3, 3, 3), dtype=np.uint16)
            ),
        ),
        settings=m.Settings(target="817", light="baked"),
    )


def _verdict(confidence: float) -> m.Verdict:
    return m.Verdict(confidence, confidence > 0.5, (m.Prediction(609, "jeep", confidence),))


MESSAGES: list[m.Message] = [
    m.Hello(VERSION),
    m.ListModels(),
    m.ListTargets(),
    m.Submit(job()),
    m.Submit(_vertex_job()),
    m.Submit(_lit_job()),
    m.Watch("a"),
    m.Cancel("a"),
    m.Drawn(job_id="a", step=4, pictures=_pictures()),
    m.Classify(pictures=_pictures(), model="lite0", target="jeep"),
    m.Assist(picture=_pictures()[0], settings=m.ImageSettings(target="jeep", weights=(1.0,))),
    m.DrawSheet(before=_pictures(), after=_pictures(), model="lite0", target="jeep"),
    m.DrawComparison(
        server_before=_pictures(),
        blender_before=_pictures(),
        server_after=_pictures(),
        blender_after=_pictures(),
        model="lite0",
        target="jeep",
    ),
    m.Welcome(version=VERSION, device="cpu", jobs_running=1, jobs_queued=2),
    m.Models((m.ModelInfo(name="a", size=224, available=True, license="MIT", source="here", weights="a.pt"),)),
    m.Targets(("tench", "goldfish")),
    m.Accepted(job_id="a", state="running", position=0),
    m.Classified((m.Verdict(0.5, True, (m.Prediction(609, "jeep", 0.5),)),)),
    m.Assisted(
        picture=_pictures()[0],
        target=Target("jeep", (609,)),
        models={"lite0": m.ImageFigures(trained=True, before=_verdict(0.1), after=_verdict(0.9))},
        improved=True,
        max_change=4,
        l2=1.5,
    ),
    m.Sheet(np.frombuffer(b"\x89PNG", np.uint8)),
    m.Refused(ErrorData("invalid-input", "No.", "Do.")),
    m.Progress(job_id="a", phase="optimising", step=1, steps=9, loss=2.5, confidence=(0.1, 0.2), eta_s=3.0),
    m.Preview(job_id="a", step=3, texture=UvTexture(_pictures()[0]), worst_view=_pictures()[1]),
    m.Draw(job_id="a", step=4, views=_result().check_views, texture=UvTexture(_pictures()[0]), size=224),
    m.Ended(job_id="a", result=_result()),
    m.Ended(job_id="a", error=ErrorData("job-failed", "Out of memory.")),
]


def _name(message: m.Message) -> str:
    return type(message).__name__


def _assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, msgspec.Struct):
        for field in expected.__struct_fields__:
            _assert_same(getattr(found, field), getattr(expected, field))
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            _assert_same(*pair)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        _assert_same(tuple(found.values()), tuple(expected.values()))
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def _arrays(value: Any) -> list[np.ndarray]:
    """All arrays in a message, in the order of its fields."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, field) for field in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    return [array for item in value for array in _arrays(item)] if isinstance(value, list | tuple) else []


# --- what is sent arrives -------------------------------------------------------------------------------------------


def test_every_message_type_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(typing.get_args(m.Message))


@pytest.mark.parametrize("message", MESSAGES, ids=_name)
def test_a_message_arrives_as_it_was_sent(message: m.Message) -> None:
    envelope = unpack([bytes(frame) for frame in pack(message, 17)])
    assert (envelope.protocol, envelope.version, envelope.request) == (PROTOCOL, VERSION, 17)
    _assert_same(envelope.message, message)


def test_events_belong_to_request_0() -> None:
    assert unpack(pack(m.Watch("a"))).request == 0


def test_arrays_of_all_layouts_arrive_with_their_values() -> None:
    pictures = _pictures(4)
    for view in (pictures[::2], pictures[:, ::-1], pictures.transpose(0, 2, 1, 3), np.asfortranarray(pictures)):
        received = unpack(pack(m.Classify(pictures=view, model="m", target="t"))).message
        assert isinstance(received, m.Classify)
        np.testing.assert_array_equal(received.pictures, view)


def test_empty_arrays_arrive() -> None:
    for shape in ((0, 4, 5, 3), (2, 0, 5, 3)):
        received = unpack(pack(m.Classify(pictures=np.zeros(shape, np.uint8), model="m", target="t"))).message
        assert isinstance(received, m.Classify)
        assert received.pictures.shape == shape


# --- nothing is copied ----------------------------------------------------------------------------------------------


def test_frames_are_the_arrays_own_memory() -> None:
    message = m.Submit(job())
    _, *frames = pack(message)
    arrays = _arrays(message)
    assert len(frames) == len(arrays) > 5
    for frame, array in zip(frames, arrays, strict=True):
        assert np.shares_memory(np.frombuffer(frame, np.uint8), array)


def test_received_arrays_are_views_of_the_frames_and_cannot_be_written() -> None:
    header, *sent = pack(m.Submit(job()))
    frames = [bytearray(frame) for frame in sent]  # memory that could be written
    arrays = _arrays(unpack([header, *(memoryview(frame) for frame in frames)]).message)
    for frame, array in zip(frames, arrays, strict=True):
        assert np.shares_memory(np.frombuffer(frame, np.uint8), array)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_the_header_stays_small_whatever_the_pictures() -> None:
    header, frame = pack(m.Classify(pictures=np.zeros((50, 64, 64, 3), np.uint8), model="m", target="t"))
    assert len(header) < 200
    assert len(frame) == 50 * 64 * 64 * 3


# --- what lies or is broken is refused ------------------------------------------------------------------------------


def _header(message: Any, **changed: Any) -> bytes:
    envelope = {"protocol": PROTOCOL, "version": VERSION, "request": 1, "message": message}
    return msgspec.msgpack.encode({**envelope, **changed})


def _sheet(frame: Any = 1, dtype: Any = "|u1", shape: Any = (4,), data: bytes = b"1234") -> list[bytes]:
    """A `Sheet` whose reference to its array may lie."""
    return [_header({"type": "Sheet", "png": [frame, dtype, shape]}), data]


def test_an_honest_reference_is_read() -> None:
    """The tests below change one thing of this."""
    received = unpack(_sheet()).message
    assert isinstance(received, m.Sheet)
    assert received.png.tolist() == list(b"1234")


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"shape": (5,)}, "came with 4 bytes"),
        ({"shape": (3,)}, "came with 4 bytes"),
        ({"data": b""}, "came with 0 bytes"),
        ({"shape": (2**62,)}, "came with 4 bytes"),
        ({"shape": (2**32, 2**32)}, "came with 4 bytes"),
        ({"shape": (2**63, 2)}, "came with 4 bytes"),
        ({"shape": (0, 2**63), "data": b""}, "cannot be read"),
        ({"shape": (0, 2**40, 2**40), "data": b""}, "cannot be read"),
        ({"shape": (1,) * 100, "data": b"1"}, "cannot be read"),
        ({"shape": (-4,)}, "impossible shape"),
        ({"shape": (-2, -2)}, "impossible shape"),
        ({"shape": (2, 2)}, r"png has shape \[2, 2\]"),
        ({"shape": ()}, "came with 4 bytes"),
        ({"shape": (4.0,)}, "cannot be read"),
        ({"shape": "4"}, "cannot be read"),
        ({"dtype": "|O"}, r"dtype \|O"),
        ({"dtype": "O", "shape": (1,), "data": b"12345678"}, "dtype O"),
        ({"dtype": "<U1", "shape": (1,)}, "dtype <U1"),
        ({"dtype": "|S4", "shape": (1,)}, r"dtype \|S4"),
        ({"dtype": ">f4", "shape": (1,)}, "dtype >f4"),
        ({"dtype": "<f4,<f4"}, "dtype <f4,<f4"),
        ({"dtype": "nonsense"}, "dtype nonsense"),
        ({"dtype": "<f4", "shape": (1,)}, "png has dtype float32, not uint8"),
        ({"dtype": 7}, "cannot be read"),
        ({"frame": 0}, "frame 0 of 2"),
        ({"frame": 2}, "frame 2 of 2"),
        ({"frame": -1}, "frame -1 of 2"),
        ({"frame": "1"}, "cannot be read"),
    ],
    ids=str,
)
def test_an_array_that_is_not_what_its_reference_says_is_refused(lie: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        unpack(_sheet(**lie))


@pytest.mark.parametrize("value", [None, 3, "text", b"1234", {"frame": 1}, [1, "|u1"], [[1]]])
def test_something_else_in_the_place_of_an_array_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        unpack([_header({"type": "Sheet", "png": value}), b"1234"])


def test_a_message_that_lost_frames_is_refused() -> None:
    frames = pack(m.Submit(job()))
    for kept in range(len(frames)):
        with pytest.raises(InvalidInput):
            unpack(frames[:kept])


def test_a_header_cut_anywhere_is_refused() -> None:
    header, *frames = pack(m.Submit(job()))
    for kept in range(len(header)):
        with pytest.raises(InvalidInput):
            unpack([header[:kept], *frames])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 40,
        b"\x93" * 100_000,
        b"\x82\xa8protocol\x01\xa1x" + b"\x91" * 100_000,
        b"\x82\xa8protocol\x01\xa7version\xa2\xff\xfe",
        b"\xdf\xff\xff\xff\xff",
        msgspec.msgpack.encode({"version": "1"}),
        msgspec.msgpack.encode({"protocol": "one"}),
        _header({"type": "Format", "disk": "C"}),
        _header({"type": "Watch"}),
        _header({"type": "Watch", "job_id": 3}),
        _header({"type": "Watch", "job_id": "@@"}).replace(b"@@", b"\xff\xfe"),
        _header({"job_id": "a"}),
        _header(None),
        _header({"type": "ListModels"}, request="first"),
    ],
    ids=lambda header: repr(header[:24]),
)
def test_a_garbage_header_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        unpack([header])


def test_random_bytes_never_raise_anything_but_a_refusal() -> None:
    rng = np.random.default_rng(4)
    header, *frames = pack(m.Submit(job()))
    refused = 0
    for _ in range(500):
        broken = bytearray(header)
        for at in rng.integers(0, len(broken), 3):
            broken[at] = rng.integers(0, 256)
        try:
            unpack([bytes(broken), *frames])
        except (InvalidInput, ProtocolMismatch):
            refused += 1
    assert refused > 250


def test_arrays_are_checked_against_their_fields_on_arrival() -> None:
    bad = job()
    triangles = bad.scene.mesh.triangles + np.int32(100)
    body = msgspec.structs.replace(bad.scene.mesh, triangles=triangles)
    bad = msgspec.structs.replace(bad, scene=msgspec.structs.replace(bad.scene, mesh=body))
    with pytest.raises(InvalidInput, match=r"^job\.scene\.mesh\.triangles holds 103"):
        unpack(pack(m.Submit(bad)))


def test_what_may_not_cross_the_wire_is_not_packed() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        pack(m.Watch(object()))  # type: ignore[arg-type]


# --- protocol versions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "update"), [(PROTOCOL - 1, "Update the other side."), (PROTOCOL + 1, "Update this side.")]
)
def test_another_protocol_is_refused_with_the_side_to_update(protocol: int, update: str) -> None:
    frames = [_header({"type": "NotKnownHere"}, protocol=protocol, version="9.8.7")]
    with pytest.raises(ProtocolMismatch) as caught:
        unpack(frames)
    assert caught.value.hint == update
    assert f"protocol {protocol}" in caught.value.message
    assert "9.8.7" in caught.value.message
    assert VERSION in caught.value.message


def test_the_request_number_of_another_protocol_can_be_read_to_answer_it() -> None:
    seen = peek(msgspec.msgpack.encode({"protocol": 99, "version": "9", "request": 5, "new": [1, 2]}))
    assert (seen.protocol, seen.version, seen.request) == (99, "9", 5)
    assert peek(msgspec.msgpack.encode({"protocol": 99})).request == 0


def test_array_references_are_as_short_as_they_can_be() -> None:
    encoded = msgspec.msgpack.encode(ArrayRef(frame=1, dtype="<f4", shape=(2, 3)))
    assert msgspec.msgpack.decode(encoded) == [1, "<f4", [2, 3]]


# --- pieces ---------------------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 50), max_size=6))
def test_frames_cross_a_socket_in_pieces_and_are_put_together_as_they_were(sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    frames: list[wire.Frame] = [b"a header of any size stays whole", *(rng.bytes(size) for size in sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PIECE", 16)
        parts = split(frames)
        assert bytes(parts[0]) == frames[0]
        assert all(len(part) <= 16 for part in parts[1:])
        assert [bytes(frame) for frame in join(parts)] == frames
    assert not parts, "the pieces are still held"


def test_frames_that_cross_whole_are_the_same_memory_on_either_side() -> None:
    frames = pack(m.Submit(job()))
    for frame, part in zip(frames, split(frames), strict=True):
        assert np.shares_memory(np.frombuffer(frame, np.uint8), np.frombuffer(part, np.uint8))
    assert all(joined is frame for frame, joined in zip(frames, join(list(frames)), strict=True))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", MESSAGES, ids=_name)
def test_a_saved_message_is_loaded_as_it_was(message: m.Message, tmp_path: Path) -> None:
    save_message(message, tmp_path / "message.job")
    _assert_same(load_message(tmp_path / "message.job"), message)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not a job file"),
        (b"PK\x03\x04 some zip", "is not a job file"),
        (msgspec.msgpack.encode({"a": 1}), "is not a job file"),
        (msgspec.msgpack.encode([]), "no frames"),
        (msgspec.msgpack.encode([b"garbage"]), "cannot be read"),
        (msgspec.msgpack.encode([bytes(frame) for frame in pack(m.Submit(job()))][:-1]), "refers to frame"),
        (msgspec.msgpack.encode([_header(None, protocol=0, version="0.0.1")]), "other side 0.0.1"),
    ],
)
def test_a_file_that_is_no_message_is_refused_by_its_name(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.job"
    path.write_bytes(content)
    with pytest.raises((InvalidInput, ProtocolMismatch), match=rf"thing\.job.*{told}"):
        load_message(path)


def test_a_file_of_the_oldest_protocol_that_files_may_have_is_loaded(tmp_path: Path) -> None:
    header = _header(msgspec.to_builtins(m.Watch("a")), protocol=OLDEST_FILE, version="0.0.9")
    (tmp_path / "old.job").write_bytes(msgspec.msgpack.encode([header]))
    assert load_message(tmp_path / "old.job") == m.Watch("a")


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.job cannot be read: No such file"):
        load_message(tmp_path / "missing.job")


def test_a_fingerprint_is_that_of_the_scene_alone_and_survives_the_wire() -> None:
    made = job()
    first = fingerprint(made.scene)
    arrived = unpack([bytes(frame) for frame in pack(m.Submit(made), request=7)]).message
    assert isinstance(arrived, m.Submit)
    assert fingerprint(arrived.job.scene) == first
    assert len(first) == 64
    moved = msgspec.structs.replace(made.scene.mesh, positions=made.scene.mesh.positions + np.float32(1e-3))
    assert fingerprint(msgspec.structs.replace(made.scene, mesh=moved)) != first
