"""Notes of jobs outlive Blender, and a bad one harms no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from blender_addon import notes
from blender_addon._shared import messages
from blender_addon.session import Ticket

TICKET = Ticket(
    job_id="one",
    address="tcp://127.0.0.1:5765",
    file="/a.blend",
    scene="Scene",
    object="Würfel",
    uv_map="UVMap",
    settings=messages.Settings(target="cars", epsilon=0.1),
    collect_s=0.5,
    own_rig=True,
    submitted="2026-01-02T00:00:00+00:00",
)
EARLIER = msgspec.structs.replace(TICKET, job_id="two", submitted="2026-01-01T00:00:00+00:00")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(notes, "folder", lambda: tmp_path / "jobs")
    return tmp_path / "jobs"


def test_without_notes_there_are_none() -> None:
    assert notes.read() == ()
    notes.drop("never written")


def test_notes_come_back_whole_the_oldest_first() -> None:
    notes.write(TICKET)
    notes.write(EARLIER)
    assert notes.read() == (EARLIER, TICKET)
    notes.drop("two")
    assert notes.read() == (TICKET,)


def test_a_note_is_replaced_by_a_later_one_of_the_same_job() -> None:
    notes.write(TICKET)
    moved = msgspec.structs.replace(TICKET, file="/b.blend")
    notes.write(moved)
    assert notes.read() == (moved,)


@pytest.mark.parametrize("text", ["", "{", '{"job_id": 1}'])
def test_a_note_that_cannot_be_read_is_left_alone(folder: Path, text: str) -> None:
    notes.write(TICKET)
    (folder / "strange.json").write_text(text)
    assert notes.read() == (TICKET,)
    assert (folder / "strange.json").exists()
