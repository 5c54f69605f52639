"""The soak in small: a handful of jobs, one worker and one server killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.run import Plan, soak


@pytest.mark.slow
def test_a_few_clients_under_fire_lose_nothing(tmp_path: Path) -> None:
    plan = Plan(clients=3, jobs=2, seconds=20, worker_kill_s=4, server_kill_s=9, seeds=1)
    findings = soak(plan, tmp_path)
    assert findings.broken == []
    assert findings.done["workers killed"] + findings.done["servers killed"] > 0
