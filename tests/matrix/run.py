"""The matrix: the packed add-on in each Blender that it is for, step by step, from installing to leaving.

`python tests/matrix/run.py --out docs/matrix.md` makes an environment for each Blender (once, in `.matrix/`), starts a
server, runs `in_blender.py` in each of them, and writes the table. Rows of Blenders with a window are given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blender_addon.local_server import LocalServer
from shared.home import VARIABLE, home

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".matrix"
PLATFORMS = {"Linux": "linux-x64", "Windows": "windows-x64"}
MAC_PLATFORMS = {"arm64": "macos-arm64", "x86_64": "macos-x64"}

STEPS = ("install", "register", "job", "apply", "undo", "reload", "unregister", "exit")
OK, WINDOW, FAILED, NOT_REACHED = "ok", "window", "failed", "not reached"
SIGNS = {OK: "✓", WINDOW: "window¹", NOT_REACHED: "–"}
#: All steps together; the job takes most of it.
LIFE_S = 400.0
#: From the last step to the end of the process: Blender 4.5 hangs there when something is left registered.
EXIT_S = 30.0
INSTALL_S = 1500.0
LOG_LINES = 15

HEADER = """\
# Blender × what the add-on does in it

Made by `python tests/matrix/run.py --out docs/matrix.md`; not to be edited. The add-on is the packed zip, installed by
Blender's own extension system into a fresh configuration, in a Python that has nothing but Blender and numpy.

| step | what is checked |
|---|---|
| install | "Install from Disk" takes the zip |
| register | it is enabled; its modules, pyzmq and msgspec come from the zip |
| job | a short job on a sample goes the whole way, on a server in a process of its own |
| apply | the object's material has the texture, packed |
| undo | Ctrl-Z takes the texture away |
| reload | after saving and opening again the texture is there, and the original material can be put back |
| unregister | disabled, nothing of it is left; enabled again and disabled again, too |
| exit | Blender ends by itself, with exit code 0 |
"""
FOOTNOTE = "¹ Blender has no undo without a window; the rows of Blenders with a window say what became of it."


@dataclass(frozen=True)
class Release:
    """A release line of Blender as a Python module, and what it is installed with."""

    line: str
    python: str
    #: Where bpy itself does not ask for the numpy that this Blender ships.
    also: tuple[str, ...] = ()


RELEASES = (
    Release("4.2", "3.11", ("numpy==1.24.*",)),
    Release("4.5", "3.11"),
    Release("5.0", "3.11"),
    Release("5.2", "3.13"),
)


@dataclass
class Row:
    """What one Blender did. `steps` says for each of STEPS: ok, window, not reached, or "failed: why"."""

    blender: str
    python: str
    numpy: str = ""
    window: bool = False
    steps: dict[str, str] = field(default_factory=dict)
    not_run: str = ""

    def failures(self) -> list[str]:
        """A line for each step that failed."""
        failed = {step: found for step, found in self.steps.items() if found.startswith(FAILED)}
        return [f"Blender {self.blender}, {step} {found}" for step, found in failed.items()]


class Unavailable(Exception):
    """A Blender that cannot be had here; the message says why."""


# --- a Blender and its Python -----------------------------------------------------------------------------------------


def environment(release: Release, cache: Path = CACHE) -> Path:
    """The Python of an environment that has this Blender, made the first time. Raises :class:`Unavailable`."""
    folder = cache / f"bpy-{release.line}"
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        cache.mkdir(exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        _install([find_python(release.python), "-m", "venv", str(folder)])
        pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, f"bpy=={release.line}.*", *release.also])
        complete.touch()
    return executable


def find_python(version: str) -> str:
    """A Python of this version: this one, one on the path, or one of pyenv's. Raises :class:`Unavailable`."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [sys.executable, shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    for candidate in filter(None, found):
        asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == version:
            return str(candidate)
    raise Unavailable(f"Python {version} is not on this machine")


