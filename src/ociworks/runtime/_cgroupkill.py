"""Signalling, freezing and counting whole control groups; the second half of the launcher's cgroup loops.

``cgroup.kill`` (Linux 5.14, also in the unified part of a hybrid machine) reaches every process at once, forks in
flight and frozen groups included. Without it, groups are frozen so that nothing can fork away, each process gets
SIGKILL through a pidfd that was opened before its membership was read again, and the groups are thawed to die.
"""

from __future__ import annotations

import _signal
import errno
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "freeze",
    "freezers",
    "frozen",
    "kill",
    "move",
    "number",
    "pause",
    "processes",
    "read_text",
    "stopped",
    "thaw",
    "thaw_all",
    "write",
]

_SIGKILL = 9
_PIECE = 1 << 13
"""Such files give a page at a time; to make room for more takes longer than to read them."""
_STOPPED = (("cgroup.freeze", ("1",)), ("freezer.state", ("FROZEN", "FREEZING")))
_GONE = (errno.ENOENT, errno.ENODEV)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_text(path: str, *, at: int | None = None) -> str:
    """The whole of a small kernel file, by its path or by its name ``at`` a directory's descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=at)
    try:
        parts = []
        while part := os.read(descriptor, _PIECE):
            parts.append(part)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("ascii", "replace")


def number(text: str) -> int:
    """A number that the kernel wrote into one of its files; a few are negative."""
    return int(text)  # trusted: the kernel wrote it


def write(path: str, *values: bytes, at: int | None = None) -> None:
    """Write each value in one write(2), as kernel files demand; the error names the file and the value."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=at)
    value = b""
    try:
        for value in values:
            os.write(descriptor, value)
    except OSError as error:
        shown = ascii(value[:100].decode("latin-1"))
        raise OSError(error.errno, f"writing {shown}: {error.strerror}", path) from None
    finally:
        os.close(descriptor)


def pause(seconds: float) -> None:
    """Wait a moment between two bounded tries of something that the kernel does not announce."""
    select.select([], [], [], seconds)


def processes(directories: Sequence[str]) -> list[int]:
    """The pids in these groups and below, sorted; of groups that are gone, none."""
    found: set[int] = set()
    for top in directories:
        _visit(top, lambda directory: found.update(_members(directory)))
    found.discard(0)  # a process that our PID namespace does not see
    return sorted(found)


def kill(directories: Sequence[str], timeout: float = 10.0) -> bool:
    """End every process in these groups and below; True when they are empty within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    at_once = [path for path in directories if _write_if_there(f"{path}/cgroup.kill", b"1")]
    thaw_all(directories)
    hold = False
    while processes(directories):
        if hold and not at_once:
            _freeze_v1(directories)  # somebody forked faster than we signalled
        signalled = _signal_all(directories)
        thaw_all(directories)
        _wait_ended(signalled, deadline)
        if time.monotonic() >= deadline:
            return not processes(directories)
        hold = True
    # A walk can miss who moves about meanwhile; the kernel counts everybody.
    return all(_wait_event([path], "populated 0", deadline) for path in at_once)


def freeze(directories: Sequence[str], timeout: float = 10.0) -> bool:
    """Stop every process in these groups; False when they did not stop in time (they are thawed again then)."""
    deadline = time.monotonic() + timeout
    if any(_write_if_there(f"{directory}/cgroup.freeze", b"1") for directory in directories):
        done = _wait_event(directories, "frozen 1", deadline)
    else:
        done = _freeze_v1(directories, deadline)
    if not done:
        thaw(directories)
    return done


def thaw(directories: Sequence[str]) -> None:
    """Let stopped processes run again, whichever freezer stopped them."""
    for directory in directories:
        _write_if_there(f"{directory}/cgroup.freeze", b"0")
        _write_if_there(f"{directory}/freezer.state", b"THAWED")


def _thaw(directory: int) -> None:
    _write_if_there("cgroup.freeze", b"0", at=directory)
    _write_if_there("freezer.state", b"THAWED", at=directory)


def thaw_all(directories: Sequence[str]) -> None:
    """Also the groups below: frozen by version 1's freezer, a process does not even die of SIGKILL."""
    for top in directories:
        _visit(top, _thaw)


def frozen(directories: Sequence[str]) -> bool:
    """Whether the groups are frozen, or on the way there."""
    return stopped(freezers(directories))


