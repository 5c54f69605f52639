# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, cancels and takes up jobs, and says which classifiers they use.

From the panel a job is only handed in, and Blender stays free; from a script the same operator waits for its end.
"""

from __future__ import annotations

import time
from typing import Any

import bpy

from .. import background, collect, preferences, request, runtime, session
from .._shared import errors, presets
from .common import allowed, reported, usable_object, why_not_usable

SCRIPT_TICK_S = 0.05
SCRIPT_SILENCE_S = 60.0
NOTABLE_SHARE = 0.05


def why_not_startable(context: Any) -> str | None:
    """Why no job can be started, as a sentence; None when one can."""
    if runtime.state().run is not None:
        return "A job is running; cancel it first."
    if not context.scene.assistive.target.strip():
        return "Say what the object is to be recognised as: the target."
    return why_not_usable(context)


class ASSISTIVE_OT_start(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Optimise the texture of the object. Where no server runs yet, one is started on this machine"""

    bl_idname = "assistive.start"
    bl_label = "Start"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With an object, a target, and no other job."""
        return allowed(cls, why_not_startable(context))

    def execute(self, context: Any) -> set[str]:
        """Hands the job in and waits until it has ended: for scripts."""
        return _start(self, context, wait=True)

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Hands the job in: for the panel."""
        return _start(self, context, wait=False)


