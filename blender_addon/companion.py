# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender in the background that follows a job for the panel: what it does there. `background` starts it.

It works on a copy of the artist's file as it was when the job was made, and leaves what it finds in a folder.
"""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import numpy as np

from . import follow, output
from ._shared import errors, messages, reporting, wire

REPORT, SHEET, WORST = "check.json", "check.png", "worst.npy"
AMPLIFIED = 4


def end_with_parent() -> None:
    """End this process, in the middle of whatever, when the one that holds our standard input is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="assistive parent", daemon=True).start()


def read_job(path: Path) -> messages.Job:
    """The job in a file of `output.save_job`. Raises :class:`InvalidInput`."""
    message = wire.load_message(path)
    if not isinstance(message, messages.Submit):
        raise errors.InvalidInput(f"{path} holds {type(message).__name__}, not a job.")
    return message.job


def follow_to_files(following: follow.Following, out: Path) -> None:
    """Follow a job that its server has to the end; write what the check finds to `out`.

    Nothing is written for a job that was cancelled, or whose result has no views to check.
    Raises what went wrong with the job or the check.
    """
    following.client.request(messages.Watch(following.job.id), messages.Accepted)
    result = follow.to_end(following)
    if not following.check or result.outcome == "cancelled":
        return
    findings = follow.finish(following, result)
    if findings.trouble is not None:
        raise findings.trouble
    if findings.check is None or findings.comparison is None:
        return
    report = reporting.check_report(result, findings.check)
    worst = io.BytesIO()
    np.save(worst, _quartet(result, findings.check, report["check"]["worst"]))
    files: dict[str, output.Content] = {
        SHEET: findings.comparison,
        WORST: worst.getvalue(),
        REPORT: json.dumps(report).encode(),
    }
    output.write(out, files)


def _quartet(result: messages.Result, check: reporting.Check, view: int) -> np.ndarray:
    """One view by the server and by Blender; below, their difference × 4 and Blender's before: [2H, 2W, 3] uint8."""
    server, blender = result.pictures_after[view], check.after[view]
    difference = (np.abs(server.astype(int) - blender) * AMPLIFIED).clip(0, 255).astype(np.uint8)
    return np.block([[[server], [blender]], [[difference], [check.before[view]]]])
