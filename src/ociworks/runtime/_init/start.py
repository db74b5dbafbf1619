"""Operations around the start: look the program up, wait at the gate, become the program."""

from __future__ import annotations

import _signal
import errno
import os
import stat

from ociworks._linux import process
from ociworks.runtime._init import wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["candidates", "execute", "find_program", "listen", "outlive", "wait_start"]

_PR_SET_PDEATHSIG: Final = 1
_DEFAULT_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
_ENDING: Final = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


def find_program(context: Context, program: bytes, search: bytes, cwd: str) -> None:  # noqa: ARG001
    """Fail now when the program is not there or nobody may execute it, so that ``create`` can say so.

    It is looked up again when it is executed, by the user who does: this finds mistakes, it proves nothing.
    """
    number = errno.ENOENT
    for candidate in candidates(program, search):
        try:
            info = os.stat(os.path.join(os.fsencode(cwd), candidate))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise _missing(program, error.errno or 0) from None
            number = errno.EACCES if errno.EACCES in (number, error.errno) else number
        else:
            if stat.S_ISREG(info.st_mode) and info.st_mode & 0o111:
                return
            number = errno.EACCES
    raise _missing(program, number)


def outlive(context: Context) -> None:
    """From here on the process outlives the launcher: it has no parent-death signal any more."""
    process.prctl(_PR_SET_PDEATHSIG, 0)
    context.outlives = True


def wait_start(context: Context) -> None:
    """Report that all is ready, and wait at the gate for somebody who starts us (``ociworks.runtime._gate``).

    The first process of a PID namespace has no default actions, so the signals that end it meanwhile are handled.
    """
    gate = context.gate
    if gate is None:
        raise StepError("there is no gate to wait at")
    for number in _ENDING:
        _signal.signal(number, _end)
    gate.listen(8)
    wire.send(context.sync, wire.READY)
    context.sync.close()
    context.sync = _opened(gate)
    gate.close()
    context.gate = None


def _opened(gate: _socket.socket) -> _socket.socket:
    """The channel to whoever lets us go on; those who only knock are passed over."""
    while True:
        fd, _ = gate._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept calls
        channel = type(gate)(fileno=fd)
        kind, _, _ = wire.receive(channel)
        if kind == wire.CONTINUE:
            return channel
        channel.close()


def _end(number: int, _frame: object) -> None:
    os._exit(128 + number)


def listen(context: Context, count: int) -> None:
    """The program will be told of sockets, by the pid that it has inside."""
    context.listen = count


def execute(context: Context, args: tuple[bytes, ...], env: tuple[bytes, ...], search: bytes) -> None:
    """Reset every signal to its default action and become the program."""
    for number in _signal.valid_signals():
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    environment = dict(entry.split(b"=", 1) for entry in env)
    if context.home and not environment.get(b"HOME"):
        environment[b"HOME"] = context.home
    if context.listen:
        environment.update({b"LISTEN_FDS": b"%d" % context.listen, b"LISTEN_PID": b"%d" % os.getpid()})
    _exec(args, environment, search)


def _exec(args: tuple[bytes, ...], environment: dict[bytes, bytes], search: bytes) -> None:
    failure = 0
    for candidate in candidates(args[0], search):
        try:
            os.execve(candidate, args, environment)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            if not failure or error.errno == errno.EACCES:
                failure = error.errno
    raise _missing(args[0], failure or errno.ENOENT)


def candidates(program: bytes, search: bytes) -> list[bytes]:
    """Where a program may be."""
    if b"/" in program:
        return [program]
    return [(part or b".") + b"/" + program for part in (search or _DEFAULT_PATH).split(b":")]


def _missing(program: bytes, number: int) -> StepError:
    name = program.decode("utf-8", "backslashreplace")
    if b"/" in program:
        return StepError(os.strerror(number).lower(), name, number)
    if number == errno.EACCES:
        return StepError("permission denied", name, number)
    return StepError("executable file not found in $PATH", name, number)
