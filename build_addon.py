"""Packs the add-on as Blender extensions: ``dist/assistive_signals-VERSION-PLATFORM.zip``, one for each platform.

A zip holds ``blender_addon/``, ``shared/`` inside it, and wheels of pyzmq and msgspec. The same inputs give the same
bytes. Needs Python with pip, and nothing else; what it packs is checked by Blender's own validator in the tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MANIFEST = "blender_manifest.toml"

#: Blender's names of platforms, and pip's.
PLATFORMS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64", "macosx_10_15_universal2"),
    "macos-x64": ("macosx_10_15_x86_64", "macosx_10_15_universal2"),
}
#: Blender 4.2 to 5.0 ship Python 3.11, from 5.1 on 3.13. One zip serves them all.
BLENDERS_PYTHONS = ("3.11", "3.13")
MSGSPEC = "msgspec==0.22.0"
#: The last pyzmq with a wheel of its own for each Python that Blender ships.
PYZMQ = "pyzmq==26.4.0"
#: For any other Python: an abi3 wheel, in a zip of its own, as Blender 5.2 doesn't count it beside a cp311 wheel.
PYZMQ_ABI3 = "pyzmq==27.3.0"
#: What belongs to the add-on, besides its manifest: code, presets, icons, and what its pages are made of.
PACKED = (".py", ".png", ".css", ".js")
#: The oldest date that a zip file can hold: what is packed does not depend on when.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class MissingWheel(Exception):
    """A wheel that a zip needs cannot be had; the message is a sentence for a person."""


def main(argv: Sequence[str] | None = None) -> int:
    """Build one zip for each platform asked for. Exit code: 0, 2 for a missing wheel, 5 for a failed write."""
    given = _parser().parse_args(argv)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        for platform in given.platform or PLATFORMS:
            for python in given.python or [None]:
                print(build(platform, python, given.out, given.offline), flush=True)
    except MissingWheel as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {given.out} could not be written: {error}", file=sys.stderr)
        return 5
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--platform", action="append", choices=tuple(PLATFORMS), help="repeatable (default: all)")
    text = "a zip of its own for a Blender with this Python, such as a distribution's; repeatable"
    parser.add_argument("--python", action="append", type=_python, metavar="3.X", help=f"{text} (default: Blender's)")
    parser.add_argument("--offline", type=_folder, metavar="FOLDER", help="take wheels from this folder only")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="default: dist")
    return parser


def _python(text: str) -> str:
    if not re.fullmatch(r"3\.\d{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 3.14")
    return text


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return Path(text)


def build(platform: str, python: str | None, out: Path, offline: Path | None = None) -> Path:
    """Write the zip for `platform` into the folder `out` and give its path.

    It is for a Blender with `python` (None: the Pythons that Blender ships). Wheels come from PyPI, or from the folder
    `offline` only. Raises :class:`MissingWheel`; nothing is left in `out` then.
    """
    manifest = (ROOT / "blender_addon" / MANIFEST).read_text(encoding="utf-8")
    version = tomllib.loads(manifest)["version"]
    wheels = _wheels(platform, [python] if python else BLENDERS_PYTHONS, offline)
    target = out / f"assistive_signals-{version}-{platform}{f'-python{python}' if python else ''}.zip"
    completed = _complete(manifest, platform, [name for name, _ in wheels])
    _write(target, sorted([(MANIFEST, completed.encode()), *_sources(), *wheels]))
    return target


def _complete(manifest: str, platform: str, wheels: Iterable[str]) -> str:
    """The manifest with what only this zip has. Keys stand before the first table."""
    head, table, rest = manifest.partition("[permissions]")
    listed = "".join(f'  "./{name}",\n' for name in wheels)
    return f'{head}platforms = ["{platform}"]\nwheels = [\n{listed}]\n\n{table}{rest}'


def _sources() -> Iterator[tuple[str, bytes]]:
    """Name in the zip and content of everything that is no wheel and not the manifest."""
    for folder, prefix, suffixes in (
        (ROOT / "blender_addon", "", PACKED),
        (ROOT / "shared", "shared/", PACKED),
        (ROOT / "LICENSES", "LICENSES/", (".txt",)),
    ):
        for path in folder.rglob("*"):
            if path.suffix in suffixes:
                yield prefix + path.relative_to(folder).as_posix(), path.read_bytes()


def _write(target: Path, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip of `entries`; it has its name only once it is whole."""
    part = target.with_name(target.name + ".part")
    try:
        # Not compressed: wheels are already, and different builds of zlib give different bytes.
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name, data in entries:
                entry = zipfile.ZipInfo(name, TIMESTAMP)
                entry.create_system = 3  # Unix, also when packed on Windows
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


# --- wheels -----------------------------------------------------------------------------------------------------------


def _wheels(platform: str, pythons: Iterable[str], offline: Path | None) -> list[tuple[str, bytes]]:
    """Name in the zip and content of every wheel, by name. Raises :class:`MissingWheel`."""
    with tempfile.TemporaryDirectory() as folder:
        for python in pythons:
            for requirement in (MSGSPEC, PYZMQ if python in BLENDERS_PYTHONS else PYZMQ_ABI3):
                _fetch(requirement, python, platform, Path(folder), offline)
        return sorted((f"wheels/{wheel.name}", wheel.read_bytes()) for wheel in Path(folder).glob("*.whl"))


def _fetch(requirement: str, python: str, platform: str, folder: Path, offline: Path | None) -> None:
    """Put the wheel of `requirement` into `folder`. Raises :class:`MissingWheel`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}"]
    if requirement == PYZMQ_ABI3:
        command += ["--abi", "abi3"]
    for tag in PLATFORMS[platform]:
        command += ["--platform", tag]
    environment = dict(os.environ)
    if offline is not None:  # pip's own configuration may name further places to look
        command += ["--isolated", "--no-index", "--find-links", str(offline)]
        environment["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(
        [*command, "--dest", str(folder), requirement], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        source = f"in {offline}" if offline else "on PyPI"
        said = done.stderr.strip().rpartition("\n")[2].removeprefix("ERROR: ").rstrip(".")
        text = f"No wheel of {requirement.replace('==', ' ')} for Python {python} on {platform} was found {source}."
        raise MissingWheel(f"{text} pip says: {said}." if said else text)


if __name__ == "__main__":
    sys.exit(main())
