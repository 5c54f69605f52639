# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a job to its end in this Blender: renders what it asks for, puts its result on the object, and checks it.

It blocks, so it is for commands; the panel has a Blender in the background do it (`companion`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import bpy
import numpy as np

from . import apply, check, straight_through
from ._shared import client, errors, messages, reporting, scene
from .check import Engine
from .progress import Display, Interrupts

TICK_S = 0.5
CLASSIFY_S = 300.0
DRAWN_S = 60.0

Made = TypeVar("Made")


@dataclass(frozen=True)
class Following:
    """A job that a server does, and what this Blender knows of it: its object, and the UV map its texture lives in.

    `alive` raises when the server is known to be gone. `samples` are those of the `engine`, for each pixel.
    """

    client: client.Client
    alive: Callable[[], None]
    display: Display
    interrupts: Interrupts
    job: messages.Job
    obj: bpy.types.Object
    uv_map: str
    samples: int
    max_gap: float
    check: bool
    engine: Engine = "cycles"


@dataclass(frozen=True)
class Findings:
    """What came after the job: the check in Blender, the contact sheet, and what kept one of them from being made."""

    check: reporting.Check | None
    sheet: bytes | None
    comparison: bytes | None
    trouble: errors.AssistiveError | None


def to_end(run: Following) -> messages.Result:
    """Wait for the result of a job that has been handed in; render what it asks for meanwhile.

    The first Ctrl-C asks the server to end it and give the best so far.
    """
    asked = False
    for event in run.client.events(run.job.id, tick_s=TICK_S):
        if run.interrupts.asked and not asked:
            run.client.cancel(run.job.id)
            asked = True
        if isinstance(event, messages.Ended):
            run.display.close()
            return client.outcome(event)
        if isinstance(event, messages.Draw):
            if not asked:
                _answer_draw(run, event)
        elif event is not None:
            run.display.event(event)
        else:
            run.alive()
    raise AssertionError("events() ends only with Ended")


def _answer_draw(run: Following, asked: messages.Draw) -> None:
    pictures = straight_through.draw(
        bpy.context,
        run.obj,
        asked,
        uv_map=run.uv_map,
        samples=run.samples,
        engine=run.engine,
        panoramas=run.job.scene.rig.panoramas,
        on_view=lambda count: run.display.count("rendering for job:", count, len(asked.views)),
    )
    drawn = messages.Drawn(job_id=asked.job_id, step=asked.step, pictures=pictures)
    run.client.request(drawn, messages.Accepted, timeout_s=DRAWN_S)


# --- after the job ----------------------------------------------------------------------------------------------------


class _CheckStopped(Exception):
    """Ctrl-C during the check: it is left out, the result is kept."""


def finish(run: Following, result: messages.Result) -> Findings:
    """Put the result on the object. Whatever goes wrong with the check of it, the result is kept."""
    wanted = run.check and not run.interrupts.asked and bool(result.check_views)
    began = time.perf_counter()
    found, sheet = None, None
    before, trouble = _attempt(lambda: _render_before(run, result)) if wanted else (None, None)
    _apply(run, result.texture, result)
    if before is not None:
        found, trouble = _attempt(lambda: _judge(run, before, _render(run, result, "after"), result, began))
    comparison = None
    if trouble is None:
        sheet, trouble = _attempt(lambda: _draw_sheet(run, result, found))
    if trouble is None and found is not None:
        comparison, trouble = _attempt(lambda: _draw_comparison(run, result, found))
    return Findings(found, sheet, comparison, trouble)


def _attempt(work: Callable[[], Made]) -> tuple[Made | None, errors.AssistiveError | None]:
    """What `work` makes, or why it could not; nothing of both after Ctrl-C."""
    try:
        return work(), None
    except _CheckStopped:
        return None, None
    except errors.AssistiveError as error:
        return None, error
    except RuntimeError as error:  # what Blender's operators raise
        return None, errors.AssistiveError(f"The check in Blender failed: {str(error).strip()}")


def _apply(run: Following, texture: scene.Texture, result: messages.Result | None) -> None:
    """Put `texture` on the object: the one that `result` brought, or the one it all began with."""
    png = result.texture_png.tobytes() if result is not None and result.texture_png is not None else None
    name = result.target.name if result is not None else "before"
    apply.apply_texture(bpy.context, run.obj, texture=texture, png=png, uv_map=run.uv_map, name=name)


def _render_before(run: Following, result: messages.Result) -> np.ndarray:
    """Pictures of the texture that the job began with, by the same way as those of its result."""
    _apply(run, run.job.scene.texture, None)
    try:
        return _render(run, result, "before")
    finally:
        apply.restore_original(run.obj, discard=True)


def _render(run: Following, result: messages.Result, what: str) -> np.ndarray:
    views = result.check_views

    def rendered(count: int) -> None:
        run.display.count(f"rendering {what}:", count, len(views))
        if run.interrupts.asked:
            raise _CheckStopped

    size = result.pictures_after.shape[1]
    try:
        return check.render_views(
            bpy.context,
            run.obj,
            views,
            size=size,
            samples=run.samples,
            engine=run.engine,
            panoramas=run.job.scene.rig.panoramas,
            neighbours=_neighbours(run.job.settings),
            on_view=rendered,
        )
    finally:
        run.display.close()


def _neighbours(settings: messages.Settings) -> check.Neighbours:
    """What the check shows of what stands around: as much as the job has been told of."""
    if settings.blender_every:
        return "seen"
    return "none" if settings.light == "open" else "unseen"


def _judge(
    run: Following, before: np.ndarray, after: np.ndarray, result: messages.Result, began: float
) -> reporting.Check:
    """What each classifier of the job says of the pictures."""

    def ask(pictures: np.ndarray, model: str) -> tuple[messages.Verdict, ...]:
        run.alive()
        request = messages.Classify(pictures=pictures, model=model, target=run.job.settings.target)
        return run.client.request(request, messages.Classified, timeout_s=CLASSIFY_S).verdicts

    verdicts = {model: (ask(before, model), ask(after, model)) for model in result.models}
    return reporting.Check(before, after, verdicts, time.perf_counter() - began, run.max_gap, run.engine)


def _draw_comparison(run: Following, result: messages.Result, found: reporting.Check) -> bytes:
    asked = messages.DrawComparison(
        server_before=result.pictures_before,
        blender_before=found.before,
        server_after=result.pictures_after,
        blender_after=found.after,
        model=run.job.settings.models[0],
        target=run.job.settings.target,
    )
    return run.client.request(asked, messages.Sheet, timeout_s=CLASSIFY_S).png.tobytes()


def _draw_sheet(run: Following, result: messages.Result, found: reporting.Check | None) -> bytes | None:
    before, after = (found.before, found.after) if found else (result.pictures_before, result.pictures_after)
    if len(after) == 0:
        return None
    request = messages.DrawSheet(
        before=before, after=after, model=run.job.settings.models[0], target=run.job.settings.target
    )
    return run.client.request(request, messages.Sheet, timeout_s=CLASSIFY_S).png.tobytes()
