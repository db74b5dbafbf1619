"""``/v2/<name>/blobs/<digest>`` (distribution-spec, Pulling blobs, Deleting Blobs)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ociworks.testing._registry.messages import Content, Request, Response
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.routes import digest_in_url

if TYPE_CHECKING:
    from ociworks.spec import Digest
    from ociworks.testing._registry.site import Site

__all__ = ["blob", "is_unchanged"]

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def blob(site: Site, request: Request) -> Response:
    """GET and HEAD, whole or one range of bytes; DELETE."""
    digest = digest_in_url(request.reference)
    if request.method == "DELETE":
        if not site.store.delete_blob(request.name, digest):
            raise Refused("BLOB_UNKNOWN")
        return Response(status=202)
    content = site.store.blob(request.name, digest)
    if content is None:
        raise Refused("BLOB_UNKNOWN")
    elsewhere = site.options.redirect_blobs_to
    if elsewhere and not request.header("x-redirected"):
        content.close()
        return Response(status=307, headers={"Location": f"{elsewhere}{request.target}?sig=secret"})
    return _sent(request, digest, content)


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether the client has it already (RFC 9110, 13.1.2)."""
    known = {each.strip().removeprefix("W/") for each in (request.header("if-none-match") or "").split(",")}
    return etag in known or "*" in known


def _sent(request: Request, digest: Digest, content: Content) -> Response:
    etag = f'"{digest}"'
    headers = {"Docker-Content-Digest": str(digest), "ETag": etag, "Accept-Ranges": "bytes"}
    if is_unchanged(request, etag):
        content.close()
        return Response(status=304, headers=headers)
    headers["Content-Type"] = "application/octet-stream"
    wanted = _range(request, etag, content.size)
    if wanted is None:
        return Response(status=200, headers=headers, content=content)
    start, length = wanted
    if length <= 0:
        size = content.size
        content.close()
        return Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{content.size}"
    return Response(status=206, headers=headers, content=content, start=start, length=length)


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Start and length of the one range asked for, of which nothing may be left; None for the whole.

    Several ranges, other units and what is malformed are answered with the whole (RFC 9110, 14.2).
    """
    match = _RANGE.fullmatch(request.header("range") or "")
    condition = request.header("if-range")
    if request.method != "GET" or match is None or condition not in {None, etag}:
        return None
    first, last = (int(text) if text else None for text in match.groups())  # trusted: digits by the pattern
    if first is None:
        return None if last is None else (max(size - last, 0), min(last, size))
    if last is not None and last < first:
        return None
    return first, min(size - 1 if last is None else last, size - 1) - first + 1
