"""Runs of one job file with other settings, remembered in a file, so that an experiment that is cut off goes on."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from helpers.jobs import Silent

from compute_server.jobs import run_job
from shared import messages as m
from shared.wire import load_message


@dataclass(frozen=True)
class Runs:
    """Job files and a folder in which what each run found is remembered."""

    memory: Path

    def figures(self, jobfile: Path, **changes: Any) -> dict[str, Any]:
        """The held-out figures of the job in `jobfile` with `changes` of its settings: ``models``, name to figures, and
        ``seconds``. Computed once."""
        key = json.dumps([jobfile.name, hashlib.sha256(jobfile.read_bytes()).hexdigest(), changes], sort_keys=True)
        known = self.memory / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"
        if known.exists():
            return dict(json.loads(known.read_text()))
        message = load_message(jobfile)
        assert isinstance(message, m.Submit)
        settings = msgspec.convert({**msgspec.to_builtins(message.job.settings), **changes}, m.Settings)
        began = time.perf_counter()
        result = run_job(msgspec.structs.replace(message.job, settings=settings), torch.device("cpu"), Silent())
        found = {
            "models": msgspec.to_builtins(result.models),
            "seconds": time.perf_counter() - began,
            "optimise_s": result.timing.optimise_s,
            "key": key,
        }
        self.memory.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(found, indent=1))
        return found
