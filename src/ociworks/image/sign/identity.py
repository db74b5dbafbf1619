"""Names: whether the one that a signature claims is the one asked for (containers-policy.json(5), signedIdentity).

A signature proves that somebody signed certain bytes *as* a certain name. Without a rule about the name, a signed test
image can be served as production.

==============================  ================================================================================
rule                            the claimed name must be
==============================  ================================================================================
``MatchExact``                  the same name and tag as asked for
``MatchRepoDigestOrExact``      that; or, when asked for by digest, in the same repository
``MatchRepository``             in the same repository
``ExactReference(name)``        this name and tag, whatever was asked for
``ExactRepository(name)``       in this repository, whatever was asked for
``RemapIdentity(prefix, to)``   as ``MatchRepoDigestOrExact``, after the prefix of the name asked for was replaced
``AnyIdentity``                 anything that is a name, or nothing
==============================  ================================================================================

Names are compared after normalisation: ``alpine`` is ``docker.io/library/alpine``. None of the rules says anything
about freshness: an older image that was signed under the same name satisfies them.
"""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen

from ociworks.errors import InvalidReference, PolicyError, quote
from ociworks.image.reference import Reference

__all__ = [
    "AnyIdentity",
    "ExactReference",
    "ExactRepository",
    "IdentityRule",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "RemapIdentity",
]


def _reference(given: Reference | str) -> Reference:
    try:
        return Reference.parse(given) if isinstance(given, str) else given
    except InvalidReference as error:
        raise PolicyError(str(error)) from None


class IdentityRule(Protocol):
    """Decides about a claimed name."""

    def accepts(self, claimed: str, wanted: Reference | None, /) -> bool:
        """Whether ``claimed`` will do where ``wanted`` was asked for (None: an image without a name)."""


@frozen
class AnyIdentity:
    """Any name will do: the signature is about the bytes alone."""

    def accepts(self, _claimed: str, _wanted: Reference | None, /) -> bool:
        """True."""
        return True


@frozen
class MatchExact:
    """The same repository and tag; nothing that was asked for by digest alone matches."""

    def accepts(self, claimed: str, wanted: Reference | None, /) -> bool:
        """Whether both have a tag, and all of it is equal."""
        found = _parse(claimed)
        return found is not None and wanted is not None and _exact(found, wanted)


@frozen
class MatchRepoDigestOrExact:
    """Asked for by tag: the same repository and tag. Asked for by digest: the same repository, with any tag."""

    def accepts(self, claimed: str, wanted: Reference | None, /) -> bool:
        """See the class."""
        found = _parse(claimed)
        return found is not None and wanted is not None and _repository_or_exact(found, wanted)


@frozen
class MatchRepository:
    """The same repository, with any tag or none."""

    def accepts(self, claimed: str, wanted: Reference | None, /) -> bool:
        """See the class."""
        found = _parse(claimed)
        return found is not None and wanted is not None and found.name == wanted.name


@frozen
class ExactReference:
    """This very name with its tag or digest."""

    reference: Reference = field(converter=_reference)

    def __attrs_post_init__(self) -> None:
        if self.reference.tag is None and self.reference.digest is None:
            raise PolicyError(f"exactReference: expected a tag or digest, got {self.reference}")

    def accepts(self, claimed: str, _wanted: Reference | None, /) -> bool:
        """See the class."""
        return _parse(claimed) == self.reference


@frozen
class ExactRepository:
    """In this very repository."""

    repository: Reference = field(converter=_reference)

    def __attrs_post_init__(self) -> None:
        if self.repository.tag is not None or self.repository.digest is not None:
            raise PolicyError(f"exactRepository: expected no tag and no digest, got {self.repository}")

    def accepts(self, claimed: str, _wanted: Reference | None, /) -> bool:
        """See the class."""
        found = _parse(claimed)
        return found is not None and found.name == self.repository.name


@frozen
class RemapIdentity:
    """Names below ``prefix`` were signed as names below ``signed_prefix``: for mirrors. Others stay as they are."""

    prefix: str
    signed_prefix: str

    def __attrs_post_init__(self) -> None:
        for text in (self.prefix, self.signed_prefix):
            _check_prefix(text)

    def accepts(self, claimed: str, wanted: Reference | None, /) -> bool:
        """See the class."""
        found = _parse(claimed)
        expected = None if wanted is None else self._remapped(wanted)
        return found is not None and expected is not None and _repository_or_exact(found, expected)

    def _remapped(self, wanted: Reference) -> Reference | None:
        """The prefix ends where a component does: ``reg/app`` is no prefix of ``reg/application``."""
        if wanted.name != self.prefix and not wanted.name.startswith(f"{self.prefix}/"):
            return wanted
        rest = str(wanted)[len(self.prefix) :]
        return _parse(self.signed_prefix + rest)


def _exact(found: Reference, wanted: Reference) -> bool:
    tag = wanted.tag or (None if wanted.digest else "latest")
    return found.name == wanted.name and tag is not None and found.tag == tag and found.digest is None


def _repository_or_exact(found: Reference, wanted: Reference) -> bool:
    """A bare repository is nobody's image: what is claimed must have a tag or digest."""
    if wanted.digest is not None:
        return found.name == wanted.name and (found.tag or found.digest) is not None
    return _exact(found, wanted)


def _parse(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def _check_prefix(text: str) -> None:
    """A registry, a namespace or a repository, in full."""
    host, _, path = text.partition("/")
    try:
        found = Reference(registry=host, repository=path or "any")
    except InvalidReference:
        found = None
    if found is None or found.name != (text if path else f"{text}/any"):
        raise PolicyError(
            f"remapIdentity: expected a full registry, namespace or repository, got {quote(text)}"
        )
