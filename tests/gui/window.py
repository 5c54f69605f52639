"""A Blender with a window, as a test uses it: look, click, type, wait. Knows no test and nothing of the add-on."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageGrab

from .machine import SIZE, Blender
from .reading import Box, Word, find, read

DRIVER = Path(__file__).with_name("driver.py")
START_S = 120.0
END_S = 60.0
#: How much longer than a request itself its answer may take: software OpenGL draws some frames for seconds.
PATIENCE_S = 120.0
#: How long the picture may take to come to rest after an event.
REST_S = 5.0
#: Generous; what is beside the tabs does no harm.
TAB_WIDTH = 30
#: Turns of the mouse wheel that move less than a panel is high.
SCROLL_STEPS = 6
#: Where a field is in the width of a panel whose labels stand to the left of their fields.
FIELD = 0.68
CHANGE_S = 30.0
TOOLTIP_S = 6.0
EVERYTHING = Box(0, 0, *SIZE)
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
#: Blender rests between events unless they are simulated; without it the server would have one core less.
REST = """
def rest():
    __import__("time").sleep(0.005)
    return 0.0
bpy.app.timers.register(rest, persistent=True)
"""
#: Blender's names of keys that are not a letter's own.
KEYS = {
    **dict(zip("0123456789", DIGITS, strict=True)),
    **{" ": "SPACE", ".": "PERIOD", ",": "COMMA", "-": "MINUS", "/": "SLASH", "\\": "BACK_SLASH", ";": "SEMI_COLON"},
}


class BlenderError(Exception):
    """What Python in Blender raised, with its traceback."""


class NotSeen(AssertionError):
    """What was waited for did not come; the message names the screenshot."""


class Window:
    """The window of a running Blender. All places are pixels of the screen's picture, row 0 at the top.

    Whatever waits gives up with :class:`NotSeen`, after `timeout_s`.
    """

    def __init__(self, connection: socket.socket, display: str, pictures: Path) -> None:
        self._connection = connection
        self._answers = connection.makefile("rb")
        self._display = display
        self._mouse = EVERYTHING.center
        self.pictures = pictures

    # Python in Blender

    def value(self, expression: str) -> Any:
        """What a Python expression gives in Blender, as far as JSON can say it. `bpy` is there."""
        return self._ask("value", 0.0, code=expression)

    def run(self, code: str) -> None:
        """Run statements in Blender, in the context of the 3D viewport, and redraw all."""
        self._ask("run", 0.0, code=code)

    def wait_for(self, expression: str, timeout_s: float = 60.0) -> Any:
        """The first true value of an expression that Blender looks at in every tick."""
        value = self._ask("wait", timeout_s, code=expression, timeout_s=timeout_s)
        if not value:
            raise self._not_seen(f"{expression} is still {value!r} after {timeout_s:g} s")
        return value

    # Hand

    def move(self, place: tuple[int, int]) -> None:
        """Move the mouse there, by way of the neighbouring pixel: Blender looks at what is under it on the second."""
        self._events(self._mouse_at((place[0] - 1, place[1])), self._mouse_at(place))

    def click(self, place: tuple[int, int], button: str = "LEFTMOUSE", **modifiers: bool) -> None:
        """Move there, press and release. Modifiers are ``shift``, ``ctrl`` and ``alt``."""
        self.move(place)
        self.key(button, **modifiers)

    def drag(self, start: tuple[int, int], end: tuple[int, int], steps: int = 4) -> None:
        """Press the left button at one place and release it at another."""
        self.move(start)
        self._events(self._event("LEFTMOUSE", "PRESS"))
        for step in range(1, steps + 1):
            x, y = (round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))
            self._events(self._mouse_at((x, y)))
        self._events(self._event("LEFTMOUSE", "RELEASE"))

    def scroll(self, box: Box, steps: int) -> None:
        """Turn the mouse wheel over the middle of `box`: downwards, or upwards if `steps` is negative."""
        self.move(box.center)
        self._events(*[self._event("WHEELDOWNMOUSE" if steps > 0 else "WHEELUPMOUSE", "PRESS")] * abs(steps))

    def key(self, name: str, **modifiers: bool) -> None:
        """Press and release a key by Blender's name of it (``RET``, ``ESC``, ``Z``), where the mouse is."""
        self._events(self._event(name, "PRESS", **modifiers), self._event(name, "RELEASE", **modifiers))

    def type(self, text: str) -> None:
        """Type ASCII text."""
        for letter in text:
            name = letter.upper() if letter.isalpha() else KEYS.get(letter, "GRLESS")
            self._events(self._event(name, "PRESS", unicode=letter), self._event(name, "RELEASE"))

    def _mouse_at(self, place: tuple[int, int]) -> dict[str, Any]:
        self._mouse = place
        return self._event("MOUSEMOVE", "NOTHING")

    def _event(self, kind: str, value: str, **details: Any) -> dict[str, Any]:
        """An event where the mouse is; Blender counts rows from the bottom."""
        return {"type": kind, "value": value, "x": self._mouse[0], "y": SIZE[1] - 1 - self._mouse[1], **details}

    # Eye

    def picture(self) -> Image.Image:
        """What is on the screen, once it has come to rest (or goes on moving for some seconds)."""
        deadline = time.monotonic() + REST_S
        picture = self._grab()
        while True:
            self._tick()
            before, picture = picture, self._grab()
            if ImageChops.difference(before, picture).getbbox() is None or time.monotonic() > deadline:
                return picture

    def screenshot(self, name: str) -> Path:
        """Save the screen as a picture, and give its path."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        self.picture().save(path)
        return path

    def region(self, kind: str = "UI", area: str = "VIEW_3D") -> Box:
        """Where a region of the first area of that type is: ``UI`` is the side panel, ``WINDOW`` the contents."""
        x, y, width, height = self.value(_of_region("(r.x, r.y, r.width, r.height)", kind, area))
        return Box(x, SIZE[1] - y - height, width, height)

    def words(self, box: Box = EVERYTHING, *, sideways: bool = False) -> list[Word]:
        """All that can be read there now."""
        return read(_legible(self.picture()), box, sideways=sideways)

    def shows(self, text: str, box: Box = EVERYTHING, *, sideways: bool = False) -> bool:
        """Whether the text can be read there now."""
        return bool(find(self.words(box, sideways=sideways), text))

    def wait_for_text(
        self, text: str, box: Box = EVERYTHING, *, nth: int = 0, sideways: bool = False, timeout_s: float = 30.0
    ) -> Box:
        """Where the text stands, as soon as it can be read; `nth` counts from the top, −1 is the lowest."""
        for words in self._readings(box, sideways=sideways, timeout_s=timeout_s):
            found = find(words, text)
            if -len(found) <= nth < len(found):
                return found[nth]
        raise self._not_seen(f'"{text}" cannot be read in {box}, but {_quoted(words)}')

    def wait_for_no_text(self, text: str, box: Box = EVERYTHING, *, timeout_s: float = 30.0) -> None:
        """Return as soon as the text is gone."""
        for words in self._readings(box, sideways=False, timeout_s=timeout_s):
            if not find(words, text):
                return
        raise self._not_seen(f'"{text}" can still be read in {box}')

    def _readings(self, box: Box, *, sideways: bool, timeout_s: float) -> Iterator[list[Word]]:
        """What can be read, anew whenever the picture there has changed, until the time is up."""
        deadline = time.monotonic() + timeout_s
        seen = None
        while seen is None or time.monotonic() < deadline:
            picture = self.picture()
            part = picture.crop((box.left, box.top, box.right, box.bottom)).tobytes()
            if part != seen:
                seen = part
                yield read(_legible(picture), box, sideways=sideways)

    # Hand and eye

    def click_text(self, text: str, box: Box = EVERYTHING, *, nth: int = 0, sideways: bool = False) -> None:
        """Click where the text stands."""
        self.click(self.wait_for_text(text, box, nth=nth, sideways=sideways).center)

    def open_side_panel(self, tab: str) -> Box:
        """Open the 3D viewport's side panel at a tab, and give the part of it that holds the tab's panels."""
        if self.region("UI").width <= TAB_WIDTH:
            self.move(self.region("WINDOW").center)
            self.key("N")
            self.wait_for(_of_region(f"r.width > {TAB_WIDTH}", "UI"))
        panel = self.region("UI")
        left = panel.right - TAB_WIDTH
        self.click_text(tab, Box(left, panel.top, TAB_WIDTH, panel.height), sideways=True)
        self.wait_for(_of_region(f"r.active_panel_category == {tab!r}", "UI"))
        return Box(panel.left, panel.top, panel.width - TAB_WIDTH, panel.height)

    def choose(self, *entries: str, box: Box = EVERYTHING) -> None:
        """Open menus and submenus, or a dropdown and its entry, one after the other: each where it appears."""
        for entry in entries:
            before = self.picture()
            self.click_text(entry, box)
            box = self._changed(before)

    def scroll_to(self, text: str, box: Box) -> Box:
        """Where the text stands in a region, after scrolling it there if need be."""
        found = self._scrolled_to(text, box)
        if found is None:
            raise self._not_seen(f'"{text}" is nowhere in the region {box}')
        return found

    def open_panel(self, title: str, content: str, box: Box) -> Box:
        """Open a panel of a region by its title, unless it is open, and give where its `content` stands.

        That is a text which is nowhere else in the region.
        """
        if self._scrolled_to(content, box) is None:
            self.click(self.scroll_to(title, box).center)
        return self.scroll_to(content, box)

    def _scrolled_to(self, text: str, box: Box) -> Box | None:
        if found := find(self.words(box), text):
            return found[0]
        while self._scroll_moves(box, -SCROLL_STEPS):
            pass
        while not (found := find(self.words(box), text)) and self._scroll_moves(box, SCROLL_STEPS):
            pass
        return found[0] if found else None

    def _scroll_moves(self, box: Box, steps: int) -> bool:
        """Scroll, and say whether that has moved anything."""
        self.move(box.center)  # first: what lights up under the mouse is no movement
        before = self.picture()
        self.scroll(box, steps)
        return ImageChops.difference(before, self.picture()).getbbox() is not None

    def field(self, label: str, box: Box, *, nth: int = 0) -> tuple[int, int]:
        """A place inside the field that stands to the right of its label, in a region; `nth` as in `wait_for_text`."""
        return box.left + round(box.width * FIELD), self.wait_for_text(label, box, nth=nth).center[1]

    def write(self, place: tuple[int, int], text: str) -> None:
        """Replace what stands in the text or number field at that place."""
        self.click(place)
        self.key("A", ctrl=True)
        self.type(text)
        self.key("RET")

    def tooltip(self, place: tuple[int, int], text: str, timeout_s: float = 30.0) -> None:
        """Rest the mouse at a place until its tooltip says `text` in one of its lines.

        Blender drops the tooltip of a button that is drawn anew in the moment it is due, so the mouse is moved a little
        after a while, as a person does.
        """
        self.run("bpy.context.preferences.view.show_tooltips = True")
        deadline = time.monotonic() + timeout_s
        try:
            for aside in itertools.cycle((0, 2)):
                self.move((place[0] + aside, place[1]))
                try:
                    self.wait_for_text(text, timeout_s=TOOLTIP_S)
                except NotSeen:
                    if time.monotonic() > deadline:
                        raise
                else:
                    return
        finally:
            self.run("bpy.context.preferences.view.show_tooltips = False")

    # Inside

    def _changed(self, before: Image.Image) -> Box:
        """The part of the screen that is not as before, once there is one: what has opened."""
        deadline = time.monotonic() + CHANGE_S
        while (box := ImageChops.difference(before, self.picture()).getbbox()) is None:
            if time.monotonic() > deadline:
                raise self._not_seen(f"nothing has changed on the screen within {CHANGE_S:g} s")
        return Box(box[0], box[1], box[2] - box[0], box[3] - box[1])

    def _grab(self) -> Image.Image:
        return ImageGrab.grab(xdisplay=self._display)

    def _tick(self) -> None:
        self._ask("events", 0.0, events=[])

    def _events(self, *events: dict[str, Any]) -> None:
        self._ask("events", 0.0, events=events)

    def _ask(self, do: str, takes_s: float, **request: Any) -> Any:
        self._connection.settimeout(takes_s + PATIENCE_S)
        self._connection.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
        answer = self._answers.readline()
        if not answer:
            raise BlenderError("Blender has ended; see its log.")
        answer = json.loads(answer)
        if "error" in answer:
            raise BlenderError(answer["error"])
        return answer["value"]

    def _not_seen(self, what: str) -> NotSeen:
        name = re.sub(r"\W+", "-", what)[:60].strip("-")
        return NotSeen(f"{what}; see {self.screenshot(f'failed-{name}')}")


def _of_region(what: str, kind: str, area: str = "VIEW_3D") -> str:
    """The expression `what` about the first region `r` of that type, for Blender."""
    areas = f"a in bpy.context.window.screen.areas if a.type == {area!r}"
    return f"next({what} for {areas} for r in a.regions if r.type == {kind!r})"


def _legible(picture: Image.Image) -> Image.Image:
    """In shades of grey in which Blender's red texts stand out from dark, and white ones from blue."""
    return picture.convert("RGB").convert("L", (0.5, 0.4, 0.1, 0.0))


