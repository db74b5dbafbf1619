"""Operations below ``/dev``: device nodes, links. ``/dev`` itself must be a real directory of the root."""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount, path
from ociworks.runtime._init import targets
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime._init.context import Context

__all__ = ["bind_device", "bind_node", "dev_link", "make_device", "open_dev"]


def open_dev(context: Context, name: str) -> int:
    """A descriptor of a directory at or below ``/dev``, made when missing and reached without links."""
    try:
        return _open(context, name)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOENT):
            raise
    os.close(targets.directory(context, name)[0])
    try:
        return _open(context, name)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StepError(
                "expected a directory, found a symbolic link in the image", name, errno.ELOOP
            ) from None
        raise


def _open(context: Context, name: str) -> int:
    return path.openat2(
        context.root,
        name,
        os.O_PATH | os.O_DIRECTORY,
        resolve=path.RESOLVE_IN_ROOT | path.RESOLVE_NO_SYMLINKS,
    )


def make_device(
    context: Context, name: str, kind: int, major: int, minor: int, mode: int, owner: tuple[int, int]
) -> None:
    """Mknod one device; the same device already there is kept, anything else there is an error."""
    parent, _, base = name.rpartition("/")
    place = open_dev(context, parent or "/")
    try:
        device = os.makedev(major, minor) if kind != stat.S_IFIFO else 0
        try:
            os.mknod(base, kind | mode, device, dir_fd=place)
        except FileExistsError:
            info = os.stat(base, dir_fd=place, follow_symlinks=False)
            if stat.S_IFMT(info.st_mode) != kind or info.st_rdev != device:
                raise StepError(
                    "something else than the device is already there", name, errno.EEXIST
                ) from None
        except PermissionError:
            _bind(place, base, name, kind, device)
            return
        os.chown(base, *owner, dir_fd=place, follow_symlinks=False)
    finally:
        os.close(place)


def bind_device(context: Context, name: str, kind: int, major: int, minor: int) -> None:
    """Bind a host device where mknod is not allowed (in a user namespace)."""
    parent, _, base = name.rpartition("/")
    place = open_dev(context, parent or "/")
    try:
        _bind(place, base, name, kind, os.makedev(major, minor))
    finally:
        os.close(place)


def _bind(place: int, base: str, name: str, kind: int, device: int) -> None:
    """Bind the host's node of this path, proved to be the device, on ``base`` in the directory ``place``."""
    source = os.open(name, os.O_PATH | os.O_CLOEXEC)
    try:
        info = os.stat(source)
        if stat.S_IFMT(info.st_mode) != kind or info.st_rdev != device:
            text = f"expected device {os.major(device)}:{os.minor(device)} on the host"
            raise StepError(text, name, errno.ENODEV)
        bind_node(place, base, source)
    finally:
        os.close(source)


def bind_node(place: int, base: str, source: int) -> None:
    """Bind what a descriptor is open on to ``base`` in the directory ``place``, made as a file if it is not there."""
    try:
        os.mknod(base, stat.S_IFREG | 0o600, dir_fd=place)
    except FileExistsError:
        pass
    spot = path.openat2(place, base, os.O_PATH | os.O_NOFOLLOW)
    try:
        made = mount.clone_tree(source, "")
        try:
            mount.attach(made, spot)
        finally:
            os.close(made)
    finally:
        os.close(spot)


def dev_link(context: Context, name: str, target: str) -> None:
    """Make one of the customary links in ``/dev``; a link already there is replaced."""
    place = open_dev(context, "/dev")
    try:
        try:
            os.symlink(target, name, dir_fd=place)
        except FileExistsError:
            if not stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                return
            os.unlink(name, dir_fd=place)
            os.symlink(target, name, dir_fd=place)
    finally:
        os.close(place)
