"""Lists, a page at a time: tags, referrers, repositories (distribution-spec, Content Discovery)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from attrs import evolve

from ociworks.errors import SpecError
from ociworks.spec import to_json
from ociworks.spec.image import Descriptor, Index, Manifest, mediatypes, read_manifest
from ociworks.spec.numbers import parse_uint
from ociworks.testing._registry.messages import Bytes, Request, Response
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.routes import digest_pushed

if TYPE_CHECKING:
    from ociworks.testing._registry.site import Site
    from ociworks.testing._registry.store import StoredManifest

__all__ = ["catalog", "referrers", "tags"]

_PAGE_BYTES: Final = 2 * 1024 * 1024
_MAX_N: Final = 2**31 - 1


def tags(site: Site, request: Request) -> Response:
    """The tags in the order of their characters, after ``last``, ``n`` at most."""
    if not site.store.exists(request.name):
        raise Refused("NAME_UNKNOWN")
    page, headers = _page(site, request, sorted(site.store.tags(request.name)))
    return _json({"name": request.name, "tags": page}, headers)


def catalog(site: Site, request: Request) -> Response:
    """The repositories, as Docker's registry has it; the specification has no such list."""
    page, headers = _page(site, request, site.store.repositories())
    return _json({"repositories": page}, headers)


def referrers(site: Site, request: Request) -> Response:
    """The manifests with this subject, of one artifact type if it is asked for; an unknown subject has none."""
    subject, kind = digest_pushed(request.reference), request.asked("artifactType")
    entries = sorted(map(_entry, site.store.referrers(request.name, subject)), key=lambda entry: entry.digest)
    if kind is not None:
        entries = [entry for entry in entries if entry.artifact_type == kind]
    after = request.asked("last") or ""
    left = [entry for entry in entries if str(entry.digest) > after]
    page = list(_fitting(left, site.options.limits.page))
    headers = {"Content-Type": mediatypes.OCI_INDEX}
    if kind is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
    if len(page) < len(left):
        query = {"last": str(page[-1].digest)} | ({} if kind is None else {"artifactType": kind})
        headers["Link"] = _next(request, query)
    body = to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=tuple(page)))
    return Response(status=200, headers=headers, content=Bytes(body))


def _entry(found: StoredManifest) -> Descriptor:
    value = read_manifest(found.raw, content_type=found.media_type, max_size=len(found.raw)).value
    fallback = value.config.media_type if isinstance(value, Manifest) else None
    return evolve(
        Descriptor(media_type=found.media_type, digest=found.digest, size=len(found.raw)),
        artifact_type=value.artifact_type or fallback,
        annotations=value.annotations,
    )


def _fitting(entries: Sequence[Descriptor], count: int) -> Iterator[Descriptor]:
    """The first entries: ``count`` at most, and no more than a client would read, but one."""
    size = 0
    for number, entry in enumerate(entries[:count]):
        size += len(to_json(entry))
        if number and size > _PAGE_BYTES:
            return
        yield entry


def _page(site: Site, request: Request, names: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """The names to give now, and where the next ones are."""
    count = min(_count(request, site.options.limits.page), site.options.limits.page)
    after = request.asked("last") or ""
    left = [name for name in names if name > after]
    page = left[:count]
    if not page or len(page) == len(left):
        return page, {}
    return page, {"Link": _next(request, {"n": str(count), "last": page[-1]})}


def _count(request: Request, default: int) -> int:
    text = request.asked("n")
    if text is None:
        return default
    try:
        return parse_uint(text, _MAX_N, "n")
    except SpecError as error:
        raise Refused("UNSUPPORTED", str(error), status=400) from None


def _next(request: Request, query: Mapping[str, str]) -> str:
    return f'<{quote(request.path)}?{urlencode(query)}>; rel="next"'


def _json(value: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    return Response(
        status=200,
        headers={"Content-Type": "application/json", **headers},
        content=Bytes(json.dumps(value).encode()),
    )
