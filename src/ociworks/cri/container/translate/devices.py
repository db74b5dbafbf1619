"""Device nodes and the rules that let a container use them.

A host path that is a directory stands for every device in it. Privileged containers have all devices of the host,
unless their handler's settings say otherwise, and may use any.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from typing import Final

from ociworks.cri.container.translate.request import Request
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote
from ociworks.spec.defaults import DEVICE_RULES
from ociworks.spec.runtime import Device, DeviceRule

__all__ = ["devices"]

_MOST: Final = 10_000
_DEV: Final = "/dev"
_OWN: Final = frozenset({"console", "ptmx", "tty"})
"""What every container has of its own."""
_NO_DEVICES: Final = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
"""Directories of the host's ``/dev`` that are other file systems, and may be large."""
_EVERYTHING: Final = DeviceRule(allow=True, access="rwm")


def devices(request: Request) -> tuple[tuple[Device, ...], tuple[DeviceRule, ...]]:
    """Nodes and rules. InvalidRequest for paths that hold no device and for permissions that are none."""
    nodes: dict[str, Device] = {}
    rules = list(DEVICE_RULES)
    if request.privileged and not request.handler.privileged_without_host_devices:
        nodes = {node.path: node for node in _below(_DEV, _DEV, skip=_OWN)}
        rules = [_EVERYTHING]
    for given in request.config.devices:
        access = _access(given.permissions)
        for node in _asked(given):
            nodes[node.path] = node
            rules.append(
                DeviceRule(allow=True, type=node.type, major=node.major, minor=node.minor, access=access)
            )
    return tuple(nodes[path] for path in sorted(nodes)), tuple(rules)


def _access(text: str) -> str:
    if not text:
        return "rwm"
    if not set(text) <= set("rwm") or len(set(text)) != len(text):
        raise InvalidRequest(f"devices.permissions: expected letters of 'rwm', got {quote(text)}")
    return text


def _asked(given: api.Device) -> Iterator[Device]:
    host = _absolute("host_path", given.host_path)
    inner = _absolute("container_path", given.container_path or given.host_path)
    try:
        info = os.stat(host)
    except OSError as error:
        raise InvalidRequest(f"devices.host_path: {quote(host)}: {error.strerror}") from error
    if stat.S_ISDIR(info.st_mode):
        yield from _below(host, inner)
        return
    node = _node(inner, info)
    if node is None:
        raise InvalidRequest(f"devices.host_path: {quote(host)} is neither a device nor a directory")
    yield node


def _below(directory: str, inner: str, *, skip: frozenset[str] = frozenset()) -> Iterator[Device]:
    """Every device in a directory and below it; links are left out."""
    waiting = [(directory, inner)]
    seen = 0
    while waiting:
        place, shown = waiting.pop()
        for name in _names(place):
            seen += 1
            if seen > _MOST:
                raise InvalidRequest(f"devices: more than {_MOST} files below {quote(directory)}")
            if place == directory and name in skip:
                continue
            try:
                info = os.lstat(f"{place}/{name}")
            except OSError:  # gone since
                continue
            if stat.S_ISDIR(info.st_mode) and name not in _NO_DEVICES:
                waiting.append((f"{place}/{name}", f"{shown}/{name}"))
            elif node := _node(f"{shown}/{name}", info):
                yield node


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:  # gone since, or not ours to read
        return []


def _node(path: str, info: os.stat_result) -> Device | None:
    if not stat.S_ISCHR(info.st_mode) and not stat.S_ISBLK(info.st_mode):
        return None
    return Device(
        type="b" if stat.S_ISBLK(info.st_mode) else "c",
        path=path,
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        file_mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
    )


def _absolute(name: str, path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise InvalidRequest(f"devices.{name}: expected an absolute path, got {quote(path)}")
    return posixpath.normpath(path)