def _quoted(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


@contextmanager
def opened(blender: Blender, display: str, pictures: Path, *files: Path) -> Iterator[Window]:
    """The window of a Blender that is started for the block, and has to end by itself, without an error, after it.

    Its log goes to the folder of the screenshots. It opens the .blend among `files`, if there is one.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    log = pictures / "blender.log"
    with tempfile.TemporaryDirectory(prefix="gui-") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = f"{folder}/driver"
        listener.bind(address)
        listener.listen(1)
        geometry = ["--window-geometry", "0", "0", *map(str, SIZE)]
        driver = ["--enable-event-simulate", "--python", str(DRIVER), "--", address]
        arguments = [*geometry, *map(str, files), *driver]
        with blender.started(display, arguments, log) as process:
            with _accepted(listener, log) as connection:
                window = Window(connection, display, pictures)
                window.run(REST)
                yield window
                connection.shutdown(socket.SHUT_RDWR)
            _check_end(process, log)


def _accepted(listener: socket.socket, log: Path) -> socket.socket:
    listener.settimeout(START_S)
    try:
        return listener.accept()[0]
    except TimeoutError:
        raise NotSeen(f"Blender has opened no window within {START_S:g} s:\n{log.read_text()}") from None


def _check_end(process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired:
        raise NotSeen(f"Blender did not end within {END_S:g} s; see {log}") from None
    assert code == 0, f"Blender ended with code {code}; see {log}"
