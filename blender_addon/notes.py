# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of jobs that servers still have for this user, one small file each, so that they outlive Blender."""

from __future__ import annotations

from pathlib import Path

import bpy
import msgspec

from .session import Ticket

FOLDER = "jobs"


def folder() -> Path:
    """Where the notes are: the folder that Blender gives extensions for data of their own."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, path=FOLDER))
    except ValueError:  # not installed as an extension
        return Path(bpy.utils.user_resource("CONFIG", path=f"assistive_signals/{FOLDER}"))


def write(ticket: Ticket) -> None:
    """Note `ticket` down, in place of an earlier note of the same job."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{ticket.job_id}"
    partial.write_bytes(msgspec.json.encode(ticket))
    partial.replace(home / f"{ticket.job_id}.json")


def drop(job_id: str) -> None:
    """Forget a job; does no harm when there is no note of it."""
    (folder() / f"{job_id}.json").unlink(missing_ok=True)


def read() -> tuple[Ticket, ...]:
    """All notes that can be read, the oldest first; those of other versions of the add-on are left alone."""
    found = []
    for path in folder().glob("*.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Ticket))
        except (msgspec.MsgspecError, OSError):
            continue
    return tuple(sorted(found, key=lambda ticket: ticket.submitted))
