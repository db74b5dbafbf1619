"""Rules for hooks."""

from __future__ import annotations

from ociworks.errors import Problem
from ociworks.spec.validate._checks import check_absolute
from ociworks.spec.validate._common import check_env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Hook

__all__ = ["RULES"]

_SECTION: Final = "runtime-spec config.md, POSIX-platform Hooks"


def _hook(value: Hook, at: str) -> Iterator[Problem]:
    """An absolute path, a valid environment, and a timeout that gives it time."""
    yield from check_absolute(value.path, f"{at}.path", _SECTION)
    yield from check_env(value.env, f"{at}.env", _SECTION)
    if value.timeout is not None and value.timeout <= 0:
        message = f"expected more than zero seconds, got {value.timeout}"
        yield Problem(f"{at}.timeout", message, _SECTION)


RULES: Final = {"Hook": _hook}
