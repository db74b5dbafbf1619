"""What every layer raises: documents, bytes and limits, and what this host does not have."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ContentError",
    "DigestMismatch",
    "InvalidDigest",
    "InvalidJSON",
    "InvalidLocation",
    "InvalidPlatform",
    "InvalidReference",
    "InvalidSpec",
    "LimitExceeded",
    "MediaTypeMismatch",
    "MissingDependency",
    "NotSupported",
    "OciworksError",
    "Problem",
    "SizeMismatch",
    "SpecError",
    "UnsupportedDigest",
    "quote",
]


def quote(text: str | bytes, limit: int = 200) -> str:
    """Render untrusted text for a message: printable ASCII in quotes, all else escaped, cut at ``limit``."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    shown = ascii(text[:limit])
    return shown + "…" if len(text) > limit else shown


class Problem:
    """One thing wrong with a value: where (a JSON path such as ``$.process.args[1]``), what, by which section."""

    __slots__ = ("message", "path", "section")

    def __init__(self, path: str, message: str, section: str = "") -> None:
        self.path = path
        self.message = message
        self.section = section

    def __repr__(self) -> str:
        return f"Problem({self.path!r}, {self.message!r}, {self.section!r})"

    def __str__(self) -> str:
        tail = f" ({self.section})" if self.section else ""
        return f"{self.path}: {self.message}{tail}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        return (self.path, self.message, self.section) == (other.path, other.message, other.section)

    def __hash__(self) -> int:
        return hash((self.path, self.message, self.section))


class OciworksError(Exception):
    """The root of every error that ociworks raises on purpose."""


class SpecError(OciworksError, ValueError):
    """A document or value does not follow its specification."""


class InvalidJSON(SpecError):
    """The bytes are not one JSON document within the bounds (size, depth, numbers, strict UTF-8, no duplicates)."""


class InvalidSpec(SpecError):
    """A document has problems; ``problems`` holds all of them, in document order."""

    def __init__(self, problems: Sequence[Problem], what: str = "") -> None:
        self.problems = tuple(problems)
        self.what = what
        count = len(self.problems)
        head = f"{what}: " if what else ""
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{head}{count} problem{'' if count == 1 else 's'}{lines}")


class InvalidDigest(SpecError):
    """Text that is not ``algorithm:encoded`` (image-spec descriptor.md, Digests)."""


class UnsupportedDigest(SpecError):
    """A digest whose algorithm ociworks does not verify; only sha256, sha384 and sha512 are."""


class InvalidPlatform(SpecError):
    """Text that is not ``os[/architecture[/variant]]``."""


class InvalidReference(SpecError):
    """Text that is not an image reference (distribution-spec, Pull)."""


class InvalidLocation(SpecError):
    """Text that does not say where an image is (``docker://…``, ``oci:DIR:TAG``, ``docker-archive:FILE`` …)."""


class ContentError(OciworksError):
    """Bytes differ from what their descriptor promises."""


class DigestMismatch(ContentError):
    """The bytes have another digest than expected. ``what`` names the object, ``size`` the bytes read."""

    def __init__(self, what: str, expected: str, found: str, size: int) -> None:
        self.what, self.expected, self.found, self.size = what, expected, found, size
        super().__init__(f"{what}: expected {expected}, got {found} after {size} bytes")


class SizeMismatch(ContentError):
    """There are fewer or more bytes than the descriptor's size."""

    def __init__(self, what: str, expected: int, found: int) -> None:
        self.what, self.expected, self.found = what, expected, found
        more = "at least " if found > expected else ""
        super().__init__(f"{what}: expected {expected} bytes, got {more}{found}")


class MediaTypeMismatch(ContentError):
    """Content-Type, descriptor and ``mediaType`` disagree, or the bytes do not have the shape of their type."""


class LimitExceeded(OciworksError):
    """A bound was reached. ``limit`` is the name of the bound in its Limits object, ``maximum`` its value."""

    def __init__(self, what: str, limit: str, maximum: int) -> None:
        self.what, self.limit, self.maximum = what, limit, maximum
        super().__init__(f"{what}: more than {maximum} ({limit}); raise this limit if the content is trusted")


class MissingDependency(OciworksError):
    """A program, library or kernel feature is missing; the message says how to get it."""


class NotSupported(OciworksError):
    """Something that ociworks or this host cannot do was asked for; nothing has been created."""
