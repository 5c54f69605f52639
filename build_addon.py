"""Packs the add-on as a Blender extension: ``dist/assistive_signals-VERSION-PLATFORM.zip``.

The zip holds ``blender_addon/``, ``shared/`` inside it, and wheels of pyzmq and msgspec for the Pythons of Blender.
The same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent

#: Blender's names of platforms, and pip's.
PLATFORMS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64", "macosx_10_15_universal2"),
    "macos-x64": ("macosx_10_15_x86_64", "macosx_10_15_universal2"),
}
#: Blender 4.2 to 5.0 ship Python 3.11, from 5.1 on 3.13.
PYTHONS = ("3.11", "3.13")
#: pyzmq 27 has an abi3 wheel beside a cp311 one; Blender 5.2 refuses a zip with such a pair. 26.4 has one per Python.
REQUIREMENTS = ("pyzmq==26.4.0", "msgspec==0.22.0")
#: The oldest date a zip file can hold: what is packed does not depend on when.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Build one zip for each platform asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", action="append", choices=tuple(PLATFORMS), help="default: linux-x64; repeatable")
    parser.add_argument("--python", action="append", metavar="3.X", help="default: 3.11 and 3.13; repeatable")
    parser.add_argument("--offline", type=Path, metavar="FOLDER", help="take wheels from this folder only")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    for platform in given.platform or ["linux-x64"]:
        print(build(platform, given.python or PYTHONS, given.out, given.offline))
    return 0


def build(platform: str, pythons: Sequence[str], out: Path, offline: Path | None = None) -> Path:
    """Write the zip for one platform and give its path. Raises CalledProcessError when a wheel cannot be had."""
    manifest = (ROOT / "blender_addon" / "blender_manifest.toml").read_text()
    version = tomllib.loads(manifest)["version"]
    target = out / f"assistive_signals-{version}-{platform}.zip"
    with tempfile.TemporaryDirectory() as folder:
        wheels = _wheels(Path(folder), platform, pythons, offline)
        listed = "".join(f'  "./wheels/{wheel.name}",\n' for wheel in wheels)
        extra = f'platforms = ["{platform}"]\nwheels = [\n{listed}]\n\n[permissions]'
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "blender_manifest.toml", manifest.replace("[permissions]", extra).encode())
            for name, path in _sources():
                _add(archive, name, path.read_bytes())
            for wheel in wheels:
                _add(archive, f"wheels/{wheel.name}", wheel.read_bytes())
    return target


def _wheels(folder: Path, platform: str, pythons: Sequence[str], offline: Path | None) -> list[Path]:
    source = ["--no-index", "--find-links", str(offline)] if offline else []
    tags = [part for tag in PLATFORMS[platform] for part in ("--platform", tag)]
    for python in pythons:
        abi = f"cp{python.replace('.', '')}"
        options = ["--python-version", python, "--implementation", "cp", "--abi", abi, "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, *options, *tags, *source, *REQUIREMENTS], check=True)
    return sorted(folder.glob("*.whl"))


def _sources() -> Iterator[tuple[str, Path]]:
    """Every source file with its name in the zip, in a fixed order."""
    for folder, prefix in ((ROOT / "blender_addon", ""), (ROOT / "shared", "shared/")):
        for path in sorted(folder.rglob("*.py")):
            yield prefix + path.relative_to(folder).as_posix(), path
    for path in sorted((ROOT / "LICENSES").glob("*.txt")):
        yield f"LICENSES/{path.name}", path


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, TIMESTAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


if __name__ == "__main__":
    sys.exit(main())
