"""The state folder: file bytes as files, everything else in one SQLite database.

Every change is one transaction, so a server that is killed at any point finds the last complete step again.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from greennode_emulator.records import BatchRecord, FileRecord

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, record BLOB);
CREATE TABLE IF NOT EXISTS batches (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, record BLOB);
CREATE TABLE IF NOT EXISTS billed (custom_id TEXT, batch_id TEXT, wasted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS chats (body_hash TEXT PRIMARY KEY, billed INTEGER, lost INTEGER);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE IF NOT EXISTS created (id TEXT PRIMARY KEY, input_file_id TEXT, at REAL, billed INTEGER,
    served INTEGER NOT NULL DEFAULT 0, repeat_of TEXT);
"""

# Columns that earlier versions' tables lack; a bill of theirs belongs to no batch, and none of it is wasted.
_ADDED = (
    ("billed", "batch_id TEXT"),
    ("billed", "wasted INTEGER NOT NULL DEFAULT 0"),
    ("created", "served INTEGER NOT NULL DEFAULT 0"),
    ("created", "repeat_of TEXT"),
)


class StateInUseError(Exception):
    """Another server uses the same state folder."""


class Identified(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """The id clients see."""


RecordT = TypeVar("RecordT", bound=Identified)


class Store:
    """One state folder; safe to call from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._open = False
        self.database = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None, timeout=0.2)
        try:
            # Exclusive: two servers on one folder would bill every line twice. Not synchronous: the operating system
            # keeps what a killed process has written, and power cuts do not matter here.
            self.database.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + SCHEMA
            )
        except sqlite3.OperationalError as error:
            self.database.close()
            raise StateInUseError(f"{folder} is in use by another emulator ({error})") from error
        self._add_columns()
        self.files = Shelf(self, "files", FileRecord)
        self.batches = Shelf(self, "batches", BatchRecord)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; a nested one joins the outer one."""
        with self._lock:
            if self._open:
                yield self.database
                return
            self._open = True
            self.database.execute("BEGIN")
            try:
                yield self.database
            except BaseException:
                self.database.execute("ROLLBACK")
                raise
            else:
                self.database.execute("COMMIT")
            finally:
                self._open = False

    def _add_columns(self) -> None:
        """Bring the tables of an earlier version up to this one."""
        with self.transaction() as database:
            for table, column in _ADDED:
                names = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
                if column.partition(" ")[0] not in names:
                    database.execute(f"ALTER TABLE {table} ADD COLUMN {column}")

    def path(self, name: str) -> Path:
        """The path of a file's bytes."""
        return self.folder / name

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction() as database:
            for table in ("files", "batches", "billed", "chats", "counters", "created"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
        for path in self.folder.iterdir():
            path.unlink()

    def close(self) -> None:
        """Release the folder."""
        with self._lock:
            self.database.close()


class Shelf(Generic[RecordT]):
    """The records of one kind, in the order in which they were added."""

    # Table names below come from Store.__init__, never from a request.

    def __init__(self, store: Store, table: str, kind: type[RecordT]) -> None:
        self.store = store
        self._table = table
        self._decoder = msgspec.json.Decoder(kind)
        self._encoder = msgspec.json.Encoder()

    def add(self, record: RecordT) -> None:
        """Add a new record at the end; one with the same id is replaced in place."""
        with self.store.transaction() as database:
            database.execute(
                f"INSERT INTO {self._table} (id, record) VALUES (?, ?) "  # noqa: S608
                "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (record.id, self._encoder.encode(record)),
            )

    def get(self, name: str) -> RecordT | None:
        """The record of that id, or None."""
        with self.store.transaction() as database:
            row = database.execute(f"SELECT record FROM {self._table} WHERE id = ?", (name,)).fetchone()  # noqa: S608
        return None if row is None else self._decoder.decode(row[0])

    def update(self, name: str, change: Callable[[RecordT], RecordT]) -> RecordT | None:
        """Replace a record by the result of `change`; no other write comes in between."""
        with self.store.transaction():
            record = self.get(name)
            if record is None:
                return None
            changed = change(record)
            self.add(changed)
            return changed

    def delete(self, name: str) -> bool:
        """Whether there was such a record."""
        with self.store.transaction() as database:
            cursor = database.execute(f"DELETE FROM {self._table} WHERE id = ?", (name,))  # noqa: S608
            return cursor.rowcount == 1

    def count(self) -> int:
        """How many records there are."""
        with self.store.transaction() as database:
            n: int = database.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0]  # noqa: S608
        return n

    def newest(self, *, limit: int, after: str | None = None, skip: int = 0) -> tuple[list[RecordT], bool]:
        """One page, newest first, and whether more follow; KeyError if `after` does not exist."""
        with self.store.transaction() as database:
            before = 2**63 - 1
            if after is not None:
                row = database.execute(f"SELECT seq FROM {self._table} WHERE id = ?", (after,)).fetchone()  # noqa: S608
                if row is None:
                    raise KeyError(after)
                before = row[0]
            rows = database.execute(
                f"SELECT record FROM {self._table} WHERE seq < ? ORDER BY seq DESC LIMIT ? OFFSET ?",  # noqa: S608
                (before, limit + 1, skip),
            ).fetchall()
        return [self._decoder.decode(row[0]) for row in rows[:limit]], len(rows) > limit
