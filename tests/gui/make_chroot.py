"""Makes a Debian with Blender inside a folder, and installs what shows and reads its window. It starts no Blender.

Packages come from where this machine's own apt gets them. Run it as root: ``python tests/gui/make_chroot.py``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".gui"
#: Programs on this machine, and the Debian packages that bring them.
HOST_PROGRAMS = {"debootstrap": "debootstrap", "Xvfb": "xvfb", "tesseract": "tesseract-ocr"}
BLENDER = ("blender", "python3-numpy", "libgl1-mesa-dri", "libgl1", "libegl1", "libglx-mesa0")
#: Blender of each suite, with what its package forgets to depend on: trixie has 4.3, sid 5.2 or later.
SUITES = {"trixie": BLENDER, "sid": (*BLENDER, "python3-cattr", "python3-requests")}
APT_HELPER = "/usr/lib/apt/apt-helper"
#: A command that ends with us, even when we are killed.
TIED = ("setpriv", "--pdeathsig", "KILL")
#: What is mounted for a command goes with it, and so do its children, however it ends.
CONTAINED = (*TIED, "unshare", "--mount", "--pid", "--fork", "--kill-child")
QUIET = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
LOG_LINES = 5


class CannotBeHad(Exception):
    """This machine can't get the packages; nothing is wrong with the project."""


class Failed(Exception):
    """A step did not work that should have."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make the chroot unless it is there. 0: it is there, 1: a step failed, 3: it cannot be had here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=tuple(SUITES), default="trixie")
    parser.add_argument("--folder", type=Path, help="default: .gui/SUITE in the project")
    parser.add_argument("--or-skip", action="store_true", help="end with 0 where the packages cannot be had")
    given = parser.parse_args(argv)
    try:
        make(given.suite, (given.folder or FOLDER / given.suite).resolve())
    except CannotBeHad as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return 0 if given.or_skip else 3
    except Failed as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next run begins anew", file=sys.stderr)
        return 130
    return 0


def make(suite: str, folder: Path) -> None:
    """Leave a complete chroot in `folder`. What an interrupted run has left is thrown away.

    Raises :class:`CannotBeHad` where root, mounts, a package or the mirror are missing, :class:`Failed` otherwise.
    """
    _check_rights(folder)
    _install_host_packages()
    if folder.exists():
        print(f"{folder} is there already")
        return
    mirror = _find_mirror(suite)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    print(f"making {folder} from {mirror}; this takes some minutes, see {log}", flush=True)
    _bootstrap(suite, partial, mirror, log)
    _copy_apt_settings(partial)
    _install_blender(suite, partial, log)
    partial.rename(folder)
    print(f"{folder} is complete")


def _check_rights(folder: Path) -> None:
    if os.geteuid() != 0:
        raise CannotBeHad(f"only root can make {folder}; name a Blender of your own in BLENDER instead.")
    if not Path(APT_HELPER).exists():
        raise CannotBeHad("this machine has no apt; name a Blender of your own in BLENDER instead.")
    if subprocess.run([*CONTAINED, "true"], check=False, capture_output=True).returncode:
        raise CannotBeHad("this machine allows no mounts of our own, which a chroot needs.")


def _install_host_packages() -> None:
    missing = [package for program, package in HOST_PROGRAMS.items() if shutil.which(program) is None]
    if not missing:
        return
    print(f"installing {' '.join(missing)} on this machine", flush=True)
    update = ["apt-get", "-qq", "update"]
    install = ["apt-get", "-qq", "--yes", "--no-install-recommends", "install", *missing]
    for command in (update, install):
        done = subprocess.run(command, check=False, env=QUIET, capture_output=True, text=True)
        if done.returncode:
            raise CannotBeHad(f"{' '.join(missing)} cannot be installed here: {_last_lines(done.stderr)}")


def _find_mirror(suite: str) -> str:
    """The first of this machine's apt sources that has `suite`."""
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    sources = dict.fromkeys(subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split())
    for source in sources:
        with tempfile.TemporaryDirectory() as scratch:
            fetch = [APT_HELPER, "download-file", f"{source}dists/{suite}/InRelease", f"{scratch}/InRelease"]
            if subprocess.run(fetch, check=False, capture_output=True).returncode == 0:
                return source
    raise CannotBeHad(f"none of this machine's apt sources has {suite}, or can be reached: {', '.join(sources)}")


def _bootstrap(suite: str, folder: Path, mirror: str, log: Path) -> None:
    print("  the base system", flush=True)
    settings = dict(re.findall(r'^Acquire::(https?)::Proxy "(.+)";$', _apt_settings(), flags=re.MULTILINE))
    proxies = {f"{scheme}_proxy": address for scheme, address in settings.items()}
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(folder), mirror]
    _run([*CONTAINED, *command], log, {**QUIET, **proxies})


def _install_blender(suite: str, folder: Path, log: Path) -> None:
    print("  Blender", flush=True)
    inside = [*CONTAINED, f"--root={folder}", "--mount-proc", "apt-get", "-qq"]
    _run([*inside, "update"], log, QUIET)
    _run([*inside, "--yes", "--no-install-recommends", "install", *SUITES[suite]], log, QUIET)
    _run([*inside, "clean"], log, QUIET)


def _copy_apt_settings(folder: Path) -> None:
    """Let the apt inside fetch as ours does: its proxy, certificates and passwords."""
    settings = _apt_settings()
    named = [Path(value) for value in re.findall(r'"(/.+)";$', settings, flags=re.MULTILINE)]
    passwords = [Path("/etc/apt/auth.conf"), *Path("/etc/apt/auth.conf.d").glob("*")]
    for path in (*named, *passwords):
        if path.is_file():
            target = folder / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    (folder / "etc/apt/apt.conf.d/50host").write_text(settings)


def _apt_settings() -> str:
    """The lines of apt's configuration that say how to fetch."""
    lines = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout.splitlines()
    about_fetching = re.compile(r"Acquire::(https?|ftp|Retries|ForceIPv\d|Check-Valid-Until|Check-Date)\b")
    return "".join(f"{line}\n" for line in lines if about_fetching.match(line))


def _run(command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("ab") as output:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    if done.returncode:
        what = " ".join(command[len(CONTAINED) :])
        raise Failed(f"{what} ended with code {done.returncode}: {_last_lines(log.read_text(errors='replace'))}")


def _last_lines(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-LOG_LINES:])


if __name__ == "__main__":
    sys.exit(main())
