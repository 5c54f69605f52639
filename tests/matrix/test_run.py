"""What the matrix makes of a Blender's report, without any Blender."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from matrix import run

ALL_OK = dict.fromkeys(run.STEPS, run.OK)


def live(script: str, folder: Path) -> run.Row:
    """The row of a Blender that is but a script."""
    return run._live(run.RELEASES[0], [sys.executable, "-c", script], folder / "zip", "tcp://nobody", folder / "log")


def reports(*steps: str) -> str:
    """A script that says that these steps went well."""
    said = [{"blender": "9.9.1", "python": "3.99", "numpy": "7"}, *({"step": step, "found": run.OK} for step in steps)]
    return "".join(f"print({json.dumps(line)!r}, flush=True)\n" for line in said)


def test_a_blender_that_does_all_and_ends_has_no_failures(tmp_path: Path) -> None:
    row = live("print('Warning: no sound device')\n" + reports(*run.STEPS[:-1]), tmp_path)
    assert (row.blender, row.python, row.numpy) == ("9.9.1", "3.99", "7")
    assert row.steps == ALL_OK


def test_the_step_that_blender_crashes_in_is_named(tmp_path: Path) -> None:
    row = live(reports("install", "register") + "import os; os.kill(os.getpid(), 11)", tmp_path)
    assert row.failures() == ["Blender 9.9.1, job failed: Blender ended with exit code -11"]
    assert row.steps["apply"] == run.NOT_REACHED


def test_a_blender_that_ends_too_early_has_failed(tmp_path: Path) -> None:
    assert live(reports("install"), tmp_path).steps["register"] == "failed: Blender ended without a word"


def test_a_bad_exit_code_after_the_last_step_is_a_failure(tmp_path: Path) -> None:
    row = live(reports(*run.STEPS[:-1]) + "raise SystemExit(3)", tmp_path)
    assert row.failures() == ["Blender 9.9.1, exit failed: Blender ended with exit code 3"]


def test_a_blender_that_hangs_in_a_step_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIFE_S", 1.0)
    began = time.monotonic()
    row = live(reports("install", "register") + "import time; time.sleep(60)", tmp_path)
    assert time.monotonic() - began < 30
    assert row.failures() == ["Blender 9.9.1, job failed: Blender was not done within 1 s"]


def test_a_blender_that_hangs_at_exit_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "EXIT_S", 0.5)
    row = live(reports(*run.STEPS[:-1]) + "import os, time; os.close(1); time.sleep(60)", tmp_path)
    assert row.failures() == ["Blender 9.9.1, exit failed: Blender did not end within 0.5 s"]


def test_rows_of_blenders_with_a_window_stand_among_the_others() -> None:
    module = run.Row("10.0.1 LTS", "3.13", steps=ALL_OK | {"undo": run.WINDOW})
    window = run.Row("9.3.2", "3.13", "2.2", window=True, steps=ALL_OK | {"exit": "failed: it hung"})
    lines = run.table([module, window]).splitlines()
    rows = [line for line in lines if line.startswith(("| 9", "| 10"))]
    assert rows == [
        "| 9.3.2 | window | 3.13 | 2.2 | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✗ |",
        "| 10.0.1 LTS | module | 3.13 |  | ✓ | ✓ | ✓ | ✓ | window¹ | ✓ | ✓ | ✓ |",
    ]
    assert run.FOOTNOTE in lines
    assert "- Blender 9.3.2, exit failed: it hung" in lines


def test_a_blender_that_cannot_be_had_is_said_not_to_have_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    row = run.run_row(run.Release("9.9", "3.99"), tmp_path / "zip", "tcp://nobody", cache=tmp_path / "cache")
    assert row.not_run == "Python 3.99 is not on this machine"
    assert "| 9.9 | module | 3.99 |  | not run: Python 3.99 is not on this machine |" in run.table([row])
    assert not row.failures()


def test_a_half_made_environment_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "bpy-9.9" / "left"
    left.parent.mkdir()
    left.touch()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    python = "{}.{}".format(*sys.version_info)
    with pytest.raises(run.Unavailable, match=r"No matching distribution found for bpy==9\.9\.\*"):
        run.environment(run.Release("9.9", python), cache=tmp_path)
    assert not left.exists()
