"""What exists, across restarts: one SQLite database in WAL mode.

Every change is a transaction of its own, so a killed server finds each record whole, as it was before or after.
Names are reserved in the same transaction that records their holder.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, Self, TypeVar

import attrs

from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.errors import AlreadyReserved, InvalidRequest, PodNotFound, StoreError, quote

__all__ = ["Store", "Table"]

_VERSION: Final = 1
_TUPLES: Final = frozenset({"addresses"})
_BOOLS: Final = frozenset({"restored"})
R = TypeVar("R", SandboxRecord, ContainerRecord)


class Store:
    """The records, for every thread of one server. Use it as a context manager, or close it.

    Raises :class:`~ociworks.errors.StoreError` when the database is damaged, of a newer version, another user's, or
    cannot be written. One server holds it at a time; a second one is refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._lock = threading.RLock()
        _check_file(self._path)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.1)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(f"{self._path}: {error}") from error
        except BaseException:
            self._db.close()
            raise
        self.sandboxes = Table(self, "sandbox", SandboxRecord)
        self.containers = Table(self, "container", ContainerRecord)

    def close(self) -> None:
        """Leave the database; again is harmless."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it, or nothing. May be nested: the outermost one counts."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"{self._path}: {error}") from error

    def _prepare(self) -> None:
        os.chmod(self._path, 0o600)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A killed server loses nothing; only a dying kernel could.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA trusted_schema = OFF")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise StoreError(f"{self._path}: expected version {_VERSION}, got {version}: of a newer ociworks")
        if version == 0:
            self._create()

    def _create(self) -> None:
        script = [
            "CREATE TABLE name (kind TEXT, name TEXT, id TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT"
        ]
        for kind, record in (("sandbox", SandboxRecord), ("container", ContainerRecord)):
            columns = ", ".join(f"{field.name} {_column(field)}" for field in attrs.fields(record))
            script.append(f"CREATE TABLE {kind} ({columns}, PRIMARY KEY (id)) STRICT")
        script.append("CREATE INDEX container_sandbox ON container (sandbox_id)")
        with self.transaction() as db:
            for statement in script:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")


class Table(Generic[R]):
    """The records of one kind."""

    def __init__(self, store: Store, kind: str, record: type[R]) -> None:
        self._store = store
        self._kind = kind
        self._record: type[R] = record
        self._names = [field.name for field in attrs.fields(record)]

    def add(self, record: R) -> None:
        """Record a new one and reserve its name. AlreadyReserved (with the holder) when another one has it."""
        with self._store.transaction() as db:
            found = db.execute(
                "SELECT id FROM name WHERE kind = ? AND name = ?", (self._kind, record.name)
            ).fetchone()
            if found:
                raise AlreadyReserved(
                    f"name: {quote(record.name)} is the name of {self._kind} {found[0]}", holder=found[0]
                )
            db.execute("INSERT INTO name VALUES (?, ?, ?)", (self._kind, record.name, record.id))
            places = ", ".join("?" * len(self._names))
            db.execute(f"INSERT INTO {self._kind} VALUES ({places})", self._values(record))  # noqa: S608 - ours

    def update(self, id: str, change: Callable[[R], R]) -> R:
        """Replace a record by what ``change`` makes of it, atomically; that. PodNotFound when it is gone."""
        with self._store.transaction() as db:
            record: R = change(self.get(id))
            sets = ", ".join(f"{name} = ?" for name in self._names)
            db.execute(f"UPDATE {self._kind} SET {sets} WHERE id = ?", (*self._values(record), id))  # noqa: S608
            return record

    def remove(self, id: str) -> None:
        """Forget a record and free its name; again is harmless."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM name WHERE kind = ? AND id = ?", (self._kind, id))
            db.execute(f"DELETE FROM {self._kind} WHERE id = ?", (id,))  # noqa: S608

    def get(self, id: str) -> R:
        """The record of exactly this ID. PodNotFound otherwise."""
        found = self._select("WHERE id = ?", (id,))
        if not found:
            raise PodNotFound(f"no {self._kind} has the ID {quote(id)}")
        return found[0]

    def find(self, prefix: str) -> R:
        """The only record whose ID begins like this. PodNotFound when there is none, or more than one."""
        if not prefix or not set(prefix) <= set("0123456789abcdef"):
            raise PodNotFound(f"no {self._kind} has an ID that begins with {quote(prefix)}")
        found = self._select("WHERE id >= ? AND id < ? LIMIT 2", (prefix, prefix + "g"))
        if len(found) != 1:
            raise PodNotFound(f"{'several' if found else 'no'} {self._kind} IDs begin with {quote(prefix)}")
        return found[0]

    def whole(self, id: str) -> R | None:
        """The record of exactly this ID, to end or remove what it stands for; None when no ID begins like this.

        InvalidRequest when an ID only begins like this: nothing is ended by a part of its name.
        """
        if not id or not set(id) <= set("0123456789abcdef"):
            return None
        found = self._select("WHERE id >= ? AND id < ? LIMIT 1", (id, id + "g"))
        if found and found[0].id != id:
            raise InvalidRequest(f"expected the whole ID of a {self._kind}, got its beginning {quote(id)}")
        return found[0] if found else None

    def all(self) -> tuple[R, ...]:
        """Every record, oldest first."""
        return self._select("ORDER BY created_at, id", ())

    def of_sandbox(self, sandbox_id: str) -> tuple[R, ...]:
        """The containers of a pod, oldest first (of the container table only)."""
        return self._select("WHERE sandbox_id = ? ORDER BY created_at, id", (sandbox_id,))

    def _select(self, where: str, values: tuple[str, ...]) -> tuple[R, ...]:
        with self._store.transaction() as db:
            rows = db.execute(f"SELECT {', '.join(self._names)} FROM {self._kind} {where}", values)  # noqa: S608
            return tuple(self._read(row) for row in rows)

    def _read(self, row: tuple[object, ...]) -> R:
        values: dict[str, Any] = dict(zip(self._names, row, strict=True))
        for name in _TUPLES & values.keys():
            values[name] = tuple(str(values[name]).split())
        for name in _BOOLS & values.keys():
            values[name] = bool(values[name])
        record: R = self._record(**values)
        return record

    def _values(self, record: R) -> tuple[object, ...]:
        values = attrs.asdict(record, recurse=False)
        for name in _TUPLES & values.keys():
            values[name] = " ".join(values[name])
        for name in _BOOLS & values.keys():
            values[name] = int(bool(values[name]))
        return tuple(values[name] for name in self._names)


def _column(field: attrs.Attribute[Any]) -> str:
    kind = str(field.type)
    if "bytes" in kind:
        return "BLOB NOT NULL"
    return "INTEGER NOT NULL" if "int" in kind or "bool" in kind else "TEXT NOT NULL"


def _check_file(path: str) -> None:
    """Refuse what somebody else could have written."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        return
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise StoreError(f"{path}: expected a regular file that only its owner, this user, may write")
