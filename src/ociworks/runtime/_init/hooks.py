"""Runs one hook: a program with the container's state on its standard input, within a time limit.

Used by the caller for the hooks of the runtime namespace and by the init for those of the container namespace.
"""

from __future__ import annotations

import _signal
import errno
import os
import select
import time

from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["run", "run_in_container"]

_SIGKILL: Final = 9
_OUTPUT: Final = 4096
_FIRST: Final = 3


def run_in_container(  # noqa: PLR0913, PLR0917 - the arguments of an operation
    context: Context,
    which: str,
    program: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    timeout: int,
    completed: bool,  # noqa: FBT001 - an operation's arguments are positional
    state: tuple[bytes, bytes],
) -> None:
    """An operation: run a hook here, inside the namespaces; ``state`` is cut where the init's pid belongs.

    ``completed``: its environment is the program's, which has a ``HOME``. Before the root changes, the working
    directory is the new root: as with runc, whose hooks count on it.
    """
    if context.root >= 0:
        os.fchdir(context.root)
    passed = tuple(range(_FIRST, _FIRST + context.passed))
    if completed and context.home:
        env = (*env, "HOME=" + os.fsdecode(context.home))
    whole = state[0] + str(context.host_pid).encode() + state[1]
    try:
        run(program, args, env, timeout, whole, passed)
    except StepError as error:
        raise StepError(f"error running {which}: {error.text}", program, error.number) from None
    except OSError as error:
        said = f"error running {which}: {error.strerror}"
        raise StepError(said, program, error.errno or 0) from None


def run(
    program: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    timeout: int,
    state: bytes,
    inheritable: tuple[int, ...] = (),
) -> None:
    """Run a hook to its end; StepError when it cannot start, fails, or outlives ``timeout`` seconds (0: no limit).

    ``inheritable`` are descriptors that it must not get.
    """
    state_fd = os.memfd_create("state", os.MFD_CLOEXEC)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(state_fd, state)
        os.lseek(state_fd, 0, os.SEEK_SET)
        environment = dict(entry.split("=", 1) for entry in env)
        actions = [
            (os.POSIX_SPAWN_DUP2, state_fd, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in inheritable),
        ]
        pid = os.posix_spawn(
            program, args or (program,), environment, file_actions=actions, setpgroup=0, setsigmask=()
        )
        os.close(writer)
        writer = -1
        try:
            output, ended = _wait(pid, reader, timeout)
        except BaseException:
            os.killpg(pid, _SIGKILL)
            os.waitpid(pid, 0)
            raise
        _, status = os.waitpid(pid, 0)
        if not ended:
            raise StepError(
                f"hook did not end within {timeout} seconds and was killed", program, errno.ETIMEDOUT
            )
        code = os.waitstatus_to_exitcode(status)
        if code:
            said = output.decode("utf-8", "backslashreplace").strip()
            raise StepError(f"hook {_fate(code)}" + (f": {said}" if said else ""), program)
    finally:
        os.close(state_fd)
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _fate(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    return f"was killed by signal {-code}, {(_signal.strsignal(-code) or 'unknown').lower()}"


def _wait(pid: int, reader: int, timeout: int) -> tuple[bytes, bool]:
    """Read the hook's output until the hook itself ends; kill its process group when the time is over.

    Neither waits for a program that the hook left behind and that goes on writing.
    """
    output = b""
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(reader, select.POLLIN)
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic()) * 1000 if timeout else None
            ready = [] if left == 0 else [fd for fd, _ in poller.poll(left)]
            if not ready:
                os.killpg(pid, _SIGKILL)
                return output, False
            if reader in ready:
                data = os.read(reader, _OUTPUT)
                output = (output + data)[:_OUTPUT]
                if not data:
                    poller.unregister(reader)
            if pidfd in ready and (reader not in ready or len(output) == _OUTPUT):
                return output, True
    finally:
        os.close(pidfd)
