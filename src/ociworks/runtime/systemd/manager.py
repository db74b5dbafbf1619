"""What systemd is asked: to start a scope around processes or a slice for scopes, to change its limits, to stop it.

Starting and stopping are jobs; each is waited for. A unit of the same name that is just ending, or that failed, is
cleared away and the start tried again; one with living processes is somebody else's and stays.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from ociworks.errors import CgroupError, NotSupported, quote
from ociworks.runtime._cgroupkill import pause
from ociworks.runtime.systemd.bus import Bus, BusError
from ociworks.runtime.systemd.message import Value
from ociworks.runtime.systemd.properties import SINCE
from ociworks.runtime.systemd.scope import Property, Scope

__all__ = ["attach", "booted", "change", "manager_group", "start", "start_slice", "stop"]

_NAME: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = f"{_NAME}.Manager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_EXISTS: Final = f"{_NAME}.UnitExists"
_NO_UNIT: Final = f"{_NAME}.NoSuchUnit"
_UNTIL_IT_ENDS: Final = True
_PATIENCE: Final = 2.0
"""Seconds for the unit of a container that has just ended to go."""


def booted() -> bool:
    """Whether this host runs systemd (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def manager_group() -> str:
    """The control group of our user's manager: its slices are below. Raises NotSupported without one."""
    with Bus(user=True) as bus:
        group = _property(bus, "ControlGroup")
    if not isinstance(group, str) or not group.startswith("/"):
        raise CgroupError("systemd: the user's manager has no control group")
    return group.rstrip("/")


def start(scope: Scope, pids: Sequence[int], *, busy: Callable[[], bool] = lambda: False) -> None:
    """Make the scope around ``pids``. ``busy`` says whether a unit of its name holds processes.

    Raises CgroupError when systemd refuses.
    """
    own: tuple[Property, ...] = (("Slice", "s", scope.slice), ("PIDs", "au", tuple(pids)))
    with Bus(user=scope.user) as bus:
        _start(bus, scope.unit, (*own, *scope.properties), busy)


def start_slice(unit: str, properties: Sequence[Property]) -> None:
    """Make a slice of the system's manager, and what is missing above it. Raises CgroupError, also when it is there."""
    with Bus(user=False) as bus:
        _start(bus, unit, properties, lambda: False)


def change(key: str, properties: Sequence[Property]) -> None:
    """Give a running scope other limits, until it ends. Raises CgroupError when systemd refuses."""
    user, unit = _split(key)
    with Bus(user=user) as bus:
        version = _version(bus)
        known = [entry for entry in properties if SINCE.get(entry[0], 0) <= version]
        try:
            _call(bus, "SetUnitProperties", "sba(sv)", unit, _UNTIL_IT_ENDS, _variants(known))
        except BusError as error:
            raise CgroupError(f"systemd: cannot change {unit}: {error}") from error


def attach(key: str, pid: int) -> None:
    """Move a process into the scope: for a user, whom the kernel does not let do that. Raises CgroupError."""
    user, unit = _split(key)
    with Bus(user=user) as bus:
        try:
            _call(bus, "AttachProcessesToUnit", "ssau", unit, "", (pid,))
        except BusError as error:
            raise CgroupError(f"systemd: cannot move process {pid} into {unit}: {error}") from error


def stop(key: str) -> None:
    """End the scope and all that is in it, and wait until it is gone; one that is gone already is fine."""
    user, unit = _split(key)
    with Bus(user=user) as bus:
        try:
            _call(bus, "Subscribe")
            (job,) = _call(bus, "StopUnit", "ss", unit, "replace")
            _wait(bus, job)
        except BusError as error:
            if error.name != _NO_UNIT:
                raise CgroupError(f"systemd: cannot stop {unit}: {error}") from error
        _forget(bus, unit)


def _start(bus: Bus, unit: str, properties: Sequence[Property], busy: Callable[[], bool]) -> None:
    """Start a transient unit and wait for it; what this systemd does not know yet is left out."""
    version = _version(bus)
    settings = _variants([entry for entry in properties if SINCE.get(entry[0], 0) <= version])
    _call(bus, "Subscribe")
    result = _wait(bus, _job(bus, unit, settings, busy))
    if result != "done":
        _forget(bus, unit)
        raise CgroupError(f"systemd: starting {unit} ended with {quote(str(result))}")


def _job(bus: Bus, unit: str, settings: Value, busy: Callable[[], bool]) -> Value:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            (job,) = _call(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", settings, ())
            return job
        except BusError as error:
            if error.name != _EXISTS or busy() or time.monotonic() >= deadline:
                raise CgroupError(f"systemd: cannot start {unit}: {error}") from error
        _forget(bus, unit)
        pause(0.02)


def _variants(properties: Sequence[Property]) -> tuple[Value, ...]:
    return tuple((name, (signature, value)) for name, signature, value in properties)


def _call(bus: Bus, member: str, signature: str = "", *arguments: Value) -> tuple[Value, ...]:
    return bus.call(_NAME, _PATH, _MANAGER, member, signature, *arguments)


def _property(bus: Bus, name: str) -> Value:
    (variant,) = bus.call(_NAME, _PATH, _PROPERTIES, "Get", "ss", _MANAGER, name)
    return variant[1] if isinstance(variant, tuple) else variant


def _version(bus: Bus) -> int:
    """The version of systemd, of text such as ``252.39-1~deb12u1`` or ``v245-rc1``."""
    match = re.match(r"v?([0-9]{1,6})", str(_property(bus, "Version")))
    if match is None:
        raise NotSupported("systemd: it does not say which version it is")
    return int(match[1])  # trusted: digits


def _wait(bus: Bus, job: Value) -> Value:
    """How a job ended: ``done``, ``canceled``, ``timeout``, ``failed``, ``dependency``, ``skipped``."""
    while True:
        body = bus.signal("JobRemoved")
        if len(body) == 4 and body[1] == job:
            return body[3]


def _forget(bus: Bus, unit: str) -> None:
    try:
        _call(bus, "ResetFailedUnit", "s", unit)
    except BusError:
        return  # it is gone or did not fail


def _split(key: str) -> tuple[bool, str]:
    whose, _, unit = key.partition(":")
    return whose == "user", unit
