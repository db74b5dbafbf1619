"""Rules for what registries answer (distribution-spec 1.1)."""

from __future__ import annotations

import re

from ociworks.errors import Problem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.spec.distribution import ErrorInfo, TagList

__all__ = ["RULES"]

_CODE = re.compile(r"[A-Z_]+", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)


def _error_info(value: ErrorInfo, at: str) -> Iterator[Problem]:
    """Codes are upper-case words; codes that are not in the table are allowed."""
    if _CODE.fullmatch(value.code) is None:
        message = f"expected upper-case letters and underscores, got {quote(value.code)}"
        yield Problem(f"{at}.code", message, "distribution-spec, Error Codes")


def _tag_list(value: TagList, at: str) -> Iterator[Problem]:
    """Names have the grammar of names."""
    if _REPOSITORY.fullmatch(value.name) is None:
        message = f"expected the name of a repository, got {quote(value.name)}"
        yield Problem(f"{at}.name", message, "distribution-spec, Pulling manifests")
    for place, tag in enumerate(value.tags):
        if _TAG.fullmatch(tag) is None:
            message = f"expected a tag, got {quote(tag)}"
            yield Problem(f"{at}.tags[{place}]", message, "distribution-spec, Pulling manifests")


RULES = {"ErrorInfo": _error_info, "TagList": _tag_list}
