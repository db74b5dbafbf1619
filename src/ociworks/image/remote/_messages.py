"""HTTP messages as values: what a transport sends and gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from attrs import field, frozen

from ociworks.errors import LimitExceeded, RegistryProtocolError, SpecError
from ociworks.image.auth.secret import Secret
from ociworks.image.hosts.endpoint import PLAIN_TLS, Tls
from ociworks.image.origin import Origin, Url
from ociworks.image.types import ByteStream
from ociworks.spec.numbers import parse_uint

__all__ = ["Body", "Headers", "Method", "Request", "Response", "Site", "Transport", "read_capped"]

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_MAX_LENGTH = 2**63 - 1
_PIECE = 64 * 1024


@frozen
class Body:
    """What to send: ``open`` is called for each attempt, because a stream can be read only once."""

    open: Callable[[], ByteStream] = field(repr=False)
    size: int


@frozen(kw_only=True)
class Site:
    """How the registry on whose behalf a request is made is reached.

    What it says holds for ``origin`` alone, but for its authorities: they vouch for whatever it sends us to as well.
    """

    origin: Origin
    tls: Tls = PLAIN_TLS
    headers: tuple[tuple[str, Secret], ...] = ()
    connect_timeout: float | None = None


@frozen(kw_only=True)
class Request:
    """One request to one URL. The authorization is shown to that URL's origin and nobody else."""

    method: Method
    url: Url
    headers: tuple[tuple[str, str], ...] = ()
    authorization: Secret | None = None
    body: Body | None = None
    scope: str = ""
    """What a token for this request must allow; empty: what its method says."""
    site: Site | None = None


@frozen
class Headers:
    """Response headers: names in lower case, in the order of arrival. The values are not shown."""

    items: tuple[tuple[str, str], ...] = field(repr=False)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header, by its lower-case name."""
        return tuple(value for key, value in self.items if key == name)

    def one(self, name: str) -> str | None:
        """The only value of a header, None without; ``RegistryProtocolError`` when there are several."""
        found = self.all(name)
        if len(found) > 1:
            raise RegistryProtocolError(f"expected one {name} header, got {len(found)}")
        return found[0] if found else None

    def length(self) -> int | None:
        """The stated length of the body in bytes."""
        text = self.one("content-length")
        try:
            return None if text is None else parse_uint(text, _MAX_LENGTH, "Content-Length")
        except SpecError as error:
            raise RegistryProtocolError(str(error)) from None


class Response(Protocol):
    """The head of a response, and its body as a stream of transport bytes, never decoded."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Headers:
        """The headers."""

    @property
    def url(self) -> Url:
        """Whose answer this is."""

    @property
    def ends_by_close(self) -> bool:
        """Whether nothing but the end of the connection marks the end of the body."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of the body; empty only at the end."""

    def unhurried(self) -> None:
        """Lift the deadline of the whole answer: a blob may take long, as long as it makes progress."""

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it."""


class Transport(Protocol):
    """Sends one request to its URL and nowhere else: no redirects, no retries, no credentials of its own."""

    def send(self, request: Request, /) -> Response:
        """The response, its body still to be read; ``RegistryUnreachable`` or ``RegistryProtocolError``."""

    def close(self) -> None:
        """Close all connections."""

    def abort(self) -> None:
        """The same, and end what other threads wait for on connections in use."""


def read_capped(response: Response, limit: str, maximum: int) -> bytes:
    """The whole body, which must be small, and close; raises ``LimitExceeded`` and reads no further."""
    try:
        declared = response.headers.length()
        if declared is not None and declared > maximum:
            raise LimitExceeded(f"body of {response.url.redacted}", limit, maximum)
        pieces: list[bytes] = []
        size = 0
        while data := response.read(min(_PIECE, maximum + 1 - size)):
            pieces.append(data)
            size += len(data)
            if size > maximum:
                raise LimitExceeded(f"body of {response.url.redacted}", limit, maximum)
        return b"".join(pieces)
    finally:
        response.close()
