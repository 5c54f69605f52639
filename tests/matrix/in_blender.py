"""The life of the extension in one Blender, from installing the zip to leaving; `run.py` runs it in Blender's Python.

Knows nothing of the checkout: it has bpy, numpy, the zip, and the address of a server. Says step by step, in lines of
JSON on standard output, what became of each. Not for Blenders with a window.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import platform
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import bpy
import numpy as np

EXTENSION = "bl_ext.user_default.assistive_signals"
WHEELS = ("zmq", "msgspec")
CHECKOUT = ("blender_addon", "compute_server", "shared", "assistive_signals")
OBJECT = "Coffee Mug"
JOB = ("--target", "coffee mug", "--preset", "draft", "--steps", "3", "--views", "2", "--texture-size", "64")
CHECK = ("--check-samples", "1")
OK, WINDOW, FAILED = "ok", "window", "failed"


@dataclass
class Life:
    """What the steps share. `before` is what Blender had registered before the extension was there."""

    zip: Path
    server: str
    folder: Path
    user: Path
    before: frozenset[str] = frozenset()

    @property
    def out(self) -> Path:
        """Where the job's results go."""
        return self.folder / "out"


class Broken(Exception):
    """A promise that this Blender does not keep."""


def expect(truth: object, sentence: str) -> None:
    """Raise :class:`Broken` with `sentence` unless `truth`."""
    if not truth:
        raise Broken(sentence)


# --- the steps --------------------------------------------------------------------------------------------------------


def install(life: Life) -> str:
    """As "Install from Disk" does it, for somebody who has never had the extension."""
    for name in (*WHEELS, *CHECKOUT):
        expect(importlib.util.find_spec(name) is None, f"{name} is there before the extension is")
    done = bpy.ops.extensions.package_install_files(
        filepath=str(life.zip), repo="user_default", enable_on_install=False
    )
    expect(done == {"FINISHED"}, f"package_install_files gave {done}")
    expect((_home(life) / "__init__.py").is_file(), f"nothing was installed at {_home(life)}")
    return OK


def register(life: Life) -> str:
    """Enabled, with everything that it imports from the zip."""
    life.before = frozenset(_registered())
    _enable()
    importlib.import_module(f"{EXTENSION}.commands")
    own = [module for name, module in sys.modules.items() if name.startswith(EXTENSION)]
    expect(f"{EXTENSION}.shared.client" in sys.modules, "shared does not come from inside the extension")
    _expect_inside(own, _home(life))
    _expect_inside([sys.modules[name] for name in WHEELS], life.user / "extensions" / ".local")
    for name in CHECKOUT:
        expect(importlib.util.find_spec(name) is None, f"{name} can be imported from outside the extension")
    expect(frozenset(_registered()) - life.before, "nothing was registered")
    return OK


def job(life: Life) -> str:
    """A short job on a sample, by the extension's own command and a server elsewhere."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.assistive.add_sample(kind="coffee_mug")
    commands = importlib.import_module(f"{EXTENSION}.commands")
    code = commands.main(["optimize", *JOB, *CHECK, "--server", life.server, "--out", str(life.out)])
    expect(code == 0, f"the job ended with exit code {code}")
    for name in ("texture.png", "result.blend", "views.png", "report.json"):
        expect((life.out / name).is_file(), f"{name} was not written")
    return OK


def apply(life: Life) -> str:
    """The object wears the texture that was written."""
    _expect_texture(life, "the scene")
    return OK


def undo(_life: Life) -> str:
    """Blender has no undo without a window: `tests/gui` tests it."""
    expect(not bpy.ops.ed.undo.poll(), "undo works without a window here: test it in this step")
    return WINDOW


def reload(life: Life) -> str:
    """Saved and opened again, the object still wears it; so it does in the job's own file, where it comes off again."""
    saved = life.folder / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(saved))
    for path in (saved, life.out / "result.blend"):
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        bpy.ops.wm.open_mainfile(filepath=str(path))
        _expect_texture(life, path.name)
    restored = importlib.import_module(f"{EXTENSION}.apply").restore_original(bpy.data.objects[OBJECT])
    expect(restored, "the original material cannot be put back after reloading")
    (slot,) = bpy.data.objects[OBJECT].material_slots
    expect(slot.material and slot.material.name == OBJECT, f"{slot.material} was put back, not the original material")
    return OK


def unregister(life: Life) -> str:
    """Disabled, nothing of it is left; enabled again it comes back, and goes again."""
    _disable(life)
    _enable()
    _disable(life)
    return OK


STEPS: tuple[Callable[[Life], str], ...] = (install, register, job, apply, undo, reload, unregister)


# --- what the steps look at -------------------------------------------------------------------------------------------


