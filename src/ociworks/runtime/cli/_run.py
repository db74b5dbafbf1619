"""``run`` in the foreground."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from ociworks._linux.process import PR_SET_CHILD_SUBREAPER, prctl
from ociworks.errors import CommandNotFound
from ociworks.runtime import Container
from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._create import run_options, tell
from ociworks.runtime.cli._follow import caught_signals, exit_status, follow
from ociworks.spec import Bundle

__all__ = ["run"]

_NOT_EXECUTED: Final = 255


def run(call: Call, bundle: Bundle) -> int:
    """Run a container to its end and remove it; the exit status.

    What the kernel did not execute ends with 255 and one line on its standard error, as if it had said so itself.
    """
    try:
        return _run(call, bundle)
    except CommandNotFound as error:
        if error.step != "execute":
            raise
        return call.log.last_words(str(error), _NOT_EXECUTED)


def _run(call: Call, bundle: Bundle) -> int:
    """We adopt it, so that it goes on when we are killed. With ``--no-subreaper`` it ends with us."""
    adopt = not call.flags.flag("no-subreaper")
    if adopt:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    with caught_signals() as signals:
        runtime = call.runtime()
        try:
            container = runtime.create(call.container_id, bundle, detach=adopt, options=run_options(call))
            try:
                tell(call, container.pid)
                if adopt:
                    runtime.close()
                status = _to_its_end(call.root, container, signals)
            except BaseException:
                container.delete(force=True)
                raise
            if not call.flags.flag("keep"):
                container.delete(force=True)
            return exit_status(status)
        finally:
            runtime.close()


def _to_its_end(root: str, container: Container, signals: int) -> int:
    pidfd = os.pidfd_open(container.pid)
    try:
        with contextlib.ExitStack() as told:
            if os.environ.get("NOTIFY_SOCKET"):
                from ociworks.runtime.cli import _notify

                told.enter_context(_notify.telling(root, container, pidfd))
            follow(pidfd, signals, container.console, container.start)
        return container.wait()
    finally:
        os.close(pidfd)
