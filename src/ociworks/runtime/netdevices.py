"""Moves network devices of the host into a container (runtime-spec config-linux.md, Network Devices).

The container's init makes a netlink socket in its network namespace and hands it over; all else happens here, in the
caller, which never enters the namespace. What is there before anything is moved is looked at first: a device whose
move has failed half-way could be lost with the container.
"""

from __future__ import annotations

import os
import socket

from ociworks._values import evolve
from ociworks.errors import CreateFailed, InvalidSpec, Problem, quote
from ociworks.runtime._rtnetlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.runtime._rtnetlink import Link
    from ociworks.spec import Bundle
    from ociworks.spec.runtime import NetDevice

__all__ = ["check_devices", "move_devices", "without_devices"]


def check_devices(devices: Mapping[str, NetDevice]) -> None:
    """Raise InvalidSpec for every device that this network namespace does not have."""
    with Netlink() as host:
        known = {link.name for link in host.links()}
    missing = [name for name in devices if name not in known]
    if missing:
        section = "runtime-spec config-linux.md, Network Devices"
        problems = [
            Problem(f"$.linux.netDevices[{quote(name)}]", "the host has no such network device", section)
            for name in missing
        ]
        raise InvalidSpec(problems)


def without_devices(bundle: Bundle) -> Bundle:
    """The bundle of a container that has them: they are in its namespace since it was made."""
    linux = bundle.spec.linux
    if linux is None or not linux.net_devices:
        return bundle
    return bundle.replace(evolve(bundle.spec, linux=evolve(linux, net_devices={})))


def move_devices(devices: Mapping[str, NetDevice], pid: int, channel: int) -> None:
    """Move the devices into the namespace of ``pid``, keep their permanent global addresses, and bring them up.

    ``channel`` is a netlink socket of that namespace; it is closed. Raises CreateFailed.
    """
    with socket.socket(fileno=channel) as theirs, Netlink() as host, Netlink(theirs) as container:
        try:
            for name, device in devices.items():
                _move(host, container, name, device.name or name, pid)
        except OSError as error:
            where = os.fsdecode(error.filename or b"")
            raise CreateFailed(
                f"network device {quote(where)}: {error.strerror}",
                step="network_devices",
                errno=error.errno or 0,
                path=where,
            ) from error


def _move(host: Netlink, container: Netlink, name: str, inside: str, pid: int) -> None:
    link = host.link(name)
    before = container.links()
    if inside in {there.name for there in before}:
        raise CreateFailed(
            f"network device {quote(name)}: the container has a device {quote(inside)} already",
            step="network_devices",
            path=name,
        )
    kept = [address for address in host.addresses(link) if address.permanent]
    host.move(link, pid, inside)
    moved = _arrived(before, container.links())
    for address in kept:
        container.add_address(moved, address)
    container.set_up(moved)


def _arrived(before: tuple[Link, ...], after: tuple[Link, ...]) -> Link:
    """The one device that is new; the kernel may have given it another number, and a name by a template."""
    known = {link.index for link in before}
    return next(link for link in after if link.index not in known)
