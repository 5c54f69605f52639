# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens what a command names as its scene: a .blend, a mesh file, or one of the sample objects. Saves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bpy

from . import samples
from ._shared import errors

SAMPLE = "sample:"


def open_scene(source: str) -> None:
    """Replace the current Blender file by `source`: a path, or ``sample:NAME``.

    Mesh files and samples are put into an empty scene. Scripts in .blend files do not run. Raises
    :class:`InvalidInput` that names the file when it is missing, unknown, broken, or holds no mesh.
    """
    if source.startswith(SAMPLE):
        _open_sample(source.removeprefix(SAMPLE))
        return
    path = Path(source).expanduser()
    _check_path(path)
    try:
        OPENERS[path.suffix.lower()](str(path.resolve()))
    except RuntimeError as error:  # what every operator raises for what it reports
        raise errors.InvalidInput(f"{path} cannot be read: {_reason(error)}", hint="Export it again.") from error
    if not any(_is_surface(obj) for obj in bpy.context.scene.objects):
        raise errors.InvalidInput(f"{path} holds no mesh.", hint="Export the object as a mesh.")


def _is_surface(obj: Any) -> bool:
    """Whether `obj` is a mesh with faces, or with modifiers that may make them."""
    return obj.type == "MESH" and (len(obj.data.polygons) > 0 or len(obj.modifiers) > 0)


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in OPENERS:
        raise errors.InvalidInput(
            f"{path} has an unknown suffix {path.suffix!r}.", hint=f"Known: {', '.join(OPENERS)}, and {SAMPLE}NAME."
        )
    if not path.exists():
        raise errors.InvalidInput(f"{path} does not exist.", hint="Check the path.")
    if not path.is_file():
        raise errors.InvalidInput(f"{path} is not a file.", hint="Give the file itself.")


def _reason(error: RuntimeError) -> str:
    """The last line of an operator's report (an importer's traceback ends with what went wrong)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Location:")]
    reason = lines[-1].removeprefix("Error: ") if lines else "no reason given"
    return reason if reason.endswith(".") else f"{reason}."


def _open_sample(name: str) -> None:
    _empty_scene()
    samples.create(name)


def _empty_scene() -> None:
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)


def _open_blend(path: str) -> None:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)


def _importer(operator: Callable[..., Any]) -> Callable[[str], None]:
    def run(path: str) -> None:
        _empty_scene()
        operator(filepath=path)
        _select_nothing()

    return run


def _select_nothing() -> None:
    """Importers select what they bring; which of several parts is meant is for the user to say."""
    objects = bpy.context.view_layer.objects
    for obj in objects:
        obj.select_set(False)
    objects.active = None


def _import_fbx(*, filepath: str) -> None:
    """By Blender's own importer where there is one (4.5+), else by its add-on."""
    native = "fbx_import" in dir(bpy.ops.wm)
    (bpy.ops.wm.fbx_import if native else bpy.ops.import_scene.fbx)(filepath=filepath)


def _import_gltf(*, filepath: str) -> None:
    bpy.ops.import_scene.gltf(filepath=filepath)  # looked up late: it belongs to an add-on


OPENERS: Mapping[str, Callable[[str], None]] = {
    ".blend": _open_blend,
    ".obj": _importer(bpy.ops.wm.obj_import),
    ".ply": _importer(bpy.ops.wm.ply_import),
    ".stl": _importer(bpy.ops.wm.stl_import),
    ".glb": _importer(_import_gltf),
    ".gltf": _importer(_import_gltf),
    ".fbx": _importer(_import_fbx),
}
