"""The folder where both sides keep what is nobody else's business: keys, who is trusted, which servers run here.

Only its owner may read what is in it. On Windows that is the profile folder's own protection; elsewhere it is checked.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from .errors import InvalidInput

VARIABLE = "ASSISTIVE_HOME"
NAME = "assistive-signals"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def home() -> Path:
    """ASSISTIVE_HOME, or the place for settings that the system gives each user. It need not be there yet."""
    if given := os.environ.get(VARIABLE, "").strip():
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / NAME
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / NAME


def write_private(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner may read, whole or not at all; one that is there is kept unless `replace`.

    Raises :class:`InvalidInput`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}", dir=path.parent)  # made for the owner alone
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            if replace:
                Path(partial).replace(path)
            else:
                with contextlib.suppress(FileExistsError):  # somebody else was faster
                    os.link(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror}.", hint=f"Make it writable, or name another in {VARIABLE}."
        ) from error


def read_private(path: Path, *, secret: bool = True) -> bytes | None:
    """What is in a file that only its owner may read or change; None when there is no such file. One that is not
    `secret` may be read by others.

    Raises :class:`InvalidInput` when others may do more, or when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & (OTHERS if secret else OTHERS_WRITE):
                done, remedy = ("read or changed", "600") if secret else ("changed", "644")
                raise InvalidInput(f"{path} can be {done} by others.", hint=f"chmod {remedy} '{path}'")
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
