"""Checks that many rules of the runtime specification share; each yields a problem for what breaks it."""

from __future__ import annotations

from ociworks.errors import Problem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from typing import TypeVar

    from ociworks.spec.runtime import Namespace, ZOSNamespace

    T = TypeVar("T")

__all__ = [
    "check_absolute",
    "check_annotations",
    "check_choice",
    "check_cpu_list",
    "check_namespaces",
    "check_range",
    "check_unique",
    "check_version",
    "count_cpus",
    "version_order",
]

_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = (
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_SUPPORTED_MAJOR = "1"
_LONGEST_VERSION = 256
_MOST_DIGITS = 9


def check_version(text: str, at: str, section: str) -> Iterator[Problem]:
    """A version follows SemVer 2.0.0 and has the major version that is implemented here."""
    if text.startswith(f"{_SUPPORTED_MAJOR}.") and _is_release(text):
        return
    match = _match_version(text)
    if match is None:
        yield Problem(at, f"expected a version such as 1.3.0 (SemVer 2.0.0), got {quote(text)}", section)
    elif match[1] != _SUPPORTED_MAJOR:
        yield Problem(at, f"expected major version {_SUPPORTED_MAJOR}, got {quote(text)}", section)


def _is_release(text: str) -> bool:
    """Whether it is three plain numbers, as most versions are: that needs no pattern."""
    parts = text.split(".")
    plain = all(part.isascii() and part.isdigit() and (part[0] != "0" or part == "0") for part in parts)
    return plain and len(parts) == 3 and len(text) <= _LONGEST_VERSION


def _match_version(text: str) -> re.Match[str] | None:
    import re  # loading it takes a command longer than all other checks

    return re.fullmatch(_SEMVER, text, re.ASCII) if len(text) <= _LONGEST_VERSION else None


def version_order(text: str) -> tuple[object, ...] | None:
    """A key that sorts versions by SemVer's precedence; None for text that is no version."""
    match = _match_version(text)
    if match is None:
        return None
    release = tuple(int(match[group]) for group in (1, 2, 3))  # trusted: ASCII digits, by the grammar
    if match[4] is None:
        return (release, 1, ())
    parts = (
        (0, int(part), "") if part.isdigit() else (1, 0, part)  # trusted: ASCII digits, by the grammar
        for part in match[4].split(".")
    )
    return (release, 0, tuple(parts))


def check_absolute(path: str | None, at: str, section: str) -> Iterator[Problem]:
    """An optional path is absolute."""
    if path is not None and not path.startswith("/"):
        yield Problem(at, f"expected an absolute path, got {quote(path)}", section)


def check_choice(value: str | None, choices: Iterable[str], at: str, section: str) -> Iterator[Problem]:
    """An optional name is one of those that the specification lists."""
    if value is not None and value not in choices:
        known = ", ".join(sorted(choices))
        yield Problem(at, f"expected one of {known}; got {quote(value)}", section)


def check_range(value: int | None, low: int, high: int, at: str, section: str) -> Iterator[Problem]:
    """An optional number lies between ``low`` and ``high``, both included."""
    if value is not None and not low <= value <= high:
        yield Problem(at, f"expected {low} to {high}, got {value}", section)


def check_unique(
    items: Iterable[T], key: Callable[[T], Hashable], at: Callable[[int], str], section: str
) -> Iterator[Problem]:
    """No two items have the same key."""
    first: dict[Hashable, int] = {}
    for index, item in enumerate(items):
        name = key(item)
        if name in first:
            shown = quote(name) if isinstance(name, str) else str(name)
            yield Problem(at(index), f"{shown} is the same as {at(first[name])}", section)
        else:
            first[name] = index


def check_cpu_list(text: str | None, at: str, section: str) -> Iterator[Problem]:
    """A list of CPUs or memory nodes is numbers and ranges such as ``0-3,7``; empty says nothing."""
    if not text:
        return
    text = text.replace(" ", "")
    if not all(_is_cpu_range(part) for part in text.split(",")):
        yield Problem(at, f"expected numbers and ranges such as 0-3,7, got {quote(text)}", section)
        return
    for part in text.split(","):
        first, _, last = part.partition("-")
        # Compared as text, padded: these digits are not bounded.
        width = max(len(first), len(last))
        if last and first.zfill(width) > last.zfill(width):
            yield Problem(at, f"the range {quote(part)} ends before it starts", section)


def _is_cpu_range(part: str) -> bool:
    first, dash, last = part.partition("-")
    return all(number.isascii() and number.isdigit() for number in ((first, last) if dash else (first,)))


def count_cpus(text: str) -> str:
    """How many a list has, ``many`` when it has more than any machine, or is none."""
    count = 0
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not _is_cpu_range(part) or max(len(first), len(last)) > _MOST_DIGITS:
            return "many"
        count += int(last) - int(first) + 1 if dash else 1  # trusted: a few ASCII digits
    return str(count)


def check_annotations(annotations: Mapping[str, str], at: str, section: str) -> Iterator[Problem]:
    """The keys of annotations are not empty."""
    if "" in annotations:
        yield Problem(at, "has an empty key", section)


def check_namespaces(
    namespaces: Iterable[Namespace | ZOSNamespace], kinds: Iterable[str], at: str, section: str
) -> Iterator[Problem]:
    """Namespaces are of known types, each at most once, and their paths are absolute."""
    namespaces = tuple(namespaces)
    for index, namespace in enumerate(namespaces):
        yield from check_choice(namespace.type, kinds, f"{at}[{index}].type", section)
        yield from check_absolute(namespace.path or None, f"{at}[{index}].path", section)
    yield from check_unique(
        namespaces, lambda namespace: namespace.type, lambda index: f"{at}[{index}].type", section
    )
