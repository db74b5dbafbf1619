"""What a pod shares with the host, its user namespace, and the form of its security options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from ociworks._linux import process
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["IdMap", "Sharing", "check_security", "sharing"]

IdMap = tuple[int, int, int]
"""First ID in the pod, first ID on the host, how many."""

_MAX_MAPS: Final = 340
_MAX_ID: Final = (1 << 32) - 1
_LABEL: Final = re.compile(r"[A-Za-z0-9_.-]{0,255}", re.ASCII)
_LEVEL: Final = re.compile(r"[A-Za-z0-9_.,:-]{0,255}", re.ASCII)


@frozen(kw_only=True)
class Sharing:
    """Which namespaces a pod has of its own, and how IDs are mapped in its user namespace."""

    host_network: bool = False
    host_ipc: bool = False
    shared_pid: bool = False
    """Whether its containers share one process namespace, which something has to hold."""
    uids: tuple[IdMap, ...] = ()
    gids: tuple[IdMap, ...] = ()

    @property
    def mapped(self) -> bool:
        """Whether it has a user namespace of its own."""
        return bool(self.uids)

    @property
    def private(self) -> int:
        """The namespaces of its own (CLONE_NEW*) that exist before any container: a host name goes with a network."""
        return (
            (0 if self.host_network else process.CLONE_NEWNET | process.CLONE_NEWUTS)
            | (0 if self.host_ipc else process.CLONE_NEWIPC)
            | (process.CLONE_NEWUSER if self.mapped else 0)
        )

    @property
    def owner(self) -> tuple[int, int]:
        """The IDs on the host of the pod's root."""
        return _outside(self.uids), _outside(self.gids)


def sharing(options: api.NamespaceOption) -> Sharing:
    """What is asked for. InvalidRequest for modes that a pod cannot have, and for maps that cannot be."""
    _mode("network", options.network, api.POD, api.NODE)
    _mode("ipc", options.ipc, api.POD, api.NODE)
    _mode("pid", options.pid, api.POD, api.CONTAINER, api.NODE)
    if options.target_id:
        raise InvalidRequest("namespace_options.target_id: expected none: a pod has no target")
    uids, gids = _maps(options)
    if uids and api.NODE in (options.network, options.ipc, options.pid):
        raise InvalidRequest(
            "namespace_options.userns_options: expected no namespace of the host beside a user namespace"
        )
    return Sharing(
        host_network=options.network == api.NODE,
        host_ipc=options.ipc == api.NODE,
        shared_pid=options.pid == api.POD,
        uids=uids,
        gids=gids,
    )


def check_security(context: api.LinuxSandboxSecurityContext) -> None:
    """InvalidRequest for identities, profiles and labels that contradict themselves or have no meaning."""
    if context.HasField("run_as_group") and not context.HasField("run_as_user"):
        raise InvalidRequest("security_context.run_as_group: expected none without run_as_user")
    for field in ("run_as_user", "run_as_group"):
        if context.HasField(field):
            _check_id(field, getattr(context, field).value)
    for group in context.supplemental_groups:
        _check_id("supplemental_groups", group)
    if context.supplemental_groups_policy not in api.SupplementalGroupsPolicy.values():
        raise InvalidRequest("security_context.supplemental_groups_policy: expected Merge or Strict")
    for field in ("seccomp", "apparmor"):
        _check_profile(field, getattr(context, field))
    _check_labels(context.selinux_options)


def _mode(field: str, given: int, *possible: int) -> None:
    if given not in possible:
        known = given in api.NamespaceMode.values()
        shown = api.NamespaceMode.Name(api.NamespaceMode.ValueType(given)) if known else str(given)
        names = ", ".join(api.NamespaceMode.Name(api.NamespaceMode.ValueType(mode)) for mode in possible)
        raise InvalidRequest(f"namespace_options.{field}: expected one of {names}, got {shown}")


def _maps(options: api.NamespaceOption) -> tuple[tuple[IdMap, ...], tuple[IdMap, ...]]:
    if not options.HasField("userns_options"):
        return (), ()
    asked = options.userns_options
    _mode("userns_options.mode", asked.mode, api.POD, api.NODE)
    if asked.mode == api.NODE:
        if asked.uids or asked.gids:
            raise InvalidRequest("namespace_options.userns_options: expected no maps with NODE")
        return (), ()
    return _map("uids", asked.uids), _map("gids", asked.gids)


def _map(field: str, given: Sequence[api.IDMapping]) -> tuple[IdMap, ...]:
    where = f"namespace_options.userns_options.{field}"
    if not 0 < len(given) <= _MAX_MAPS:
        raise InvalidRequest(f"{where}: expected 1 to {_MAX_MAPS} maps, got {len(given)}")
    maps = tuple((entry.container_id, entry.host_id, entry.length) for entry in given)
    for inside, outside, length in maps:
        if not length or max(inside, outside) + length > _MAX_ID:
            raise InvalidRequest(f"{where}: {length} IDs from {inside} and {outside} are no range of IDs")
    for side in (0, 1):
        if _overlap((entry[side], entry[2]) for entry in maps):
            raise InvalidRequest(f"{where}: the ranges overlap")
    if _outside(maps, default=-1) < 0:
        raise InvalidRequest(f"{where}: expected a map for 0")
    return maps


def _overlap(ranges: Iterable[tuple[int, int]]) -> bool:
    end = 0
    for start, length in sorted(ranges):
        if start < end:
            return True
        end = start + length
    return False


def _outside(maps: Sequence[IdMap], default: int = 0) -> int:
    return next((outside for inside, outside, _ in maps if inside == 0), default)


def _check_id(field: str, value: int) -> None:
    if not 0 <= value < _MAX_ID:
        raise InvalidRequest(f"security_context.{field}: expected 0 to {_MAX_ID - 1}, got {value}")


def _check_profile(field: str, profile: api.SecurityProfile) -> None:
    where = f"security_context.{field}"
    if profile.profile_type not in api.SecurityProfile.ProfileType.values():
        raise InvalidRequest(f"{where}.profile_type: {profile.profile_type} has no meaning")
    if profile.profile_type == api.SecurityProfile.Localhost and not profile.localhost_ref:
        raise InvalidRequest(f"{where}.localhost_ref: expected the name of a profile")


def _check_labels(options: api.SELinuxOption) -> None:
    for field, grammar in (("user", _LABEL), ("role", _LABEL), ("type", _LABEL), ("level", _LEVEL)):
        value = getattr(options, field)
        if grammar.fullmatch(value) is None:
            raise InvalidRequest(f"security_context.selinux_options.{field}: got {quote(value)}")
