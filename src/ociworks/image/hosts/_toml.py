"""TOML from this host: bounded, of the expected shape, and every error with its file and key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from ociworks.errors import HostsConfigError, SpecError, quote

__all__ = ["MAX_FILE", "Table", "load", "read_regular"]

MAX_FILE: Final = 512 * 1024
"""Bytes of one configuration file or certificate file at most."""

_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

T = TypeVar("T")

_KINDS: Final = {
    str: "a string", bool: "true or false", list: "an array", dict: "a table", int: "an integer", float: "a number",
}  # fmt: skip


def read_regular(path: str) -> bytes | None:
    """The content of a regular file, None without one; raises ``HostsConfigError``."""
    try:
        fd = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostsConfigError(path, "", f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise HostsConfigError(path, "", "expected a regular file")
    with open(fd, "rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise HostsConfigError(path, "", f"expected at most {MAX_FILE} bytes")
    return content


def load(path: str) -> Table | None:
    """Read a TOML file, None without one; raises ``HostsConfigError``."""
    raw = read_regular(path)
    return None if raw is None else parse(path, raw)


def parse(path: str, raw: bytes) -> Table:
    """Read TOML; raises ``HostsConfigError`` with the line."""
    import tomllib

    try:
        return Table(path, "", tomllib.loads(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise HostsConfigError(
            path, "", f"expected UTF-8, got something else at byte {error.start}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise HostsConfigError(path, "", f"expected TOML: {quote(str(error))}") from None


class Table:
    """One table of a file. Every reader gives its value in the expected type or raises ``HostsConfigError``."""

    def __init__(self, file: str, where: str, data: Mapping[str, object]) -> None:
        self.file = file
        self.where = where
        self._data = data
        self._read: set[str] = set()

    def text(self, name: str) -> str | None:
        """A string."""
        return self._get(name, str)

    def flag(self, name: str) -> bool:
        """A boolean, false unless given."""
        return self._get(name, bool) or False

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of strings, None when it is not there (which may mean something else than empty)."""
        items = self._get(name, list)
        return (
            None
            if items is None
            else tuple(self._is(f"{name}[{i}]", item, str) for i, item in enumerate(items))
        )

    def tables(self, name: str) -> tuple[Table, ...]:
        """An array of tables."""
        return tuple(
            self._table(f"{name}[{i}]", self._is(f"{name}[{i}]", item, dict))
            for i, item in enumerate(self._get(name, list) or [])
        )

    def table(self, name: str) -> Table:
        """A table, empty unless given."""
        return self._table(name, self._get(name, dict) or {})

    def names(self) -> Iterator[str]:
        """The keys, in the order of the file."""
        return iter(self._data)

    def raw(self, name: str) -> object:
        """A value that may have several types."""
        self._read.add(name)
        return self._data.get(name)

    def checked(self, name: str, read: Callable[[str], T], text: str) -> T:
        """What ``read`` makes of a string; its ``SpecError`` becomes one with file and key."""
        try:
            return read(text)
        except SpecError as error:
            raise self.error(name, str(error)) from None

    def error(self, name: str, message: str) -> HostsConfigError:
        """The error to raise about a key."""
        return HostsConfigError(self.file, self._at(name), message)

    def unread(self) -> list[str]:
        """Keys that nobody asked for: misspelled, or newer than this reader."""
        return [self._at(name) for name in self._data if name not in self._read]

    def _get(self, name: str, kind: type[T]) -> T | None:
        self._read.add(name)
        return self._is(name, self._data[name], kind) if name in self._data else None

    def _is(self, name: str, value: object, kind: type[T]) -> T:
        if type(value) is not kind:
            found = _KINDS.get(type(value), "a date or time")
            raise self.error(name, f"expected {_KINDS[kind]}, got {found}")
        return value

    def _table(self, name: str, data: Mapping[str, object]) -> Table:
        return Table(self.file, self._at(name), data)

    def _at(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name
