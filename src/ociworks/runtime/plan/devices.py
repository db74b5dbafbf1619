"""Devices of a configuration and those that every container has, as operations (runtime-spec config-linux.md)."""

from __future__ import annotations

import os
import posixpath
import stat

from ociworks.errors import NotSupported, quote
from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Device, Linux, Mount, Spec

__all__ = ["device_ops"]

_DEFAULT_DEVICES: Final = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_CORE: Final = "/proc/kcore"
_PTMX: Final = "/dev/ptmx"
_KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def device_ops(spec: Spec, linux: Linux, *, bind: bool) -> Iterator[ops.Op]:
    """Default devices and those of the configuration, then the customary links; none when /dev comes from the host.

    With ``bind`` the host's nodes are bound, where a user namespace may not make any.
    """
    if any(_is_dev_bind(mount) for mount in spec.mounts):
        return
    listed = {posixpath.normpath(device.path) for device in linux.devices}
    for path, major, minor in _DEFAULT_DEVICES:
        if path not in listed:
            yield _node(path, stat.S_IFCHR, (major, minor), bind=bind)
    for index, device in enumerate(linux.devices):
        if posixpath.normpath(device.path) != _PTMX:  # a link to the container's own, below
            yield _device(device, f"$.linux.devices[{index}]", bind=bind)
    for name, target in _LINKS:
        yield ops.dev_link(name, target)
    if os.path.exists(_CORE):
        yield ops.dev_link("core", _CORE)
    if any(mount.destination.rstrip("/") == "/dev/pts" for mount in spec.mounts):
        yield ops.dev_link("ptmx", "pts/ptmx")


def _is_dev_bind(mount: Mount) -> bool:
    return posixpath.normpath("/" + mount.destination).replace("//", "/") == "/dev" and (
        mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options
    )


def _node(path: str, kind: int, number: tuple[int, int], *, bind: bool) -> ops.Op:
    if bind:
        return ops.bind_device(path, kind, number)
    return ops.make_device(path, kind, number, 0o666, (0, 0))


def _device(device: Device, where: str, *, bind: bool) -> ops.Op:
    parts = device.path.split("/")
    if device.type not in _KINDS or not device.path.startswith("/dev/") or {"..", ".", ""} & set(parts[2:]):
        raise NotSupported(
            f"{where}: expected a device of type c, b, u or p below /dev, found {quote(device.path)}"
        )
    kind = _KINDS[device.type]
    number = (device.major or 0, device.minor or 0)
    if bind and kind != stat.S_IFIFO:
        return ops.bind_device(device.path, kind, number)
    mode = device.file_mode if device.file_mode is not None else 0o666
    return ops.make_device(device.path, kind, number, mode & 0o7777, (device.uid or 0, device.gid or 0))
