"""Devices by their CDI names, out of the administrator's files alone (CDI SPEC.md; CR-09).

Files are JSON or YAML, and of two that describe one device that of the later directory counts. Of names that a request
repeats, or that nobody describes, the whole request is refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from attrs import evolve, fields

from ociworks.errors import InvalidRequest, MissingDependency, OciworksError, quote
from ociworks.spec import FrozenDict, cdi, parse, parse_yaml, validate
from ociworks.spec.runtime import (
    Device,
    DeviceRule,
    Hook,
    Hooks,
    IntelRdt,
    Linux,
    Mount,
    NetDevice,
    Process,
    Resources,
    Spec,
)

__all__ = ["inject"]

T = TypeVar("T")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}/[A-Za-z0-9_-]{1,253}=[A-Za-z0-9_.:-]{1,253}", re.ASCII)
_MAX_FILE: Final = 1 << 20
_MOST_FILES: Final = 1000
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_Found = dict[str, tuple[cdi.Specification, cdi.Device]]


def inject(spec: Spec, names: Sequence[str], directories: Sequence[str]) -> Spec:
    """The configuration with these devices. InvalidRequest for names that are malformed, repeated or unknown."""
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest(f"CDI_devices: expected vendor/class=device, got {quote(name)}")
    if len(set(names)) != len(names):
        raise InvalidRequest("CDI_devices: expected each device once")
    known = _known(directories)
    for edits in _edits(names, known):
        spec = _apply(spec, edits)
    return spec


def _known(directories: Sequence[str]) -> _Found:
    found: _Found = {}
    for directory in directories:
        for path in _files(directory):
            described = _read(path)
            for device in described.devices:
                found[f"{described.kind}={device.name}"] = (described, device)
    return found


def _files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith((".json", ".yaml")))
    except FileNotFoundError:
        return []
    if len(names) > _MOST_FILES:
        raise InvalidRequest(f"CDI_devices: more than {_MOST_FILES} files in {directory}")
    return [f"{directory}/{name}" for name in names]


def _read(path: str) -> cdi.Specification:
    """One file, which only an administrator may have written."""
    try:
        with open(os.open(path, _READ), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o022 or info.st_uid not in (0, os.geteuid()):
                raise InvalidRequest(f"CDI_devices: {path}: expected a file that only root may write")
            raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise InvalidRequest(f"CDI_devices: {path}: {error.strerror}") from error
    if len(raw) > _MAX_FILE:
        raise InvalidRequest(f"CDI_devices: {path}: expected at most {_MAX_FILE} bytes")
    try:
        found = (parse_yaml if path.endswith(".yaml") else parse)(cdi.Specification, raw)
    except MissingDependency:
        raise
    except OciworksError as error:
        raise InvalidRequest(f"CDI_devices: {path}: {error}") from error
    if problems := validate(found):
        raise InvalidRequest(f"CDI_devices: {path}: {problems[0].path}: {problems[0].message}")
    return found


def _edits(names: Sequence[str], known: _Found) -> Iterator[cdi.ContainerEdits]:
    """A file's own edits once, before those of its first device that is asked for."""
    begun: list[cdi.Specification] = []
    for name in names:
        if name not in known:
            raise InvalidRequest(f"CDI_devices: no file describes {quote(name)}")
        described, device = known[name]
        if described.container_edits is not None and not any(described is each for each in begun):
            yield described.container_edits
        begun.append(described)
        yield device.container_edits


def _apply(spec: Spec, edits: cdi.ContainerEdits) -> Spec:
    process = spec.process or Process(cwd="/")
    groups = tuple(gid for gid in edits.additional_gids if gid)
    user = evolve(process.user, additional_gids=_joined(process.user.additional_gids, groups))
    return evolve(
        spec,
        process=evolve(process, env=_joined(process.env, edits.env), user=user),
        linux=_linux(spec.linux or Linux(), edits),
        mounts=(*spec.mounts, *map(_mount, edits.mounts)),
        hooks=_hooks(spec.hooks, edits.hooks),
    )


def _linux(linux: Linux, edits: cdi.ContainerEdits) -> Linux:
    nodes = tuple(_device(node) for node in edits.device_nodes)
    rules = tuple(
        DeviceRule(
            allow=True, type=made.type, major=made.major, minor=made.minor, access=node.permissions or "rwm"
        )
        for node, made in zip(edits.device_nodes, nodes, strict=True)
        if made.type != "p" and node.permissions != "none"
    )
    before = linux.resources or Resources()
    moved = {each.host_interface_name: NetDevice(name=each.name) for each in edits.net_devices}
    replaced = {node.path for node in nodes}
    return evolve(
        linux,
        devices=(*(each for each in linux.devices if each.path not in replaced), *nodes),
        resources=evolve(before, devices=(*before.devices, *rules)),
        net_devices=FrozenDict({**linux.net_devices, **moved}),
        intel_rdt=_rdt(edits.intel_rdt) if edits.intel_rdt is not None else linux.intel_rdt,
    )


def _device(node: cdi.DeviceNode) -> Device:
    """A node; what the file leaves open is as on the host."""
    path = node.host_path or node.path
    try:
        info = os.stat(path)
    except OSError as error:
        raise InvalidRequest(f"CDI_devices: device {quote(path)}: {error.strerror}") from error
    kind = "b" if stat.S_ISBLK(info.st_mode) else "p" if stat.S_ISFIFO(info.st_mode) else "c"
    return Device(
        path=node.path,
        type=node.type or kind,
        major=os.major(info.st_rdev) if node.major is None else node.major,
        minor=os.minor(info.st_rdev) if node.minor is None else node.minor,
        file_mode=stat.S_IMODE(info.st_mode) if node.file_mode is None else node.file_mode,
        uid=node.uid,
        gid=node.gid,
    )


def _mount(mount: cdi.Mount) -> Mount:
    return Mount(
        destination=mount.container_path,
        source=mount.host_path,
        type=mount.type or "bind",
        options=mount.options or ("rbind", "ro", "nosuid", "nodev"),
    )


def _rdt(given: cdi.IntelRdt) -> IntelRdt:
    return IntelRdt(
        clos_id=given.clos_id,
        schemata=given.schemata,
        l3_cache_schema=given.l3_cache_schema,
        mem_bw_schema=given.mem_bw_schema,
        enable_monitoring=given.enable_monitoring,
    )


def _hooks(hooks: Hooks | None, added: Sequence[cdi.Hook]) -> Hooks | None:
    for each in added:
        hook = Hook(path=each.path, args=each.args, env=each.env, timeout=each.timeout)
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in each.hook_name)
        if name not in {field.name for field in fields(Hooks)}:
            raise InvalidRequest(f"CDI_devices: no hook is called {quote(each.hook_name)}")
        before = hooks or Hooks()
        changed: dict[str, Any] = {name: (*getattr(before, name), hook)}
        hooks = evolve(before, **changed)
    return hooks


def _joined(old: Sequence[T], new: Sequence[T]) -> tuple[T, ...]:
    return (*old, *(item for item in new if item not in old))
