"""The SQLite file under the ledger: opening it, one write transaction, errors in one sentence."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tollkeeper.errors import LedgerBusy, LedgerError, LedgerRefusal

SCHEMA_VERSION = 1
"""How many migrations there are; known here so that opening a current file loads none of them."""

_OPENING_SECONDS = 15.0  # twenty processes that open a new file at once take turns for about one

_CHECKPOINT_SECONDS = 0.1  # how long writers may be kept waiting for a slow reader

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}

_PAGE_BYTES = 2048
"""Half of SQLite's own: a transaction touches a few bytes of a dozen pages and copies each page whole,
twice. Measured beside a busy neighbour: a tenth less time of an admission; smaller ones save no more."""

_LOG_PAGES = 10_000
_MOST_LOG_PAGES = 40_000  # 80 MB of our pages

_DAMAGED = "{} is damaged or no ledger ({}): stop the proxy and put a copy in its place."

_MOST_KNOWN = 4096
"""Callers and calls in flight, mostly below 1 KB; the rates of an agent up to 20 KB."""


class Connection(sqlite3.Connection):
    """The connection that writes, and what it knows of the file without reading it again."""

    known: dict[Any, Any]
    """Valid within a write transaction: emptied when somebody else wrote, or something was undone."""

    def keep[T](self, key: Any, value: T) -> T:
        """Know ``value`` from now on; returns it."""
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known[key] = value
        return value


type _OfTheFile = sqlite3.Error | OSError | OverflowError | UnicodeEncodeError
_OF_THE_FILE = (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError)
"""The last two: a number or a text that SQLite cannot hold, which is none of its own errors in Python."""


class _Part:
    """What a verb does within a group; of its errors the group tells, when they leave it."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> Connection:
        if not self._connection.in_transaction:
            # A full disk ends a whole transaction; a statement now would stand for itself.
            raise LedgerError(f"{self._path} lost the transaction it was writing.")
        return self._connection

    def __exit__(self, *_error: object) -> None:
        """Nothing ends here."""


class _Whole:
    """A transaction of its own. A class, since a generator for each costs as much as a small statement."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def __enter__(self) -> Connection:
        file = self._file
        file._lock.acquire()
        begun = False
        try:
            file._demand_in_place()
            file._connection.execute("BEGIN IMMEDIATE")
            begun = True
            file._know_again()
        except BaseException as error:
            self._end(error, undo=begun)
            raise
        return file._connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            try:
                self._file._connection.execute("COMMIT")
            except BaseException as failed:
                self._end(failed, undo=True)
                raise
            self._file._lock.release()
        else:
            self._end(error, undo=True)

    def _end(self, error: BaseException, *, undo: bool) -> None:
        """Nothing of it stands; the file's own errors go on as a sentence."""
        file = self._file
        try:
            if undo:
                file._connection.known.clear()
                if file._connection.in_transaction:
                    file._connection.execute("ROLLBACK")
        except sqlite3.Error as failed:
            raise file._told(failed) from error
        finally:
            file._lock.release()
        if isinstance(error, _OF_THE_FILE):
            raise file._told(error) from error


