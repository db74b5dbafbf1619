"""The OOM scores of a container's processes, changed while they run.

A score belongs to a process and is inherited, so all of them are changed, those of execs too. A process that has chosen
another score for itself keeps that.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from ociworks.errors import ContainerError
from ociworks.runtime import cgroups
from ociworks.runtime.protocol import OCIContainer

__all__ = ["changed_scores"]

_AT_A_TIME: Final = 200
_PASSES: Final = 100
"""Each pass finds the children of those that the pass before came too late for."""


@contextmanager
def changed_scores(container: OCIContainer, before: int, after: int) -> Iterator[None]:
    """Give its processes another score; when the block fails, the one from before.

    Raises ContainerError when this server may not give them that score, which lowers theirs.
    """
    try:
        _move(container, before, after)
        yield
    except BaseException:
        with suppress(ContainerError):
            _move(container, after, before)
        raise


def _move(container: OCIContainer, old: int, new: int) -> None:
    if old == new:
        return
    for _ in range(_PASSES):
        pids = iter(_pids(container))
        moved = False
        while some := tuple(itertools.islice(pids, _AT_A_TIME)):
            moved = _move_some(container, some, old, new) or moved
        if not moved:
            return


def _move_some(container: OCIContainer, pids: tuple[int, ...], old: int, new: int) -> bool:
    """Whether any of them had the old score. A file that is open is one process's, whoever has its number later."""
    moved = False
    with ExitStack() as stack:
        files: dict[int, int] = {}
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                files[pid] = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, files[pid])
        ours = frozenset(_pids(container))
        for pid, file in files.items():
            if pid in ours:
                moved = _give(file, old, new) or moved
    return moved


def _give(file: int, old: int, new: int) -> bool:
    try:
        if int(os.pread(file, 16, 0)) != old:  # trusted: the kernel's
            return False
        os.pwrite(file, b"%d" % new, 0)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise ContainerError(f"OOM score {new} instead of {old}: {error.strerror}") from error
    return True


def _pids(container: OCIContainer) -> tuple[int, ...]:
    """All in its control group: what a runtime lists may be the pids of a virtual machine."""
    try:
        groups = cgroups.groups_of(container.pid, tops=False) if container.pid else ()
    except FileNotFoundError:
        return ()
    return cgroups.processes(groups[:1])
