"""Waiting for the end of a container, which the end of the server interrupts."""

from __future__ import annotations

import time
from typing import Final

from ociworks.cri._ending import Ending
from ociworks.errors import ContainerError, ContainerNotFound, ContainerTimeout, NotSupported
from ociworks.runtime.detach import ExitWatch
from ociworks.runtime.protocol import OCIContainer

__all__ = ["has_ended", "is_stopped"]

_LOOK: Final = 1.0
"""Seconds in which a shim says what it has to say, once it speaks; one without a shim is asked as often."""


def has_ended(container: OCIContainer, seconds: float, ending: Ending, *, spare: float = 0.0) -> bool:
    """Wait for its end; False when it goes on after ``seconds``.

    Raises ServerEnding ``spare`` seconds after the server began to end.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            _until_news(container, deadline, ending, spare)
            container.wait(min(_LOOK, max(0.0, deadline - time.monotonic())))
        except ContainerTimeout:
            if time.monotonic() >= deadline:
                return False
        except ContainerNotFound:  # it ended, was written down and deleted meanwhile
            return True
        except ContainerError:  # nobody knows how; whether, its state says
            return is_stopped(container)
        else:
            return True


def is_stopped(container: OCIContainer) -> bool:
    """Whether it has ended, or is not there any more."""
    try:
        return container.status == "stopped"
    except ContainerNotFound:
        return True


def _until_news(container: OCIContainer, deadline: float, ending: Ending, spare: float) -> None:
    """Wait until its shim speaks. One that has none, or no room for us, is known by asking again and again."""
    watch = _watch(container)
    if watch is None:
        ending.check(spare)
        return
    with watch:
        ending.until_readable(watch, max(0.0, deadline - time.monotonic()), spare=spare)


def _watch(container: OCIContainer) -> ExitWatch | None:
    try:
        return container.watch_exit()
    except NotSupported:  # its state is gone already, and with it all that tells of a shim
        return None
