"""What tests with a window need: the extension installed in a Blender, a screen, and a running window."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.local_server import LocalServer

from .machine import ROOT, Blender, build_extension, screen
from .window import Window, opened

#: Set by `make gui-test`: a window is not for every run of the tests.
ASKED = "ASSISTIVE_GUI"
#: How many steps the job makes whose result is applied.
STEPS_VARIABLE = "ASSISTIVE_GUI_STEPS"
PICTURES = ROOT / "out" / "gui"
EXTENSION = "bl_ext.user_default.assistive_signals"
PREFERENCES = f"""
import bpy
preferences = bpy.context.preferences
assert {EXTENSION!r} in preferences.addons, "the extension could not be installed and enabled"
preferences.view.show_splash = False
preferences.view.show_tooltips = False  # they would hide what is to be read; Window.tooltip switches them on
preferences.view.ui_scale = 1.25  # large enough to be read without a mistake
preferences.view.smooth_view = 0
preferences.use_preferences_save = False
preferences.filepaths.temporary_directory = bpy.utils.resource_path("USER")  # quit.blend goes there
bpy.ops.wm.save_userpref()
"""


@pytest.fixture(scope="session")
def blender(tmp_path_factory: pytest.TempPathFactory) -> Blender:
    """A Blender with the extension in it. Skips where there is none, or nothing to show and read its window."""
    if not os.environ.get(ASKED):
        pytest.skip("opens a window, which only `make gui-test` does")
    return prepared(tmp_path_factory.mktemp("blender"))


def prepared(folder: Path) -> Blender:
    """A Blender, in which the extension was installed as a user would: ASSISTIVE_ZIP, or packed anew into `folder`."""
    for program in ("Xvfb", "tesseract", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}; tests/gui/make_chroot.py installs it")
    found = _found_blender(folder / "resources")
    packed = os.environ.get("ASSISTIVE_ZIP") or build_extension(folder, found.python())
    found.run("--command", "extension", "install-file", "-r", "user_default", "-e", str(packed))
    found.run("--background", "--python-exit-code", "1", "--python-expr", PREFERENCES)
    return found


def _found_blender(resources: Path) -> Blender:
    """The one that BLENDER names, or the one in the chroot that GUI_CHROOT names (default: .gui/trixie)."""
    if binary := os.environ.get("BLENDER"):
        return Blender(binary, resources)
    chroot = Path(os.environ.get("GUI_CHROOT") or ROOT / ".gui" / "trixie").resolve()
    if not chroot.is_dir():
        pytest.skip(f"there is no Blender in {chroot}: run tests/gui/make_chroot.py as root, or name one in BLENDER")
    return Blender("blender", resources, chroot)


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A screen that nobody sees."""
    with screen() as name:
        yield name


#: Opens a .blend, if one is given, in a new Blender with the test's own configuration, for as long as a block lasts.
Launch = Callable[..., AbstractContextManager[Window]]


@pytest.fixture
def launch(blender: Blender, display: str, tmp_path: Path, request: pytest.FixtureRequest) -> Launch:
    """Starts Blender; screenshots go to out/gui/TEST. It has to end by itself, and to have printed no traceback."""
    pictures = PICTURES / request.node.name
    shutil.rmtree(pictures, ignore_errors=True)
    resources = shutil.copytree(blender.resources, tmp_path / "resources")

    @contextmanager
    def started(*files: Path) -> Iterator[Window]:
        with opened(replace(blender, resources=resources), display, pictures, *files) as shown:
            yield shown
        log = (pictures / "blender.log").read_text(errors="replace")
        assert "Traceback" not in log, log

    return started


@pytest.fixture
def window(launch: Launch) -> Iterator[Window]:
    """The window of a fresh Blender."""
    with launch() as shown:
        yield shown


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """HOST:PORT of a compute server on this machine. Skips like `blender`."""
    request.getfixturevalue("blender")
    with LocalServer(device="cpu", command=[sys.executable, "-m", "compute_server.cli"]) as started:
        yield started.address.removeprefix("tcp://")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what was to be seen when a test failed."""
    report = yield
    shown = getattr(item, "funcargs", {}).get("window")
    if call.when == "call" and report.failed and shown is not None:
        path = shown.screenshot("failed")
        report.sections.append(("screen", str(path)))
    return report
