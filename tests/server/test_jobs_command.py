"""`assistive-server jobs`: the owner sees, ends, keeps and forgets jobs, with or without a server that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.scenes import job as make_job

from compute_server.cli import main
from compute_server.ledger import Ledger, Room
from shared import messages as m
from shared.errors import ErrorData
from shared.wire import load_message, pack


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A ledger with a job that waits and one that failed."""
    ledger = Ledger(tmp_path / "home")
    for name in ("waits", "failed"):
        job = make_job(name)
        ledger.add(job, pack(m.Submit(job)), "a", priority=0, work=1, room=Room())
    ledger.begin("failed")
    ledger.end("failed", "failed", ErrorData("job-failed", "No light."))
    ledger.close()
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> int:
    return main(["jobs", *arguments, "--home", str(home)])


def test_the_list_has_every_job_with_its_state(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "list") == 0
    said = capsys.readouterr().out
    assert "waits" in said
    assert "queued" in said
    assert "No light." in said


def test_a_job_is_shown_with_its_settings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "show", "failed") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["error"]["message"]) == ("failed", "No light.")
    assert told["settings"]["target"] == make_job("x").settings.target


def test_cancelling_is_written_down_for_the_server(home: Path) -> None:
    assert run(home, "cancel", "waits") == 0
    assert Ledger(home).to_cancel() == ["waits"]


@pytest.mark.parametrize(("job_id", "told"), [("failed", "has ended already: failed"), ("nobody", "knows no job")])
def test_what_cannot_be_cancelled_is_said(
    home: Path, job_id: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "cancel", job_id) != 0
    assert told in capsys.readouterr().err


def test_an_exported_job_can_be_run_again(home: Path, tmp_path: Path) -> None:
    assert run(home, "export", "failed", "--out", str(tmp_path / "out")) == 0
    submitted = load_message(tmp_path / "out" / "submitted.job")
    assert isinstance(submitted, m.Submit)
    assert submitted.job.id == "failed"
    assert json.loads((tmp_path / "out" / "entry.json").read_text())["state"] == "failed"


def test_pruning_forgets_what_has_ended(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "prune", "--keep-days", "0") == 0
    assert "1 job removed" in capsys.readouterr().out
    assert [entry.id for entry in Ledger(home).entries()] == ["waits"]


def test_health_says_that_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "tcp://127.0.0.1:9"]) == 3
    assert "No answer" in capsys.readouterr().err
