"""Resource control by cache and memory bandwidth (runtime-spec config-linux.md, IntelRdt): the kernel's resctrl.

Everything is judged here; what is left is a list of directories to make, lines to write, files to enter the groups by,
and directories to remove with the container.
"""

from __future__ import annotations

import os
import re

from ociworks._values import frozen
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.spec.runtime import IntelRdt

__all__ = ["ResctrlPlan", "mount_point", "plan_resctrl"]

_WHERE: Final = "$.linux.intelRdt"
_SECTION: Final = "runtime-spec config-linux.md, IntelRdt"
_MOST: Final = 1 << 20
_ROOT: Final = "/"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_LEADING_ZEROS: Final = re.compile(r"(?<==)0+(?=[0-9a-fA-F])")


@frozen(kw_only=True)
class ResctrlPlan:
    """What must be there before the container's first process enters, and what goes with the container."""

    make: tuple[str, ...] = ()
    """Directories, parents first."""
    write: tuple[tuple[str, str], ...] = ()
    """A file and a line for it, in order."""
    tasks: tuple[str, ...] = ()
    """Files by which a process enters."""
    remove: tuple[str, ...] = ()
    """Those directories that are the container's own, children first."""

    def plain(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
        """The form that the launcher reads."""
        return self.make, self.write, self.remove


def plan_resctrl(rdt: IntelRdt, container_id: str) -> ResctrlPlan:
    """Plan the resource control of a container. NotSupported without resctrl, InvalidSpec for a wrong group."""
    root = mount_point()
    if root is None:
        raise NotSupported(f"{_WHERE}: resctrl is not mounted (mount -t resctrl resctrl /sys/fs/resctrl)")
    name = rdt.clos_id or container_id
    group = root if name == _ROOT else f"{root}/{name}"
    first = [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema) if line]
    lines = [*first, *rdt.schemata]
    exists = os.path.isdir(group)
    if rdt.clos_id and exists:
        _compare(first, f"{group}/schemata")
    if not rdt.clos_id and exists:
        raise _invalid("closID", f"a group {quote(name)} exists already; name it as closID to use it")
    if rdt.clos_id and not exists and not lines:
        raise _invalid("closID", f"the group {quote(name)} does not exist, and no schema says how to make it")
    monitor = f"{group}/mon_groups/{container_id}" if rdt.enable_monitoring else ""
    own = () if rdt.clos_id else (group,)
    return ResctrlPlan(
        make=(*(() if exists else (group,)), *((monitor,) if monitor else ())),
        write=tuple((f"{group}/schemata", line) for line in lines),
        tasks=(f"{group}/tasks", *((f"{monitor}/tasks",) if monitor else ())),
        remove=(*((monitor,) if monitor else ()), *own),
    )


def mount_point() -> str | None:
    """Where resctrl is mounted, if it is."""
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            fields = line.split(b" ")
            if fields[fields.index(b"-") + 1] == b"resctrl":
                return os.fsdecode(_OCTAL.sub(_unescape, fields[4]))
    return None


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 8),))  # trusted: three octal digits


def _compare(wanted: list[str], path: str) -> None:
    """An existing group must have what the configuration says of it."""
    if not wanted:
        return
    with open(path, encoding="ascii", errors="replace") as stream:
        found = _domains(stream.read(_MOST).splitlines())
    for line in wanted:
        for resource, domains in _domains([line]).items():
            if not domains <= found.get(resource, frozenset()):
                raise _invalid("closID", f"the group exists, but its schemata have not {quote(line)}")


def _domains(lines: list[str]) -> dict[str, frozenset[str]]:
    """``L3:0=00f;1=f0`` as ``{"L3": {"0=f", "1=f0"}}``."""
    found = {}
    for line in lines:
        resource, _, rest = line.strip().partition(":")
        parts = (_LEADING_ZEROS.sub("", part.strip()).lower() for part in rest.split(";"))
        found[resource] = frozenset(part for part in parts if part)
    return found


def _invalid(member: str, message: str) -> InvalidSpec:
    return InvalidSpec([Problem(f"{_WHERE}.{member}", message, _SECTION)])
