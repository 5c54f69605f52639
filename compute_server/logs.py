"""What the server writes of its own doing: lines for a person, or JSON for a program; to the terminal, or to files that
are kept small. Job ids are in it; scenes, pictures and keys never are."""

from __future__ import annotations

import json
import logging
import logging.handlers
from pathlib import Path

from shared.errors import OutputFailed

FILE_BYTES, FILES = 10 << 20, 5


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, the job it is about, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "job": getattr(record, "job", None),
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=False)


def set_up(*, as_json: bool, file: Path | None) -> None:
    """Write from now on to `file` (at most 10 MiB of it, and four older ones) or, with None, to standard error."""
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                file, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8"
            )
        except OSError as error:
            raise OutputFailed(f"The log {file} cannot be written: {error.strerror}.") from error
    plain = logging.Formatter("%(asctime)s %(levelname)s: %(message)s" if file else "%(levelname)s: %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    root = logging.getLogger()
    for old in list(root.handlers):
        if type(old) in (logging.StreamHandler, logging.handlers.RotatingFileHandler):  # ours, not those of a test
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
