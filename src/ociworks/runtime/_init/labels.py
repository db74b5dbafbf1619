"""Operations for security labels: asked of the kernel for the next execve, and read back (RT-27)."""

from __future__ import annotations

import errno
import os

from ociworks._linux import mount, path
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["label", "open_label"]

_PROC_MAGIC: Final = 0x9FA0
_RESOLVE: Final = path.RESOLVE_BENEATH | path.RESOLVE_NO_MAGICLINKS | path.RESOLVE_NO_XDEV
_MOST: Final = 8192
_FILES: Final = {"apparmor": ("attr/apparmor/exec", "attr/exec"), "selinux": ("attr/exec",)}


def open_label(context: Context, kind: str, own_root: bool) -> None:  # noqa: FBT001 - an operation is a flat tuple
    """Open our own file for the label of the next execve.

    With ``own_root`` in the host's procfs, before the root changes; otherwise (exec) in one that nobody in the
    container can have covered.
    """
    base = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if own_root else _private_procfs()
    try:
        if path.filesystem_type(base) != _PROC_MAGIC:
            raise StepError("expected procfs", "/proc", errno.ENODEV)
        context.labels[kind] = _open(base, _FILES[kind])
    finally:
        os.close(base)


def _private_procfs() -> int:
    """A procfs of our own; where a user namespace forbids that, the container's, without what is mounted over it."""
    try:
        return mount.make_filesystem("proc", (("source", "proc"), ("subset", "pid")), mount.ATTR_NOSUID)
    except PermissionError:
        return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _open(base: int, names: tuple[str, ...]) -> int:
    failure: OSError | None = None
    for name in names:
        try:
            return path.openat2(base, f"thread-self/{name}", os.O_RDWR, resolve=_RESOLVE)
        except OSError as error:
            failure = error
    number = (failure.errno if failure is not None else 0) or errno.ENOENT
    raise StepError(f"the kernel takes no label: {os.strerror(number)}", names[0], number)


def label(context: Context, kind: str, value: str) -> None:
    """Ask for the label, and ask back: a kernel that did not take it must not run the program."""
    fd = context.labels.pop(kind)
    try:
        text = f"exec {value}" if kind == "apparmor" else value
        try:
            os.write(fd, text.encode())
        except OSError as error:
            said = "is not loaded" if error.errno == errno.ENOENT else os.strerror(error.errno or 0)
            raise StepError(f"{kind}: {said}", value, error.errno or 0) from None
        found = _name(kind, os.pread(fd, _MOST, 0))
    finally:
        os.close(fd)
    if found != value:
        raise StepError(f"{kind}: expected {value}, the kernel says {found!a}", value, errno.EACCES)


def _name(kind: str, raw: bytes) -> str:
    """The label without the terminator, and without AppArmor's mode behind it."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\0\n")
    return text.rpartition(" (")[0] or text if kind == "apparmor" else text
