"""A server that is sent nonsense answers each time with a typed error, stays quick and small, and lives on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.run import run


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads memory through /proc")
def test_a_server_that_is_sent_nonsense_answers_with_typed_errors_and_lives_on(tmp_path: Path) -> None:
    found = run(1500, tmp_path / "corpus")
    print(found.table())
    assert found.broken() == []
    assert sum(found.sent.values()) >= 1500
    assert found.answers["invalid-input"] > 500
