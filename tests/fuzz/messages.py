"""Multiparts from nearly right to nonsense: valid ones, changed; made-up headers; random bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from helpers.scenes import job
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from shared import messages as m
from shared.version import OLDEST_PROTOCOL, PROTOCOL, VERSION
from shared.wire import pack

Multipart = list[bytes]

#: Lengths that lie, in all of msgpack's ways to say one.
LIES = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xdc\xff\xff",
]
NUMBERS = [0, -1, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, float("nan"), float("inf"), -0.0, 1e308]


def seeds() -> list[Multipart]:
    """One valid multipart of each request. Their target is none, so that the worker has little to do."""
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    lite, target = "efficientnet_lite0", "no such thing"
    requests: Sequence[m.Request] = (
        m.Hello(VERSION),
        m.ListModels(),
        m.ListTargets(),
        m.Submit(msgspec.structs.replace(job("fuzz"), settings=m.Settings(target=target))),
        m.Watch("fuzz"),
        m.Cancel("fuzz"),
        m.Drawn("fuzz", 1, pictures),
        m.Classify(pictures, lite, target),
        m.Assist(pictures[0], m.ImageSettings(target=target)),
        m.DrawSheet(pictures, pictures, lite, target),
        m.DrawComparison(
            server_before=pictures,
            blender_before=pictures,
            server_after=pictures,
            blender_after=pictures,
            model=lite,
            target=target,
        ),
    )
    return [[bytes(frame) for frame in pack(request, number)] for number, request in enumerate(requests, 1)]


def mutated(rng: random.Random, start: Sequence[Multipart]) -> Multipart:
    """One of `start`, changed in one to four places."""
    frames = list(rng.choice(start))
    for _ in range(rng.randint(1, 4)):
        rng.choice(MUTATIONS)(rng, frames)
    return frames


def _flip(rng: random.Random, frames: Multipart) -> None:
    at = rng.randrange(len(frames))
    data = bytearray(frames[at])
    for _ in range(min(len(data), rng.randint(1, 8))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    frames[at] = bytes(data)


def _cut(rng: random.Random, frames: Multipart) -> None:
    at = rng.randrange(len(frames))
    frames[at] = frames[at][: rng.randrange(len(frames[at]) + 1)]


def _lie(rng: random.Random, frames: Multipart) -> None:
    at = rng.randrange(len(frames[0]) + 1)
    frames[0] = frames[0][:at] + rng.choice(LIES) + frames[0][at + rng.randrange(3) :]


def _drop(rng: random.Random, frames: Multipart) -> None:
    if len(frames) > 1:
        del frames[rng.randrange(len(frames))]


def _double(rng: random.Random, frames: Multipart) -> None:
    frames.insert(rng.randrange(len(frames) + 1), rng.choice(frames))


def _shuffle(rng: random.Random, frames: Multipart) -> None:
    rng.shuffle(frames)


def _number(rng: random.Random, frames: Multipart) -> None:
    """Another number, or something else altogether, somewhere inside the header."""
    try:
        header = msgspec.msgpack.decode(frames[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return
    places = list(_places(header))
    if places:
        holder, key = rng.choice(places)
        holder[key] = rng.choice([*NUMBERS, None, "", "../../etc/passwd", [], {}, [[]] * 50, "x" * 10_000])
        frames[0] = msgspec.msgpack.encode(header)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(children):
        yield value, key
        yield from _places(child)


MUTATIONS = [_flip, _cut, _lie, _drop, _double, _shuffle, _number, _number]


def noise(rng: random.Random) -> Multipart:
    """Random bytes in random frames."""
    return [rng.randbytes(rng.randrange(200)) for _ in range(rng.randint(1, 5))]


def made_up(count: int, start: int) -> list[Multipart]:
    """Headers that hypothesis makes up: msgpack, mostly of the outer form that is wanted, with anything inside."""
    scalars = st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
    scalars |= st.integers(-(2**63), 2**64 - 1)
    tree = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    )
    names = st.sampled_from([kind.__name__ for kind in m.Message.__args__])  # type: ignore[attr-defined]
    fields = st.sampled_from(["job", "job_id", "pictures", "model", "target", "settings", "version", "step", "before"])
    message = st.builds(lambda kind, rest: {**rest, "type": kind}, names, st.dictionaries(fields, tree, max_size=4))
    header = st.fixed_dictionaries(
        {
            "protocol": st.sampled_from([PROTOCOL, PROTOCOL, PROTOCOL + 1, OLDEST_PROTOCOL - 1]),
            "version": st.just("fuzz"),
            "request": st.integers(0, 2**32),
            "message": message | tree,
        }
    )
    found: list[Multipart] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(header | tree, st.lists(st.binary(max_size=50), max_size=3))
    def collect(head: Any, frames: list[bytes]) -> None:
        found.append([msgspec.msgpack.encode(head), *frames])

    collect()
    return found[:count]
