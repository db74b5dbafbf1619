"""``mounts`` of a configuration, as operations."""

from __future__ import annotations

import os
import posixpath

from ociworks._linux import numbers as kernel
from ociworks._values import frozen
from ociworks.errors import NotSupported, quote
from ociworks.runtime.plan import ops
from ociworks.runtime.plan.groups import cgroup_layout, need_mounts
from ociworks.runtime.plan.options import parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.runtime.plan.groups import Groups
    from ociworks.runtime.plan.options import MountOptions
    from ociworks.runtime.plan.sources import Sources
    from ociworks.spec.runtime import Mount, Spec

__all__ = ["Layout", "early_ops", "late_ops", "mount_ops", "target_of"]

_MAX_PATH: Final = 4095
_KERNEL_TYPES: Final = frozenset("proc sysfs tmpfs devpts mqueue cgroup cgroup2 ramfs devtmpfs".split())
"""File systems whose superblock is not the container's alone, or has nothing to protect: ``ro`` is the mount's."""


@frozen(kw_only=True)
class Layout:
    """Where a bundle and its root filesystem are on the host, absolute."""

    bundle: str
    rootfs: str


def mount_ops(spec: Spec, layout: Layout, groups: Groups, sources: Sources) -> Iterator[ops.Op]:
    """One operation per mount, in the order of the configuration."""
    early = 0
    for index, each in enumerate(spec.mounts):
        made = early if _is_early(each) else -1
        early += made >= 0
        yield _mount(each, f"$.mounts[{index}]", layout, groups, sources, made)


def early_ops(spec: Spec, layout: Layout) -> Iterator[ops.Op]:
    """File systems of devices, opened before the container's device rules hold."""
    for index, each in enumerate(spec.mounts):
        if _is_early(each):
            options = parse_options(each.options, f"$.mounts[{index}].options")
            yield ops.superblock(each.type or "", each.source or "", *_settings(each, options, layout.rootfs))


def late_ops(spec: Spec, rootfs: str) -> Iterator[ops.Op]:
    """What is read-only as soon as everything is in it: ``/dev`` and every tmpfs, as runc has it."""
    targets = [
        target_of(each, f"$.mounts[{index}]", rootfs)
        for index, each in enumerate(spec.mounts)
        if _is_late(each, rootfs) and "ro" in each.options and _options(each, index).set_ & kernel.ATTR_RDONLY
    ]
    if targets:
        yield ops.mount_read_only(targets)


def target_of(each: Mount, where: str, rootfs: str) -> str:
    """The destination as an absolute path in the root; ``..`` is resolved by name, as runc does.

    A destination that names a place in the root filesystem by its path on the host is taken as that place.
    """
    target = posixpath.normpath("//" + each.destination).replace("//", "/", 1)
    if target == rootfs or target.startswith(rootfs + "/"):
        target = target[len(rootfs) :] or "/"
    if target == "/":
        raise NotSupported(f"{where}.destination: the root itself is no place for a mount; use root.path")
    if len(os.fsencode(target)) > _MAX_PATH or "\0" in target:
        raise NotSupported(
            f"{where}.destination: expected at most {_MAX_PATH} bytes without NUL, got {quote(target)}"
        )
    return target


def _options(each: Mount, index: int) -> MountOptions:
    return parse_options(each.options, f"$.mounts[{index}].options", bind=each.type == "bind")


def _is_late(each: Mount, rootfs: str) -> bool:
    return not _is_bind(each) and (each.type == "tmpfs" or target_of(each, "$.mounts", rootfs) == "/dev")


def _is_early(each: Mount) -> bool:
    return not _is_bind(each) and each.type not in _KERNEL_TYPES and (each.source or "").startswith("/")


def _is_bind(each: Mount) -> bool:
    return each.type == "bind" or "bind" in each.options or "rbind" in each.options


def _mount(each: Mount, where: str, layout: Layout, groups: Groups, sources: Sources, made: int) -> ops.Op:
    options = parse_options(each.options, f"{where}.options", bind=each.type == "bind")
    target = target_of(each, where, layout.rootfs)
    if options.bind:
        return _bind(each, where, layout, target, options, sources)
    if each.uid_mappings or each.gid_mappings:
        raise NotSupported(f"{where}.uidMappings: only bind mounts can have ids mapped")
    if each.type in ("none", None, ""):
        raise NotSupported(f"{where}.type: expected a file system type, or the option bind or rbind")
    if each.type in ("cgroup", "cgroup2"):
        return _cgroup(where, target, options.filesystem_attributes, groups)
    if options.copy_up and each.type != "tmpfs":
        raise NotSupported(f"{where}.options: option tmpcopyup is for a tmpfs")
    data, attributes = _settings(each, options, layout.rootfs)
    return ops.filesystem(
        each.type,
        each.source or "",
        target,
        data,
        attributes,
        options.propagation,
        copy_up=options.copy_up,
        made=made,
    )


def _settings(each: Mount, options: MountOptions, rootfs: str) -> tuple[ops.Options, int]:
    """The options of a file system, and the attributes of its mount."""
    attributes = options.filesystem_attributes
    if _is_late(each, rootfs):
        return options.data, attributes & ~kernel.ATTR_RDONLY
    if attributes & kernel.ATTR_RDONLY and each.type not in _KERNEL_TYPES:
        return (("ro", None), *options.data), attributes
    return options.data, attributes


def _bind(
    each: Mount, where: str, layout: Layout, target: str, options: MountOptions, sources: Sources
) -> ops.Op:
    source = os.path.join(layout.bundle, each.source or "")
    in_root = posixpath.normpath(source).startswith(f"{layout.rootfs}/")
    return ops.bind(
        source,
        target,
        recursive=options.recursive,
        attributes=options.bind_attributes,
        propagation=options.propagation,
        follow=options.follow,
        given=sources.give(each, where, source, options, in_root=in_root),
    )


def _cgroup(where: str, target: str, attributes: int, groups: Groups) -> ops.Op:
    layout = cgroup_layout(groups)
    if not layout:
        raise NotSupported(
            f"{where}: {groups.hierarchies.reason or 'no control groups are mounted on this host'}"
        )
    if not (groups.own_namespace and groups.directories):
        attributes |= kernel.ATTR_RDONLY  # what it shows is not the container's alone (RT-21)
    fresh = need_mounts(groups, layout)
    return ops.cgroup_tree(target, layout, own_namespace=fresh, attributes=attributes)
