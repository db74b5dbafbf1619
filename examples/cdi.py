"""A runtime that gives containers devices by their CDI names, such as ``vendor.com/gpu=0``.

Vendors describe devices in files below ``/etc/cdi`` and ``/var/run/cdi``: which nodes, mounts, variables and hooks a
container needs to use one. A container asks for devices in annotations whose names begin with ``cdi.k8s.io/``; this
runtime edits the configuration before anything is planned, so the plan shows all of it.

    python -m examples.cdi BUNDLE DEVICE...      prints the plan of the bundle with these devices
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ociworks import spec
from ociworks.errors import InvalidSpec, NotSupported, Problem
from ociworks.runtime import Runtime
from ociworks.spec import FrozenDict, cdi
from ociworks.spec.runtime import (
    Device,
    DeviceRule,
    Hook,
    Hooks,
    Linux,
    Mount,
    NetDevice,
    Process,
    Resources,
    Spec,
)

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
PREFIX = "cdi.k8s.io/"
T = TypeVar("T")


class Registry:
    """The devices that the files of some directories describe; a later directory wins."""

    def __init__(self, directories: Sequence[str | Path] = DIRECTORIES) -> None:
        self.devices: dict[str, tuple[cdi.Specification, cdi.Device]] = {}
        for directory in directories:
            for path in sorted(Path(directory).glob("*.json")):
                self._read(path)

    def _read(self, path: Path) -> None:
        found = spec.parse(cdi.Specification, path.read_bytes())
        problems = spec.validate(found)
        if problems:
            raise InvalidSpec(problems, str(path))
        for device in found.devices:
            self.devices[f"{found.kind}={device.name}"] = (found, device)

    def edits(self, names: Sequence[str]) -> Iterator[cdi.ContainerEdits]:
        """What the devices of these names need: the edits of each file once, and those of each device."""
        seen: list[cdi.Specification] = []
        for name in dict.fromkeys(names):
            if name not in self.devices:
                raise NotSupported(
                    f"CDI device {name!r}: no file describes it; known are {sorted(self.devices)}"
                )
            file, device = self.devices[name]
            if file.container_edits is not None and not any(file is each for each in seen):
                yield file.container_edits
            seen.append(file)
            yield device.container_edits


def apply(config: Spec, edits: cdi.ContainerEdits) -> Spec:
    """The configuration with one file's or device's edits."""
    process = config.process or Process(args=("sh",), cwd="/")
    groups = tuple(gid for gid in edits.additional_gids if gid)
    user = attrs.evolve(process.user, additional_gids=_join(process.user.additional_gids, groups))
    process = attrs.evolve(process, env=_join(process.env, edits.env), user=user)
    linux = config.linux or Linux()
    nodes = tuple(_device(node) for node in edits.device_nodes)
    resources = linux.resources or Resources()
    rules = tuple(
        rule for node, made in zip(edits.device_nodes, nodes, strict=True) for rule in _rules(node, made)
    )
    networks = {device.host_interface_name: NetDevice(name=device.name) for device in edits.net_devices}
    linux = attrs.evolve(
        linux,
        devices=_join(linux.devices, nodes),
        resources=attrs.evolve(resources, devices=(*resources.devices, *rules)) if rules else linux.resources,
        net_devices=FrozenDict({**linux.net_devices, **networks}),
    )
    mounts = tuple(
        Mount(
            destination=mount.container_path,
            source=mount.host_path,
            type=mount.type or "bind",
            options=mount.options,
        )
        for mount in edits.mounts
    )
    return attrs.evolve(
        config,
        process=process,
        linux=linux,
        mounts=(*config.mounts, *mounts),
        hooks=_hooks(config.hooks, edits.hooks),
    )


def _device(node: cdi.DeviceNode) -> Device:
    """A device node; what the file leaves open is as on the host."""
    host = os.stat(node.host_path or node.path)
    kind = node.type or ("b" if stat.S_ISBLK(host.st_mode) else "p" if stat.S_ISFIFO(host.st_mode) else "c")
    return Device(
        path=node.path,
        type=kind,
        major=os.major(host.st_rdev) if node.major is None else node.major,
        minor=os.minor(host.st_rdev) if node.minor is None else node.minor,
        file_mode=stat.S_IMODE(host.st_mode) if node.file_mode is None else node.file_mode,
        uid=node.uid,
        gid=node.gid,
    )


def _rules(node: cdi.DeviceNode, device: Device) -> Iterator[DeviceRule]:
    if device.type != "p" and node.permissions != "none":
        access = node.permissions or "rwm"
        yield DeviceRule(allow=True, type=device.type, major=device.major, minor=device.minor, access=access)


def _hooks(hooks: Hooks | None, added: Sequence[cdi.Hook]) -> Hooks | None:
    for hook in added:
        made = Hook(path=hook.path, args=hook.args, env=hook.env, timeout=hook.timeout)
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in hook.hook_name)
        if name not in {item.name for item in attrs.fields(Hooks)}:
            raise InvalidSpec([Problem("$.hooks", f"no such hook: {hook.hook_name}")])
        changes: dict[str, Any] = {name: (*getattr(hooks or Hooks(), name), made)}
        hooks = attrs.evolve(hooks or Hooks(), **changes)
    return hooks


def _join(old: Sequence[T], new: Sequence[T]) -> tuple[T, ...]:
    return (*old, *(item for item in new if item not in old))


class CDIRuntime(Runtime):
    """Injects the devices that the annotations of a bundle ask for."""

    def __init__(
        self, root: str | Path | None = None, directories: Sequence[str | Path] = DIRECTORIES
    ) -> None:
        super().__init__(root)
        self.registry = Registry(directories)

    def edit_spec(self, bundle: spec.Bundle, container_id: str) -> spec.Bundle:
        """The bundle with every device; the same bundle when it asks for none."""
        config = bundle.spec
        for edits in self.registry.edits(requested(config)):
            config = apply(config, edits)
        return bundle if config is bundle.spec else bundle.replace(config)


def requested(config: Spec) -> list[str]:
    """The names in the annotations, in order."""
    lists = (value for name, value in config.annotations.items() if name.startswith(PREFIX))
    return [name.strip() for names in lists for name in names.split(",") if name.strip()]


def main(directory: str, *devices: str) -> None:
    """Print what a container with these devices would be."""
    bundle = spec.Bundle.load(directory)
    wanted = {**bundle.spec.annotations, f"{PREFIX}example": ",".join(devices)}
    print(CDIRuntime().plan(bundle.replace(attrs.evolve(bundle.spec, annotations=FrozenDict(wanted)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
