"""What a server's owner reads: logs and figures."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_server import logs, metrics
from compute_server.figures import Figures
from shared import errors


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The root logger is put back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers, root.level = handlers, level


def test_a_json_log_has_one_object_a_line_with_the_job(tmp_path: Path) -> None:
    logs.set_up(as_json=True, file=tmp_path / "logs" / "server.log")
    logging.info("Job %s runs.", "ä-1", extra={"job": "ä-1"})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.exception("It failed.")
    lines = [json.loads(line) for line in (tmp_path / "logs" / "server.log").read_text("utf-8").splitlines()]
    assert lines[0].items() >= {"level": "info", "message": "Job ä-1 runs.", "job": "ä-1"}.items()
    assert "two\nlines" in lines[1]["error"]


def test_a_log_file_is_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    logs.set_up(as_json=False, file=tmp_path / "server.log")
    for number in range(300):
        logging.info("A line of some length, number %d.", number)
    files = list(tmp_path.iterdir())
    assert len(files) == logs.FILES
    assert all(file.stat().st_size <= 1000 for file in files)


def test_a_log_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OutputFailed, match="cannot be written"):
        logs.set_up(as_json=False, file=tmp_path / "file" / "server.log")


def test_prometheus_gets_the_servers_figures_on_loopback() -> None:
    figures = Figures(running=1, waiting=7, ended={"done": 3}, workers_lost=2, clients_behind=0, silent_s=1.5)
    port = metrics.serve(0, lambda: figures)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert "assistive_waiting 7.0" in text
    assert 'assistive_jobs_total{state="done"} 3.0' in text
    assert "assistive_workers_lost_total 2.0" in text
    with pytest.raises(errors.AddressInUse, match=str(port)):
        metrics.serve(port, lambda: figures)
