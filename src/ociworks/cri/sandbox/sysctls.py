"""Kernel settings of pods: which may be set, and what pods get without asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ociworks._linux import process
from ociworks.errors import InvalidRequest, InvalidSpec, NotSupported, quote
from ociworks.runtime.plan.ops import Op
from ociworks.runtime.plan.sysctl import sysctl_ops

__all__ = ["SAFE", "Setting", "sysctl_settings"]

Setting = tuple[str, str]
"""A path below ``/proc/sys`` and what is written there."""

SAFE: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
"""What a pod may set without harm to others, as Kubernetes has it."""


def sysctl_settings(
    asked: Mapping[str, str], private: int, *, allowed: Iterable[str], defaults: Mapping[str, str]
) -> tuple[Setting, ...]:
    """What is to be written for a pod that has the namespaces ``private`` (CLONE_NEW*) of its own.

    ``allowed`` are names beside the safe ones; a trailing ``*`` stands for anything. ``defaults`` give way to what is
    asked. InvalidRequest for a name that is not allowed, that is the whole host's, or whose namespace is the host's.
    """
    names = {_dotted(name): value for name, value in asked.items()}
    if len(names) != len(asked):
        raise InvalidRequest("config.linux.sysctls: the same setting is there twice")
    patterns = tuple(allowed)
    for name in names:
        if name not in SAFE and not any(_fits(name, pattern) for pattern in patterns):
            raise InvalidRequest(
                f"config.linux.sysctls: {quote(name)} is not safe and not among allowed_unsafe_sysctls"
            )
    wanted = ({**defaults, **names} if private & process.CLONE_NEWNET else names).items()
    try:
        return tuple(_setting(op) for op in sysctl_ops(dict(wanted), private))
    except (InvalidSpec, NotSupported) as error:
        raise InvalidRequest(f"config.linux.sysctls: {error}") from error


def _setting(op: Op) -> Setting:
    name, value = op.args
    return str(name), str(value)


def _dotted(name: str) -> str:
    """The form with dots; sysctl(8) also takes slashes, and then swaps the two."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate({ord("/"): ".", ord("."): "/"})


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
