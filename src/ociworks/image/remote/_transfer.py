"""One blob on its way to a registry (distribution-spec, Pushing Blobs), across interruptions.

::

    start ──202 with Location──> open ──PUT the whole, or PATCH the pieces and PUT──> sent
      │ 201: mounted              │ interrupted
      v                           v
    done        unsure ──the blob is there──> sent              (only the answer was lost)
                  │ ──204 with Range──> open, from the next byte
                  │ ──anything else──> start, from the first byte

==============================================================  ========  ===========================================
request                                                         expected  when
==============================================================  ========  ===========================================
POST   …/blobs/uploads/?mount=<digest>&from=<other>             201, 202  the other repository is on this registry
POST   …/blobs/uploads/                                         202
PUT    <Location>?digest=<digest>, the whole body               201       in one piece
PATCH  <Location>, Content-Range: <first>-<last>                202       in pieces, and what is left after a stop
PUT    <Location>?digest=<digest>, no body                      201       after the last piece
GET    <Location>                                               204       to learn how far an interrupted one came
DELETE <Location>                                               204       when it is given up
==============================================================  ========  ===========================================

Nothing is sent twice on a guess: after an interruption the registry says what it has. How often is bounded as for
pulls (``_budget``). A registry that finds the whole too large (413) gets pieces.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, Literal, Self, final
from urllib.parse import quote as percent

from ociworks.errors import RegistryError, RegistryProtocolError, RegistryResponseError, SpecError, quote
from ociworks.image.remote import _endpoints
from ociworks.image.remote._budget import Budget
from ociworks.image.remote._locations import upload_location
from ociworks.image.remote._messages import Body, Request
from ociworks.image.stream import VerifiedStream
from ociworks.spec.digest import CHUNK
from ociworks.spec.numbers import parse_uint

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.origin import Url
    from ociworks.image.remote._messages import Response
    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits
    from ociworks.image.types import ByteStream
    from ociworks.spec.image import Descriptor

__all__ = ["Transfer"]

_OCTETS: Final = ("Content-Type", "application/octet-stream")
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_MAX_LENGTH: Final = 2**63 - 1


@final
class Transfer:
    """The upload of one blob; for one thread."""

    def __init__(
        self,
        session: Session,
        repository: Repository,
        limits: Limits,
        descriptor: Descriptor,
        source: Callable[[], ByteStream],
        advance: Callable[[int], None],
        chunk_size: int | None,
    ) -> None:
        self._session = session
        self._repository = repository
        self._limits = limits
        self._descriptor = descriptor
        self._source = _Source(lambda: _verified(source(), descriptor), advance)
        self._chunk = chunk_size
        self._minimum = 0
        self._budget = Budget(limits)
        self._what = f"upload of blob {descriptor.digest}"
        self._location: Url | None = None
        self._offset = 0
        self._closing = False

    def run(self, mount_from: Sequence[str], there: Callable[[], bool]) -> Literal["sent", "mounted"]:
        """Send the blob; ``there`` asks the registry whether it has it after all."""
        waiting = list(mount_from)
        unsure = False
        try:
            while True:
                try:
                    if unsure and self._find_out(there):
                        return "sent"
                    unsure = False
                    if self._location is None and self._start(waiting):
                        return "mounted"
                    self._send()
                    return "sent"
                except RegistryError as error:
                    self._recover(error)
                    unsure = self._location is not None
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._source.close()

    # Starting

    def _start(self, waiting: list[str]) -> bool:
        """Open an upload, or mount the blob: True when that was all."""
        self._offset, self._closing = 0, False
        while waiting:
            self._cancel()  # what the last attempt has opened instead
            if self._mount(waiting.pop(0)):
                return True
        return self._location is None and self._begin(self._post(None), {202})

    def _mount(self, other: str) -> bool:
        """A repository that may not be read, or is not there, is no reason not to send the blob."""
        try:
            return self._begin(self._post(other), {201, 202})
        except RegistryResponseError as error:
            if error.temporary:
                raise
            return False

    def _begin(self, request: Request, expected: Collection[int]) -> bool:
        response = self._session.send_once(request, self._repository, expected, self._what)
        try:
            if response.status == 201:
                return True
            self._location = upload_location(request.url, response, self._repository, self._session.policy)
            self._minimum = self._least(response)
        finally:
            response.close()
        return False

    def _post(self, other: str | None) -> Request:
        url, scope = _endpoints.uploads(self._repository), ""
        digest = self._descriptor.digest
        if other is not None:
            url = url.with_query(f"mount={percent(str(digest), safe='')}&from={percent(other, safe='')}")
            scope = f"{self._repository.scope('push')} repository:{other}:pull"
        elif digest.algorithm != "sha256":
            url = url.with_query(f"digest-algorithm={percent(digest.algorithm, safe='')}")
        return Request(method="POST", url=url, body=Body(io.BytesIO, 0), scope=scope)

    def _least(self, response: Response) -> int:
        """``OCI-Chunk-Min-Length``; whatever it asks for, ``limits.max_chunk`` is the most that is sent."""
        text = response.headers.one("oci-chunk-min-length")
        try:
            return 0 if text is None else parse_uint(text, _MAX_LENGTH, "OCI-Chunk-Min-Length")
        except SpecError as error:
            raise RegistryProtocolError(str(error), url=response.url.redacted) from None

    # Sending

    def _send(self) -> None:
        size = self._descriptor.size
        if self._chunk is None and self._offset == 0:
            self._close(Body(lambda: self._source.part(0, size, size), size))
            return
        step = size if self._chunk is None else min(max(self._chunk, self._minimum), self._limits.max_chunk)
        while self._offset < size:
            self._patch(min(step, size - self._offset))
        self._close(Body(io.BytesIO, 0))

    def _patch(self, count: int) -> None:
        start, size = self._offset, self._descriptor.size
        request = Request(
            method="PATCH",
            url=self._open_location,
            headers=(_OCTETS, ("Content-Range", f"{start}-{start + count - 1}")),
            body=Body(lambda: self._source.part(start, count, size), count),
        )
        response = self._session.send_once(request, self._repository, {202}, self._what)
        try:
            self._location = upload_location(request.url, response, self._repository, self._session.policy)
            if response.headers.one("range") is not None and self._received(response) != start + count:
                raise RegistryProtocolError(
                    f"{self._what}: expected Range 0-{start + count - 1}", url=request.url.redacted
                )
        finally:
            response.close()
        self._offset = start + count

    def _close(self, body: Body) -> None:
        self._closing = True
        request = Request(
            method="PUT",
            url=self._open_location.with_query(f"digest={percent(str(self._descriptor.digest), safe='')}"),
            headers=(_OCTETS,) if body.size else (),
            body=body,
        )
        self._session.send_once(request, self._repository, {201}, self._what).close()

    @property
    def _open_location(self) -> Url:
        if self._location is None:
            raise RegistryProtocolError(f"{self._what}: no upload was opened")
        return self._location

    # Interruptions

    def _recover(self, error: RegistryError) -> None:
        """Wait before going on; ``error`` again when going on cannot help."""
        status = error.status if isinstance(error, RegistryResponseError) else None
        if status == 413 and self._chunk is None and self._location is not None:
            self._chunk, self._location = self._limits.fallback_chunk, None
        elif not (error.temporary or (status in {404, 416} and self._location is not None)):
            raise error
        self._session.pause(error, self._budget.spend(self._offset, error))

    def _find_out(self, there: Callable[[], bool]) -> bool:
        """Ask how far the upload came: True when the blob is there as a whole."""
        if self._closing and there():
            return True
        self._closing = False
        asked = self._open_location
        self._location, self._offset = None, 0
        try:
            response = self._session.send(
                Request(method="GET", url=asked, scope=self._repository.scope("push")),
                self._repository, {204}, self._what,
            )  # fmt: skip
        except RegistryResponseError as error:
            if error.temporary:
                raise
            return False  # the registry does not know it any more, or never says how far it is
        try:
            received = self._received(response)
            if received > 1:  # "0-0" is also how registries say that they have nothing
                self._offset = received
                moved = response.headers.one("location") is not None
                self._location = (
                    upload_location(asked, response, self._repository, self._session.policy)
                    if moved
                    else asked
                )
        finally:
            response.close()
        return False

    def _received(self, response: Response) -> int:
        """The bytes that the registry has, by its ``Range``; 0 when it does not say."""
        header = response.headers.one("range")
        if header is None:
            return 0
        match = _RANGE.fullmatch(header)
        last = -1 if match is None else parse_uint(match[1].lstrip("0") or "0", 10**19)
        if not 0 <= last < max(self._descriptor.size, 1):
            raise RegistryProtocolError(
                f"{self._what}: expected Range 0-<last byte of {self._descriptor.size}>, got {quote(header, 80)}",
                url=response.url.redacted,
            )
        return last + 1

    def _give_up(self, error: BaseException) -> None:
        """Tell a registry that can be reached that nothing more will come."""
        if isinstance(error, Exception) and not (isinstance(error, RegistryError) and error.temporary):
            self._cancel()

    def _cancel(self) -> None:
        location, self._location = self._location, None
        if location is None:
            return
        request = Request(method="DELETE", url=location, scope=self._repository.scope("push"))
        with contextlib.suppress(RegistryError):  # "clients SHOULD ignore any failures"
            self._session.send_once(request, self._repository, {202, 204}, self._what).close()


def _verified(stream: ByteStream, descriptor: Descriptor) -> ByteStream:
    """What is sent is proved too: a damaged source must not become a damaged push."""
    proving = isinstance(stream, VerifiedStream) and stream.proves(descriptor)
    verified = (
        stream if isinstance(stream, VerifiedStream) and proving else VerifiedStream(stream, descriptor)
    )
    return verified.hash_beside()


@final
class _Source:
    """The blob's bytes from any offset: read on where they stand, opened anew to go back."""

    def __init__(self, source: Callable[[], ByteStream], advance: Callable[[int], None]) -> None:
        self._open = source
        self._advance = advance
        self._stream: ByteStream | None = None
        self._position = 0

    def part(self, start: int, count: int, size: int) -> ByteStream:
        """``count`` bytes from ``start``; the part that ends at ``size`` proves the whole."""
        return _Part(self, start, count, size)

    def seek(self, offset: int) -> None:
        """Stand at ``offset``."""
        if self._stream is None or self._position > offset:
            self.close()
            self._stream, self._position = self._open(), 0
        while self._position < offset:
            if not self._take(min(CHUNK, offset - self._position)):
                return  # the verified stream below says what is wrong with it

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, which are about to be sent."""
        data = self._take(size)
        self._advance(self._position)
        return data

    def _take(self, size: int) -> bytes:
        data = b"" if self._stream is None else self._stream.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Release the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


@final
class _Part:
    """The body of one request. The source stays open behind it, for the next part."""

    def __init__(self, source: _Source, start: int, count: int, size: int) -> None:
        self._source = source
        self._left = count
        self._last = start + count == size
        source.seek(start)

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; the end of the last part is the end of the blob, which is then verified."""
        if self._left == 0:
            return self._source.read(1) if self._last else b""
        data = self._source.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Keep the source: :class:`Transfer` closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
