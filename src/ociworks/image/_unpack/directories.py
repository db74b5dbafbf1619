"""The directories of a root filesystem while a layer is applied: open descriptors, and what the layer did in each.

No name of an archive is ever joined to a path of the host. A directory is reached from the root's descriptor one
component at a time, never through a link; a component that *is* a link is resolved by the kernel inside the root
(``RESOLVE_IN_ROOT``), and the walk starts again with the place it leads to. Paths here are therefore canonical:
tuples of components without links. In overlay form (:mod:`ociworks.image._unpack.overlay`) the kernel cannot see the
whole tree, and links are resolved by :mod:`ociworks.image._unpack.links`.

Descriptors are cached, least recently used out first. Whoever removes a directory or a link calls
:meth:`Directories.forget`, so that no answer outlives the tree it was given for.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from ociworks._linux.path import open_in_root
from ociworks.errors import LimitExceeded, TarError, quote
from ociworks.image._unpack.copyup import copy_metadata, copy_node
from ociworks.image._unpack.links import Links
from ociworks.image._unpack.lower import Lower, Parts, is_whiteout
from ociworks.image._unpack.xattrs import clear_xattrs

if TYPE_CHECKING:
    from ociworks.image._unpack.lower import Found
    from ociworks.image._unpack.overlay import OverlayForm
    from ociworks.image._unpack.policy import Budget, UnpackOptions

__all__ = ["Directories", "Directory", "State", "open_directory"]

_CACHED: Final = 96
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE: Final = 0o700
_IMPLICIT_MODE: Final = 0o755


class State:
    """What this layer did to one directory, and how the directory must look when the layer is complete."""

    __slots__ = (
        "cleared",
        "emptied",
        "followed",
        "hidden",
        "inode",
        "mentioned",
        "mode",
        "mtime_ns",
        "upper",
    )

    def __init__(self, inode: int, mode: int, mtime_ns: int, *, cleared: bool) -> None:
        self.inode = inode
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.cleared = cleared
        """Nothing of a lower layer is left in here, at any depth."""
        self.mentioned = False
        """An entry of this layer, a whiteout even, is directly in here: so the layer has this directory."""
        self.upper: set[bytes] = set()
        """Names in here that this layer created or described."""
        self.followed: set[bytes] = set()
        """Links in here through which this layer reached a place."""
        self.hidden: set[bytes] = set()
        """In overlay form: names in here that whiteouts of this layer hide in the layers below."""
        self.emptied = False
        """In overlay form: every name below was hidden; for the root, which cannot be opaque."""


class Directory:
    """An open directory. Valid until the next call on :class:`Directories`, unless ``pins`` is raised."""

    __slots__ = ("fd", "parts", "pins", "state")

    def __init__(self, fd: int, parts: Parts, state: State) -> None:
        self.fd = fd
        self.parts = parts
        self.state = state
        self.pins = 0


class Directories:
    """Directories of one root, for one layer; directories that had to be made get root, as ``options`` map it."""

    def __init__(
        self, rootfd: int, budget: Budget, options: UnpackOptions, overlay: OverlayForm | None = None
    ) -> None:
        self._rootfd = rootfd
        self._budget = budget
        self._options = options
        self._overlay = overlay
        self._lower = None if overlay is None else Lower(overlay.below, overlay.opaque)
        self._states: dict[Parts, State] = {}
        self._links = None if self._lower is None else Links(rootfd, self._lower, self._states)
        self._cache: dict[Parts, Directory] = {}
        self._doomed: list[Directory] = []
        self._root = Directory(rootfd, (), self._state_of(rootfd, ()))
        found = self._lower.look(()) if self._lower else None
        if found:
            self._take_over(self._root, found)

    def get(self, parts: Parts) -> Directory:
        """The directory at ``parts``; missing ones are made (0755, root's, mtime 0). TarError when one cannot be."""
        found = self._cached(parts) or self.visit(parts)
        found.state.mentioned = True
        return found

    def visit(self, parts: Parts) -> Directory:
        """Like :meth:`get`, but the layer has nothing in there itself."""
        if self._links is not None:
            self._links.begin()
        return self._cached(parts) or self._walk(parts)

    def _walk(self, parts: Parts) -> Directory:
        """From the nearest directory above ``parts`` that is open already, one component at a time."""
        current, done = self._root, len(parts)
        while done:
            done -= 1
            known = self._cached(parts[:done])
            if known is not None:
                current = known
                break
        for end in range(done + 1, len(parts) + 1):
            current = self._step(current, parts[:end])
        return current

    def enter(self, parent: Directory, name: bytes, *, made: bool) -> Directory:
        """The directory ``name`` in ``parent``, which exists; ``made`` when it has just been created."""
        parts = (*parent.parts, name)
        if made:
            self._states.pop(parts, None)
        return self._cached(parts) or self._open(parent, parts, made=made)

    def known(self, parts: Parts) -> bool:
        """Whether the layer has been in this directory."""
        return parts in self._states

    def finish(self) -> None:
        """Give every directory that the layer has been in its time, children before their parents, and its mode."""
        for parts in sorted(self._states, reverse=True):
            state = self._states[parts]
            parent = self.find(parts[:-1]) if parts else self._root
            if parent is None:
                continue
            if not parts:
                _finish_open(parent.fd, state)
            elif _is_directory(parent.fd, parts[-1]):
                if state.mode & _PRIVATE != _PRIVATE:
                    directory = self.find(parts)
                    if directory is not None:
                        _finish_open(directory.fd, state)
                else:
                    times = (state.mtime_ns, state.mtime_ns)
                    os.utime(parts[-1], ns=times, dir_fd=parent.fd, follow_symlinks=False)

    def find(self, parts: Parts) -> Directory | None:
        """The directory at the canonical ``parts``; None when it is gone. Nothing is made or followed."""
        current = self._root
        for end in range(1, len(parts) + 1):
            known = self._cached(parts[:end])
            if known is None and not _is_directory(current.fd, parts[end - 1]):
                return None
            current = known or self._open(current, parts[:end], made=False)
        return current

    def reach(self, parts: Parts) -> Directory | None:
        """The directory at ``parts``, links followed inside the root; None when there is none. Nothing is made."""
        found = self.find(parts)
        if found is not None:
            return found
        try:
            return self.find(self._resolve(parts))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def forget(self) -> None:
        """Close every cached descriptor: something above one of them may have changed."""
        cached, self._cache = self._cache, {}
        for directory in cached.values():
            self._discard(directory)

    def close(self) -> None:
        """Close everything; the root's descriptor stays with whoever opened it."""
        self.forget()
        for directory in self._doomed:
            directory.pins = 0
        self._sweep()

    def _cached(self, parts: Parts) -> Directory | None:
        if not parts:
            return self._root
        found = self._cache.pop(parts, None)
        if found is not None:
            self._cache[parts] = found  # most recently used goes last
        return found

    def _step(self, parent: Directory, lexical: Parts) -> Directory:
        """From ``parent`` (found at ``lexical[:-1]``) to its child; made when missing, resolved when a link."""
        name = lexical[-1]
        parts = (*parent.parts, name)
        known = self._cached(parts)
        if known is not None:
            return known
        if len(parts) > self._budget.limits.depth:
            raise LimitExceeded(
                f"components of {quote(b'/'.join(parts))}", "depth", self._budget.limits.depth
            )
        found = None
        try:
            info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            found = self.look_below(parent, name)
            if found is None:
                return self._make(parent, parts)
            info = found.info
        if stat.S_ISLNK(info.st_mode):
            parent.state.followed.add(name)
            resolved = self._resolve(parts)
            return self._cached(resolved) or self._walk(resolved)
        if self._lower and is_whiteout(info):
            os.unlink(name, dir_fd=parent.fd)
            return self._make(parent, parts)
        if not stat.S_ISDIR(info.st_mode):
            raise TarError("a parent is not a directory", quote(b"/".join(parts)))
        return self._open(parent, parts, made=False) if found is None else self._copy_up(parent, parts, found)

    def _resolve(self, parts: Parts) -> Parts:
        """Where a link leads inside the root. Its target must exist."""
        if self._links is not None:
            return self._links.follow(parts)
        path = b"/".join(parts)
        fd = open_in_root(self._rootfd, path, os.O_PATH | os.O_DIRECTORY)
        try:
            place, top = (os.readlink(b"/proc/self/fd/%d" % number) for number in (fd, self._rootfd))
        finally:
            os.close(fd)
        if place == top:
            return ()
        if not place.startswith(top.rstrip(b"/") + b"/"):
            raise TarError("the tree changed while it was unpacked", quote(path))
        return tuple(place[len(top.rstrip(b"/")) + 1 :].split(b"/"))

    def _make(self, parent: Directory, parts: Parts) -> Directory:
        self._budget.count_entry()
        os.mkdir(parts[-1], _PRIVATE, dir_fd=parent.fd)
        directory = self.enter(parent, parts[-1], made=True)
        self.reset(directory)
        if parts[-1] in parent.state.hidden:
            self.mark_opaque(directory)
        parent.state.upper.add(parts[-1])
        return directory

    def reset(self, directory: Directory) -> None:
        """Give a directory that no entry of the layer describes its plain metadata."""
        clear_xattrs(directory.fd)
        if not self._options.rootless:
            os.fchown(directory.fd, *self._options.host_owner(0, 0))
        os.fchmod(directory.fd, _IMPLICIT_MODE)
        directory.state.mode, directory.state.mtime_ns = _IMPLICIT_MODE, 0

    # --- overlay form: the layers below

    def shows(self, parent: Directory, name: bytes) -> bool:
        """Whether there is something at ``name`` below that would show through, were nothing there in this layer."""
        return self.look_below(parent, name) is not None

    def look_below(self, parent: Directory, name: bytes) -> Found | None:
        """What would show through; None in a merged tree, and where the layer has hidden it."""
        state = parent.state
        if self._lower is None or state.cleared or name in state.hidden:
            return None
        return self._lower.look((*parent.parts, name))

    def names_below(self, parts: Parts) -> set[bytes]:
        """The names of a directory over all layers below."""
        return self._lower.names(parts) if self._lower else set()

    def settle_made(self, directory: Directory, parent: Directory, *, replaces: bool) -> None:
        """A directory was made: it joins one of its name below, or hides it when the layer had another thing there."""
        lower = self._lower
        if lower is None or parent.state.cleared or not lower.is_directory(directory.parts):
            return
        if replaces or directory.parts[-1] in parent.state.hidden:
            self.mark_opaque(directory)
        else:
            directory.state.cleared = False

    def mark_opaque(self, directory: Directory) -> None:
        """Hide what is below of a directory."""
        if self._overlay is not None:
            os.setxattr(directory.fd, self._overlay.opaque, b"y")

    def copy_target(self, source: Directory, name: bytes) -> None:
        """Take a file or symlink along from below, so that it can be linked to; nothing when it is no such thing."""
        found = self.look_below(source, name)
        if found is None or not (stat.S_ISREG(found.info.st_mode) or stat.S_ISLNK(found.info.st_mode)):
            return
        self._budget.count_entry()
        self._budget.count_bytes(found.info.st_size)
        copy_node(found, (*source.parts, name), source.fd, chown=not self._options.rootless)

    def _copy_up(self, parent: Directory, parts: Parts, found: Found) -> Directory:
        self._budget.count_entry()
        os.mkdir(parts[-1], _PRIVATE, dir_fd=parent.fd)
        directory = self.enter(parent, parts[-1], made=True)
        directory.state.cleared = False
        self._take_over(directory, found)
        return directory

    def _take_over(self, directory: Directory, found: Found) -> None:
        """Let a directory look like the one below."""
        chown = not self._options.rootless
        copy_metadata(found, directory.parts, directory.fd, chown=chown, extra=_PRIVATE)
        directory.state.mode = stat.S_IMODE(found.info.st_mode)
        directory.state.mtime_ns = found.info.st_mtime_ns

    # --- descriptors

    def _open(self, parent: Directory, parts: Parts, *, made: bool) -> Directory:
        parent.pins += 1
        try:
            self._evict()
            fd, mode = open_directory(parent.fd, parts[-1])
        finally:
            parent.pins -= 1
        try:
            directory = Directory(fd, parts, self._state_of(fd, parts, mode=mode, made=made))
        except BaseException:
            os.close(fd)
            raise
        self._cache[parts] = directory
        return directory

    def _state_of(self, fd: int, parts: Parts, *, mode: int | None = None, made: bool = False) -> State:
        """The state so far, or a new one that will restore the directory's present look, or the given mode."""
        info = os.fstat(fd)
        if info.st_mode & _PRIVATE != _PRIVATE:
            os.fchmod(fd, stat.S_IMODE(info.st_mode) | _PRIVATE)
        state = self._states.get(parts)
        if state is None or state.inode != info.st_ino:
            own = stat.S_IMODE(info.st_mode) if mode is None else mode
            state = State(info.st_ino, own, info.st_mtime_ns, cleared=made)
            self._states[parts] = state
        return state

    def _evict(self) -> None:
        self._sweep()
        while len(self._cache) >= _CACHED:
            oldest = next((parts for parts, known in self._cache.items() if not known.pins), None)
            if oldest is None:
                return
            self._discard(self._cache.pop(oldest))

    def _discard(self, directory: Directory) -> None:
        """Close now, or as soon as nobody needs it: a number in use must not be given to another file."""
        if directory.pins:
            self._doomed.append(directory)
        else:
            os.close(directory.fd)

    def _sweep(self) -> None:
        doomed, self._doomed = self._doomed, []
        for directory in doomed:
            self._discard(directory)


def _finish_open(fd: int, state: State) -> None:
    if state.mode & _PRIVATE != _PRIVATE:
        os.fchmod(fd, state.mode)
    os.utime(fd, ns=(state.mtime_ns, state.mtime_ns))


def _is_directory(dirfd: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=dirfd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def open_directory(dirfd: int, name: bytes) -> tuple[int, int | None]:
    """Open one component for reading, no link followed; a directory that forbids it is made readable first.

    The second value is the mode that such a directory had.
    """
    try:
        return os.open(name, _FLAGS, dir_fd=dirfd), None
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        # fchmod(2) refuses O_PATH descriptors; the magic link reaches exactly this directory.
        os.chmod(f"/proc/self/fd/{handle}", mode | _PRIVATE)
        return os.open(name, _FLAGS, dir_fd=dirfd), mode
    finally:
        os.close(handle)
