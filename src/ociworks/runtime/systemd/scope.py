"""Names of scopes and slices (systemd.unit(5), systemd.slice(5)); ``linux.cgroupsPath`` as ``slice:prefix:name``."""

from __future__ import annotations

import re
from typing import Final

import attrs

from ociworks.errors import CgroupError, NotSupported, quote
from ociworks.runtime.systemd.message import Value

__all__ = ["PREFIX", "Driver", "Property", "Scope", "expand", "parse"]

PREFIX: Final = "ociworks"
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,249}", re.ASCII)
_SLICE: Final = re.compile(r"[A-Za-z0-9:_.\\@]+(-[A-Za-z0-9:_.\\@]+)*", re.ASCII)

Property = tuple[str, str, Value]
"""Name, D-Bus signature and value."""


@attrs.frozen(kw_only=True)
class Scope:
    """A transient unit to be made: ``user`` by the manager of our user, otherwise by the system's."""

    unit: str
    slice: str
    user: bool = False
    properties: tuple[Property, ...] = ()

    @property
    def key(self) -> str:
        """What finds it again: kept in the state file."""
        return f"{'user' if self.user else 'system'}:{self.unit}"


@attrs.frozen(kw_only=True)
class Driver:
    """Whose manager makes the scopes: the system's, or for ``user`` our user's, whose control group is ``group``."""

    user: bool = False
    group: str = ""
    properties: tuple[Property, ...] = ()
    """Further properties, from the container's annotations."""


def parse(cgroups_path: str | None, container_id: str, *, user: bool) -> tuple[str, str]:
    """The unit and its slice. Raises CgroupError for names that systemd does not take."""
    default = "user.slice" if user else "system.slice"
    parts = cgroups_path.split(":") if cgroups_path else [default, PREFIX, container_id]
    if len(parts) != 3:
        raise CgroupError(
            f"cgroupsPath {quote(cgroups_path or '')}: with systemd, expected slice:prefix:name, such as "
            f"system.slice:{PREFIX}:{container_id}"
        )
    above, prefix, name = parts
    if name.endswith(".slice"):
        raise NotSupported(
            f"cgroupsPath {quote(cgroups_path or '')}: a container runs in a scope, not in a slice"
        )
    unit = f"{prefix}-{name}"
    if not name or _UNIT.fullmatch(unit) is None:
        raise CgroupError(f"cgroupsPath {quote(cgroups_path or '')}: {quote(unit)} is no name for a unit")
    expand(above or default)
    return f"{unit}.scope", above or default


def expand(name: str) -> tuple[str, ...]:
    """The groups from the root to a slice: ``a-b.slice`` is in ``a.slice``. CgroupError for what is no slice."""
    stem = name.removesuffix(".slice")
    if name == "-.slice":
        return ()
    if stem == name or _SLICE.fullmatch(stem) is None or len(name) > 255 or stem in (".", ".."):
        raise CgroupError(f"cgroupsPath: {quote(name)} is no name for a slice")
    words = stem.split("-")
    return tuple("-".join(words[: count + 1]) + ".slice" for count in range(len(words)))
