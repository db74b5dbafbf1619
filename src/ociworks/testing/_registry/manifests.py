"""``/v2/<name>/manifests/<tag or digest>`` (distribution-spec, Pulling and Pushing Manifests, Deleting)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import OciworksError
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, Manifest, TypedManifest, mediatypes, read_manifest
from ociworks.testing._registry.blobs import is_unchanged
from ociworks.testing._registry.messages import Bytes, Request, Response, read_all
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.routes import digest_in_url, digest_pushed, is_digest, is_tag

if TYPE_CHECKING:
    from ociworks.testing._registry.site import Site

__all__ = ["manifest"]

_MAX_TAGS: Final = 100


def manifest(site: Site, request: Request) -> Response:
    """GET, HEAD, PUT and DELETE."""
    if request.method == "PUT":
        return _put(site, request)
    if request.method == "DELETE":
        return _delete(site, request)
    return _get(site, request)


def _get(site: Site, request: Request) -> Response:
    digest = _resolved(site, request)
    found = site.store.manifest(request.name, digest)
    if found is None:
        raise Refused("MANIFEST_UNKNOWN" if site.store.exists(request.name) else "NAME_UNKNOWN")
    etag = f'"{digest}"'
    headers = {"Docker-Content-Digest": str(digest), "ETag": etag}
    if is_unchanged(request, etag):
        return Response(status=304, headers=headers)
    headers["Content-Type"] = found.media_type
    return Response(status=200, headers=headers, content=Bytes(found.raw))


def _resolved(site: Site, request: Request) -> Digest:
    if is_digest(request.reference):
        return digest_in_url(request.reference)
    digest = site.store.tagged(request.name, request.reference) if is_tag(request.reference) else None
    if digest is None:
        raise Refused("MANIFEST_UNKNOWN" if site.store.exists(request.name) else "NAME_UNKNOWN")
    return digest


def _delete(site: Site, request: Request) -> Response:
    digest = _resolved(site, request)
    if not is_digest(request.reference):
        site.store.untag(request.name, request.reference)
    elif not site.store.delete_manifest(request.name, digest):
        raise Refused("MANIFEST_UNKNOWN" if site.store.exists(request.name) else "NAME_UNKNOWN")
    return Response(status=202)


def _put(site: Site, request: Request) -> Response:
    wanted, tags = _named(request)
    raw = read_all(request.body, site.options.limits.manifest, "MANIFEST_INVALID")
    try:
        found = read_manifest(
            raw, content_type=request.header("content-type"), max_size=site.options.limits.manifest
        )
    except OciworksError as error:
        raise Refused("MANIFEST_INVALID", str(error)) from None
    digest = Digest.of(raw, wanted.algorithm if wanted else "sha256")
    if wanted not in {None, digest}:
        raise Refused("DIGEST_INVALID", f"the manifest is {digest}")
    if site.options.check_references:
        _check_complete(site, request.name, found)
    site.store.put_manifest(request.name, digest, found, tags)
    return _created(request.name, digest, found, tags if is_digest(request.reference) else ())


def _named(request: Request) -> tuple[Digest | None, tuple[str, ...]]:
    """The digest that the manifest must have, and the tags that it gets."""
    text, tags = request.asked("digest"), request.query.get("tag", ())
    if is_digest(request.reference):
        text = request.reference
    else:
        tags = (request.reference, *tags)
    if not all(map(is_tag, tags)):
        raise Refused("MANIFEST_INVALID", "not a tag")
    if len(tags) > _MAX_TAGS:
        raise Refused("MANIFEST_INVALID", f"expected at most {_MAX_TAGS} tags", status=414)
    return (None if text is None else digest_pushed(text)), tuple(dict.fromkeys(tags))


def _created(name: str, digest: Digest, found: TypedManifest, tags: tuple[str, ...]) -> Response:
    headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": str(digest)}
    if found.value.subject is not None:
        headers["OCI-Subject"] = str(found.value.subject.digest)
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(status=201, headers=headers)


def _check_complete(site: Site, name: str, found: TypedManifest) -> None:
    """Everything but the subject must be there; what may not be distributed need not."""
    value = found.value
    if isinstance(value, Manifest):
        named = [value.config, *filter(_is_needed, value.layers)]
        missing = [entry for entry in named if not site.store.has_blob(name, entry.digest)]
    else:
        missing = [entry for entry in value.manifests if site.store.manifest(name, entry.digest) is None]
    if missing:
        raise Refused("MANIFEST_BLOB_UNKNOWN", f"not in this repository: {missing[0].digest}")


def _is_needed(layer: Descriptor) -> bool:
    return not layer.urls and (
        not mediatypes.is_layer(layer.media_type) or mediatypes.is_distributable(layer.media_type)
    )
