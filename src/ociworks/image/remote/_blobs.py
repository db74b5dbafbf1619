"""Reading a blob to its end, across interruptions.

::

    reading ──interrupted──> resuming ──206 with exactly the rest──> reading
       │                        │ ──200: the whole again──> skipping ──> reading
       │ end                    │ ──anything else, or the budget is spent──> failed
       v                        v
    the verifier above compares size and digest over the whole blob, whatever happened on the way

Two rules bound it: interruptions that bring little are counted, and a blob that trickles fails even though no
single read times out.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, final

from attrs import evolve

from ociworks.errors import (
    ContentError,
    MediaTypeMismatch,
    NotFound,
    NotSupported,
    OciworksError,
    RegistryError,
    RegistryProtocolError,
    RegistryUnreachable,
    SizeMismatch,
    SpecError,
    quote,
)
from ociworks.image.origin import Url
from ociworks.image.remote import _endpoints
from ociworks.image.remote._budget import Budget
from ociworks.image.remote._messages import Request, Response
from ociworks.image.stream import VerifiedStream
from ociworks.spec.image import mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits
    from ociworks.image.stream import Closable
    from ociworks.image.types import ByteStream
    from ociworks.spec.image import Descriptor

__all__ = ["ForeignBlobs", "RepositoryBlobs", "ResumingBody", "check_range"]

_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_SAYS_NOTHING: Final = frozenset({"application/json", "application/octet-stream"})


@final
class RepositoryBlobs:
    """The blobs and manifests of one repository: a :class:`~ociworks.image.types.BlobSource`."""

    def __init__(
        self, session: Session, repository: Repository, limits: Limits, foreign: ForeignBlobs | None = None
    ) -> None:
        self.repository = repository
        self._session = session
        self._limits = limits
        self._foreign = foreign

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A verified stream that resumes where it was interrupted; see the module's diagram."""
        what = f"{descriptor.digest} of {self.repository.registry}/{self.repository.name}"
        return VerifiedStream(self._open(descriptor), descriptor, what).hash_beside()

    def _open(self, descriptor: Descriptor) -> Closable:
        """From the registry; what it may not distribute from elsewhere, if that is allowed."""
        url = _url(self.repository, descriptor)
        try:
            return ResumingBody(self._session, self.repository, url, descriptor, self._limits)
        except NotFound as error:
            if mediatypes.is_distributable(descriptor.media_type) or not descriptor.urls:
                raise
            if self._foreign is None:
                raise NotFound(
                    f"layer {descriptor.digest} is not distributed by its registry; ClientOptions(foreign_layers=True) "
                    "allows to fetch it from the URLs in the manifest",
                    status=error.status,
                    codes=error.codes,
                    url=error.url,
                ) from None
            return self._foreign.open(descriptor, self.repository)


def _url(repository: Repository, descriptor: Descriptor) -> Url:
    if _is_document(descriptor):
        return _endpoints.manifest(repository, descriptor.digest)
    return _endpoints.blob(repository, descriptor.digest)


def _is_document(descriptor: Descriptor) -> bool:
    return mediatypes.is_index(descriptor.media_type) or mediatypes.is_manifest(descriptor.media_type)


@final
class ForeignBlobs:
    """Layers from the ``urls`` of their descriptors: without credentials, under the policy for every hop."""

    def __init__(self, session: Session, limits: Limits) -> None:
        """``session`` has no credentials, and answers no challenge."""
        self._session = session
        self._limits = limits

    def open(self, descriptor: Descriptor, repository: Repository) -> Closable:
        """The first of the URLs that answers with something of the right size."""
        failure: OciworksError = NotSupported(f"layer {descriptor.digest} names no place to fetch it from")
        for text in descriptor.urls[: self._limits.max_urls]:
            try:
                url = Url.parse(text)
                self._session.policy.check(url, repository.origin, "URL of a layer")
                place = evolve(repository, registry=url.origin.authority, origin=url.origin)
                return ResumingBody(self._session, place, url, descriptor, self._limits)
            except (SpecError, ContentError, RegistryError) as error:
                failure = error
        raise failure


