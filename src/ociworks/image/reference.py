"""Image references: ``docker.io/library/alpine:3.20@sha256:…``, parsed by one grammar, matched as a whole.

::

    reference  = name [ ":" tag ] [ "@" digest ]
    name       = [ registry "/" ] repository            at most 255 characters
    registry   = host [ ":" port ]                      only if it has a dot or a port, or is "localhost"
    repository = component *( "/" component )           lower case: a-z 0-9, joined by . _ __ or dashes
    tag        = [A-Za-z0-9_] [A-Za-z0-9._-]{0,127}

A first component that is no registry belongs to the repository, and the registry is then the default one. On
docker.io a repository of one component lives in ``library/``. Nothing is ever guessed beyond that: a scheme, user
information, an upper-case repository or an address in disguise (``127.1``) is an error that says so.
"""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from ociworks.errors import InvalidReference, SpecError, quote
from ociworks.image.origin import split_authority
from ociworks.spec.digest import Digest

__all__ = ["DOCKER_HUB", "Reference"]

DOCKER_HUB: Final = "docker.io"
"""The registry of references that name none, unless the caller says otherwise."""

_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io"})
_MAX_NAME: Final = 255
_MAX_TEXT: Final = 1024

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_IMAGE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@frozen(kw_only=True, str=False, repr=False)
class Reference:
    """Where an image is: a registry, a repository in it, and a tag or a digest or both. The digest decides.

    The fields are checked whichever way a Reference is made, so its parts may become parts of URLs. ``str`` gives
    the full form, which :meth:`parse` reads back as an equal value.
    """

    registry: str
    """``host`` or ``host:port``, lower case; ``docker.io`` for Docker Hub."""
    repository: str
    """The path in the registry, such as ``library/alpine``."""
    tag: str | None = None
    digest: Digest | None = None

    def __attrs_post_init__(self) -> None:
        if self.registry != _registry(self.registry, self.registry):
            raise InvalidReference(f"registry: expected lower-case host[:port], got {quote(self.registry)}")
        _repository(self.repository, self.name)
        if self.tag is not None:
            _tag(self.tag, str(self))

    @classmethod
    def parse(cls, text: str, default_registry: str = DOCKER_HUB) -> Self:
        """Read a reference; raises :class:`~ociworks.errors.InvalidReference`."""
        if len(text) > _MAX_TEXT:
            raise _invalid(text, f"at most {_MAX_TEXT} characters", f"{len(text)}")
        if "://" in text:
            raise _invalid(text, "no scheme", "leave out everything up to '://'")
        rest, at, digest = text.partition("@")
        name, tag = _split_tag(rest)
        registry, repository = _split_name(name, default_registry, text)
        return cls(
            registry=registry,
            repository=repository,
            tag=None if tag is None else _tag(tag, text),
            digest=_digest(digest, text) if at else None,
        )

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest: ``docker.io/library/alpine``."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The shortest form that :meth:`parse` reads back as this value: ``alpine:3.20``."""
        if self.registry != DOCKER_HUB:
            return str(self)
        short = self.repository.removeprefix("library/")
        return (short if "/" not in short else self.repository) + self._suffix()

    @property
    def target(self) -> Digest | str:
        """What to ask a registry for: the digest if there is one, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def at(self, digest: Digest) -> Reference:
        """The same place, by digest."""
        return Reference(registry=self.registry, repository=self.repository, tag=self.tag, digest=digest)

    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name + self._suffix()

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"


def _invalid(text: str, expected: str, found: str) -> InvalidReference:
    return InvalidReference(f"image reference {quote(text)}: expected {expected}: {found}")


def _split_tag(rest: str) -> tuple[str, str | None]:
    """Cut the tag off: a colon after the last slash (before it, it belongs to a port)."""
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        return rest[:colon], rest[colon + 1 :]
    return rest, None


def _split_name(name: str, default: str, text: str) -> tuple[str, str]:
    first, slash, path = name.partition("/")
    if slash and _names_registry(first):
        registry, repository = _registry(first, text), path
    else:
        registry, repository = _registry(default, text), name
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, _repository(repository, text)


def _names_registry(first: str) -> bool:
    return "." in first or ":" in first or first.lower() == "localhost"


def _registry(text: str, whole: str) -> str:
    """The registry in its one spelling: lower case, ports as numbers, aliases of Docker Hub as docker.io."""
    try:
        host, port = split_authority(text)
    except SpecError as error:
        raise InvalidReference(f"image reference {quote(whole)}: {error}") from None
    if port is None:
        return DOCKER_HUB if host in _HUB_ALIASES else host
    return f"{host}:{port}"


def _repository(text: str, whole: str) -> str:
    for component in text.split("/"):
        if _COMPONENT.fullmatch(component) is None:
            raise _invalid(whole, "a repository of lower-case components a-z 0-9 . _ -", quote(component))
    if _IMAGE_ID.fullmatch(text.removeprefix("library/")):
        raise _invalid(whole, "a repository name", "64 hex digits are an image ID")
    if len(text) > _MAX_NAME:
        raise _invalid(whole, f"a repository of at most {_MAX_NAME} characters", f"{len(text)}")
    return text


def _tag(text: str, whole: str) -> str:
    if _TAG.fullmatch(text) is None:
        raise _invalid(whole, "a tag of at most 128 letters, digits, '.', '_' and '-'", quote(text))
    return text


def _digest(text: str, whole: str) -> Digest:
    try:
        return Digest.parse(text)
    except SpecError as error:
        raise InvalidReference(f"image reference {quote(whole)}: {error}") from None
