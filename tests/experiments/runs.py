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

from compute_server.evidence.masks import belted
from compute_server.jobs import run_job
from shared import messages as m
from shared.wire import load_message


@dataclass(frozen=True)
class Runs:
    """Job files and a folder in which what each run found is remembered."""

    memory: Path

    def figures(self, jobfile: Path, *, belt: float = 1.0, **changes: Any) -> dict[str, Any]:
        """The held-out figures of the job in `jobfile` with `changes` of its settings, and with a mask that leaves a
        `belt` of this share of the surface free: ``models``, name to figures, and ``seconds``. Computed once."""
        marks: list[Any] = [jobfile.name, hashlib.sha256(jobfile.read_bytes()).hexdigest(), changes]
        key = json.dumps(marks if belt == 1.0 else [*marks, belt], sort_keys=True)
        known = self.memory / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"
        if known.exists():
            return dict(json.loads(known.read_text()))
        message = load_message(jobfile)
        assert isinstance(message, m.Submit)
        settings = msgspec.convert({**msgspec.to_builtins(message.job.settings), **changes}, m.Settings)
        began = time.perf_counter()
        scene = message.job.scene if belt == 1.0 else belted(message.job.scene, belt)
        job = m.Job(id=message.job.id, scene=scene, settings=settings)
        result = run_job(job, torch.device("cpu"), Silent())
        found = {
            "models": msgspec.to_builtins(result.models),
            "seconds": time.perf_counter() - began,
            "optimise_s": result.timing.optimise_s,
            "coverage": result.mask_coverage,
            "site": msgspec.to_builtins(result.sites[0]) if result.sites else None,
            "key": key,
        }
        self.memory.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(found, indent=1))
        return found
