# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's own sets of classes: made of what the target stands for now, edited in the panel, taken away."""

from __future__ import annotations

from typing import Any

import bpy

from .. import request
from .._shared import errors, targets
from .common import allowed, reported

NEW = "my set"


class ASSISTIVE_OT_add_target_set(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Make a set of your own of the classes that the target stands for, to be edited below; saved with the file"""

    bl_idname = "assistive.add_target_set"
    bl_label = "Edit as Own Set"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With a target."""
        return allowed(cls, None if context.scene.assistive.target.strip() else "There is no target yet")

    @reported
    def execute(self, context: Any) -> set[str]:
        """Adds it, and makes it the target. A set keeps its name, and takes that set's place in this file."""
        chosen = context.scene.assistive
        classes = targets.members(request.target_of(chosen))
        if not all(classes):
            raise errors.UnknownTarget(f"A class is missing in {chosen.target!r}.", hint="Write LABEL|LABEL.")
        name, own = _name(chosen), chosen.own_sets
        item = own.get(name) or own.add()
        item.name, item.classes = name, "|".join(classes)
        chosen.target = name
        return {"FINISHED"}


def _name(chosen: Any) -> str:
    """What the new set is called: as the target, where that is a name of a set or has one."""
    given, equals, _ = chosen.target.partition("=")
    target = str(given).strip()
    if equals or target.lower() in targets.SETS or target in chosen.own_sets:
        return target
    number = sum(item.name.startswith(NEW) for item in chosen.own_sets)
    return f"{NEW} {number + 1}" if number else NEW


class ASSISTIVE_OT_remove_target_set(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Take this set of your own out of the file; one that comes with the add-on is as it was then"""

    bl_idname = "assistive.remove_target_set"
    bl_label = "Remove Set"
    bl_options = {"REGISTER", "UNDO"}

    name: bpy.props.StringProperty(name="Name", description="Of the set")  # type: ignore[valid-type]

    @reported
    def execute(self, context: Any) -> set[str]:
        """Removes it."""
        own = context.scene.assistive.own_sets
        if self.name not in own:
            raise errors.InvalidInput(f"There is no set {self.name!r} of your own.")
        own.remove(own.find(self.name))
        return {"FINISHED"}


CLASSES = (ASSISTIVE_OT_add_target_set, ASSISTIVE_OT_remove_target_set)


def register() -> None:
    """Adds the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
