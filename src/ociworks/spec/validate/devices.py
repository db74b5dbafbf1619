"""Rules for device nodes and device cgroup rules."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.spec.validate._checks import check_absolute, check_choice, check_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Device, DeviceRule

__all__ = ["RULES"]

_TYPES: Final = frozenset("cbup")
_RULE_TYPES: Final = frozenset("acb")


def _device(value: Device, at: str) -> Iterator[Problem]:
    """A type, an absolute path, numbers unless it is a FIFO, and permission bits."""
    section = "runtime-spec config-linux.md, Devices"
    yield from check_choice(value.type, _TYPES, f"{at}.type", section)
    yield from check_absolute(value.path, f"{at}.path", section)
    yield from check_range(value.file_mode, 0, 0o777, f"{at}.fileMode", section)
    for name, number in (("major", value.major), ("minor", value.minor)):
        if number is None and value.type != "p":
            yield Problem(f"{at}.{name}", f"is required for type {quote(value.type)}", section)
        yield from check_range(number, 0, 2**32 - 1, f"{at}.{name}", section)


def _rule(value: DeviceRule, at: str) -> Iterator[Problem]:
    """A type, numbers (-1 is all, as Docker and Podman write it), and access letters."""
    section = "runtime-spec config-linux.md, Allowed Device list"
    yield from check_choice(value.type or None, _RULE_TYPES, f"{at}.type", section)
    for name, number in (("major", value.major), ("minor", value.minor)):
        yield from check_range(number, -1, 2**32 - 1, f"{at}.{name}", section)
    letters = value.access or ""
    if not set(letters) <= set("rwm") or len(set(letters)) != len(letters):
        yield Problem(f"{at}.access", f"expected some of the letters rwm, got {quote(letters)}", section)


RULES: Final = {"Device": _device, "DeviceRule": _rule}