def _install(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"installing took longer than {INSTALL_S:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise Unavailable(said.removeprefix("ERROR: "))


# --- one row ----------------------------------------------------------------------------------------------------------


def run_row(release: Release, zip_file: Path, server: str, cache: Path = CACHE) -> Row:
    """The whole life of the extension in one Blender. Its output goes to standard error when something fails."""
    try:
        python = environment(release, cache)
    except Unavailable as error:
        return Row(release.line, release.python, not_run=str(error))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        row = _live(release, [str(python), "-I", str(Path(__file__).with_name("in_blender.py"))], zip_file, server, log)
        if row.failures():
            print("\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]), file=sys.stderr, flush=True)
    return row


def _live(release: Release, command: Sequence[str], zip_file: Path, server: str, log: Path) -> Row:
    folder = log.parent
    user = folder / "user"
    user.mkdir()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, str(zip_file.resolve()), server, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_clean_environment() | {"BLENDER_USER_RESOURCES": str(user), VARIABLE: str(home())},
            cwd=folder,
            text=True,
            encoding="utf-8",
        )
    began = time.monotonic()
    said = _listen(process)
    late = time.monotonic() - began > LIFE_S
    ended = _end(process)
    if late:
        ended = f"{FAILED}: Blender was not done within {LIFE_S:g} s"
    row = Row(release.line, release.python, steps=_judge(said, ended))
    if said:
        row.blender, row.python, row.numpy = (said[0][name] for name in ("blender", "python", "numpy"))
    return row


def _clean_environment() -> dict[str, str]:
    """This process's environment without what would lead Blender to modules or settings of the person at work."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BLENDER_", "ASSISTIVE"))
    }


def _listen(process: subprocess.Popen[str]) -> list[dict[str, str]]:
    """All that Blender reports, until it has reported the last or its time is over. Other lines are Blender's own."""
    assert process.stdout is not None
    timer = threading.Timer(LIFE_S, process.kill)
    timer.start()
    try:
        with process.stdout:
            lines: list[dict[str, str]] = [json.loads(line) for line in process.stdout if line.startswith("{")]
    finally:
        timer.cancel()
    return lines


def _end(process: subprocess.Popen[str]) -> str:
    """How the process ended: ok, or why not."""
    try:
        code = process.wait(EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"{FAILED}: Blender did not end within {EXIT_S:g} s"
    return OK if code == 0 else f"{FAILED}: Blender ended with exit code {code}"


def _judge(said: Iterable[Mapping[str, str]], ended: str) -> dict[str, str]:
    """What became of each step. The first that was not reported is the one that Blender ended in."""
    steps = dict.fromkeys(STEPS, NOT_REACHED) | {line["step"]: line["found"] for line in said if "step" in line}
    missing = next(step for step in STEPS if steps[step] == NOT_REACHED)
    if not any(found.startswith(FAILED) for found in steps.values()):
        steps[missing] = ended if missing == "exit" or ended != OK else f"{FAILED}: Blender ended without a word"
    return steps


# --- the table --------------------------------------------------------------------------------------------------------


def table(rows: Iterable[Row]) -> str:
    """The page: what the steps mean, a line for each Blender, and what failed."""
    rows = sorted(rows, key=lambda row: [int(part) for part in row.blender.split()[0].split(".")])
    lines = [HEADER, f"| Blender | as | Python | numpy | {' | '.join(STEPS)} |", f"|{'---|' * (len(STEPS) + 4)}"]
    lines += [_line(row) for row in rows]
    footnotes = [FOOTNOTE] if any(WINDOW in row.steps.values() for row in rows) else []
    failures = [f"- {text}" for row in rows for text in row.failures()]
    return "\n".join([*lines, *(f"\n{text}" for text in footnotes), *([""] if failures else []), *failures, ""])


def _line(row: Row) -> str:
    cells = [SIGNS.get(row.steps.get(step, NOT_REACHED), "✗") for step in STEPS]
    if row.not_run:
        cells = [f"not run: {row.not_run}", *[""] * (len(STEPS) - 1)]
    return f"| {' | '.join([row.blender, 'window' if row.window else 'module', row.python, row.numpy, *cells])} |"


# --- the command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the rows asked for, write the page. Gives the exit code: 1 when a step has failed."""
    given = _parser().parse_args(argv)
    rows = [Row(**json.loads(path.read_text(encoding="utf-8"))) for path in given.row]
    with packed(given.zip) as zip_file, local_server() as server:
        for release in RELEASES:
            if release.line in (given.blender or [release.line]):
                print(f"Blender {release.line} …", file=sys.stderr, flush=True)
                rows.append(run_row(release, zip_file, server, given.cache))
    page = table(rows)
    print(page)
    if given.out is not None:
        given.out.write_text(page, encoding="utf-8")
    return 1 if any(row.failures() for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there too")
    text = "a row of a Blender with a window, as JSON: blender, python, numpy, window (true), steps; repeatable"
    parser.add_argument("--row", type=Path, action="append", default=[], metavar="FILE", help=text)
    lines = [release.line for release in RELEASES]
    parser.add_argument("--blender", action="append", choices=lines, help="repeatable (default: all)")
    parser.add_argument("--zip", type=Path, metavar="FILE", help="the packed add-on (default: pack it now)")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FOLDER", help="keeps the Blenders")
    return parser


@contextmanager
def packed(given: Path | None = None) -> Iterator[Path]:
    """The zip for this machine: the one that is given, or one packed now."""
    if given is not None:
        yield given
        return
    system = platform.system()
    name = MAC_PLATFORMS[platform.machine()] if system == "Darwin" else PLATFORMS[system]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "build_addon.py"), "--platform", name, "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield next(Path(folder).glob("*.zip"))


@contextmanager
def local_server() -> Iterator[str]:
    """The address of a server of this environment, in a process of its own."""
    with LocalServer(device="cpu", command=[sys.executable, "-m", "compute_server.cli"]) as server:
        yield server.address


if __name__ == "__main__":
    sys.exit(main())
