"""What a job costs the artist: how long Blender's main thread is busy for it, in a real window, with a live preview.

`GUI_CHROOT=… python -m tests.gui.figures`, in the project's folder, prints a table and writes out/gui/figures.json. It
ends with 1 when a limit is missed, and with 3 where there is no Blender with a window. Machines with software OpenGL
draw for longer than they would; only what the add-on itself does has a limit.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from blender_addon.local_server import LocalServer

from .conftest import EXTENSION, PICTURES, prepared
from .machine import screen
from .window import Window, opened

SETTINGS = "bpy.context.scene.assistive"
PREFERENCES = f"bpy.context.preferences.addons[{EXTENSION!r}].preferences"
RUN = f"__import__('sys').modules['{EXTENSION}.runtime'].state().run"
RUNTIME = f"__import__('sys').modules['{EXTENSION}.runtime']"
FIGURES = "bpy.app.driver_namespace"
TICKS = 300
WAIT_S = 600.0
JOB = {"target": "school bus", "steps": 100_000, "views": 1, "samples": "1", "held_out_views": 1, "size": "2048"}
#: Twice its square is a million triangles.
SIDE = 708
#: Times the overlay's drawing, and how long Blender lets a timer wait that wants to be called a hundred times a second.
MEASURE = f"""
import sys, time
overlay = sys.modules["{EXTENSION}.live_preview"].Overlay
figures = {FIGURES}
figures.update(draws=[], gaps=[])
draw = overlay._draw
def timed(self):
    began = time.perf_counter()
    draw(self)
    figures["draws"].append(time.perf_counter() - began)
overlay._draw = timed
def called(last=[time.perf_counter()]):
    now = time.perf_counter()
    figures["gaps"].append(now - last[0])
    last[0] = now
    return 0.01
bpy.app.timers.register(called)
"""
FORGET = f"""
for times in ({RUNTIME}.current().ticks, {FIGURES}["draws"], {FIGURES}["gaps"]):
    times.clear()
"""
COLLECT = f"""
import time
began = time.perf_counter()
bpy.ops.assistive.start("INVOKE_DEFAULT")
{FIGURES}["hand_in"] = time.perf_counter() - began
"""


@dataclass(frozen=True)
class Times:
    """Some durations in milliseconds."""

    count: int
    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        """The figures of `seconds`."""
        median, p99, longest = (1e3 * float(np.quantile(seconds, share)) for share in (0.5, 0.99, 1.0))
        return cls(len(seconds), median, p99, longest)


@dataclass(frozen=True)
class Figures:
    """All that is measured; `load` is the machine's at the beginning, in processes that want a core."""

    blender: str
    load: float
    tick: Times
    draw: Times
    gap: Times
    triangles: int
    collect_s: float
    hand_in_s: float

    def missed(self) -> list[str]:
        """A sentence for each limit that was missed."""
        limits = (
            ("The median tick", self.tick.median, 4.0),
            ("One tick in a hundred", self.tick.p99, 33.0),
            ("Collecting a million triangles", 1e3 * self.collect_s, 2000.0),
        )
        return [f"{what} takes {took:.1f} ms, not {most:g}." for what, took, most in limits if took > most]

    def table(self) -> str:
        """For a person."""
        rows = (("tick", self.tick), ("drawing the preview", self.draw), ("between two timer calls", self.gap))
        lines = [f"{'ms':24}{'count':>8}{'median':>9}{'p99':>9}{'longest':>9}"]
        lines += [f"{name:24}{t.count:8}{t.median:9.2f}{t.p99:9.2f}{t.longest:9.2f}" for name, t in rows]
        collected = (
            f"collecting {self.triangles} triangles: {self.collect_s:.2f} s, all of Start: {self.hand_in_s:.2f} s"
        )
        return "\n".join([*lines, collected, f"Blender {self.blender}, load {self.load:.1f}"])


def main() -> int:
    """Measure, print, write."""
    load = os.getloadavg()[0]
    try:
        measured = measure(load)
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return 3
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "figures.json").write_text(json.dumps(asdict(measured), indent=1), encoding="utf-8")
    print(measured.table(), *measured.missed(), sep="\n")
    return 1 if measured.missed() else 0


def measure(load: float) -> Figures:
    """Run a job with a 2048² texture and two previews a second, and hand in a large object."""
    server = LocalServer(device="cpu", command=[sys.executable, "-m", "compute_server.cli"])
    with tempfile.TemporaryDirectory() as folder, screen() as display:
        blender = prepared(Path(folder))
        with server, opened(blender, display, PICTURES / "figures") as window:
            _set_up(window, server.address.removeprefix("tcp://"))
            ticks, draws, gaps = _during_job(window)
            triangles, collect_s, hand_in_s = _collect(window)
            version = window.value("bpy.app.version_string")
    times = Times.of(ticks), Times.of(draws), Times.of(gaps)
    return Figures(version, load, *times, triangles, collect_s, hand_in_s)


def _set_up(window: Window, address: str) -> None:
    window.run(f"{PREFERENCES}.address = {address!r}")
    window.run(f"{PREFERENCES}.preview_rate = 2.0")
    window.run("bpy.data.objects.remove(bpy.data.objects['Cube'])")
    window.run("bpy.ops.assistive.add_sample(kind='school_bus')")
    window.run("bpy.ops.view3d.view_selected()")
    for name, value in JOB.items():
        window.run(f"{SETTINGS}.{name} = {value!r}")
    window.open_side_panel("Assistive")


def _during_job(window: Window) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each tick, of each drawing of the overlay, and between any two calls of a timer."""
    window.run(MEASURE)
    window.run("bpy.ops.assistive.start('INVOKE_DEFAULT')")
    window.wait_for(f"getattr({RUNTIME}.state().run, 'previewed', False)", WAIT_S)
    window.run(FORGET)
    window.wait_for(f"len({RUNTIME}.current().ticks) >= {TICKS}", WAIT_S)
    ticks, draws, gaps = window.value(f"[{RUNTIME}.current().ticks, {FIGURES}['draws'], {FIGURES}['gaps']]")
    _cancel(window)
    return ticks, draws, gaps


def _collect(window: Window) -> tuple[int, float, float]:
    """Triangles of a large object; the seconds that collecting it takes, and all that happens until Start is done."""
    window.run(f"bpy.ops.mesh.primitive_grid_add(x_subdivisions={SIDE}, y_subdivisions={SIDE})")
    window.run(COLLECT)
    triangles = 2 * window.value("len(bpy.context.object.data.polygons)")
    collect_s, hand_in_s = window.value(f"[{RUN}.ticket.collect_s, {FIGURES}['hand_in']]")
    _cancel(window)
    return triangles, collect_s, hand_in_s


def _cancel(window: Window) -> None:
    window.run("bpy.ops.assistive.cancel()")
    window.wait_for(f"not {RUNTIME}.current().has_work()", WAIT_S)


if __name__ == "__main__":
    sys.exit(main())
