"""A job's report as files in a folder: written the same way by both sides, and read again to be shown or compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InvalidInput
from .report_page import page

#: The add-on's name of the report, and the server's.
REPORTS = ("report.json", "result.json")


@dataclass(frozen=True)
class Run:
    """One job that has ended: a name for it, its report, PNG files by name without their ending, and SVG plots."""

    name: str
    report: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)


def of_report(
    report: Mapping[str, Any], plots: Mapping[str, str], files: Mapping[str, bytes], name: str = "report.json"
) -> dict[str, bytes]:
    """What belongs to a `report` beside the other `files` of its folder: itself, its plots, and its page."""
    drawn = {f"plots/{each}.svg": svg.encode() for each, svg in plots.items()}
    whole = page(report, pictures_among(files), plots).encode()
    data = (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
    return {**drawn, name: data, "report.html": whole}


def pictures_among(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The PNG files by their names without ending, as a page wants them."""
    return {name.removesuffix(".png"): data for name, data in files.items() if name.endswith(".png")}


def read_run(folder: Path) -> Run:
    """The job in a folder that either side has written. Raises :class:`InvalidInput` that names what is missing."""
    path = next((folder / name for name in REPORTS if (folder / name).is_file()), None)
    if path is None:
        raise InvalidInput(f"{folder} has no report.json.", hint="Name a folder that a job was written to.")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        files = {each.relative_to(folder).as_posix(): each.read_bytes() for each in _pictures(folder)}
        plots = {each.stem: each.read_text(encoding="utf-8") for each in sorted((folder / "plots").glob("*.svg"))}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error
    if not isinstance(report, dict):
        raise InvalidInput(f"{path} is not a report.")
    return Run(folder.resolve().name, report, pictures_among(files), plots)


def _pictures(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.png"), *folder.glob("before/*.png"), *folder.glob("after/*.png")])
