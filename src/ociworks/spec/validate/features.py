"""Rules for what a runtime says it can do."""

from __future__ import annotations

from ociworks.errors import Problem
from ociworks.spec.validate._checks import check_annotations, check_version, version_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Features

__all__ = ["RULES"]

_SECTION: Final = "runtime-spec features.md, Specification version"


def _features(value: Features, at: str) -> Iterator[Problem]:
    """Versions in order. Names are not judged: a newer runtime may know more than this specification."""
    yield from check_version(value.oci_version_min, f"{at}.ociVersionMin", _SECTION)
    yield from check_version(value.oci_version_max, f"{at}.ociVersionMax", _SECTION)
    lowest, highest = version_order(value.oci_version_min), version_order(value.oci_version_max)
    if lowest is not None and highest is not None and highest < lowest:
        yield Problem(f"{at}.ociVersionMax", "must not be less than ociVersionMin", _SECTION)
    yield from check_annotations(
        value.annotations, f"{at}.annotations", "runtime-spec features.md, Annotations"
    )


RULES: Final = {"Features": _features}
