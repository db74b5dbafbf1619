"""What a response means: error statuses as errors, headers that claim a digest, pauses a registry asks for.

==============  =====================  ==========
status          error                  temporary
==============  =====================  ==========
401             Unauthorized           no
403             Forbidden              no
404             NotFound               no
408             RegistryResponseError  yes
429             RateLimited            yes
500 502 503     RegistryResponseError  yes
504
all others      RegistryResponseError  no
==============  =====================  ==========

Of an error's body only the codes are used: its texts have been seen to repeat passwords.
"""

from __future__ import annotations

import re
import time
from typing import Final

from ociworks.errors import (
    Forbidden,
    LimitExceeded,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryProtocolError,
    RegistryResponseError,
    SpecError,
    Unauthorized,
)
from ociworks.image.remote._messages import Response, read_capped
from ociworks.image.remote._notices import rate_limit
from ociworks.spec import Digest, parse
from ociworks.spec.distribution import ERROR_CODES, ErrorBody
from ociworks.spec.numbers import parse_uint

__all__ = ["check_encoding", "claimed_digest", "error_of", "retry_after"]

_TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})
_KINDS: Final[dict[int, type[RegistryResponseError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: RateLimited,
}
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_MAX_PAUSE: Final = 10**6


def error_of(response: Response, what: str, max_body: int) -> RegistryResponseError:
    """The error that a response is; its body is read up to ``max_body`` bytes, and it is closed."""
    codes, cut = _codes(response, max_body)
    said = ", ".join(f"{code} ({ERROR_CODES[code]})" if code in ERROR_CODES else code for code in codes)
    error = _KINDS.get(response.status, RegistryResponseError)(
        f"{what}: status {response.status}" + (f", {said}" if said else "") + _hint(response) + cut,
        status=response.status,
        codes=codes,
        url=response.url.redacted,
        temporary=response.status in _TEMPORARY,
    )
    error.retry_after = retry_after(response)
    if isinstance(error, RateLimited) and (allowed := rate_limit(response.headers)) is not None:
        error.limit, error.remaining = allowed.limit, allowed.remaining
    return error


def _hint(response: Response) -> str:
    """What a registry that refuses for a while says about it."""
    if response.status not in {429, 503}:
        return ""
    allowed, wait = rate_limit(response.headers), retry_after(response)
    return (f"; {allowed}" if allowed else "") + ("" if wait is None else f"; try again in {wait:.0f} s")


def _codes(response: Response, max_body: int) -> tuple[tuple[str, ...], str]:
    try:
        raw = read_capped(response, "max_error_body", max_body)
    except LimitExceeded:
        return (), f"; its body is larger than max_error_body ({max_body} bytes) and was not read"
    except RegistryError:
        return (), ""  # the status says enough
    try:
        return tuple(code for code in parse(ErrorBody, raw).codes if _CODE.fullmatch(code))[:8], ""
    except SpecError:
        return (), ""


def check_encoding(response: Response) -> None:
    """Refuse an encoded body: nothing but identity was accepted, and digests are over the bytes as they travel."""
    encodings = response.headers.all("content-encoding")
    if encodings not in {(), ("identity",)}:
        response.close()
        raise RegistryProtocolError("expected a body without Content-Encoding", url=response.url.redacted)


def claimed_digest(response: Response, header: str = "docker-content-digest") -> Digest | None:
    """The digest in a header: a claim, to be compared with what the body's bytes give."""
    text = response.headers.one(header)
    try:
        return None if text is None else Digest.parse(text)
    except SpecError as error:
        raise RegistryProtocolError(f"{header}: {error}", url=response.url.redacted) from None


def retry_after(response: Response) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or until a date; None without (or with anything else)."""
    values = response.headers.all("retry-after")
    if not values:
        return None
    try:
        return float(parse_uint(values[0].strip(), _MAX_PAUSE, "Retry-After"))
    except SpecError:
        pass
    from email.utils import parsedate_to_datetime  # costs 7 ms, and hardly any registry sends a date

    try:
        return max(0.0, parsedate_to_datetime(values[0]).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
