"""Pushing blobs and manifests (distribution-spec, Push).

==========================================  ===================  ==============================================
request                                     expected             then
==========================================  ===================  ==============================================
HEAD  /v2/<name>/blobs/<digest>             200 or 404           200: it is there, nothing to send
POST  /v2/<name>/blobs/uploads/             202 with Location    the Location must be on the registry's origin
PUT   <Location>?digest=<digest>            201                  the whole blob in one body
PUT   /v2/<name>/manifests/<tag or digest>  201                  last, when all that it names is there
==========================================  ===================  ==============================================
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote as percent

from ociworks.errors import (
    DigestMismatch,
    LimitExceeded,
    NotFound,
    RegistryError,
    RegistryProtocolError,
    SpecError,
)
from ociworks.image.remote import _endpoints
from ociworks.image.remote._answers import claimed_digest
from ociworks.image.remote._messages import Body, Request
from ociworks.image.stream import VerifiedStream

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.origin import Url
    from ociworks.image.remote._messages import Response
    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["Uploader"]

_OCTETS: Final = ("Content-Type", "application/octet-stream")


class Uploader:
    """Pushes into one repository; safe for several threads."""

    def __init__(self, session: Session, repository: Repository, limits: Limits) -> None:
        self._session = session
        self._repository = repository
        self._limits = limits

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry says that it has the blob."""
        request = Request(method="HEAD", url=_endpoints.blob(self._repository, descriptor.digest))
        try:
            response = self._session.send(request, self._repository, {200}, f"blob {descriptor.digest}")
        except NotFound:
            return False
        response.close()
        return True

    def blob(
        self, descriptor: Descriptor, source: Callable[[], ByteStream], advance: Callable[[int], None]
    ) -> None:
        """Send a blob; ``source`` is opened once for each attempt, and ``advance`` hears the bytes sent."""
        for attempt in range(1, self._limits.attempts + 1):
            try:
                self._send_blob(descriptor, lambda: _Counted(_verified(source(), descriptor), advance))
                return
            except RegistryError as error:
                if not error.temporary or attempt == self._limits.attempts:
                    raise
                self._session.pause(error, self._limits.first_delay * 2**attempt)

    def manifest(self, descriptor: Descriptor, raw: bytes, target: Digest | str) -> None:
        """Send a manifest under a tag or its digest."""
        if len(raw) > self._limits.max_manifest_pushed:
            raise LimitExceeded(
                f"manifest {descriptor.digest}", "max_manifest_pushed", self._limits.max_manifest_pushed
            )
        request = Request(
            method="PUT",
            url=_endpoints.manifest(self._repository, target),
            headers=(("Content-Type", descriptor.media_type),),
            body=Body(lambda: io.BytesIO(raw), len(raw)),
        )
        what = f"manifest {descriptor.digest}"
        response = self._session.send(request, self._repository, {201}, what)
        try:
            stored = claimed_digest(response)
        finally:
            response.close()
        if stored is not None and stored != descriptor.digest:
            raise DigestMismatch(
                f"{what} as the registry stored it", str(descriptor.digest), str(stored), len(raw)
            )

    def _send_blob(self, descriptor: Descriptor, source: Callable[[], ByteStream]) -> None:
        what = f"upload of blob {descriptor.digest}"
        start = Request(method="POST", url=_endpoints.uploads(self._repository), body=Body(io.BytesIO, 0))
        begun = self._session.send(start, self._repository, {202}, what)
        try:
            location = self._location(start, begun)
        finally:
            begun.close()
        request = Request(
            method="PUT",
            url=location.with_query(f"digest={percent(str(descriptor.digest))}"),
            headers=(_OCTETS,),
            body=Body(source, descriptor.size),
        )
        self._session.send_once(request, self._repository, {201}, what).close()

    def _location(self, request: Request, response: Response) -> Url:
        """Where the registry wants the body: on its own origin, below its own API."""
        location = response.headers.one("location")
        try:
            url = request.url.join(location or "")
        except SpecError as error:
            raise RegistryProtocolError(f"upload, Location: {error}", url=request.url.redacted) from None
        if url.origin != self._repository.origin or not url.path.startswith("/v2/"):
            raise RegistryProtocolError(
                f"upload: expected a Location below {self._repository.origin}/v2/", url=url.redacted
            )
        return url


def _verified(stream: ByteStream, descriptor: Descriptor) -> ByteStream:
    """What is sent is proved too: a damaged source must not become a damaged push."""
    if isinstance(stream, VerifiedStream) and stream.proves(descriptor):
        return stream
    return VerifiedStream(stream, descriptor)


class _Counted:
    """A stream that says how far it was read."""

    def __init__(self, stream: ByteStream, advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._advance = advance
        self._done = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._done += len(data)
        self._advance(self._done)
        return data

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stream.__exit__(kind, error, trace)
