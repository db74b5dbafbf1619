"""Taking things away while a layer is applied: what an entry replaces, and what whiteouts delete.

A whiteout means the lower layers only, whatever its place among the layer's entries. What this layer created is known
by name and directory (:class:`~ociworks.image._unpack.directories.State`), so a directory that holds some of it is
emptied around that. A directory is emptied once per layer; afterwards nothing of a lower layer can come back into it,
which keeps a million whiteouts of one place cheap.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ociworks._linux.path import remove_tree_at
from ociworks.errors import TarError, quote

if TYPE_CHECKING:
    from ociworks.image._unpack.directories import Directories, Directory

__all__ = ["clear_lower", "followed", "remove_existing", "remove_lower"]


def remove_existing(directories: Directories, parent: Directory, name: bytes) -> None:
    """Make way for an entry: whatever is at ``name`` goes, whichever layer it is from. Its inode stays as it is."""
    info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        directories.forget()
        remove_tree_at(parent.fd, name)
        return
    if stat.S_ISLNK(info.st_mode):
        directories.forget()
    os.unlink(name, dir_fd=parent.fd)


def remove_lower(directories: Directories, parent: Directory, name: bytes) -> None:
    """A whiteout of ``name``: what lower layers have there goes, what this layer put there stays."""
    try:
        info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    parts = (*parent.parts, name)
    if not stat.S_ISDIR(info.st_mode):
        if name not in parent.state.upper:
            _unlink_lower(directories, parent, name, link=stat.S_ISLNK(info.st_mode))
    elif directories.known(parts):
        clear_lower(directories, parts)
        _settle(directories, parts)
    elif name not in parent.state.upper:
        _remove_tree(directories, parent, name)


def clear_lower(directories: Directories, top: tuple[bytes, ...]) -> None:
    """Take everything of lower layers out of the directory ``top``, at any depth; ``top`` itself stays."""
    order, stack = [], [top]
    while stack:
        parts = stack.pop()
        directory = directories.find(parts)
        if directory is None:
            continue
        order.append(parts)
        if not directory.state.cleared:
            directory.state.cleared = True
            stack.extend((*parts, name) for name in _clear_one(directories, directory))
    for parts in reversed(order[1:]):
        _settle(directories, parts)


def _clear_one(directories: Directories, directory: Directory) -> list[bytes]:
    """Clear one directory; the names of subdirectories in which this layer has been, to go on with."""
    visited = []
    for name in directory.state.followed - directory.state.upper:
        raise followed(directory, name)
    directory.pins += 1
    try:
        with os.scandir(directory.fd) as entries:
            found = [(os.fsencode(entry.name), entry) for entry in entries]
        for name, entry in found:
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_directory and directories.known((*directory.parts, name)):
                visited.append(name)
            elif name in directory.state.upper:
                continue
            elif is_directory:
                _remove_tree(directories, directory, name)
            else:
                _unlink_lower(directories, directory, name, link=entry.is_symlink())
    finally:
        directory.pins -= 1
    return visited


def _settle(directories: Directories, parts: tuple[bytes, ...]) -> None:
    """A cleared directory that no entry describes: it goes, unless this layer has something in it."""
    parent = directories.find(parts[:-1])
    if parent is None or parts[-1] in parent.state.upper:
        return
    parent.pins += 1
    try:
        directory = directories.find(parts)
        if directory is None:
            return
        if directory.state.mentioned or os.listdir(directory.fd):
            directories.reset(directory)
            parent.state.upper.add(parts[-1])
        else:
            _remove_tree(directories, parent, parts[-1])
    finally:
        parent.pins -= 1


def _unlink_lower(directories: Directories, parent: Directory, name: bytes, *, link: bool) -> None:
    if link and name in parent.state.followed:
        raise followed(parent, name)
    parent.pins += 1
    try:
        if link:
            directories.forget()
        os.unlink(name, dir_fd=parent.fd)
    finally:
        parent.pins -= 1


def followed(parent: Directory, name: bytes) -> TarError:
    """The one case in which the order of entries would matter: an error to raise."""
    shown = quote(b"/".join((*parent.parts, name)))
    return TarError("a whiteout of a link that the same layer writes through", shown)


def _remove_tree(directories: Directories, parent: Directory, name: bytes) -> None:
    parent.pins += 1
    try:
        directories.forget()
        remove_tree_at(parent.fd, name)
    finally:
        parent.pins -= 1
