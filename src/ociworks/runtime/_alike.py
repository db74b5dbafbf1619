"""What containers of both kinds answer alike: our ends of their streams, and what their shims know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ociworks.errors import NotSupported
from ociworks.runtime.stdio import Streams

if TYPE_CHECKING:
    from ociworks.runtime._shim import Shim
    from ociworks.runtime.attach import Attachment
    from ociworks.runtime.console import Console
    from ociworks.runtime.detach import Exit, ExitWatch
    from ociworks.runtime.logs import LogRecord

__all__ = ["Alike"]


class Alike:
    """A container that may have been created with pipes, or be held by a shim."""

    _streams: Streams | None = None

    @property
    def id(self) -> str:
        """The container's ID."""
        raise NotImplementedError

    @property
    def console(self) -> Console | None:
        """Its terminal, when the configuration has one; only in the process that created it."""
        raise NotImplementedError

    @property
    def stdin(self) -> int | None:
        """Our end of its standard input, when that was created as PIPE; a descriptor."""
        return self._streams.stdin if self._streams is not None else None

    @property
    def stdout(self) -> int | None:
        """Our end of its standard output, when that was created as PIPE; a descriptor."""
        return self._streams.stdout if self._streams is not None else None

    @property
    def stderr(self) -> int | None:
        """Our end of its standard error, when that was created as PIPE; a descriptor."""
        return self._streams.stderr if self._streams is not None else None

    @property
    def exit(self) -> Exit | None:
        """How it ended, when it is a detached one with a shim; None while it has not, or when its shim was killed."""
        return self._held().exit

    def watch_exit(self) -> ExitWatch | None:
        """Something to wait with, among others, for the end of a detached container; None when its shim has ended."""
        return self._held().watch_exit()

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Get the output of a detached container from now on, and with ``stdin`` type into it.

        Raises ContainerError when it has ended, NotSupported when it was made without standard input or a shim.
        """
        return self._held().attach(stdin=stdin, stdout=stdout, stderr=stderr)

    def logs(self, *, follow: bool = False) -> Iterator[LogRecord]:
        """What is in the log files of a detached container, oldest first; with ``follow`` also what comes, to its end.

        Raises NotSupported when it was made without a log.
        """
        return self._held().logs(follow=follow)

    def reopen_log(self) -> None:
        """Have a detached container's log file opened again by its name, after it was renamed."""
        self._held().reopen_log()

    def resize(self, width: int, height: int) -> None:
        """Set the size of its terminal in characters. NotSupported when it has none that we can reach."""
        if self.console is not None:
            self.console.resize(width, height)
        else:
            self._held().resize(width, height)

    @property
    def _shim(self) -> Shim | None:
        """What holds it."""
        raise NotImplementedError

    def _held(self) -> Shim:
        if self._shim is None:
            raise NotSupported(f"container {self.id} has no shim: create it with detach=Detach(…)")
        return self._shim
