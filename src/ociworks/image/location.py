"""Where an image is, as text: a registry, a layout, a file, or the local store.

::

    location = [ "docker://" ] reference                              a registry
             | "oci:"            directory [ ":" tag | "@" digest ]    an OCI layout
             | "oci-archive:"    file      [ ":" tag | "@" digest ]    a layout in a tar archive
             | "docker-archive:" file      [ ":" reference ]           what docker save writes
             | "store:"          reference                             the local store

As skopeo and podman read them: a path ends at its first colon. What another program calls a transport and is not in
this table (``dir:``, ``docker-daemon:`` …) is an error and not the name of an image; ``docker://dir:1`` is one.
"""

from __future__ import annotations

import re
from typing import Final, Literal, Self, TypeAlias

from attrs import frozen

from ociworks.errors import InvalidLocation, SpecError, quote
from ociworks.image.reference import Reference
from ociworks.spec.digest import Digest

__all__ = ["Location", "Transport"]

Transport: TypeAlias = Literal["docker", "oci", "oci-archive", "docker-archive", "store"]
"""What kind of place it is; ``docker`` is any registry."""

_DOCKER: Final = "docker://"
_WITH_TAG: Final[dict[str, Transport]] = {"oci": "oci", "oci-archive": "oci-archive"}
_STRANGERS: Final = frozenset(
    {
        "atomic",
        "containers-storage",
        "dir",
        "docker",
        "docker-daemon",
        "http",
        "https",
        "ocidir",
        "oras",
        "ostree",
        "sif",
        "tarball",
    }
)
_KNOWN: Final = "docker://, oci:, oci-archive:, docker-archive:, store: or a reference"
_AT_DIGEST = re.compile(r"(?P<path>.*)@(?P<digest>sha(?:256|384|512):.*)", re.ASCII | re.DOTALL)


@frozen(kw_only=True, str=False)
class Location:
    """Where an image is, or shall be. ``str`` gives the text that :meth:`parse` reads back as an equal value."""

    transport: Transport
    reference: Reference | None = None
    """Of registries and the store always, of docker-archives when one image is meant."""
    path: str | None = None
    """The directory or file, of layouts and archives."""
    name: str | Digest | None = None
    """The tag or digest in a layout or oci-archive; None is the only image there is."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a location; raises :class:`~ociworks.errors.InvalidLocation` and ``InvalidReference``."""
        if text.startswith(_DOCKER):
            return cls(transport="docker", reference=Reference.parse(text.removeprefix(_DOCKER)))
        head, colon, rest = text.partition(":")
        if colon and head == "store":
            return cls(transport="store", reference=Reference.parse(rest))
        if colon and head == "docker-archive":
            path, name = _split(rest, text)
            return cls(
                transport="docker-archive", path=path, reference=Reference.parse(name) if name else None
            )
        if colon and head in _WITH_TAG:
            return cls._with_tag(_WITH_TAG[head], rest, text)
        if colon and head in _STRANGERS:
            raise InvalidLocation(f"location {quote(text)}: expected {_KNOWN}, got {quote(head + ':')}")
        return cls(transport="docker", reference=Reference.parse(text))

    @classmethod
    def of(cls, where: Location | Reference | str) -> Location:
        """The location that is meant: itself, a reference in its registry, or what a text says."""
        if isinstance(where, Location):
            return where
        return cls(transport="docker", reference=where) if isinstance(where, Reference) else cls.parse(where)

    @classmethod
    def _with_tag(cls, transport: Transport, rest: str, text: str) -> Self:
        if (found := _AT_DIGEST.fullmatch(rest)) is not None:
            try:
                digest = Digest.parse(found["digest"])
            except SpecError as error:
                raise InvalidLocation(f"location {quote(text)}: {error}") from None
            return cls(transport=transport, path=_path(found["path"], text), name=digest)
        path, name = _split(rest, text)
        if name is not None:
            _check_name(name, text)
        return cls(transport=transport, path=path, name=name)

    def __str__(self) -> str:
        if self.transport == "docker":
            return f"{_DOCKER}{self.reference}"
        if self.transport == "store":
            return f"store:{self.reference}"
        name = self.name if self.reference is None else str(self.reference)
        if isinstance(name, Digest):
            return f"{self.transport}:{self.path}@{name}"
        return f"{self.transport}:{self.path}" + ("" if name is None else f":{name}")


def _split(rest: str, text: str) -> tuple[str, str | None]:
    path, colon, name = rest.partition(":")
    if colon and not name:
        raise InvalidLocation(f"location {quote(text)}: expected a name behind the last colon")
    return _path(path, text), name if colon else None


def _path(path: str, text: str) -> str:
    if not path or "\0" in path or ":" in path:
        raise InvalidLocation(f"location {quote(text)}: expected a path without a colon, got {quote(path)}")
    return path


def _check_name(name: str, text: str) -> None:
    from ociworks.image.layout._entries import is_tag

    if not is_tag(name):
        raise InvalidLocation(
            f"location {quote(text)}: expected a tag of letters and digits joined by one of -._:@/+, "
            f"got {quote(name)}"
        )