@final
class ResumingBody:
    """The body of a GET for a blob, which goes on where it was interrupted; not yet verified."""

    def __init__(
        self,
        session: Session,
        repository: Repository,
        url: Url,
        descriptor: Descriptor,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._repository = repository
        self._url = url
        self._descriptor = descriptor
        self._done = 0
        self._skip = 0
        self._budget = Budget(limits)
        self._pace = _Pace(limits, clock)
        self._response = self._start()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of the blob; empty at the end."""
        while True:
            try:
                with self._pace:
                    data = self._response.read(min(size, self._skip) if self._skip else size)
                self._pace.check(len(data), self._response)
            except RegistryUnreachable as error:
                self._resume(error)
                continue
            if not data and self._cut_off():
                self._resume(self._closed_early())
            elif self._skip and data:
                self._skip -= len(data)
            else:
                self._done += len(data)
                return data

    def close(self) -> None:
        """Release the connection."""
        self._response.close()

    def _cut_off(self) -> bool:
        """A body that ends by closing says nothing about whether it was all."""
        return self._response.ends_by_close and self._done < self._descriptor.size

    def _closed_early(self) -> RegistryUnreachable:
        left = self._descriptor.size - self._done
        return RegistryUnreachable(
            f"connection closed {left} bytes before the end", url=self._response.url.redacted, temporary=True
        )

    def _request(self, *headers: tuple[str, str]) -> Request:
        if _is_document(self._descriptor):
            headers = (("Accept", self._descriptor.media_type), *headers)
        return Request(method="GET", url=self._url, headers=headers)

    def _start(self) -> Response:
        what = f"blob {self._descriptor.digest}"
        response = self._session.send(self._request(), self._repository, {200}, what)
        try:
            length = response.headers.length()
            if length is not None and length != self._descriptor.size:
                raise SizeMismatch(what, self._descriptor.size, length)
            self._check_type(response)
        except BaseException:
            response.close()
            raise
        response.unhurried()
        return response

    def _check_type(self, response: Response) -> None:
        """A manifest's Content-Type must not tell another story than the descriptor that led to it."""
        kind = self._descriptor.media_type
        header = response.headers.one("content-type")
        if header is None or not _is_document(self._descriptor):
            return
        found = mediatypes.essence(header)
        if found != kind and found not in _SAYS_NOTHING:
            raise MediaTypeMismatch(
                f"manifest {self._descriptor.digest}: expected {kind}, got {quote(found)}"
            )

    def _resume(self, error: RegistryUnreachable) -> None:
        """Replace the response by one for what is left; ``error`` again when the budget is spent."""
        self._response.close()
        if not error.temporary:
            raise error
        self._session.pause(error, self._budget.spend(self._done, error))
        self._response = self._continue()
        self._pace.restart()

    def _continue(self) -> Response:
        what = f"rest of blob {self._descriptor.digest}"
        wanted = ("Range", f"bytes={self._done}-")
        request = self._request(*([wanted] if self._done else []))
        response = self._session.send(request, self._repository, {200, 206}, what)
        try:
            self._skip = self._done if response.status == 200 else self._check_range(response)
        except BaseException:
            response.close()
            raise
        response.unhurried()
        return response

    def _check_range(self, response: Response) -> int:
        """The range must be exactly what is missing; gives the bytes to skip, which are none."""
        check_range(response, self._done, self._descriptor.size - 1, self._descriptor)
        return 0


def check_range(response: Response, first: int, last: int, descriptor: Descriptor) -> None:
    """Raise unless a 206 brings exactly these bytes of the blob."""
    header = response.headers.one("content-range") or ""
    match = _RANGE.fullmatch(header)
    expected = (first, last, descriptor.size)
    if match is None or tuple(map(int, match.groups())) != expected:  # trusted: digits by the pattern
        raise RegistryProtocolError(
            f"expected Content-Range bytes {first}-{last}/{descriptor.size}, got {quote(header, 80)}",
            url=response.url.redacted,
        )
    length = response.headers.length()
    if length is not None and length != last - first + 1:
        raise SizeMismatch(f"part of blob {descriptor.digest}", last - first + 1, length)


class _Pace:
    """Progress per window of waiting: a sender that keeps every single read just inside its timeout is stopped.

    Only the time inside reads counts: a consumer may be as slow as it likes.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._entered = 0.0
        self.restart()

    def restart(self) -> None:
        self._waited = 0.0
        self._bytes = 0

    def __enter__(self) -> None:
        self._entered = self._clock()

    def __exit__(self, *_: object) -> None:
        self._waited += self._clock() - self._entered

    def check(self, count: int, response: Response) -> None:
        self._bytes += count
        if self._waited < self._limits.slow_window:
            return
        if self._bytes < self._limits.slow_bytes and count:
            raise RegistryUnreachable(
                f"only {self._bytes} bytes in {self._waited:.0f} s, less than slow_bytes "
                f"({self._limits.slow_bytes}) in slow_window",
                url=response.url.redacted,
            )
        self.restart()