class ASSISTIVE_OT_check(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Measure the object as it is, and compare the server's pictures of it with Blender's. Nothing is changed"""

    bl_idname = "assistive.check"
    bl_label = "Check"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """As for a job."""
        return allowed(cls, why_not_startable(context))

    def execute(self, context: Any) -> set[str]:
        """Hands in a job of no steps and waits for the check of it: for scripts."""
        return _start(self, context, wait=True, check_only=True)

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Hands in a job of no steps: for the panel."""
        return _start(self, context, wait=False, check_only=True)


@reported
def _start(operator: Any, context: Any, *, wait: bool, check_only: bool = False) -> set[str]:
    warning = hand_in(context, check_only=check_only)
    if warning is not None:
        operator.report({"WARNING"}, warning)
    current = runtime.current()
    silent_since: float | None = None
    while wait and current.has_work():
        current.tick()
        time.sleep(SCRIPT_TICK_S)
        silent_since = (silent_since or time.monotonic()) if current.state.server.status == "silent" else None
        if silent_since is not None and time.monotonic() - silent_since > SCRIPT_SILENCE_S:
            raise errors.ServerUnreachable(f"{current.state.server.address} does not answer any more.")
    if wait and current.message is not None and current.message.level == "ERROR":
        raise errors.JobFailed(current.message.text)
    return {"FINISHED"}


def hand_in(context: Any, *, check_only: bool = False) -> str | None:
    """Start the job that the panel describes, and wait for nothing. Gives what the artist should know before it ends.

    With `check_only` it takes no steps, and is checked whatever the panel says. Raises :class:`AssistiveError` for what
    is wrong with the scene or the settings; nothing has been changed then.
    """
    address = runtime.checked_address(preferences.preferences(context).address)
    obj = usable_object(context)
    maps = len(obj.data.uv_layers)
    asked = _make_request(context, obj, check_only=check_only)
    if len(obj.data.uv_layers) != maps:
        runtime.push_undo("Add UV Map")
    runtime.current().start(asked.ticket, asked.job, obj, address, _background(context, asked, check=check_only))
    said = (*presets.cautions(asked.job.settings), _shared_texture(asked))
    return " ".join(sentence for sentence in said if sentence) or None


def _background(context: Any, asked: request.Request, *, check: bool) -> background.Background | None:
    """A copy of the file for the Blender that renders meanwhile and after, where one is asked for."""
    chosen = context.scene.assistive
    check = check or chosen.check_after
    if not (check or chosen.blender_every) or not background.available():
        return None
    return background.Background(
        asked.job,
        uv_map=asked.ticket.uv_map,
        samples=chosen.check_samples,
        engine=chosen.check_engine,
        check=check,
    )


def _make_request(context: Any, obj: bpy.types.Object, *, check_only: bool) -> request.Request:
    """The job, made under a progress cursor."""
    server, manager = runtime.state().server, context.window_manager
    manager.progress_begin(0, 100)
    try:
        return request.make(
            context,
            obj,
            labels=server.labels,
            models=server.models,
            preview_every_s=1.0 / preferences.preferences(context).preview_rate,
            file=runtime.current().file,
            steps=0 if check_only else None,
            on_progress=lambda share: manager.progress_update(round(share * 100)),
        )
    finally:
        manager.progress_end()


def _shared_texture(asked: request.Request) -> str | None:
    if not asked.ticket.uv_map:
        return None
    share = collect.shared_texels(asked.job.scene.mesh.uv)
    if share < NOTABLE_SHARE:
        return None
    return (
        f"{share:.0%} of the texture shows on more than one face of {asked.ticket.object!r}, as its UV map overlaps. "
        "New UV Map (under Optimise) gives each face texels of its own."
    )


class ASSISTIVE_OT_cancel(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """End the job. The best texture so far stays in the list of results"""

    bl_idname = "assistive.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is a job."""
        run = runtime.state().run
        if run is None:
            return allowed(cls, "No job is running.")
        return allowed(cls, "It is ending already." if run.status == "cancelling" else None)

    def execute(self, _context: Any) -> set[str]:
        """Asks for the end."""
        runtime.current().dispatch(session.CancelAsked())
        return {"FINISHED"}


def _offer(job_id: str) -> session.Ticket | None:
    return next((ticket for ticket in runtime.state().offers if ticket.job_id == job_id), None)


class ASSISTIVE_OT_stop_check(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """End the Blender in the background. The result stays, without a check"""

    bl_idname = "assistive.stop_check"
    bl_label = "Stop"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is one."""
        return allowed(cls, None if runtime.current().checking() is not None else "No check is running.")

    def execute(self, _context: Any) -> set[str]:
        """Ends it."""
        runtime.current().stop_checks()
        return {"FINISHED"}


class ASSISTIVE_OT_fetch(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Fetch the result of a job that was running when this file was closed"""

    bl_idname = "assistive.fetch"
    bl_label = "Fetch Result"

    job_id: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """While there is no job."""
        return allowed(cls, "A job is running; cancel it first." if runtime.state().run is not None else None)

    @reported
    def execute(self, _context: Any) -> set[str]:
        """Connects to the server that has the job, and watches it."""
        ticket = _offer(self.job_id)
        if ticket is not None:
            runtime.checked_address(ticket.address)
            runtime.current().dispatch(session.FetchAsked(ticket))
        return {"FINISHED"}


class ASSISTIVE_OT_dismiss(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Do not offer this job again; the server still has it"""

    bl_idname = "assistive.dismiss"
    bl_label = "Dismiss"

    job_id: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]

    def execute(self, _context: Any) -> set[str]:
        """Forgets it."""
        ticket = _offer(self.job_id)
        if ticket is not None:
            runtime.current().dispatch(session.DismissAsked(ticket))
        return {"FINISHED"}


def _model_items(_self: Any, context: Any) -> list[tuple[str, str, str]]:
    """The server's classifiers that are not listed yet. Blender wants the strings to be kept alive."""
    listed = {item.name for item in context.scene.assistive.classifiers} if context is not None else set()
    _items[:] = [
        (info.name, info.name, info.weights if info.available else f"Weights are missing: {info.weights}")
        for info in runtime.state().server.models
        if info.name not in listed
    ] or [("efficientnet_lite0", "efficientnet_lite0", ""), ("efficientnet_lite1", "efficientnet_lite1", "")]
    return _items


_items: list[tuple[str, str, str]] = []


class ASSISTIVE_OT_add_classifier(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Add a classifier: to train on, or to only measure with. All that the server knows are listed once it is there"""

    bl_idname = "assistive.add_classifier"
    bl_label = "Add Classifier"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "name"

    name: bpy.props.EnumProperty(name="Classifier", items=_model_items)  # type: ignore[valid-type]

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Lets the artist search for one."""
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[str]:
        """Adds it. What has been the default until now is listed first, so that adding takes nothing away."""
        chosen, asked = context.scene.assistive, self.name  # a place in a list that is about to change
        if not chosen.classifiers:
            for name, role in ((request.DEFAULT_TRAINED[0], "TRAIN"), (request.DEFAULT_HELD_OUT[0], "HELD_OUT")):
                _add_classifier(chosen, name, role)
        if asked not in [item.name for item in chosen.classifiers]:
            _add_classifier(chosen, asked, "TRAIN")
        return {"FINISHED"}


def _add_classifier(chosen: Any, name: str, role: str) -> None:
    item = chosen.classifiers.add()
    item.name, item.role = name, role
    chosen.classifier_index = len(chosen.classifiers) - 1


class ASSISTIVE_OT_remove_classifier(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Take the chosen classifier off the list. An empty list means the embedded ones"""

    bl_idname = "assistive.remove_classifier"
    bl_label = "Remove Classifier"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With one chosen."""
        chosen = context.scene.assistive
        there = 0 <= chosen.classifier_index < len(chosen.classifiers)
        return allowed(cls, None if there else "No classifier is listed.")

    def execute(self, context: Any) -> set[str]:
        """Removes it."""
        chosen = context.scene.assistive
        chosen.classifiers.remove(chosen.classifier_index)
        chosen.classifier_index = max(0, min(chosen.classifier_index, len(chosen.classifiers) - 1))
        return {"FINISHED"}


CLASSES = (
    ASSISTIVE_OT_start,
    ASSISTIVE_OT_check,
    ASSISTIVE_OT_cancel,
    ASSISTIVE_OT_stop_check,
    ASSISTIVE_OT_fetch,
    ASSISTIVE_OT_dismiss,
    ASSISTIVE_OT_add_classifier,
    ASSISTIVE_OT_remove_classifier,
)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
