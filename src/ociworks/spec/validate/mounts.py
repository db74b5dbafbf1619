"""Rules for mounts and ID mappings."""

from __future__ import annotations

from ociworks.errors import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from ociworks.spec.runtime import IDMapping, Mount

__all__ = ["RULES", "check_mappings"]

_IDS: Final = 2**32


def _mount(value: Mount, at: str) -> Iterator[Problem]:
    """A destination, and both mappings or none. On Linux the destination may be relative, though that is deprecated."""
    section = "runtime-spec config.md, Mounts"
    if not value.destination:
        yield Problem(f"{at}.destination", "must not be empty", section)
    section = "runtime-spec config.md, POSIX-platform Mounts"
    if bool(value.uid_mappings) != bool(value.gid_mappings):
        missing, given = ("gid", "uid") if value.uid_mappings else ("uid", "gid")
        yield Problem(f"{at}.{missing}Mappings", f"is required with {given}Mappings", section)
    yield from check_mappings(value.uid_mappings, f"{at}.uidMappings")
    yield from check_mappings(value.gid_mappings, f"{at}.gidMappings")


def check_mappings(mappings: Sequence[IDMapping], at: str) -> Iterator[Problem]:
    """Ranges are not empty, end within 32 bits, and overlap neither in the container nor on the host."""
    section = "runtime-spec config-linux.md, User namespace mappings; user_namespaces(7)"
    for index, mapping in enumerate(mappings):
        if mapping.size == 0:
            yield Problem(f"{at}[{index}].size", "must be greater than zero", section)
        for name, start in (("containerID", mapping.container_id), ("hostID", mapping.host_id)):
            if start + mapping.size > _IDS:
                message = f"the range of {mapping.size} from {start} does not end within 32 bits"
                yield Problem(f"{at}[{index}].{name}", message, section)
    inside = [(mapping.container_id, mapping.size, index) for index, mapping in enumerate(mappings)]
    outside = [(mapping.host_id, mapping.size, index) for index, mapping in enumerate(mappings)]
    yield from _overlaps(inside, at, "containerID", section)
    yield from _overlaps(outside, at, "hostID", section)


def _overlaps(ranges: list[tuple[int, int, int]], at: str, name: str, section: str) -> Iterator[Problem]:
    """Compare each range with the one that reaches furthest of those that start before it."""
    end, owner = 0, 0
    for start, size, index in sorted(ranges):
        if start < end:
            yield Problem(f"{at}[{index}].{name}", f"the range overlaps that of {at}[{owner}]", section)
        if start + size > end:
            end, owner = start + size, index


RULES: Final = {"Mount": _mount}
