"""What is written of a report is read again the same, and what is no report is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.reports import REPORT

from shared import report_files
from shared.errors import InvalidInput

PLOT = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize("name", report_files.REPORTS)
def test_what_was_written_is_read_again(tmp_path: Path, name: str) -> None:
    pictures = {"texture.png": b"texture", "after/00.png": b"view"}
    files = {**pictures, **report_files.of_report(REPORT, {"steps": PLOT}, pictures, name)}
    for file, data in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(data)
    run = report_files.read_run(tmp_path)
    assert run.report == REPORT
    assert run.pictures == {"texture": b"texture", "after/00": b"view"}
    assert run.plots == {"steps": PLOT}
    assert PLOT in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"), [(None, "has no report.json"), ("{", "cannot be read"), ("[1]", "is not a report")]
)
def test_what_is_no_report_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=said) as found:
        report_files.read_run(tmp_path)
    assert str(tmp_path) in str(found.value)
