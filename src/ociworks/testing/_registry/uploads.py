"""``/v2/<name>/blobs/uploads/`` (distribution-spec, Pushing blobs, Mounting a blob, Cancel a blob upload).

::

    POST ──202──> open ──PATCH──> open …  ──PUT?digest──201──> a blob
      │            └──DELETE──204──> gone      └──400──> gone: it has another digest
      └──201──> a blob: mounted, or sent along

A body that breaks off leaves what arrived, and GET says how much that is, so that the client can go on from there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ociworks.testing._registry.limits import PIECE
from ociworks.testing._registry.messages import Request, Response
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.routes import checked_name, digest_pushed

if TYPE_CHECKING:
    from ociworks.spec import Digest
    from ociworks.testing._registry.site import Site
    from ociworks.testing._registry.store import Upload

__all__ = ["start", "upload"]

_CHUNK = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?")


def start(site: Site, request: Request) -> Response:
    """POST: a mount, a whole blob, or a new upload."""
    mount, digest = request.asked("mount"), request.asked("digest")
    if mount is not None and _mounted(site, request, digest_pushed(mount)):
        return _created(request.name, digest_pushed(mount))
    algorithm = request.asked("digest-algorithm")
    if algorithm is not None:
        _check_algorithm(algorithm)
    whole = None if digest is None or mount is not None else digest_pushed(digest)
    if site.store.uploads() >= site.options.limits.uploads:
        raise Refused("TOOMANYREQUESTS", "too many uploads are under way", headers={"Retry-After": "60"})
    identifier = site.store.start(request.name)
    with site.store.upload(request.name, identifier) as target:
        if algorithm is not None:
            target.expect(algorithm)
        if whole is None:
            return _state(request.name, target, 202)
        try:
            return _finished(site, request, target, whole)
        except BaseException:
            target.cancel()  # nobody knows its name
            raise


def upload(site: Site, request: Request) -> Response:
    """GET the state, PATCH a chunk, PUT the end, DELETE it."""
    with site.store.upload(request.name, request.reference) as target:
        if request.method == "DELETE":
            target.cancel()
            return Response(status=204)
        if request.method in {"GET", "HEAD"}:
            return _state(request.name, target, 204)
        if request.method == "PUT":
            digest = digest_pushed(request.asked("digest") or "")
            return _chunk_refused(request, target) or _finished(site, request, target, digest)
        refused = _chunk_refused(request, target)
        if refused is None:
            _received(site, request, target)
            return _state(request.name, target, 202)
        return refused


def _mounted(site: Site, request: Request, digest: Digest) -> bool:
    """Whether the blob could be had from another repository that the client may read."""
    source = request.asked("from")
    if source is not None:
        checked_name(source)
    if not site.access.allows(request.header("authorization"), source or "", write=False):
        source = request.name
    return site.store.mount(request.name, digest, source)


def _check_algorithm(algorithm: str) -> None:
    lengths = {"sha256": 64, "sha384": 96, "sha512": 128}
    digest_pushed(f"{algorithm}:{'0' * lengths.get(algorithm, 64)}")


def _finished(site: Site, request: Request, target: Upload, digest: Digest) -> Response:
    target.expect(digest.algorithm)
    _received(site, request, target)
    if not target.finish(digest):
        raise Refused("DIGEST_INVALID", f"the content is not {digest}")
    return _created(request.name, digest)


def _received(site: Site, request: Request, target: Upload) -> None:
    maximum, body = site.options.limits.blob, request.body
    if target.size + (body.length or 0) > maximum:
        raise _too_large(maximum)
    buffer = memoryview(bytearray(min(PIECE, max(body.length or PIECE, 1))))
    while count := body.readinto(buffer):
        if target.size + count > maximum:
            target.cancel()
            raise _too_large(maximum)
        target.write(buffer[:count])


def _too_large(maximum: int) -> Refused:
    return Refused("SIZE_INVALID", f"expected a blob of at most {maximum} bytes", status=413)


def _chunk_refused(request: Request, target: Upload) -> Response | None:
    """Compare ``Content-Range`` with where the upload is: 416 when the chunk does not follow."""
    text = request.header("content-range")
    if text is None:
        return None
    match = _CHUNK.fullmatch(text)
    if match is None:
        raise Refused("BLOB_UPLOAD_INVALID", "Content-Range: expected <first>-<last>")
    first, last = int(match[1]), int(match[2])  # trusted: digits by the pattern
    if first != target.size:
        return _state(request.name, target, 416)
    # A chunk without bytes cannot be written as a range; some clients then send the same number twice.
    length = request.body.length
    if length not in {None, last - first + 1} and (length or first != last):
        raise Refused("SIZE_INVALID", "Content-Range and Content-Length differ")
    return None


def _state(name: str, target: Upload, status: int) -> Response:
    location = f"/v2/{name}/blobs/uploads/{target.identifier}"
    headers = {
        "Location": location,
        "Docker-Upload-UUID": target.identifier,
        "Range": f"0-{max(target.size - 1, 0)}",
    }
    return Response(status=status, headers=headers)


def _created(name: str, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status=201, headers=headers)