def _home(life: Life) -> Path:
    return life.user / "extensions" / "user_default" / EXTENSION.rpartition(".")[2]


def _enable() -> None:
    done = bpy.ops.preferences.addon_enable(module=EXTENSION)
    expect(done == {"FINISHED"} and EXTENSION in bpy.context.preferences.addons, f"addon_enable gave {done}")


def _disable(life: Life) -> None:
    done = bpy.ops.preferences.addon_disable(module=EXTENSION)
    expect(done == {"FINISHED"} and EXTENSION not in bpy.context.preferences.addons, f"addon_disable gave {done}")
    left = sorted(frozenset(_registered()) - life.before)
    expect(not left, f"left behind: {', '.join(left)}")


def _expect_inside(modules: list[ModuleType], folder: Path) -> None:
    for module in modules:
        place = Path(module.__file__ or "").resolve()
        expect(place.is_relative_to(folder.resolve()), f"{module.__name__} comes from {place}, not from {folder}")


def _expect_texture(life: Life, where: str) -> None:
    obj = bpy.data.objects.get(OBJECT)
    expect(obj, f"{where} has no object {OBJECT!r}")
    expected = (life.out / "texture.png").read_bytes()
    for slot in obj.material_slots:
        images = list(_images(slot.material.node_tree))
        packed = [bytes(image.packed_file.data) for image in images if image.packed_file]
        expect(expected in packed, f"in {where}, no image of material {slot.material.name!r} holds the packed texture")


def _images(tree: bpy.types.NodeTree) -> Iterator[bpy.types.Image]:
    """The images of a node tree, those in its groups too."""
    for node in tree.nodes:
        if getattr(node, "image", None):
            yield node.image
        if getattr(node, "node_tree", None):
            yield from _images(node.node_tree)


def _registered() -> Iterator[str]:
    """Everything that an add-on can add to Blender and forget to take away, as text."""
    for name in dir(bpy.types):
        yield f"class {name}"
        drawn = getattr(getattr(getattr(bpy.types, name), "draw", None), "_draw_funcs", ())
        yield from (f"entry {_named(function)} in {name}" for function in drawn if _is_own(function))
    for kind in _kinds_with_properties():
        yield from (f"property {kind.__name__}.{found.identifier}" for found in kind.bl_rna.properties)
    for keyconfig in bpy.context.window_manager.keyconfigs:
        for keymap in keyconfig.keymaps:
            yield from (f"key {item.type} for {item.idname} in {keymap.name}" for item in keymap.keymap_items)
    yield from _running()


def _running() -> Iterator[str]:
    """What Blender calls by itself, or what runs beside it."""
    for name in dir(bpy.app.handlers):
        functions: Any = getattr(bpy.app.handlers, name)
        if isinstance(functions, list):
            yield from (f"handler {_named(function)} in {name}" for function in functions if _is_own(function))
    for thing in gc.get_objects():  # Blender lists no timers, but knows one when it sees it
        if isinstance(thing, FunctionType | MethodType | partial) and bpy.app.timers.is_registered(thing):
            yield f"timer {_named(thing.func if isinstance(thing, partial) else thing)}"
    for thread in threading.enumerate():
        if not type(thread).__module__.startswith("zmq."):  # pyzmq keeps one of its own to the end
            yield f"thread {thread.name} ({_named(type(thread))})"


def _named(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _is_own(function: Any) -> bool:
    return getattr(function, "__module__", "").startswith(EXTENSION)


def _kinds_with_properties() -> Iterator[Any]:
    """The types that add-ons hang properties on."""
    found = [bpy.types.ID, *bpy.types.ID.__subclasses__(), bpy.types.WindowManager, bpy.types.ViewLayer]
    yield from {kind.__name__: kind for kind in found if hasattr(kind, "bl_rna")}.values()


# --- the way through --------------------------------------------------------------------------------------------------


def main(zip_file: str, server: str, folder: str) -> int:
    """All steps, up to the first that fails. Gives the exit code."""
    life = Life(Path(zip_file), server, Path(folder), Path(os.environ["BLENDER_USER_RESOURCES"]))
    # What Blender prints is no report.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as report:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        versions = {"blender": bpy.app.version_string, "python": platform.python_version(), "numpy": np.__version__}
        print(json.dumps(versions), file=report, flush=True)
        return 0 if all(_report(step, life, report) for step in STEPS) else 1


def _report(step: Callable[[Life], str], life: Life, report: Any) -> bool:
    try:
        found = step(life)
    except Exception as error:  # whatever it is, the matrix says which step it was
        traceback.print_exc()
        found = f"{FAILED}: {error if isinstance(error, Broken) else f'{type(error).__name__}: {error}'}"
    print(json.dumps({"step": step.__name__, "found": found.strip()}), file=report, flush=True)
    return not found.startswith(FAILED)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
