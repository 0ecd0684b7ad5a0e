"""Messages that wait for a receiver that is away: bounded, oldest first, and given up only when received.

    emit ─► put ─► [ 1 2 3 4 … ] ─► after ─► network ─► done
                     oldest leaves when full

With a file (``$STATE_DIRECTORY`` under systemd) they outlive a power cut; without, the same code keeps them in memory.
A message is delivered at least once: if the process dies between delivery and `done`, it is sent again, with the same
``id`` inside, by which a receiver can tell.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

LIMIT = 10_000  # messages; at 300 bytes each about 3 MB, a month of 300 actions a day

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """``number`` rises by one with each message, also over restarts where there is a file."""

    number: int
    kind: str
    body: str


class Spool:
    """A queue in SQLite; any thread may call any method."""

    def __init__(self, path: Path | None = None, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._database, self._path = _open(path)
        self._waiting = int(self._database.execute("SELECT count(*) FROM message").fetchone()[0])
        self.lost = 0  # messages that made room for newer ones

    @property
    def waiting(self) -> int:
        """Messages not yet received."""
        return self._waiting

    def put(self, kind: str, body: str) -> int:
        """Queue a message and return its number; the oldest leaves when there are more than the limit.

        Raises:
            OSError: the disk is full or broken; the message is not queued.
        """
        with self._lock:
            try:
                row = self._database.execute("INSERT INTO message (kind, body) VALUES (?, ?)", (kind, body))
                self._waiting += 1
                if self._waiting > self._limit:
                    self._database.execute("DELETE FROM message WHERE number = (SELECT min(number) FROM message)")
                    self._waiting -= 1
                    self.lost += 1
            except sqlite3.Error as error:
                raise OSError(f"spool: {error}") from error
            assert row.lastrowid is not None
            return row.lastrowid

    def after(self, number: int, count: int) -> list[Message]:
        """The oldest ``count`` messages later than ``number``; none while the disk cannot be read."""
        with self._lock:
            try:
                rows = self._database.execute(
                    "SELECT number, kind, body FROM message WHERE number > ? ORDER BY number LIMIT ?", (number, count)
                )
                return [Message(*row) for row in rows]
            except sqlite3.Error as error:
                _log.warning("spool: cannot read what waits: %s", error)
                return []

    def done(self, number: int) -> None:
        """The message has been received; unknown numbers (it had left meanwhile) are fine.

        A full disk must not stop deliveries: the row then stays and its message may be sent twice after a restart.
        """
        with self._lock:
            try:
                row = self._database.execute("DELETE FROM message WHERE number = ?", (number,))
                self._waiting -= row.rowcount
            except sqlite3.Error as error:
                _log.warning("spool: cannot forget a delivered message: %s", error)

    def report_waiting(self, whose: str) -> None:
        """Log, at the end of a run, what ``whose`` receiver did not take and what becomes of it."""
        if self._waiting:
            fate = (
                f"they wait in {self._path}" if self._path else "and are gone: only a $STATE_DIRECTORY outlives a run"
            )
            _log.warning("%s: %d events were not delivered, %s", whose, self._waiting, fate)

    def close(self) -> None:
        with self._lock:
            self._database.close()


def _open(path: Path | None) -> tuple[sqlite3.Connection, Path | None]:
    """The database and its file, None where it is in memory."""
    if path is None:
        return _connect(":memory:"), None
    try:
        return _connect(str(path)), path
    except sqlite3.DatabaseError as error:  # cut power can break any file; old messages are worth less than new ones
        _log.warning("spool %s: %s; set aside, begun anew", path, error)
    try:
        path.replace(path.with_suffix(".broken"))
        return _connect(str(path)), path
    except (OSError, sqlite3.DatabaseError) as error:
        _log.warning("spool %s: %s; waiting messages are kept in memory only", path, error)
        return _connect(":memory:"), None


def _connect(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=1)
    try:
        # the log is synced now and then instead of at every message: an SD card lives longer, a crash loses nothing,
        # a power cut the last seconds
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS message "
            "(number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL)"
        )
        database.execute("SELECT count(*) FROM message").fetchone()
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def spool_path(state_directory: str | None, name: str) -> Path | None:
    """The file for the spool of sink ``name``, None where the service manager gives no place for it."""
    return Path(state_directory.split(":")[0]) / f"{name}.spool" if state_directory else None
