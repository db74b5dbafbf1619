"""What a container that is restored has of its checkpoint, beside criu's images: changed files and a log.

Everything else it has of the request. What the checkpoint says of mounts, terminal and input has to be what the request
asks for: criu makes what was there, and neither more nor less can be had.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final

from ociworks.cri.checkpoints.saved import Saved
from ociworks.cri.images import ContainerRoot
from ociworks.errors import ImageError, InvalidRequest, LimitExceeded, NotSupported, quote
from ociworks.image.tar import TarEntry, TarReader, TarWriter
from ociworks.image.tar.entry import NO_XATTRS
from ociworks.runtime import RestoreOptions
from ociworks.spec.runtime import Spec

__all__ = ["apply_changes", "check_same", "continue_log", "options_for"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST: Final = 600.0
"""Seconds for criu, which nobody asks to end: longer than any kubelet waits."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def options_for(saved: Saved) -> RestoreOptions:
    """How it is restored: within its configuration, and not running before it is started."""
    return RestoreOptions(
        image_path=saved.images,
        work_path=saved.directory,
        tcp_established=True,
        file_locks=True,
        paused=True,
        untrusted=True,
        timeout=_LONGEST,
    )


def check_same(saved: Saved, spec: Spec, *, stdin: bool) -> None:
    """Raise InvalidRequest where the request asks for what was not there at the checkpoint, or not for what was."""
    for name, places in (("mounts", _binds), ("masked_paths", _masked), ("readonly_paths", _readonly)):
        before, now = places(saved.spec), places(spec)
        if before - now:
            raise InvalidRequest(f"{name}: the checkpoint has also {quote(', '.join(sorted(before - now)))}")
        if now - before:
            raise InvalidRequest(f"{name}: the checkpoint has not {quote(', '.join(sorted(now - before)))}")
    if _has_terminal(saved.spec) != _has_terminal(spec):
        raise InvalidRequest(f"tty: expected {_has_terminal(saved.spec)}, as at the checkpoint")
    if not _has_terminal(spec) and saved.has_input != stdin:
        raise InvalidRequest(f"stdin: expected {saved.has_input}, as at the checkpoint")


def apply_changes(saved: Saved, root: ContainerRoot) -> None:
    """Change the root filesystem, of which nothing is used yet, as it had been. InvalidRequest, NotSupported."""
    if root.overlay is None or root.overlay.upper is None:
        raise NotSupported("a container whose root is mounted by the host cannot be restored")
    upper = os.open(root.overlay.upper, _DIRECTORY)
    try:
        with ExitStack() as stack:
            changes = saved.changes()
            if changes is not None:
                stack.enter_context(changes)
            if saved.deleted:
                changes = stack.enter_context(_with_deleted(changes, saved.deleted))
            if changes is not None:
                root.snapshot.change(upper, changes)
    except (ImageError, LimitExceeded) as error:
        raise InvalidRequest(f"checkpoint: changes of the root filesystem: {error}") from error
    finally:
        os.close(upper)


def continue_log(saved: Saved, log: str) -> None:
    """Begin the log with what was written before; one that is there already stays."""
    before = saved.log() if log else None
    if before is None:
        return
    directory, name = os.path.split(log)
    with before:
        place = os.open(directory, _DIRECTORY)
        try:
            with os.fdopen(os.open(name, _NEW, 0o640, dir_fd=place), "wb") as sink:
                shutil.copyfileobj(before, sink)
        except FileExistsError:
            return
        finally:
            os.close(place)


@contextmanager
def _with_deleted(changes: IO[bytes] | None, deleted: tuple[str, ...]) -> Iterator[IO[bytes]]:
    """A layer that hides what was deleted, too."""
    with tempfile.TemporaryFile() as merged:
        writer = TarWriter(merged)
        for name in deleted:
            writer.add(_whiteout(name))
        if changes is not None:
            reader = TarReader(changes)
            for entry in reader:
                writer.add(entry, reader.stored())
        writer.close()
        merged.seek(0)
        yield merged


def _whiteout(name: str) -> TarEntry:
    parts = [os.fsencode(part) for part in name.split("/") if part not in ("", ".")]
    if not parts or b".." in parts or b"\0" in b"".join(parts):
        raise InvalidRequest(f"checkpoint: deleted files: {quote(name)} is no name in the root filesystem")
    return TarEntry(
        parts=(*parts[:-1], b".wh." + parts[-1]),
        type="file",
        mode=0o600,
        uid=0,
        gid=0,
        size=0,
        mtime_ns=0,
        target=b"",
        device=(0, 0),
        xattrs=NO_XATTRS,
    )


def _binds(spec: Spec) -> set[str]:
    return {
        posixpath.normpath("/" + mount.destination.lstrip("/"))
        for mount in spec.mounts
        if mount.type == "bind" or {"bind", "rbind"} & set(mount.options)
    }


def _masked(spec: Spec) -> set[str]:
    return set(spec.linux.masked_paths) if spec.linux is not None else set()


def _readonly(spec: Spec) -> set[str]:
    return set(spec.linux.readonly_paths) if spec.linux is not None else set()


def _has_terminal(spec: Spec) -> bool:
    return spec.process is not None and bool(spec.process.terminal)
