"""The book of jobs: what is in it outlives every process, and nothing is in it twice or half."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.scenes import job as make_job

from compute_server import ledger as ledger_module
from compute_server.ledger import MIGRATIONS, RESERVE, Ledger, Room, lock_home
from shared import errors
from shared import messages as m
from shared.errors import ErrorData
from shared.wire import encode, load_stored, pack, save_frames, unpack

ROOM = Room(all=4, client=2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home")


def add(ledger: Ledger, name: str, client: str = "a") -> bool:
    job = make_job(name)
    return ledger.add(job, pack(m.Submit(job)), client, priority=1, work=7, room=ROOM)


def test_what_is_added_is_there_for_whoever_opens_the_book_next(ledger: Ledger) -> None:
    assert add(ledger, "one")
    ledger.close()
    again = Ledger(ledger.home)
    entry = again.get("one")
    assert (entry.state, entry.client, entry.priority, entry.work) == ("queued", "a", 1, 7)
    stored = load_stored(again.folder("one") / "job.msg")
    assert isinstance(stored, m.Submit)
    assert stored.job.id == "one"


def test_a_job_added_twice_is_one(ledger: Ledger) -> None:
    assert add(ledger, "one")
    assert not add(ledger, "one", "b")
    assert [entry.client for entry in ledger.entries()] == ["a"]


def test_a_job_ends_once(ledger: Ledger) -> None:
    add(ledger, "one")
    ledger.begin("one")
    assert ledger.end("one", "failed", ErrorData("job-failed", "No."))
    assert not ledger.end("one", "done")
    ended = unpack(ledger.ended("one")).message
    assert ended == m.Ended(job_id="one", error=ErrorData("job-failed", "No."))


def test_no_id_of_a_client_leads_out_of_the_home(ledger: Ledger) -> None:
    for name in ("../../escaped", "/etc/passwd", "a\0b", "ü" * 300):
        add(ledger, name, client=name)
        assert ledger.folder(name).parent == ledger.home / "jobs"


def test_more_jobs_than_there_is_room_for_are_refused(ledger: Ledger) -> None:
    add(ledger, "1", "a")
    add(ledger, "2", "a")
    with pytest.raises(errors.InvalidInput, match="2 of your jobs"):
        add(ledger, "3", "a")
    add(ledger, "3", "b")
    add(ledger, "4", "c")
    with pytest.raises(errors.InvalidInput, match="4 jobs are waiting"):
        add(ledger, "5", "d")
    ledger.end("1", "done")
    add(ledger, "5", "d")


def test_a_full_disk_is_said_before_anything_is_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(disk_usage=lambda _home: SimpleNamespace(free=RESERVE + 100), rmtree=shutil.rmtree)
    monkeypatch.setattr(ledger_module, "shutil", full)
    with pytest.raises(errors.OutputFailed, match="disk is full: 256 MiB are free"):
        add(ledger, "one")
    assert ledger.find("one") is None
    assert list((ledger.home / "jobs").iterdir()) == []


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    save_frames([b"old"], tmp_path / "file")
    with pytest.raises(TypeError):
        save_frames([b"new", "no bytes"], tmp_path / "file")  # type: ignore[list-item]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes().endswith(b"old")


def test_what_is_old_or_too_much_is_forgotten_and_what_has_not_ended_is_kept(ledger: Ledger) -> None:
    for name, client in (("1", "a"), ("2", "a"), ("3", "b")):
        add(ledger, name, client)
    ledger.end("1", "done")
    ledger.end("2", "done")
    size = ledger.get("2").bytes
    assert size > 1000
    assert ledger.prune(3600, 10 * size) == 0
    assert ledger.prune(3600, size) == 1
    assert [entry.id for entry in ledger.entries()] == ["2", "3"]
    time.sleep(0.01)
    assert ledger.prune(0.001, 10 * size) == 1
    assert [entry.id for entry in ledger.entries()] == ["3"]
    assert [path.name for path in (ledger.home / "jobs").iterdir()] == [ledger.folder("3").name]


def test_files_of_a_job_that_was_never_booked_are_swept(ledger: Ledger) -> None:
    add(ledger, "one")
    ledger.folder("half").mkdir()
    ledger.sweep()
    assert [path.name for path in (ledger.home / "jobs").iterdir()] == [ledger.folder("one").name]


def test_a_book_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    old.execute("INSERT INTO jobs (id, client, state, submitted, bytes) VALUES ('old', 'a', 'queued', 1.5, 9)")
    old.commit()
    old.close()
    entry = Ledger(tmp_path).get("old")
    assert (entry.state, entry.submitted, entry.priority, entry.cancel) == ("queued", 1.5, 0, False)


def test_a_book_of_a_newer_server_is_not_touched(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    newer = sqlite3.connect(tmp_path / "ledger.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(errors.OutputFailed, match="newer server"):
        Ledger(tmp_path)


def test_a_result_stored_under_an_earlier_protocol_is_told_in_ours(ledger: Ledger) -> None:
    add(ledger, "one")
    ended = m.Ended(job_id="one", error=ErrorData("x", "y"))
    older = encode({"protocol": 1, "version": "0.0.1", "request": 0, "message": ended})
    save_frames(older, ledger.folder("one") / "result.msg")
    ledger.end("one", "done")
    assert unpack(ledger.ended("one")).message == ended


def test_a_home_has_one_server(tmp_path: Path) -> None:
    with lock_home(tmp_path), pytest.raises(errors.AddressInUse, match="Another server"):
        lock_home(tmp_path)
    lock_home(tmp_path).close()
