"""Coverage-guided: atheris changes messages in a process of its own, and keeps those that reach new code of the reader.

`python -m fuzz.guided FOLDER RUNS` writes what it has found into FOLDER, one file for each message.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .messages import Multipart


def found(folder: Path, runs: int) -> list[Multipart]:
    """The messages that reach all the code that was reached in so many `runs`; none without atheris."""
    from .messages import seeds  # late: what is imported before the search begins cannot be watched by it

    folder.mkdir(parents=True, exist_ok=True)
    for number, frames in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(msgspec.msgpack.encode(frames))
    command = [sys.executable, "-m", "fuzz.guided", str(folder), str(runs)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    return [frames for path in sorted(folder.iterdir()) if (frames := as_frames(path.read_bytes()))]


def as_frames(data: bytes) -> Multipart:
    """A multipart of any bytes: as a list of frames, or else as one frame."""
    try:
        return msgspec.msgpack.decode(data, type=list[bytes])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [data]


def main(folder: str, runs: str) -> None:
    """Look for messages; ends with an error when reading one raises what is no typed error."""
    import atheris

    with atheris.instrument_imports():
        from shared import arrays, limits, scene, wire  # noqa: F401
    from shared import messages as m
    from shared.errors import AssistiveError
    from shared.limits import Limits, check_frames, check_header, check_limits
    from shared.scene import check_scene
    from shared.wire import unpack

    def read(data: bytes) -> None:
        frames = as_frames(data)
        try:
            check_header(frames)
            check_frames(frames, Limits())
            message = unpack(frames).message
            check_limits(message, Limits())
            if isinstance(message, m.Submit):
                check_scene(message.job.scene)
        except AssistiveError:
            pass

    # No limit of memory: Linux counts the peak of the process that started this one, which may be a whole test suite.
    atheris.Setup([sys.argv[0], f"-runs={runs}", "-seed=1", "-max_len=20000", "-rss_limit_mb=0", folder], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
