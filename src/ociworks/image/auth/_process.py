"""Running a small program with bounds: a time, an output, an environment, and nothing left running."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

from attrs import frozen

from ociworks.errors import NotSupported

__all__ = ["Bounds", "OutOfBoundsError", "run"]

_PIECE: Final = 16 * 1024


class OutOfBoundsError(Exception):
    """It took too long or said too much, and was killed."""


@frozen
class Bounds:
    """Seconds, and bytes of standard output."""

    timeout: float
    max_output: int


def run(
    command: Sequence[str], given: bytes, environ: Mapping[str, str], bounds: Bounds
) -> tuple[int, bytes]:
    """The exit status and standard output; its session is killed when it is out of bounds.

    ``given`` is small enough for a pipe to hold. Standard error goes nowhere.
    """
    if os.name != "posix":
        raise NotSupported("credential helpers need a POSIX system; pass credentials as StaticKeychain")
    deadline = time.monotonic() + bounds.timeout
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=dict(environ), cwd="/", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _give(process.stdin, given)
            output = _read(process.stdout, deadline, bounds)
            return process.wait(max(0.001, deadline - time.monotonic())), output
        except subprocess.TimeoutExpired:
            raise OutOfBoundsError(f"no answer within {bounds.timeout:g} s") from None
        finally:
            # Whatever it has started may hold the pipe as well; an ended session is nobody's.
            if process.returncode is None:
                _kill(process)


def _give(pipe: IO[bytes] | None, given: bytes) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe.fileno(), given)
        pipe.close()


def _read(pipe: IO[bytes] | None, deadline: float, bounds: Bounds) -> bytes:
    if pipe is None:
        return b""
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise OutOfBoundsError(f"no answer within {bounds.timeout:g} s")
            data = os.read(pipe.fileno(), _PIECE)
            if not data:
                return output
            output += data
            if len(output) > bounds.max_output:
                raise OutOfBoundsError(f"more than {bounds.max_output} bytes of output")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
