"""Runs inside Blender and does what the tests ask for over a socket: expressions, snippets, events, and waiting.

Each request is served on the main thread by a timer, a step each tick, so that Blender handles and draws what a step
has caused before the next one. Knows nothing of the add-on.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from typing import Any

import bpy

TICK_S = 0.01

#: The answer is what the generator returns; it goes on by one step each tick.
Task = Generator[None, None, Any]


class Driver:
    """The connection to the tests, and the request that is being served."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._unread = b""
        self._task: Task | None = None

    def tick(self) -> float:
        """Go on with the request, or begin the next one. Blender ends when the tests have hung up."""
        if self._task is None:
            self._begin()
        if self._task is not None:
            self._go_on(self._task)
        return TICK_S

    def _begin(self) -> None:
        if not select.select([self._socket], [], [], 0)[0]:
            return
        received = self._socket.recv(1 << 16)
        if not received:
            bpy.ops.wm.quit_blender()
        self._unread += received
        line, found, rest = self._unread.partition(b"\n")
        if found:
            self._unread = rest
            request = json.loads(line)
            self._task = TASKS[request.pop("do")](**request)

    def _go_on(self, task: Task) -> None:
        try:
            next(task)
            return
        except StopIteration as done:
            answer = _encoded(done.value)
        except Exception:  # whatever it is, the test gets to know
            answer = {"error": traceback.format_exc()}
        self._task = None
        self._socket.sendall(json.dumps(answer).encode() + b"\n")


def _encoded(value: Any) -> dict[str, Any]:
    """`value` as JSON can say it: Blender's vectors and collections become lists, its data blocks fail."""
    try:
        return {"value": json.loads(json.dumps(value, default=list))}
    except TypeError as error:
        return {"error": f"{value!r} is no answer that JSON can hold: {error}"}


def _value(code: str) -> Task:
    yield
    return _evaluated(code)


def _run(code: str) -> Task:
    with _overridden():
        exec(code, {"bpy": bpy})
    for area in _window().screen.areas:
        area.tag_redraw()
    yield


def _wait(code: str, timeout_s: float) -> Task:
    """The first true value of the expression, or its last one if that never comes."""
    deadline = time.monotonic() + timeout_s
    while not (value := _evaluated(code)) and time.monotonic() < deadline:
        yield
    return value


def _events(events: list[dict[str, Any]]) -> Task:
    """One event each tick: Blender looks at where the mouse is between them."""
    for event in events:
        _window().event_simulate(**event)
        yield
    yield


TASKS: Mapping[str, Callable[..., Task]] = {"value": _value, "run": _run, "wait": _wait, "events": _events}


def _evaluated(code: str) -> Any:
    with _overridden():
        return eval(code, {"bpy": bpy})


def _window() -> Any:
    return bpy.context.window_manager.windows[0]


def _overridden() -> Any:
    """Timers have no window; the 3D viewport is where a script of the user's would run."""
    window = _window()
    views = [area for area in window.screen.areas if area.type == "VIEW_3D"]
    if not views:
        return bpy.context.temp_override(window=window)
    region = next(region for region in views[0].regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=views[0], region=region)


bpy.app.timers.register(Driver(sys.argv[-1]).tick, persistent=True)
