"""Run a program to its end: input from memory, bounded output, a deadline, and nothing of it left when it is late."""

from __future__ import annotations

import functools
import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from attrs import frozen

from ociworks.errors import NetworkError

__all__ = ["MAX_OUTPUT", "Ended", "run"]

MAX_OUTPUT: Final = 1 << 20
"""Bytes of standard output. A program that says more is killed."""
_MAX_ERRORS: Final = 4096
"""Bytes of standard error that are kept; the rest is read and dropped."""
_PIECE: Final = 1 << 16
"""What a pipe holds."""
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


@frozen(kw_only=True)
class Ended:
    """What a program left: its exit code (negative: the signal that ended it) and what it said."""

    code: int
    output: bytes
    errors: bytes


def run(program: str, environment: Mapping[str, str], given: bytes, timeout: float) -> Ended:
    """Run ``program`` without arguments, with exactly this environment.

    It has a process group of its own, which is killed when it takes longer than ``timeout`` seconds or says too much.
    What it leaves running does not hold the call up. Raises NetworkError when it is late or too loud, OSError when it
    cannot start.
    """
    deadline = time.monotonic() + timeout
    output, output_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    errors, errors_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        try:
            pid = _start(program, environment, given, output_end, errors_end)
        finally:
            os.close(output_end)
            os.close(errors_end)
        return _Running(pid, output, errors).wait(deadline)
    finally:
        os.close(output)
        os.close(errors)


def _start(program: str, environment: Mapping[str, str], given: bytes, output: int, errors: int) -> int:
    for end in (output, errors):
        os.set_blocking(end, True)
    entry = os.memfd_create("cni", os.MFD_CLOEXEC)
    try:
        with open(entry, "wb", closefd=False) as stream:  # trusted: in memory, ours
            stream.write(given)
        os.lseek(entry, 0, os.SEEK_SET)
        return os.posix_spawn(
            program,
            (program,),
            environment,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate((entry, output, errors))),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_IGNORED_BY_PYTHON,
        )
    finally:
        os.close(entry)


@functools.cache
def _inherited() -> tuple[int, ...]:
    """Descriptors that whoever started this process left open for all its children; asked once.

    Python's own are closed by execve. A number that means something else by now is one of those.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)  # trusted: the kernel's
        with suppress(OSError):  # the listing's own is closed by now
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return tuple(found)


class _Running:
    """A child, and what it said so far."""

    def __init__(self, pid: int, output: int, errors: int) -> None:
        self._pid = pid
        self._output = output
        self._errors = errors
        self._said = bytearray()
        self._complained = bytearray()

    def wait(self, deadline: float) -> Ended:
        """Read what it says until it ends; kill it and its group in any other case."""
        try:
            self._read_until_it_ends(deadline)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code=code, output=bytes(self._said), errors=bytes(self._complained))

    def _read_until_it_ends(self, deadline: float) -> None:
        pidfd = os.pidfd_open(self._pid)
        try:
            poller = select.poll()
            for fd in (pidfd, self._output, self._errors):
                poller.register(fd, select.POLLIN)
            while True:
                left = deadline - time.monotonic()
                ready = [fd for fd, _ in poller.poll(left * 1000)] if left > 0 else []
                if not ready:
                    raise NetworkError("it did not end in time and was killed")
                if pidfd in ready:
                    self._read(self._output)
                    self._read(self._errors)
                    return
                for fd in ready:
                    if not self._read(fd):
                        poller.unregister(fd)
        finally:
            os.close(pidfd)

    def _read(self, fd: int) -> bool:
        """Take what there is, without waiting; whether more can come."""
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return True
        if fd == self._errors:
            self._complained += data[: _MAX_ERRORS - len(self._complained)]
            return bool(data)
        self._said += data
        if len(self._said) > MAX_OUTPUT:
            raise NetworkError(f"it said more than {MAX_OUTPUT} bytes and was killed")
        return bool(data)
