"""Manifests that say something about another: signatures, SBOMs, attestations (distribution-spec, Listing Referrers).

=======================================  ==========================================================================
the registry answers the list with       then
=======================================  ==========================================================================
200                                      its pages are the list
404                                      the index under the tag ``<algorithm>-<encoded>`` is; no such tag, or
                                         something else under it, means that there are none
anything else                            an error: a failure is never read as "none"
=======================================  ==========================================================================

The list is nobody's word: filters are applied again here, and :func:`check_subject` compares what a referrer itself
says. On registries without the list the tag is kept up to date by whoever pushes and deletes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import quote as percent

from attrs import evolve

from ociworks.errors import (
    ContentError,
    LimitExceeded,
    MediaTypeMismatch,
    NotFound,
    NotSupported,
    RegistryProtocolError,
    SpecError,
)
from ociworks.image.remote import _endpoints
from ociworks.image.remote._messages import Request, read_capped
from ociworks.image.remote._pages import pages
from ociworks.image.remote._upload import Uploader
from ociworks.spec import FrozenDict, to_json
from ociworks.spec.image import Descriptor, Index, Manifest, mediatypes, read_manifest

if TYPE_CHECKING:
    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits
    from ociworks.spec import Digest

__all__ = ["Referrers", "check_subject", "describe", "fallback_tag"]

_NO_TAG = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_EMPTY: Final = Index(media_type=mediatypes.OCI_INDEX, manifests=())


def fallback_tag(subject: Digest) -> str:
    """The tag that lists the referrers of ``subject`` (Referrers Tag Schema)."""
    return _NO_TAG.sub("-", f"{subject.algorithm[:32]}-{subject.encoded[:64]}")


def describe(value: Manifest | Index, described: Descriptor) -> Descriptor:
    """How a list of referrers names a manifest: with its artifact type and its annotations."""
    kind = value.artifact_type
    if kind is None and isinstance(value, Manifest):
        kind = value.config.media_type
    return Descriptor(
        media_type=described.media_type,
        digest=described.digest,
        size=described.size,
        artifact_type=kind,
        annotations=FrozenDict(value.annotations),
    )


def check_subject(value: Manifest | Index, subject: Digest, listed: Descriptor) -> None:
    """Raise :class:`~ociworks.errors.RegistryProtocolError` unless a listed manifest refers to ``subject`` itself."""
    named = None if value.subject is None else value.subject.digest
    if named != subject:
        raise RegistryProtocolError(
            f"referrer {listed.digest}: expected the subject {subject}, its manifest names {named or 'none'}"
        )
    kind = describe(value, listed).artifact_type
    if listed.artifact_type is not None and kind != listed.artifact_type:
        raise MediaTypeMismatch(f"referrer {listed.digest}: it is not of the artifact type it is listed with")


class Referrers:
    """The referrers in one repository."""

    def __init__(
        self, session: Session, repository: Repository, limits: Limits, lock: threading.Lock
    ) -> None:
        """``lock`` keeps the tag's readers and writers of one client apart; other clients may still race."""
        self._session = session
        self._repository = repository
        self._limits = limits
        self._lock = lock

    def list(self, subject: Digest, artifact_type: str | None) -> tuple[Descriptor, ...]:
        """The entries, each once, in the order of their digests."""
        found: dict[Digest, Descriptor] = {}
        for entry in self._entries(subject, artifact_type):
            if artifact_type in {None, entry.artifact_type}:
                found.setdefault(entry.digest, entry)
        return tuple(found[digest] for digest in sorted(found))

    def listed_by_registry(self, subject: Digest) -> bool:
        """Whether the registry keeps the list itself."""
        try:
            return next(self._pages(subject, None), None) is not None
        except NotFound:
            return False

    def add(self, entry: Descriptor, subject: Digest) -> None:
        """Enter a manifest under the tag; raises ``MediaTypeMismatch`` when something else is there."""
        with self._lock:
            index = self._tagged(subject) or _EMPTY
            if all(known.digest != entry.digest for known in index.manifests):
                self._store(evolve(index, manifests=(*index.manifests, entry)), subject)

    def remove(self, digest: Digest, subject: Digest) -> None:
        """Take a manifest off the list under the tag, if it is there."""
        with self._lock:
            index = self._tagged(subject) or _EMPTY
            kept = tuple(entry for entry in index.manifests if entry.digest != digest)
            if len(kept) != len(index.manifests):
                self._store(evolve(index, manifests=kept), subject)

    def _entries(self, subject: Digest, artifact_type: str | None) -> Iterator[Descriptor]:
        try:
            yield from self._bounded(subject, self._pages(subject, artifact_type))
            return
        except _Unlisted:
            pass
        try:
            index = self._tagged(subject)
        except (ContentError, NotSupported, SpecError):
            return  # "the client SHOULD assume there are no referrers"
        yield from self._bounded(subject, [index or _EMPTY])

    def _bounded(self, subject: Digest, lists: Iterable[Index]) -> Iterator[Descriptor]:
        count = 0
        for page in lists:
            count += len(page.manifests)
            if count > self._limits.max_items:
                raise LimitExceeded(f"referrers of {subject}", "max_items", self._limits.max_items)
            yield from page.manifests

    def _pages(self, subject: Digest, artifact_type: str | None) -> Iterator[Index]:
        url = _endpoints.referrers(self._repository, subject)
        if artifact_type is not None:
            url = url.with_query(f"artifactType={percent(artifact_type, safe='')}")
        what = f"referrers of {subject}"
        first = True
        try:
            for page in pages(self._session, self._repository, self._limits, url, mediatypes.OCI_INDEX, what):
                first = False
                yield _index(page.raw, page.content_type, what)
        except NotFound as error:
            if first:
                raise _Unlisted(str(error), status=error.status) from None
            raise

    def _tagged(self, subject: Digest) -> Index | None:
        tag = fallback_tag(subject)
        what = f"referrers tag {tag}"
        accept = ("Accept", mediatypes.OCI_INDEX)
        request = Request(method="GET", url=_endpoints.manifest(self._repository, tag), headers=(accept,))
        try:
            response = self._session.send(request, self._repository, {200}, what)
        except NotFound:
            return None
        try:
            content_type = response.headers.one("content-type")
            raw = read_capped(response, "max_document", self._limits.max_document)
        finally:
            response.close()
        return _index(raw, content_type, what)

    def _store(self, index: Index, subject: Digest) -> None:
        raw = to_json(index)
        uploader = Uploader(self._session, self._repository, self._limits)
        uploader.manifest(Descriptor.of(raw, mediatypes.OCI_INDEX), raw, fallback_tag(subject))


class _Unlisted(NotFound):
    """The registry does not keep lists of referrers."""


def _index(raw: bytes, content_type: str | None, what: str) -> Index:
    value = read_manifest(raw, content_type=content_type).value
    if not isinstance(value, Index):
        raise MediaTypeMismatch(f"{what}: expected an image index")
    return value
