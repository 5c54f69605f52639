"""The rows of the matrix as tests. Only with ASSISTIVE_MATRIX=1 in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from matrix import run


@pytest.fixture(scope="module")
def zip_file() -> Iterator[Path]:
    with run.packed() as path:
        yield path


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with run.local_server() as address:
        yield address


@pytest.mark.timeout(run.INSTALL_S + run.LIFE_S + run.EXIT_S)
@pytest.mark.parametrize("release", run.RELEASES, ids=lambda release: release.line)
def test_the_packed_add_on_does_its_work_and_leaves_no_trace(release: run.Release, zip_file: Path, server: str) -> None:
    row = run.run_row(release, zip_file, server)
    if row.not_run:
        pytest.skip(f"not run: {row.not_run}")
    assert not row.failures()
    assert row.steps == dict.fromkeys(run.STEPS, run.OK) | {"undo": run.WINDOW}
