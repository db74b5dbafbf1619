"""Serves a filter that asks: takes the descriptor that a runtime hands over, and answers calls (seccomp_unotify(2)).

::

    with Listener("/run/agent.sock") as agent, agent.accept() as asked:
        print(asked.state.state.id)
        for call in asked:
            path = asked.read_text(call, call.args[0])
            asked.allow(call) if path == "/tmp/ok" else asked.fail(call, errno.EPERM)

What is read from the caller's memory can be changed by it until the kernel reads it again: :meth:`Notifier.allow` is
no decision about security (seccomp_unotify(2), Design goals). Decide by the number and the plain arguments, or do the
work here and answer with :meth:`Notifier.result`.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

from attrs import frozen

from ociworks.errors import ContainerTimeout, InvalidSpec, Problem
from ociworks.spec import parse
from ociworks.spec.runtime import ContainerProcessState

__all__ = ["Call", "Listener", "Notifier"]

_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_VALID: Final = 0x40082102
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("=QqiI")
_CONTINUE: Final = 1
_MOST: Final = 1 << 20
_MAX_FDS: Final = 16
_PATIENCE: Final = 10.0
_PATH_MAX: Final = 4096
_PAGE: Final = 4096


@frozen(kw_only=True)
class Call:
    """A system call that waits for an answer."""

    id: int
    """The kernel's name of this question."""
    pid: int
    """The thread that asks, in our PID namespace; 0 when it is outside."""
    number: int
    """By the table of ``architecture``."""
    architecture: int
    """AUDIT_ARCH_*."""
    instruction_pointer: int
    args: tuple[int, ...]
    """The six registers."""


class Notifier:
    """The calls of one process and its children. A context manager; closing it fails the calls that wait (ENOSYS)."""

    def __init__(self, state: ContainerProcessState, fd: int) -> None:
        self.state = state
        """Of whom."""
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor, readable when a call waits; -1 when closed."""
        return self._fd

    def receive(self, timeout: float | None = None) -> Call | None:
        """The next call, or None when nobody is left to ask. ContainerTimeout after ``timeout`` seconds."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        while True:
            ready = poller.poll(None if timeout is None else timeout * 1000)
            if not ready:
                raise ContainerTimeout("no system call was asked about", timeout=timeout or 0.0)
            if not ready[0][1] & select.POLLIN:
                return None
            with contextlib.suppress(InterruptedError, FileNotFoundError):  # the caller was killed meanwhile
                return self._receive()

    def _receive(self) -> Call:
        raw = fcntl.ioctl(self._fd, _RECEIVE, bytes(_NOTIFICATION.size))
        number, pid, _, call, architecture, pointer, *args = _NOTIFICATION.unpack(raw)
        return Call(
            id=number,
            pid=pid,
            number=call,
            architecture=architecture,
            instruction_pointer=pointer,
            args=tuple(args),
        )

    def __iter__(self) -> Iterator[Call]:
        while (call := self.receive()) is not None:
            yield call

    def waits(self, call: Call) -> bool:
        """Whether the caller still waits, and its pid is still its own: ask after everything that was done by pid."""
        try:
            fcntl.ioctl(self._fd, _VALID, struct.pack("=Q", call.id))
        except FileNotFoundError:
            return False
        return True

    def read(self, call: Call, address: int, size: int) -> bytes:
        """Bytes of the caller's memory, fewer at its end. OSError(ESRCH) when the caller no longer waits."""
        fd = os.open(f"/proc/{call.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not self.waits(call):
                raise ProcessLookupError(errno.ESRCH, "the caller no longer waits")
            return os.pread(fd, size, address)
        finally:
            os.close(fd)

    def read_text(self, call: Call, address: int) -> str:
        """A string of the caller's, as a path is given; at most 4096 bytes. OSError for none."""
        raw = b""
        while len(raw) < _PATH_MAX:
            part = self.read(call, address + len(raw), _PAGE - (address + len(raw)) % _PAGE)
            text, end, _ = part.partition(b"\0")
            raw += text
            if end:
                return os.fsdecode(raw)
            if not part:
                break
        raise OSError(errno.ENAMETOOLONG, "no end of the string")

    def allow(self, call: Call) -> None:
        """Let the kernel do the call, whatever it now finds in the caller's memory."""
        self._answer(call, 0, 0, _CONTINUE)

    def fail(self, call: Call, number: int) -> None:
        """Let the call fail with an errno."""
        self._answer(call, 0, -number, 0)

    def result(self, call: Call, value: int = 0) -> None:
        """Let the call return a value without having been done."""
        self._answer(call, value, 0, 0)

    def _answer(self, call: Call, value: int, error: int, flags: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # it no longer waits
            fcntl.ioctl(self._fd, _SEND, _RESPONSE.pack(call.id, value, error, flags))

    def close(self) -> None:
        """Stop answering; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """A socket at a ``listenerPath`` (mode 0600). A context manager; the socket's file is removed at the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(self.path)
            os.chmod(self.path, 0o600)
            self._socket.listen()
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor, readable when a runtime has something to hand over."""
        return self._socket.fileno()

    def accept(self, timeout: float | None = None) -> Notifier:
        """Take what the next runtime hands over. ContainerTimeout after ``timeout`` seconds.

        Raises OSError and SpecError when it is not what the specification says.
        """
        self._socket.settimeout(timeout)
        try:
            channel, _ = self._socket.accept()
        except TimeoutError:
            raise ContainerTimeout("no container was started", timeout=timeout or 0.0) from None
        with channel:
            channel.settimeout(_PATIENCE)
            raw, fds = _receive(channel)
        try:
            state = parse(ContainerProcessState, raw, max_size=_MOST)
            if "seccompFd" not in state.fds or len(fds) != len(state.fds):
                found = f"expected seccompFd and a descriptor for each name, got {len(fds)} descriptors"
                raise InvalidSpec([Problem("$.fds", found)])
            return Notifier(state, fds.pop(state.fds.index("seccompFd")))
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """Close the socket and remove its file; again is harmless."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """All bytes to the end, and the descriptors that came with the first."""
    fds = array.array("i")
    space = socket.CMSG_SPACE(_MAX_FDS * fds.itemsize)
    raw, ancillary, _, _ = channel.recvmsg(_MOST, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(rights[: len(rights) // fds.itemsize * fds.itemsize])
    while len(raw) <= _MOST and (more := channel.recv(_MOST)):
        raw += more
    return raw, list(fds)
