"""A screen without a monitor, and a Blender on it, in a chroot or not. Leaves no process and no mount behind.

Knows how to start things, not what is shown.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shared.home import VARIABLE, home

from .make_chroot import CONTAINED, TIED

ROOT = Path(__file__).resolve().parents[2]
#: Width and height in pixels, of the screen and of Blender's window on it.
SIZE = (1600, 1000)
#: One zip serves these; a distribution's Blender with another Python needs its own.
BLENDERS_PYTHONS = ("3.11", "3.13")
#: $1 is the chroot, $2 … up to "--" are folders that are to be there under the same name; the rest is the command.
#: The shell stays: a Blender that were process 1 of its namespace would look to its children like a dead parent.
ENTER = """
set -e
root=$1; shift
mkdir -p "$root/host"
mount --rbind / "$root/host"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift; done
shift
chroot "$root" "$@" || exit $?
"""


@dataclass(frozen=True)
class Blender:
    """A Blender on this machine, or in a `chroot`, with a user configuration of its own in `resources`."""

    binary: str
    resources: Path
    chroot: Path | None = None

    def host_command(self, *command: str) -> str:
        """The line for a shell by which Blender runs `command` on this machine, not in the chroot."""
        return shlex.join(command if self.chroot is None else ("chroot", "/host", *command))

    def run(self, *arguments: str) -> str:
        """Run it to its end, without a window, and give what it printed. Raises AssertionError when it fails."""
        done = subprocess.run(
            [*TIED, *self._command(arguments)], check=False, capture_output=True, text=True, env=self._environment()
        )
        print(done.stdout, done.stderr)  # pytest shows it when what comes next fails
        assert done.returncode == 0, f"blender {shlex.join(arguments)} ended with code {done.returncode}"
        return done.stdout

    def python(self) -> str:
        """The version of its Python, as in ``3.13``."""
        printed = self.run(
            "--background", "--python-expr", "import sys; print('Python {}.{}'.format(*sys.version_info))"
        )
        return printed.partition("Python ")[2].split()[0]

    @contextmanager
    def started(self, display: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Its process, with a window on `display`, for as long as the block lasts; it writes to `log`."""
        environment = {**self._environment(), "DISPLAY": display, "LIBGL_ALWAYS_SOFTWARE": "1"}
        with log.open("wb") as output, _process(self._command(arguments), output, environment) as process:
            yield process

    def _command(self, arguments: Sequence[str]) -> list[str]:
        command = [self.binary, *arguments]
        if self.chroot is None:
            return command
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        shared = [str(ROOT), tempfile.gettempdir(), str(home())]
        return [*CONTAINED, "--mount-proc", "sh", "-c", ENTER, "sh", str(self.chroot), *shared, "--", *command]

    def _environment(self) -> dict[str, str]:
        # Blender would rather open its window on a Wayland desktop than on our screen.
        ours = {name: value for name, value in os.environ.items() if name not in ("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")}
        environment = {**ours, "BLENDER_USER_RESOURCES": str(self.resources), VARIABLE: str(home())}
        server = str(Path(sys.executable).with_name("assistive-server"))
        environment.setdefault("ASSISTIVE_SERVER", self.host_command(server))
        if self.chroot is not None:
            environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        return environment


@contextmanager
def screen() -> Iterator[str]:
    """The name of a display of our own (``:7``), of `SIZE`."""
    ours, theirs = os.pipe()
    size = f"{SIZE[0]}x{SIZE[1]}x24"
    command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", size, "-nolisten", "tcp"]
    with _process(command, subprocess.DEVNULL, dict(os.environ), theirs):
        os.close(theirs)
        with os.fdopen(ours) as reader:
            number = reader.readline().strip()
        assert number, "Xvfb has found no free display"
        yield f":{number}"


@contextmanager
def _process(
    command: Sequence[str], output: IO[bytes] | int, environment: dict[str, str], *descriptors: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a session of its own: Ctrl-C is for the tests, which end it in their own order."""
    process = subprocess.Popen(
        [*TIED, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=descriptors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def build_extension(folder: Path, python: str) -> Path:
    """Pack the add-on as it is now, as a zip in `folder`, for a Blender with that Python (``3.13``)."""
    other = [] if python in BLENDERS_PYTHONS else ["--python", python]
    command = [sys.executable, str(ROOT / "build_addon.py"), "--platform", "linux-x64", *other, "--out", str(folder)]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
