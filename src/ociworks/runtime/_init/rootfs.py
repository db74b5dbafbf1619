"""Operations on the root: pin it, make it the root of the mount namespace, leave the host behind."""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount, overlay
from ociworks.runtime._init import procfs, targets
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias

    from ociworks.runtime._init.context import Context

    Layers: TypeAlias = tuple[tuple[str, ...], str, str, bool, bool]
    """Of an overlay, as :data:`ociworks.runtime.plan.ops.Overlay`."""

__all__ = [
    "enter_root",
    "hold_root",
    "mount_root",
    "move_root",
    "pin_root",
    "pivot",
    "prepare_cwd",
    "root_propagation",
    "root_read_only",
    "sysctl",
]

_AT_FDCWD: Final = -100
_NULL_DEVICE: Final = os.makedev(1, 3)


def pin_root(
    context: Context,
    rootfs: str,
    propagation: int,
    parent_mount: str,
    layers: Layers | None,
) -> None:
    """Cut the mount tree from the host's, open the root once, and mount it, or an overlay, over itself.

    ``propagation`` goes to the whole host tree first (0: leave it, for a shared root); ``parent_mount`` is then the
    mount point that holds the root, which alone is made private.
    """
    if propagation:
        mount.set_attributes(_AT_FDCWD, propagation=propagation, recursive=True, path="/")
    if parent_mount:
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_PRIVATE, path=parent_mount)
    context.null = _open_null()
    place = _open_directory(rootfs)
    try:
        _refuse_host(place, rootfs)
        if layers is not None:
            context.root = _overlay(place, rootfs, *layers)
            return
        context.root = mount.clone_tree(place, "", recursive=True)
        mount.set_attributes(context.root, propagation=mount.MS_SLAVE, recursive=True)
        mount.attach(context.root, place)
    finally:
        os.close(place)


def mount_root(source: str, target: str, layers: Layers | None) -> None:
    """Mount the tree at ``source``, or an overlay of ``layers``, on the directory ``target``."""
    place = _open_directory(target)
    try:
        if layers is not None:
            os.close(_overlay(place, target, *layers))
        else:
            mount.attach(mount.clone_tree(_AT_FDCWD, source, recursive=True), place)
    finally:
        os.close(place)


def hold_root(context: Context, rootfs: str) -> None:
    """Take the root as a detached tree: no namespace of mounts has it, so nothing of the host changes (Linux 6.15)."""
    context.null = _open_null()
    place = _open_directory(rootfs)
    try:
        _refuse_host(place, rootfs)
        context.root = mount.clone_tree(place, "", recursive=True)
    finally:
        os.close(place)
    mount.set_attributes(context.root, propagation=mount.MS_PRIVATE, recursive=True)


def enter_root(context: Context) -> None:
    """Change the root to the detached tree; the kernel keeps it together for as long as a process is in it."""
    os.fchdir(context.root)
    os.chroot(".")
    os.chdir("/")
    _forget(context)


def _refuse_host(place: int, rootfs: str) -> None:
    here, host = os.stat(place), os.stat("/")
    if (here.st_dev, here.st_ino) == (host.st_dev, host.st_ino):
        raise StepError("the host's root directory cannot be a container's root", rootfs, errno.EINVAL)


def _overlay(
    place: int,
    rootfs: str,
    lowers: tuple[str, ...],
    upper: str,
    work: str,
    user: bool,  # noqa: FBT001
    volatile: bool,  # noqa: FBT001
) -> int:
    """Mount an overlay of host directories on ``place``, which is at ``rootfs``; a descriptor of its root."""
    opened: list[int] = []
    try:
        opened.extend(_open_directory(name) for name in (*lowers, *((upper, work) if upper else ())))
        below, above = opened[: len(lowers)], opened[len(lowers) :]
        if above:
            overlay.mount_overlay(place, below, upper=above[0], work=above[1], user=user, volatile=volatile)
        elif len(below) > 1:
            overlay.mount_overlay(place, below, user=user)
        else:
            _attach_read_only(below[0], place)
    finally:
        for fd in opened:
            os.close(fd)
    root = _open_directory(rootfs)
    mount.set_attributes(root, propagation=mount.MS_SLAVE)
    return root


def _open_directory(name: str) -> int:
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _attach_read_only(directory: int, place: int) -> None:
    """One layer alone is no overlay."""
    tree = mount.clone_tree(directory, "")
    try:
        mount.set_attributes(tree, set_=mount.ATTR_RDONLY)
        mount.attach(tree, place)
    finally:
        os.close(tree)


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
        os.close(targets.directory(context, cwd)[0])
    except (OSError, StepError):
        return


def sysctl(context: Context, name: str, value: str) -> None:  # noqa: ARG001 - operations share one signature
    """Write one namespaced kernel setting through the host's procfs, before the root changes."""
    procfs.write(f"sys/{name}", value.encode())


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
    _forget(context)


def move_root(context: Context) -> None:
    """Move the pinned root over the host's and enter it by chroot, where pivot_root cannot exchange the host's root.

    The host's tree stays below. Full procfs and sysfs mounts of the host go first: while one can be seen, the kernel
    lets a user namespace mount another one without what is masked here.
    """
    base = os.readlink(f"/proc/self/fd/{context.root}")
    doomed = [place for place in _kernel_mounts() if place != base and not place.startswith(base + "/")]
    os.fchdir(context.root)
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for place in doomed:
            _hide(place)
        mount.attach(context.root, host)
        os.chroot(".")
        os.chdir("/")
    finally:
        os.close(host)
    _forget(context)


def _kernel_mounts() -> list[str]:
    """Where the host has a whole procfs or sysfs, the last mounted first (proc_pid_mountinfo(5))."""
    found = []
    for line in _mountinfo().splitlines():
        fields, _, filesystem = line.partition(b" - ")
        parts = fields.split(b" ")
        if parts[3] == b"/" and filesystem.split(b" ")[0] in (b"proc", b"sysfs"):
            found.append(os.fsdecode(_unescape(parts[4])))
    return found[::-1]


def _mountinfo() -> bytes:
    fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def _unescape(name: bytes) -> bytes:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        name = name.replace(code, character)
    return name


def _hide(place: str) -> None:
    """Take a mount of the host away; one that is locked is covered instead."""
    try:
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_SLAVE, recursive=True, path=place)
        mount.unmount(place, mount.MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        spot = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            cover = mount.make_filesystem("tmpfs", (("source", "tmpfs"),), mount.ATTR_RDONLY)
            try:
                mount.attach(cover, spot)
            finally:
                os.close(cover)
        finally:
            os.close(spot)


def _forget(context: Context) -> None:
    context.close("root")
    context.close("null")
    context.close_given()


def root_propagation(context: Context, propagation: int) -> None:  # noqa: ARG001 - operations share one signature
    """Give the container's root the propagation that the configuration asks for."""
    mount.set_attributes(_AT_FDCWD, propagation=propagation & ~1, recursive=bool(propagation & 1), path="/")