def freezers(directories: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The files that say whether the groups are frozen, each with what it says then. They are there or not for good."""
    ways = [(f"{directory}/{name}", words) for directory in directories for name, words in _STOPPED]
    return tuple(way for way in ways if os.access(way[0], os.F_OK))


def stopped(ways: Sequence[tuple[str, Sequence[str]]]) -> bool:
    """Whether one of these :func:`freezers` says so."""
    return any(_read_if_there(path).strip() in words for path, words in ways)


def _visit(top: str, act: Callable[[int], None]) -> None:
    """Call ``act`` with a descriptor of ``top`` and of each group below it.

    One descriptor at a time and no paths: a container that may write its groups nests them deeper than any limit.
    Groups that vanish meanwhile are passed over.
    """
    try:
        current = os.open(top, _DIRECTORY)
    except OSError as error:
        if error.errno in _GONE:
            return
        raise
    try:
        act(current)
        pending = [_subgroups(current)]
        while pending:
            child = _descend(current, pending[-1])
            if child is not None:
                current = child
                act(current)
                pending.append(_subgroups(current))
            elif len(pending) > 1:
                pending.pop()
                current = move(current, "..")
            else:
                return
    finally:
        os.close(current)


def _descend(current: int, names: list[str]) -> int | None:
    """Move to the next group of ``names`` that is still there; None when none is left."""
    while names:
        try:
            return move(current, names.pop())
        except OSError as error:
            if error.errno not in _GONE:
                raise
    return None


def _subgroups(descriptor: int) -> list[str]:
    try:
        with os.scandir(descriptor) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def move(current: int, name: str) -> int:
    """Open the directory ``name`` beside or below the descriptor ``current``, which is closed once that worked."""
    moved = os.open(name, _DIRECTORY, dir_fd=current)
    os.close(current)
    return moved


def _members(directory: int) -> list[int]:
    try:
        return [number(line) for line in read_text("cgroup.procs", at=directory).split()]
    except OSError as error:
        if error.errno in (
            *_GONE,
            errno.EOPNOTSUPP,
        ):  # EOPNOTSUPP: a threaded group, whose members are counted above
            return []
        raise


def _signal_all(directories: Sequence[str]) -> list[int]:
    """SIGKILL by pidfd; return the pidfds. A pid that was used again meanwhile is no longer a member."""
    opened: dict[int, int] = {}
    try:
        for pid in processes(directories):
            try:
                opened[pid] = os.pidfd_open(pid)
            except OSError as error:
                if error.errno not in (
                    errno.ESRCH,
                    errno.EINVAL,
                ):  # EINVAL: the leader of a group is being reaped
                    raise
        for pid in set(processes(directories)) & opened.keys() - {os.getpid()}:
            try:
                _signal.pidfd_send_signal(opened[pid], _SIGKILL)
            except ProcessLookupError:
                continue
    except BaseException:
        _close(opened.values())
        raise
    return list(opened.values())


def _wait_ended(pidfds: Sequence[int], deadline: float) -> None:
    """Wait until all have ended, at most a fifth of a second: then the groups are looked at again. Closes them."""
    end = min(deadline, time.monotonic() + 0.2)
    pending = set(pidfds)
    poller = select.poll()
    try:
        for pidfd in pidfds:
            poller.register(pidfd, select.POLLIN)
        while pending and (rest := end - time.monotonic()) > 0:
            for pidfd, _ in poller.poll(rest * 1000):
                poller.unregister(pidfd)
                pending.discard(pidfd)
    finally:
        _close(pidfds)
    pause(0.001)  # the kernel takes an ended process out of its groups a moment later


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _wait_event(directories: Sequence[str], line: str, deadline: float) -> bool:
    """Wait until the groups' ``cgroup.events`` has ``line``.

    The kernel announces changes by POLLPRI but at most every 10 ms, so that the file is also read now and then.
    """
    gone = line == "populated 0"
    path = next((p for d in directories if os.path.exists(p := f"{d}/cgroup.events")), None)
    if path is None:
        return gone
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return gone
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLPRI)
        while line not in os.pread(descriptor, 4096, 0).decode("ascii").splitlines():
            rest = deadline - time.monotonic()
            if rest <= 0:
                return False
            poller.poll(min(rest * 1000, 2))
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return gone
    finally:
        os.close(descriptor)
    return True


def _freeze_v1(directories: Sequence[str], deadline: float = 0.0) -> bool:
    """Freeze by the v1 controller; without ``deadline``, for a fifth of a second at most."""
    deadline = deadline or time.monotonic() + 0.2
    path = next((p for d in directories if os.path.exists(p := f"{d}/freezer.state")), None)
    if path is None:
        return False
    while _write_if_there(path, b"FROZEN"):  # written again: a fork during freezing needs another round
        if _read_if_there(path).strip() == "FROZEN":
            return True
        if time.monotonic() >= deadline:
            return False
        pause(0.001)
    return False


def _write_if_there(path: str, value: bytes, *, at: int | None = None) -> bool:
    try:
        write(path, value, at=at)
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise
    return True


def _read_if_there(path: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        if error.errno in _GONE:
            return ""
        raise
