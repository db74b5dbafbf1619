"""One layer in a directory of its own, in the form of overlayfs: what a mount over the layers below shows is the tree.

The layer is applied as into a merged tree, but of the layers below only that is there which it needs:

=============================  ==================================================================================
the layer has                  the directory gets
=============================  ==================================================================================
something in a directory       that directory, described as below where the layer does not describe it
something through a link       the place to which the link leads over all layers, and nothing in the link's place
a hard link to a file below    a copy of the file under its own name, and the link
a whiteout                     character device 0:0, where there is something below to hide
an opaque directory            the attribute ``overlay.opaque=y``; at the root a whiteout of every name below
a directory in place of        the same attribute, when a directory of that name below would show through
something that is gone
=============================  ==================================================================================

Attributes are ``trusted.overlay.*``, or ``user.overlay.*`` for mounts in user namespaces (option ``userxattr``).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from ociworks.image._unpack.removal import clear_lower, followed, remove_lower

if TYPE_CHECKING:
    from ociworks.image._unpack.directories import Directories, Directory

__all__ = ["Namespace", "OverlayForm", "hide", "hide_all"]

Namespace = Literal["trusted", "user"]
"""Whose attributes mark opaque directories: those for mounts by root, or for mounts in a user namespace."""

_WHITEOUT: Final = stat.S_IFCHR


@frozen(kw_only=True)
class OverlayForm:
    """Apply a layer in overlay form, over the layers ``below``: descriptors of their directories, base first."""

    below: tuple[int, ...] = ()
    attributes: Namespace = "trusted"

    @property
    def opaque(self) -> bytes:
        """The name of the attribute that makes a directory opaque."""
        return self.attributes.encode() + b".overlay.opaque"


def hide(directories: Directories, parent: Directory, name: bytes) -> None:
    """A whiteout of ``name``: what is below is hidden, what this layer has there stays."""
    if name in parent.state.hidden:
        return
    if name in parent.state.followed and name not in parent.state.upper:
        raise followed(parent, name)
    parent.pins += 1
    try:
        remove_lower(directories, parent, name)
        if not directories.shows(parent, name):
            return
        parent.state.hidden.add(name)
        try:
            info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            os.mknod(name, _WHITEOUT, 0, dir_fd=parent.fd)
            return
        if stat.S_ISDIR(info.st_mode):
            directories.mark_opaque(directories.enter(parent, name, made=False))
    finally:
        parent.pins -= 1


def hide_all(directories: Directories, parts: tuple[bytes, ...]) -> None:
    """An opaque directory: nothing that is below shows in it any more."""
    directory = directories.find(parts)
    if directory is None:
        return
    if not parts:
        _hide_all_of_the_root(directories, directory)
        return
    if not directory.state.cleared:
        clear_lower(directories, parts)
        directory = directories.find(parts)
        if directory is not None:
            directories.mark_opaque(directory)


def _hide_all_of_the_root(directories: Directories, root: Directory) -> None:
    """Overlayfs takes no notice of an opaque root."""
    if root.state.emptied:
        return
    root.state.emptied = True
    for name in sorted(directories.names_below(())):
        hide(directories, root, name)
