"""Rules for descriptors, manifests, indexes and layouts (image-spec 1.1.1)."""

from __future__ import annotations

import re

from ociworks.errors import ContentError, Problem, UnsupportedDigest, quote
from ociworks.spec._where import member
from ociworks.spec.digest import Digest
from ociworks.spec.image import mediatypes
from ociworks.spec.image.annotations import BASE_DIGEST, CREATED
from ociworks.spec.validate._common import check_media_type, check_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ociworks.spec.image.config import ImageConfiguration
    from ociworks.spec.image.descriptor import Descriptor
    from ociworks.spec.image.index import Index
    from ociworks.spec.image.layout import Layout
    from ociworks.spec.image.manifest import Manifest
    from ociworks.spec.platform import Platform

__all__ = ["RULES", "check_annotations", "check_digest", "pair"]

_PROPERTIES = "image-spec descriptor.md, Properties"
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\x5b\x5d@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII
)
_BLAKE3 = re.compile(r"[a-f0-9]{64}", re.ASCII)


def _descriptor(value: Descriptor, at: str) -> Iterator[Problem]:
    """Types, digest and size, addresses, and embedded content that is what it claims to be."""
    yield from check_media_type(value.media_type, f"{at}.mediaType", f"{_PROPERTIES}, mediaType")
    yield from check_media_type(value.artifact_type, f"{at}.artifactType", f"{_PROPERTIES}, artifactType")
    yield from check_digest(value.digest, f"{at}.digest")
    for index, url in enumerate(value.urls):
        if _URI.fullmatch(url) is None:
            message = f"expected a URI (RFC 3986), got {quote(url)}"
            yield Problem(f"{at}.urls[{index}]", message, f"{_PROPERTIES}, urls")
    yield from check_annotations(value.annotations, f"{at}.annotations")
    if value.data is not None:
        yield from _embedded(value, value.data, f"{at}.data")


def _embedded(value: Descriptor, data: bytes, at: str) -> Iterator[Problem]:
    section = f"{_PROPERTIES}, data"
    try:
        value.verify(data, "embedded content")
    except (ContentError, UnsupportedDigest) as error:
        yield Problem(at, str(error), section)


def check_digest(value: Digest, at: str) -> Iterator[Problem]:
    """The grammar holds by construction; BLAKE3 is registered, so its form is known though it is not verified."""
    if value.algorithm == "blake3" and _BLAKE3.fullmatch(value.encoded) is None:
        message = f"expected 64 lower-case hex digits after blake3:, got {quote(str(value))}"
        yield Problem(at, message, "image-spec descriptor.md, Registered algorithms, BLAKE3")


def check_annotations(value: Mapping[str, str], at: str) -> Iterator[Problem]:
    """Keys are not empty; those of the specification have the form that it gives them."""
    if "" in value:
        yield Problem(at, "expected keys that are not empty", "image-spec annotations.md, Rules")
    section = "image-spec annotations.md, Pre-Defined Annotation Keys"
    yield from check_time(value.get(CREATED), at + member(CREATED), section)
    base = value.get(BASE_DIGEST)
    if base:  # an empty one is buildah's way to say that there is no base
        try:
            Digest.parse(base)
        except ValueError as error:
            yield Problem(at + member(BASE_DIGEST), str(error), section)


def _manifest(value: Manifest, at: str) -> Iterator[Problem]:
    """The type, what the configuration's type demands, and layers that are not manifests themselves."""
    yield from _own_type(value.media_type, mediatypes.is_manifest, at, "manifest.md")
    section = "image-spec manifest.md, artifactType"
    yield from check_media_type(value.artifact_type, f"{at}.artifactType", section)
    if value.config.media_type == mediatypes.OCI_EMPTY and not value.artifact_type:
        message = f"artifactType is required when the type of the configuration is {mediatypes.OCI_EMPTY}"
        yield Problem(f"{at}.artifactType", message, section)
    yield from _no_manifest(value.config, f"{at}.config", "config")
    for index, layer in enumerate(value.layers):
        yield from _no_manifest(layer, f"{at}.layers[{index}]", "layers")
    yield from check_annotations(value.annotations, f"{at}.annotations")


def _no_manifest(value: Descriptor, at: str, place: str) -> Iterator[Problem]:
    if mediatypes.is_index(value.media_type) or mediatypes.is_manifest(value.media_type):
        message = f"expected the type of a blob, got that of a manifest, {value.media_type}"
        yield Problem(f"{at}.mediaType", message, f"image-spec manifest.md, {place}")


def _own_type(media_type: str | None, fits: Callable[[str], bool], at: str, file: str) -> Iterator[Problem]:
    if media_type is not None and not fits(media_type):
        message = f"expected the media type of this document, got {quote(media_type)}"
        yield Problem(f"{at}.mediaType", message, f"image-spec {file}, mediaType")


def _index(value: Index, at: str) -> Iterator[Problem]:
    """The type, and entries that are not blobs of an image. Entries of unknown types are allowed."""
    yield from _own_type(value.media_type, mediatypes.is_index, at, "image-index.md")
    section = "image-spec image-index.md"
    yield from check_media_type(value.artifact_type, f"{at}.artifactType", f"{section}, artifactType")
    for place, entry in enumerate(value.manifests):
        if mediatypes.is_layer(entry.media_type) or mediatypes.is_config(entry.media_type):
            message = f"expected the type of a manifest or index, got that of a blob, {entry.media_type}"
            yield Problem(f"{at}.manifests[{place}].mediaType", message, f"{section}, manifests")
    yield from check_annotations(value.annotations, f"{at}.annotations")


def _platform(value: Platform, at: str) -> Iterator[Problem]:
    """Required members say something."""
    for name, text in (("architecture", value.architecture), ("os", value.os)):
        if not text:
            yield Problem(
                f"{at}.{name}", "expected a name, got ''", f"image-spec image-index.md, platform.{name}"
            )


def _layout(value: Layout, at: str) -> Iterator[Problem]:
    """The one version there is."""
    if value.image_layout_version != "1.0.0":
        message = f"expected 1.0.0, got {quote(value.image_layout_version)}"
        yield Problem(f"{at}.imageLayoutVersion", message, "image-spec image-layout.md, oci-layout file")


def pair(manifest: Manifest, configuration: ImageConfiguration) -> list[Problem]:
    """What a manifest and its image configuration must agree on; paths are those of the manifest.

    There are as many layers as diff IDs, and a layer that is not compressed is itself what its diff ID names.
    """
    layers, diff_ids = manifest.layers, configuration.rootfs.diff_ids
    section = "image-spec config.md, rootfs.diff_ids"
    if len(layers) != len(diff_ids):
        message = f"{len(layers)} layers, but the configuration has {len(diff_ids)} diff IDs"
        return [Problem("$.layers", message, section)]
    return [
        Problem(
            f"$.layers[{place}].digest",
            f"expected {diff_id}, the diff ID of this uncompressed layer",
            section,
        )
        for place, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True))
        if mediatypes.is_layer(layer.media_type)
        and mediatypes.compression_of(layer.media_type) == "none"
        and layer.digest.algorithm == diff_id.algorithm
        and layer.digest != diff_id
    ]


RULES = {
    "Descriptor": _descriptor,
    "Index": _index,
    "Layout": _layout,
    "Manifest": _manifest,
    "Platform": _platform,
}
