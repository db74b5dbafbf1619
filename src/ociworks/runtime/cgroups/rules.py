"""Device rules, brought into the one form that both kernels' filters can express.

The rules of a specification are an ordered list. What a v1 group keeps, and what our eBPF program checks, is a
default and exceptions to it. :func:`reduce_rules` folds the one into the other and refuses what would not survive
the folding: an exception to an exception, which a v1 group forgets in silence.
"""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.errors import CgroupError, NotSupported, quote
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ociworks.spec.runtime import DeviceRule

__all__ = ["DEFAULT_EXCEPTIONS", "DeviceTable", "Key", "reduce_rules"]

Key = tuple[str, int | None, int | None]
"""Type ``b`` or ``c``, major and minor; None is every number."""

_NUMBER = (1 << 32) - 1

DEFAULT_EXCEPTIONS: tuple[tuple[Key, str], ...] = (
    (("c", None, None), "m"),  # making a node is harmless where opening it is not allowed
    (("b", None, None), "m"),
    (("c", 1, 3), "rwm"),  # null
    (("c", 1, 5), "rwm"),  # zero
    (("c", 1, 7), "rwm"),  # full
    (("c", 1, 8), "rwm"),  # random
    (("c", 1, 9), "rwm"),  # urandom
    (("c", 5, 0), "rwm"),  # tty
    (("c", 5, 2), "rwm"),  # ptmx
    (("c", 136, None), "rwm"),  # pseudo-terminals
)
"""What every container may use (runtime-spec config-linux.md, Default Devices), and making nodes."""


@frozen
class DeviceTable:
    """``allow``: the default. ``exceptions``: for which devices and accesses (letters of ``rwm``) it is reversed."""

    allow: bool = False
    exceptions: Mapping[Key, str] = FrozenDict()


def reduce_rules(rules: Iterable[DeviceRule]) -> DeviceTable:
    """Fold ``rules``, then the default devices, starting from deny-all.

    Raises CgroupError for a rule that says too little or something impossible, NotSupported for one that only an
    ordered list could express.
    """
    allow = False
    exceptions: dict[Key, str] = {}
    for index, rule in enumerate(rules):
        where = f"$.linux.resources.devices[{index}]"
        key, access = _read(rule, where)
        if key is None:
            allow, exceptions = rule.allow, {}
        elif rule.allow != allow:
            exceptions[key] = _letters(exceptions.get(key, "") + access)
        else:
            _withdraw(exceptions, key, access, where)
    for key, access in DEFAULT_EXCEPTIONS:
        if not allow:
            exceptions[key] = _letters(exceptions.get(key, "") + access)
        else:
            _withdraw(exceptions, key, access, "default devices")
    return DeviceTable(allow, FrozenDict(exceptions))


def _read(rule: DeviceRule, where: str) -> tuple[Key | None, str]:
    """The key (None: all devices) and access of a rule, checked."""
    access = rule.access if rule.access is not None else ("" if rule.allow else "rwm")
    if (
        not access
        or _letters(access) != "".join(sorted(access, key="rwm".find))
        or len(set(access)) != len(access)
    ):
        raise CgroupError(
            f"{where}: expected access of the letters r, w and m, got {quote(rule.access or '')}"
        )
    kind = rule.type or "a"
    if kind not in ("a", "b", "c"):
        raise CgroupError(f"{where}: expected type a, b or c, got {quote(kind)}")
    major, minor = _number(rule.major, f"{where}.major"), _number(rule.minor, f"{where}.minor")
    if kind != "a":
        return (kind, major, minor), _letters(access)
    if (major, minor) != (None, None) or _letters(access) != "rwm":
        raise CgroupError(
            f"{where}: a rule for all types has neither numbers nor less than rwm; give type b or c"
        )
    return None, "rwm"


def _number(value: int | None, where: str) -> int | None:
    if value is None or value == -1:  # -1 is the customary spelling of "every"
        return None
    if not 0 <= value <= _NUMBER:
        raise CgroupError(f"{where}: expected a device number, got {value}")
    return value


def _letters(access: str) -> str:
    return "".join(letter for letter in "rwm" if letter in access)


def _withdraw(exceptions: dict[Key, str], key: Key, access: str, where: str) -> None:
    """A rule with the sense of the default: it takes back exceptions that lie within it."""
    for other, granted in list(exceptions.items()):
        shared = set(granted) & set(access)
        if not shared or not _overlap(key, other):
            continue
        if not _within(other, key):
            raise NotSupported(
                f"{where}: an exception to the wider rule for {other} cannot be enforced; "
                "list the devices one by one instead"
            )
        exceptions[other] = "".join(letter for letter in granted if letter not in shared)
        if not exceptions[other]:
            del exceptions[other]


def _overlap(one: Key, two: Key) -> bool:
    return one[0] == two[0] and all(None in (a, b) or a == b for a, b in zip(one[1:], two[1:], strict=True))


def _within(inner: Key, outer: Key) -> bool:
    return inner[0] == outer[0] and all(
        b is None or a == b for a, b in zip(inner[1:], outer[1:], strict=True)
    )
