"""The node's ranges of addresses, as the kubelet says them: for plugins that want to be told, or for a template.

A template is a configuration list in which a string ``${pod_cidr}`` stands for the first range, ``${pod_cidr_ranges}``
for all of them as host-local wants them, and ``${routes}`` for default routes of their kinds. It is JSON before and
after, so that nothing can be smuggled into it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from ociworks import spec
from ociworks.cri.network._configurations import MAX_FILE, parse_list
from ociworks.cri.network._files import write_file
from ociworks.errors import InvalidRequest, NetworkError, quote
from ociworks.spec import FrozenDict, JSONValue, Model

__all__ = ["Ranges", "filled", "parse_ranges", "ranges_capability", "read_template"]

_FILE: Final = "pod-cidr"
_MAX_RANGES: Final = 16


class Ranges:
    """The ranges, kept in ``directory`` across restarts: a kubelet says them once."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._ranges = self._load()

    def __call__(self) -> tuple[str, ...]:
        """What was said last."""
        return self._ranges

    def set(self, ranges: tuple[str, ...]) -> None:
        """Keep them. NetworkError when they cannot be written."""
        if ranges != self._ranges:
            write_file(self._directory, _FILE, ",".join(ranges).encode(), 0o600)
            self._ranges = ranges

    def _load(self) -> tuple[str, ...]:
        try:
            with open(f"{self._directory}/{_FILE}", "rb") as stream:
                return parse_ranges(stream.read(4096).decode("ascii", "replace"))
        except (OSError, InvalidRequest):
            return ()


def parse_ranges(text: str) -> tuple[str, ...]:
    """The networks in a comma-separated list, in their usual form. InvalidRequest for anything else."""
    try:
        found = tuple(str(ipaddress.ip_network(part.strip())) for part in text.split(","))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= _MAX_RANGES:
        raise InvalidRequest(f"pod_cidr: expected ranges such as 10.1.0.0/16, got {quote(text)}")
    return found


def ranges_capability(ranges: tuple[str, ...]) -> JSONValue:
    """``ipRanges`` (CNI CONVENTIONS.md): one address of each range."""
    return tuple((FrozenDict({"subnet": one}),) for one in ranges)


def filled(template: bytes, ranges: tuple[str, ...]) -> bytes:
    """The configuration list that a template makes of the ranges. SpecError when it is none."""
    versions = sorted({ipaddress.ip_network(one).version for one in ranges})
    everything = {4: "0.0.0.0/0", 6: "::/0"}
    values: dict[str, JSONValue] = {
        "${pod_cidr}": ranges[0],
        "{{.PodCIDR}}": ranges[0],
        "${pod_cidr_ranges}": ranges_capability(ranges),
        "${routes}": tuple(FrozenDict({"dst": everything[version]}) for version in versions),
    }
    document = spec.parse(Model, template, max_size=MAX_FILE)
    made = spec.to_json(Model(extra=FrozenDict(_filled_members(document.extra, values))), indent=2)
    parse_list(made)
    return made


def _filled_members(
    members: Mapping[str, JSONValue], values: Mapping[str, JSONValue]
) -> dict[str, JSONValue]:
    return {name: _filled(value, values) for name, value in members.items()}


def _filled(value: JSONValue, values: Mapping[str, JSONValue]) -> JSONValue:
    if isinstance(value, str):
        return values.get(value, value)
    if isinstance(value, tuple):
        return tuple(_filled(item, values) for item in value)
    if isinstance(value, Mapping):
        return FrozenDict(_filled_members(value, values))
    return value


def read_template(path: str) -> bytes:
    """The template. NetworkError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_FILE + 1)
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
