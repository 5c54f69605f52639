# SPDX-License-Identifier: GPL-3.0-or-later
"""What several operators need: which object they are about, and errors as Blender's reports. Holds no operator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import bpy

from .._shared import errors
from ..collect.find import check_object

Execute = Callable[..., set[str]]


def chosen_object(context: Any) -> bpy.types.Object | None:
    """The object of the scene's settings, or else the active one if it is a mesh; not checked any further."""
    chosen, active = context.scene.assistive.object, context.view_layer.objects.active
    if chosen is not None and chosen.users_scene:  # one that was deleted lives on in the settings alone
        return chosen
    return active if active is not None and active.type == "MESH" else None


def usable_object(context: Any) -> bpy.types.Object:
    """The chosen object. Raises :class:`InvalidInput` when there is none that a job can be about."""
    obj = chosen_object(context)
    if obj is None:
        raise errors.InvalidInput("Choose a mesh object first.")
    check_object(context, obj)
    return obj


def why_not_usable(context: Any) -> str | None:
    """Why there is no usable object, as a sentence; None when there is one."""
    try:
        usable_object(context)
    except errors.InvalidInput as error:
        return str(error)
    return None


def allowed(cls: Any, reason: str | None) -> bool:
    """What an operator's `poll` gives: True without a `reason` against it, else False, and Blender shows the reason."""
    if reason is not None:
        cls.poll_message_set(reason)
    return reason is None


def reported(execute: Execute) -> Execute:
    """An operator's `execute` that reports errors a user may see, and is cancelled then."""

    @functools.wraps(execute)
    def run(self: Any, context: Any, **options: Any) -> set[str]:  # Blender counts the arguments
        try:
            return execute(self, context, **options)
        except errors.AssistiveError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}

    return run
