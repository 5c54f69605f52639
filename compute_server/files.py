"""Folders and files that commands write: everything whole or not at all."""

from __future__ import annotations

from pathlib import Path

from shared.errors import OutputFailed


def write_files(out: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all."""
    for name, data in files.items():
        part = (out / name).with_name(f".partial-{Path(name).name}")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(out / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _failed(out, error) from error


def make_folder(out: Path) -> None:
    """The folder `out`, before minutes of work are spent on what could not be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(out, error) from error


def _failed(out: Path, error: OSError) -> OutputFailed:
    return OutputFailed(f"{out} cannot be written: {error.strerror}.", hint="Choose another --out.")
