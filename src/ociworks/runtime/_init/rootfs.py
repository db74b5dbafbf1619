"""Operations on the root: pin it, make it the root of the mount namespace, leave the host behind."""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount, path
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["pin_root", "pivot", "prepare_cwd", "root_propagation", "root_read_only", "sysctl"]

_AT_FDCWD: Final = -100
_NULL_DEVICE: Final = os.makedev(1, 3)


def pin_root(context: Context, rootfs: str, propagation: int, parent_mount: str) -> None:
    """Cut the mount tree from the host's, open the root once, and mount it over itself.

    ``propagation`` goes to the whole host tree first (0: leave it, for a shared root); ``parent_mount`` is then the
    mount point that holds the root, which alone is made private.
    """
    if propagation:
        mount.set_attributes(_AT_FDCWD, propagation=propagation, recursive=True, path="/")
    if parent_mount:
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_PRIVATE, path=parent_mount)
    context.null = _open_null()
    place = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        here, host = os.stat(place), os.stat("/")
        if (here.st_dev, here.st_ino) == (host.st_dev, host.st_ino):
            raise StepError("the host's root directory cannot be a container's root", rootfs, errno.EINVAL)
        tree = mount.clone_tree(place, "", recursive=True)
        mount.set_attributes(tree, propagation=mount.MS_SLAVE, recursive=True)
        mount.attach(tree, place)
    finally:
        os.close(place)
    context.root = tree


def _open_null() -> int:
    """The host's null device, proved to be one, for masks and streams."""
    null = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.stat(null)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != _NULL_DEVICE:
        os.close(null)
        raise StepError("expected the null device (character 1:3)", "/dev/null", errno.ENODEV)
    return null


def prepare_cwd(context: Context, cwd: str) -> None:
    """Make the working directory when the image lacks it; a read-only or odd root is judged when it is entered."""
    try:
        os.close(path.makedirs_in_root(context.root, cwd))
    except OSError:
        return


def sysctl(context: Context, name: str, value: str) -> None:  # noqa: ARG001 - operations share one signature
    """Write one namespaced kernel setting through the host's procfs, before the root changes."""
    base = os.open("/proc/sys", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        resolve = path.RESOLVE_BENEATH | path.RESOLVE_NO_SYMLINKS | path.RESOLVE_NO_XDEV
        fd = path.openat2(base, name, os.O_WRONLY, resolve=resolve)
    finally:
        os.close(base)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def root_read_only(context: Context) -> None:
    """Make the root mount itself read-only; mounts below keep their own attributes."""
    mount.set_attributes(context.root, set_=mount.ATTR_RDONLY)


def pivot(context: Context) -> None:
    """pivot_root onto the pinned root and detach the host's tree without telling the host."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(context.root)
        mount.pivot_root(".", ".")
        os.fchdir(old)
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_SLAVE, recursive=True, path=".")
        mount.unmount(".", mount.MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(old)
    context.close("root")
    context.close("null")


def root_propagation(context: Context, propagation: int) -> None:  # noqa: ARG001 - operations share one signature
    """Give the container's root the propagation that the configuration asks for."""
    mount.set_attributes(_AT_FDCWD, propagation=propagation & ~1, recursive=bool(propagation & 1), path="/")
