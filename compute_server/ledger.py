"""The server's book of jobs: one SQLite file for what they are and how they stand, one folder for the files of each.

A job that is in the book survives any process that ends. Nothing is told to a client before it is written here, and
nothing here is an open file or a socket: several threads may each have a :class:`Ledger` of the same home.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import msgspec
import platformdirs

from shared import errors
from shared import messages as m
from shared.errors import ErrorData
from shared.version import PROTOCOL, VERSION
from shared.wire import Frame, byte_count, load_frames, load_stored, pack, peek, save_frames

VARIABLE = "ASSISTIVE_HOME"
#: Room that is left on the disk, whatever comes.
RESERVE = 256 << 20

State = Literal["queued", "running", "done", "failed", "cancelled"]

#: What brings a book of each earlier schema to the next. ``user_version`` says how many have been done.
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, client TEXT NOT NULL, state TEXT NOT NULL,
        submitted REAL NOT NULL, began REAL, ended REAL,
        bytes INTEGER NOT NULL, error TEXT
    );
    """,
    """
    ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN work INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX jobs_by_state ON jobs (state, submitted);
    """,
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A job in the book. Times are seconds since 1970; ``bytes`` are those of its files, ``attempts`` how often a
    worker died on it since its last checkpoint, ``work`` see :func:`compute_server.waiting.job_work`."""

    id: str
    client: str
    state: State
    submitted: float
    began: float | None
    ended: float | None
    bytes: int
    error: ErrorData | None
    priority: int
    work: int
    attempts: int
    cancel: bool


@dataclass(frozen=True)
class Room:
    """How many jobs may wait: all together, and of one client."""

    all: int = 1000
    client: int = 100


def default_home() -> Path:
    """Where a server keeps its jobs unless it is told otherwise."""
    given = os.environ.get(VARIABLE, "").strip()
    return Path(given) if given else platformdirs.user_data_path("assistive-signals") / "server"


class Ledger:
    """The book in `home`, which is made if it is not there. Belongs to one thread at a time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        try:
            (home / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._book = sqlite3.connect(
                home / "ledger.sqlite", timeout=30.0, isolation_level=None, check_same_thread=False
            )
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise errors.OutputFailed(
                f"The jobs of the server cannot be kept in {home}: {error}.", hint="Choose another folder with --home."
            ) from error

    def close(self) -> None:
        """Let go of the book."""
        self._book.close()

    def _migrate(self) -> None:
        self._book.execute("PRAGMA journal_mode = WAL")
        # In the order of transactions nothing is lost by a process that is killed; jobs are deterministic, so what a
        # power cut takes back of their course is only done again. That a job was taken at all is synced (`add`).
        self._book.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            (done,) = self._book.execute("PRAGMA user_version").fetchone()
            if done > len(MIGRATIONS):
                raise errors.OutputFailed(
                    f"The jobs in {self.home} were written by a newer server than this one, which is {VERSION}.",
                    hint="Update this server, or choose another folder with --home.",
                )
            for step in MIGRATIONS[done:]:
                for statement in filter(str.strip, step.split(";")):
                    self._book.execute(statement)
            self._book.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._book.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._book.execute("ROLLBACK")
            raise
        self._book.execute("COMMIT")

    # --- reading ------------------------------------------------------------------------------------------------------

    def find(self, job_id: str) -> Entry | None:
        """The job of this id, if there is one."""
        found = self._entries("WHERE id = ?", job_id)
        return found[0] if found else None

    def get(self, job_id: str) -> Entry:
        """The job of this id. Raises :class:`UnknownJob`."""
        entry = self.find(job_id)
        if entry is None:
            raise errors.UnknownJob(
                f"This server knows no job {job_id!r}.", hint="It may have been long ago, or on another server."
            )
        return entry

    def entries(self) -> list[Entry]:
        """All jobs, oldest first."""
        return self._entries("ORDER BY submitted")

    def unfinished(self) -> list[Entry]:
        """Jobs that have not ended, oldest first."""
        return self._entries("WHERE state IN ('queued', 'running') ORDER BY submitted")

    def to_cancel(self) -> list[str]:
        """Jobs that have not ended and are to be cancelled."""
        rows = self._book.execute("SELECT id FROM jobs WHERE cancel = 1 AND state IN ('queued', 'running')")
        return [job_id for (job_id,) in rows]

    def version(self) -> int:
        """A number that changes whenever somebody else has written in the book."""
        (number,) = self._book.execute("PRAGMA data_version").fetchone()
        return int(number)

    def _entries(self, where: str, *values: object) -> list[Entry]:
        columns = ", ".join(Entry.__struct_fields__)
        rows = self._book.execute(f"SELECT {columns} FROM jobs {where}", values)
        found = [dict(zip(Entry.__struct_fields__, row, strict=True)) for row in rows]
        for row in found:
            row["error"] = msgspec.json.decode(row["error"], type=ErrorData) if row["error"] else None
            row["cancel"] = bool(row["cancel"])
        return [Entry(**row) for row in found]

    def folder(self, job_id: str) -> Path:
        """Where the files of a job are. The name says nothing, so that no id can lead elsewhere."""
        return self.home / "jobs" / hashlib.sha256(job_id.encode()).hexdigest()[:32]

    def ended(self, job_id: str) -> list[Frame]:
        """The last event of a job that has ended, as a multipart."""
        entry = self.get(job_id)
        if entry.error is not None:
            return pack(m.Ended(job_id=job_id, error=entry.error))
        path = self.folder(job_id) / "result.msg"
        frames = load_frames(path, mapped=True)
        return frames if peek(frames[0]).protocol == PROTOCOL else pack(load_stored(path))

    # --- writing ------------------------------------------------------------------------------------------------------

    def add(self, job: m.Job, frames: Sequence[Frame], client: str, *, priority: int, work: int, room: Room) -> bool:
        """Take a job, whose submission are `frames`; False if it is here already.

        It is on the disk when this returns. Raises :class:`InvalidInput` when too many jobs wait, and
        :class:`OutputFailed` when the disk is too full.
        """
        if self.find(job.id) is not None:
            return False
        self._check_room(client, room)
        size = byte_count(frames)
        check_space(self.home, size)
        folder = self.folder(job.id)
        folder.mkdir(exist_ok=True, mode=0o700)
        save_frames(frames, folder / "job.msg")
        self._book.execute("PRAGMA synchronous = FULL")
        try:
            self._book.execute(
                "INSERT INTO jobs (id, client, state, submitted, bytes, priority, work)"
                " VALUES (?, ?, 'queued', ?, ?, ?, ?)",
                (job.id, client, time.time(), size, priority, work),
            )
        finally:
            self._book.execute("PRAGMA synchronous = NORMAL")
        return True

    def _check_room(self, client: str, room: Room) -> None:
        waiting = "SELECT count(*), coalesce(sum(client = ?), 0) FROM jobs WHERE state IN ('queued', 'running')"
        everyone, own = self._book.execute(waiting, (client,)).fetchone()
        if everyone >= room.all:
            raise errors.InvalidInput(f"{everyone} jobs are waiting already.", hint="Try again later.")
        if own >= room.client:
            raise errors.InvalidInput(
                f"{own} of your jobs are waiting already, as many as one client may have.", hint="Try again later."
            )

    def begin(self, job_id: str) -> None:
        """The job runs from now on."""
        self._book.execute(
            "UPDATE jobs SET state = 'running', began = coalesce(began, ?) WHERE id = ? AND state = 'queued'",
            (time.time(), job_id),
        )

    def count_attempt(self, job_id: str) -> int:
        """A worker has died on this job: how many have by now, since its last checkpoint."""
        self._book.execute("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (job_id,))
        return self.get(job_id).attempts

    def got_on(self, job_id: str) -> None:
        """The job has a new checkpoint."""
        self._book.execute("UPDATE jobs SET attempts = 0 WHERE id = ?", (job_id,))

    def ask_cancel(self, job_id: str) -> None:
        """The job is to end within its next step; whoever runs it looks here too."""
        self._book.execute("UPDATE jobs SET cancel = 1 WHERE id = ? AND state IN ('queued', 'running')", (job_id,))

    def end(self, job_id: str, state: Literal["done", "failed", "cancelled"], error: ErrorData | None = None) -> bool:
        """The job has ended; False if it had already. A job ends once."""
        kept = msgspec.json.encode(error).decode() if error is not None else None
        changed = self._book.execute(
            "UPDATE jobs SET state = ?, ended = ?, error = ?, bytes = ?"
            " WHERE id = ? AND state IN ('queued', 'running')",
            (state, time.time(), kept, self._tidied(job_id), job_id),
        )
        return changed.rowcount == 1

    def _tidied(self, job_id: str) -> int:
        """Remove what a job needed only while it ran; the bytes of what is left."""
        folder = self.folder(job_id)
        for path in [*folder.glob("*.checkpoint"), *folder.glob(".*.partial")]:
            path.unlink(missing_ok=True)
        return sum(path.stat().st_size for path in folder.glob("*"))

    # --- keeping house ------------------------------------------------------------------------------------------------

    def prune(self, keep_s: float, keep_bytes: int) -> int:
        """Forget jobs that ended longer ago than `keep_s`, and the oldest of those whose files are more than
        `keep_bytes` together; how many. Jobs that have not ended are kept."""
        ended = self._entries("WHERE ended IS NOT NULL ORDER BY ended")
        held = sum(entry.bytes for entry in ended)
        gone = 0
        for entry in ended:
            assert entry.ended is not None
            if held <= keep_bytes and time.time() - entry.ended <= keep_s:
                break
            self.forget(entry.id)
            held -= entry.bytes
            gone += 1
        return gone

    def forget(self, job_id: str) -> None:
        """Remove a job and its files."""
        self._book.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def sweep(self) -> None:
        """Remove the files of jobs that never came to be in the book, as a server that was killed leaves them."""
        known = {self.folder(entry.id).name for entry in self.entries()}
        for folder in (self.home / "jobs").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)


def check_space(home: Path, size: int) -> None:
    """Raises :class:`OutputFailed` when a file of `size` bytes would leave too little room on the disk."""
    free = shutil.disk_usage(home).free
    if free < size + RESERVE:
        raise errors.OutputFailed(
            f"The server's disk is full: {free >> 20} MiB are free, {(size + RESERVE) >> 20} are wanted.",
            hint="Free some space there, or remove old jobs with `assistive-server jobs prune`.",
        )


def lock_home(home: Path) -> IO[bytes]:
    """Make `home` this process's own, until the file given here is closed. Raises :class:`AddressInUse` when another
    server works there."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (home / "lock").open("ab")
    try:
        _lock(file)
    except OSError as error:
        file.close()
        raise errors.AddressInUse(
            f"Another server keeps its jobs in {home}.", hint="Use that one, or choose another folder with --home."
        ) from error
    return file


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
