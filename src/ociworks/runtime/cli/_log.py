"""Log lines as logrus writes them, which is what clients read; whatever a message holds, a record is one line."""

from __future__ import annotations

import os
import stat
import sys
import time
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime.cli._flags import Options

__all__ = ["Log"]

_LONGEST: Final = 8192
_STANDARD: Final = ("", "/dev/stderr")


class Log:
    """Where the records of one call go: standard error until ``configure`` has seen the flags."""

    def __init__(self) -> None:
        self._json = False
        self._file = -1
        self.debugs = False
        """Whether :meth:`detail` writes anything."""

    def configure(self, options: Options) -> None:
        """Take ``--log``, ``--log-format`` and ``--debug``. Raises ValueError and OSError."""
        form = options.text("log-format", "text")
        if form not in ("", "text", "json"):
            raise ValueError(f"invalid log-format: {form!a}")
        self._json = form == "json"
        self.debugs = options.flag("debug")
        path = options.text("log")
        if path not in _STANDARD:
            self._file = _open(path)

    def detail(self, message: str) -> None:
        """Write a record if ``--debug`` was given."""
        if self.debugs:
            self._write("debug", message)

    def caution(self, message: str) -> None:
        """Write a record."""
        self._write("warning", message)

    def fatal(self, message: str, status: int) -> int:
        """Write a record, say it on standard error too, and give back ``status``."""
        self._write("error", message)
        if self._file >= 0:
            sys.stderr.write(f"{_quoted(message)[1:-1]}\n")
        return status

    def last_words(self, message: str, status: int) -> int:
        """Say something in the place of a program, and in a log file; give back ``status``."""
        if self._file >= 0:
            return self.fatal(message, status)
        sys.stderr.write(f"{_quoted(message)[1:-1]}\n")
        return status

    def _write(self, level: str, message: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        quoted = _quoted(message)
        if self._json:
            line = f'{{"level":"{level}","msg":{quoted},"time":"{now}"}}\n'
        else:
            line = f'time="{now}" level={level} msg={quoted}\n'
        if self._file >= 0:
            os.write(self._file, line.encode())
        else:
            sys.stderr.write(line)


def _quoted(message: str) -> str:
    """As JSON, which is also how Go quotes: ASCII, no control character."""
    return str(encode_basestring_ascii(message[:_LONGEST])).replace("\x7f", "\\u007f")


def _open(path: str) -> int:
    """A regular file of ours to append to, reached without a link in the last place (CL-02)."""
    flags = (
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    )
    fd = os.open(path, flags, 0o644)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise ValueError(f"log file {path!a}: expected a regular file of our own")
    return fd
