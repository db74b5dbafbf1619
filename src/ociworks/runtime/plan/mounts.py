"""``mounts``, devices and protected paths of a configuration, as operations."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from ociworks.errors import NotSupported, quote
from ociworks.runtime.plan import ops
from ociworks.runtime.plan.groups import Groups, cgroup_layout
from ociworks.runtime.plan.options import parse_options
from ociworks.spec.runtime import Device, Linux, Mount, Spec

__all__ = ["device_ops", "mount_ops"]

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
_KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def mount_ops(spec: Spec, bundle: str, groups: Groups) -> Iterator[ops.Op]:
    """One operation per mount, in the order of the configuration."""
    for index, mount in enumerate(spec.mounts):
        yield _mount(mount, f"$.mounts[{index}]", bundle, groups)


def _mount(mount: Mount, where: str, bundle: str, groups: Groups) -> ops.Op:
    if mount.uid_mappings or mount.gid_mappings:
        raise NotSupported(f"{where}: idmapped mounts are not supported yet")
    if ".." in mount.destination.split("/"):
        raise NotSupported(f"{where}.destination: '..' in {quote(mount.destination)}")
    options = parse_options(mount.options, f"{where}.options")
    target = os.path.join("/", mount.destination)
    if mount.type in ("bind", "none", None, "") or options.bind:
        if not options.bind and mount.type != "bind":
            raise NotSupported(f"{where}.type: expected a file system type, or the option bind or rbind")
        source = os.path.join(bundle, mount.source or "")
        return ops.bind(
            source,
            target,
            recursive=options.recursive,
            attributes=options.attributes,
            propagation=options.propagation,
        )
    attributes = options.attributes[0] | options.attributes[2]
    if mount.type in ("cgroup", "cgroup2"):
        layout = cgroup_layout(groups)
        if not layout:
            raise NotSupported(
                f"{where}: {groups.hierarchies.reason or 'no control groups are mounted on this host'}"
            )
        return ops.cgroup_tree(target, layout, own_namespace=groups.own_namespace, attributes=attributes)
    return ops.filesystem(
        mount.type, mount.source or "", target, options.data, attributes, options.propagation
    )


def device_ops(spec: Spec, linux: Linux, *, bind: bool) -> Iterator[ops.Op]:
    """Default devices and those of the configuration, then the customary links; none when /dev comes from the host."""
    if any(_is_dev_bind(mount) for mount in spec.mounts):
        return
    listed = {device.path for device in linux.devices}
    for path, major, minor in _DEFAULT_DEVICES:
        if path not in listed:
            yield (
                ops.bind_device(path, path)
                if bind
                else ops.make_device(path, stat.S_IFCHR, (major, minor), 0o666, (0, 0))
            )
    for index, device in enumerate(linux.devices):
        yield _device(device, f"$.linux.devices[{index}]", bind=bind)
    for name, target in _LINKS:
        yield ops.dev_link(name, target)
    if any(mount.destination.rstrip("/") == "/dev/pts" for mount in spec.mounts):
        yield ops.dev_link("ptmx", "pts/ptmx")


def _is_dev_bind(mount: Mount) -> bool:
    return mount.destination.rstrip("/") == "/dev" and (
        mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options
    )


def _device(device: Device, where: str, *, bind: bool) -> ops.Op:
    parts = device.path.split("/")
    if device.type not in _KINDS or not device.path.startswith("/dev/") or {"..", ".", ""} & set(parts[2:]):
        raise NotSupported(
            f"{where}: expected a device of type c, b, u or p below /dev, found {quote(device.path)}"
        )
    if bind:
        return ops.bind_device(device.path, device.path)
    mode = device.file_mode if device.file_mode is not None else 0o666
    number = (device.major or 0, device.minor or 0)
    return ops.make_device(
        device.path, _KINDS[device.type], number, mode & 0o7777, (device.uid or 0, device.gid or 0)
    )