class SqliteFile:
    """One read-write connection and, when asked for, one read-only connection.

    It may be used from any thread, by one at a time. The file and what SQLite keeps beside it can be
    read by their owner only.
    """

    def __init__(self, path: Path, *, busy_timeout_ms: int, durability: str) -> None:
        if durability not in _SYNCHRONOUS:
            raise LedgerError(f"durability is process or power, not {durability!r}.")
        self.path = path
        self._lock = threading.RLock()
        self._whole, self._grouping = _Whole(self), False
        self._damage: LedgerError | None = None
        self._known_version = -1
        self._reader: sqlite3.Connection | None = None
        with self._translated():
            self._path, self._file_id = os.fspath(path), _make_private(path)
            self._connection = sqlite3.connect(
                path, timeout=_OPENING_SECONDS, isolation_level=None, check_same_thread=False,
                factory=Connection,
            )  # fmt: skip
            self._connection.known = {}
            try:
                self._prepare(busy_timeout_ms, _SYNCHRONOUS[durability])
            except BaseException:
                self._connection.close()
                raise
            self._seen_version = self._data_version()
        self._part = _Part(self._connection, path)

    def _prepare(self, busy_timeout_ms: int, synchronous: str) -> None:
        connection = self._connection
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES:d}")  # of a new file alone
        self._enter_wal()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        # `checkpoint` does it beside the calls; this is for when nobody comes round to that.
        connection.execute(f"PRAGMA wal_autocheckpoint = {_MOST_LOG_PAGES:d}")
        # What is deleted here (old rates, old prefixes) is no secret that had to be overwritten.
        connection.execute("PRAGMA secure_delete = OFF")
        # Twice SQLite's own: calls touch the newest pages, and memory is to be flat after few calls.
        connection.execute("PRAGMA cache_size = -4000")
        self._migrate()
        connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:d}")

    def _enter_wal(self) -> None:
        """Switch the journal to WAL; SQLite answers busy at once when several try, so try again."""
        give_up = time.monotonic() + _OPENING_SECONDS
        while True:
            try:
                (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as e:
                if not _is_busy(e) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
                continue
            if mode != "wal":
                raise LedgerError(f"{self.path} is on a file system without write-ahead logging.")
            return

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version < SCHEMA_VERSION:
            from tollkeeper.ledger.migrations import bring_up_to_date  # loads sqlite-utils: 0.2 s

            with self.transaction():
                bring_up_to_date(self._connection, SCHEMA_VERSION)
        elif version > SCHEMA_VERSION:
            raise LedgerError(f"{self.path} was written by a newer Tollkeeper: update this one.")

    def transaction(self) -> AbstractContextManager[Connection]:
        """The write lock from the first statement on; all or nothing of what happens inside.

        Inside ``group`` it is a part of the group's transaction.

        Raises:
            LedgerBusy: When another process holds the lock for longer than the busy timeout.
            LedgerError: When the file cannot be read or written, or is not the one any more that all
                other processes see.
        """
        return self._part if self._grouping else self._whole

    @contextmanager
    def group(self) -> Iterator[None]:
        """Several verbs in one transaction, so that they share its cost: all of them or none.

        Nothing of what they return may be acted on before the group has ended well, and an error of
        any must leave it.

        Raises:
            LedgerBusy, LedgerError: As ``transaction``; nothing of any verb then stands.
        """
        with self.transaction():
            self._grouping = True
            try:
                yield
            finally:
                self._grouping = False

    def _demand_in_place(self) -> None:
        """Two processes that write two files of the same name would keep two sets of books.

        And what is known to be damaged takes nothing more, though what is in memory still looks right.
        """
        if self._damage is not None:
            raise LedgerError(str(self._damage))
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            stat = None
        if stat is None or (stat.st_dev, stat.st_ino) != self._file_id:
            raise LedgerError(f"{self.path} was moved or replaced: start this process again.")

    def _know_again(self) -> None:
        """Forget what another connection may have changed; the write lock is held."""
        version = self._data_version()
        if version != self._known_version:
            self._connection.known.clear()
            self._known_version = version

    def _read(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query on the read-write connection: what an open transaction wrote counts."""
        with self._lock, self._translated():
            return self._connection.execute(sql, params).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _OF_THE_FILE as error:
            raise self._told(error) from error

    def _told(self, error: _OfTheFile) -> LedgerError:
        """The error in one sentence; damage is remembered."""
        if isinstance(error, OverflowError | UnicodeEncodeError):
            return LedgerRefusal(f"{self.path} cannot hold a value: {error}.")
        if isinstance(error, OSError):
            return LedgerError(f"{self.path} cannot be opened: {error.strerror or error}.")
        told = _ledger_error(error, self.path)
        if _is_damage(error):
            self._damage = told
        return told

    def changed(self) -> bool:
        """Whether another connection committed since the last call; costs microseconds."""
        with self._lock, self._translated():
            version = self._data_version()
        seen, self._seen_version = self._seen_version, version
        return version != seen

    def checkpoint(self) -> None:
        """Move the log into the database, with a connection of its own: from a thread, beside calls.

        Under a load that never pauses the log would grow all the same: writers then wait, in the
        order of milliseconds, for what came in since to be moved too, so that it starts anew.
        """
        with self._translated():
            self._demand_in_place()
            own = sqlite3.connect(  # never a new file: it would take the log of one moved away
                f"{self.path.absolute().as_uri()}?mode=rw", uri=True,
                timeout=_CHECKPOINT_SECONDS, isolation_level=None,
            )  # fmt: skip
            try:
                log = own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
                if log > _LOG_PAGES:
                    own.execute("PRAGMA wal_checkpoint(FULL)")
            finally:
                own.close()

    def look_through(self, seconds: float) -> bool:
        """Read the whole file, for whoever looks for damage; False when the time was too short.

        Raises:
            LedgerError: When it is damaged.
        """
        ends = time.monotonic() + seconds
        with self._translated():
            own = sqlite3.connect(self.path, timeout=_OPENING_SECONDS, isolation_level=None)
            own.set_progress_handler(lambda: time.monotonic() > ends, 100_000)
            try:
                (found,) = own.execute("PRAGMA quick_check(1)").fetchone()
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    return False
                raise
            finally:
                own.close()
        if found != "ok":
            raise LedgerError(_DAMAGED.format(self.path, " ".join(found.split())))
        return True

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Read-only queries for reports, streamed; the tables are documented in ``migrations.py``."""
        with self._translated():
            cursor = self._read_only().execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within this, ``rows`` sees the ledger as one moment had it, however long it takes."""
        with self._translated():
            reader = self._read_only()
            reader.execute("BEGIN")
            try:
                yield
            finally:
                reader.execute("COMMIT")

    def _read_only(self) -> sqlite3.Connection:
        with self._lock:
            if self._reader is None:
                self._reader = sqlite3.connect(
                    f"{self.path.absolute().as_uri()}?mode=ro",
                    uri=True, timeout=_OPENING_SECONDS, isolation_level=None, check_same_thread=False,
                )  # fmt: skip
            return self._reader

    def close(self) -> None:
        """Close the connections; may be called twice."""
        with self._lock, self._translated():
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            self._connection.close()


def marks(values: int) -> str:
    """Places for so many parameters of a statement."""
    return ", ".join("?" * values)


def _make_private(path: Path) -> tuple[int, int]:
    """Make the file if need be, for its owner alone; its device and inode."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        stat = os.fstat(handle)
        if stat.st_mode & 0o077:
            os.fchmod(handle, 0o600)
        return stat.st_dev, stat.st_ino
    finally:
        os.close(handle)


def _is_busy(error: sqlite3.Error) -> bool:
    # The low byte is the primary code; SQLITE_BUSY_SNAPSHOT and its like carry more above it.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_damage(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _ledger_error(error: sqlite3.Error, path: Path) -> LedgerError:
    if _is_busy(error):
        return LedgerBusy(f"{path} is being written by another process: try again.")
    if _is_damage(error):
        return LedgerError(_DAMAGED.format(path, error))
    code: int = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_WRITE:  # a limit of the process or of the user, not of the disk
        return LedgerError(
            f"{path} may not grow any more ({error}): raise its limits, or make room."
        )
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return LedgerError(f"No space is left for {path}.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return LedgerError(f"{path} cannot be opened for writing ({error}).")
        case sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_TOOBIG:
            return LedgerRefusal(f"{path} takes no such value: {error}.")
        case _:
            return LedgerError(f"{path} cannot be used: {error}.")
