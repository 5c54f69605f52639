# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the object, and the collections and objects around it, that a job is about. Reads nothing of their data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import bpy

from .._shared import errors

CAMERAS = "Assistive Cameras"
LIGHTS = "Assistive Lights"


def find_object(context: Any, name: str | None) -> bpy.types.Object:
    """The mesh object called `name`; without a name the active, the selected, or the only mesh of the scene.

    Raises :class:`InvalidInput` that lists what could be chosen instead.
    """
    context.view_layer.update()  # objects that a script has just linked are not in it yet
    if name is not None:
        return _named(context, name)
    meshes = _meshes(context)
    active = context.view_layer.objects.active
    if active is not None and active.type == "MESH" and active.select_get():
        return active
    selected = [obj for obj in meshes if obj.select_get()]
    for candidates in (selected, [active] if active in meshes else [], meshes):
        if len(candidates) == 1:
            return candidates[0]
    if not meshes:
        raise errors.InvalidInput("The scene has no mesh object.", hint="Add one, or convert the object to a mesh.")
    names = ", ".join(repr(obj.name) for obj in selected or meshes)
    raise errors.InvalidInput(f"The scene has several mesh objects: {names}.", hint="Choose one by its name.")


def _named(context: Any, name: str) -> bpy.types.Object:
    obj = context.scene.objects.get(name)
    if obj is None:
        names = nearest_first(name, [mesh.name for mesh in _meshes(context)])
        hint = f"Mesh objects: {', '.join(map(repr, names))}." if names else "The scene has no mesh object."
        raise errors.InvalidInput(f"The scene has no object {name!r}.", hint=hint)
    check_object(context, obj)
    return obj


def check_object(context: Any, obj: Any) -> None:
    """Raise :class:`InvalidInput` unless `obj` is a mesh that Blender evaluates in this view layer."""
    if obj.type == "EMPTY" and obj.instance_type == "COLLECTION" and obj.instance_collection is not None:
        raise errors.InvalidInput(
            f"Object {obj.name!r} is an instance of the collection {obj.instance_collection.name!r}.",
            hint="Choose the object in that collection, or make the instance real (Object > Apply).",
        )
    if obj.type != "MESH":
        raise errors.InvalidInput(
            f"Object {obj.name!r} is a {obj.type.lower()}, not a mesh.",
            hint="Choose a mesh object, or convert it (Object > Convert > Mesh).",
        )
    check_editable(obj)
    if obj.name not in context.view_layer.objects:
        raise errors.InvalidInput(
            f"Object {obj.name!r} is not in the view layer {context.view_layer.name!r}.",
            hint="Enable its collection in the Outliner.",
        )
    if obj.hide_viewport:  # Blender does not evaluate its modifiers then
        raise errors.InvalidInput(
            f"Object {obj.name!r} is disabled in viewports.", hint="Enable it (monitor icon in the Outliner)."
        )


def check_editable(obj: Any) -> None:
    """Raise :class:`InvalidInput` when `obj` is linked from another file and not overridden."""
    if obj.library is not None:
        raise errors.InvalidInput(
            f"Object {obj.name!r} is linked from {obj.library.filepath!r}, where nothing can be changed from here.",
            hint="Make it a library override or local (Object > Relations).",
        )


def check_can_show(obj: Any, *, vertex_colors: bool) -> None:
    """Raise :class:`InvalidInput` when a texture on `obj` would need something added to a mesh that is linked."""
    if vertex_colors:
        check_mesh_is_own(obj, "a colour attribute")
    elif not obj.material_slots:
        check_mesh_is_own(obj, "a material slot")


def check_mesh_is_own(obj: Any, addition: str) -> None:
    """Raise :class:`InvalidInput` when the mesh of `obj` is linked, as nothing can be added to it then."""
    if obj.data.library is not None:
        raise errors.InvalidInput(
            f"Object {obj.name!r} needs {addition}, and its mesh is linked from {obj.data.library.filepath!r}.",
            hint="Make the mesh local (Object > Relations > Make Local), or prepare it in that file.",
        )


def _meshes(context: Any) -> list[Any]:
    return [obj for obj in context.view_layer.objects if obj.type == "MESH"]


def nearest_first(word: str, names: Sequence[str]) -> list[str]:
    """All `names`, those spelt most like `word` first."""

    def unlikeness(name: str) -> float:
        return -difflib.SequenceMatcher(None, word.lower(), name.lower()).ratio()

    return sorted(names, key=unlikeness)


def find_collection(context: Any, name: str) -> Any | None:
    """The collection called `name` inside the scene, or None."""
    found: Iterable[Any] = context.scene.collection.children_recursive
    return next((collection for collection in found if collection.name == name), None)


def rendered_objects(context: Any) -> list[Any]:
    """The objects that a render of this view layer shows: neither they nor all their collections are hidden."""
    shown = {obj.name: obj for obj in _shown_below(context.view_layer.layer_collection)}
    return list(shown.values())


def _shown_below(layer: Any) -> Iterator[Any]:
    if layer.collection.hide_render:
        return
    if not layer.exclude:  # a child of an excluded collection may still be shown
        yield from (obj for obj in layer.collection.objects if not obj.hide_render)
    for child in layer.children:
        yield from _shown_below(child)
