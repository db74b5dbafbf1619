"""Artifacts: content that is no container image, as a manifest (image-spec manifest.md, Guidelines for Artifact Usage).

::

    sbom = artifact(
        "application/vnd.example.sbom",
        [Blob.file("app.spdx.json", media_type="application/spdx+json")],
        subject=img.descriptor,
    )
    registry.push(sbom, f"registry.example/app@{sbom.digest}")        # listed as a referrer of img
    store.put(sbom, tag="app-sbom")                                   # any sink of images takes it

==================  ===========================================================
given               the manifest has
==================  ===========================================================
no configuration    the empty descriptor in its place, and ``artifactType``
no blobs            the empty descriptor as its only layer
a subject           ``subject``, without what only an index may say of it
==================  ===========================================================
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

from attrs import field, frozen

from ociworks.errors import BlobNotFound, SpecError, quote
from ociworks.image import partial
from ociworks.image.stream import Closable, VerifiedStream
from ociworks.image.types import ByteStream, Image
from ociworks.spec import Digest, FrozenDict, to_json
from ociworks.spec.image import EMPTY, Descriptor, Manifest, mediatypes
from ociworks.spec.image.annotations import TITLE

__all__ = ["Blob", "artifact"]

_OCTETS: Final = "application/octet-stream"
_NOTHING: Final = b"{}"


@frozen
class Blob:
    """One blob of an artifact: its descriptor, and where its bytes are. Make one with :meth:`of` or :meth:`file`."""

    descriptor: Descriptor
    _open: Callable[[], Closable] = field(repr=False, eq=False)

    @classmethod
    def of(
        cls, content: bytes, media_type: str = _OCTETS, *, annotations: Mapping[str, str] = FrozenDict()
    ) -> Self:
        """Bytes in memory."""
        described = Descriptor(
            media_type=_checked(media_type),
            digest=Digest.of(content),
            size=len(content),
            annotations=FrozenDict(annotations),
        )
        return cls(described, lambda: io.BytesIO(content))

    @classmethod
    def file(
        cls,
        path: str | os.PathLike[str],
        media_type: str = _OCTETS,
        *,
        title: str | None = None,
        annotations: Mapping[str, str] = FrozenDict(),
    ) -> Self:
        """A file, which is read now for its digest and again when it is pushed or stored; raises ``OSError``.

        ``title`` (default: the file's name) becomes the annotation that tools name the file by when they fetch it.
        A file that changes in between is a :class:`~ociworks.errors.ContentError` then.
        """
        place = os.path.abspath(path)
        described = Descriptor(
            media_type=_checked(media_type),
            digest=Digest.of_file(place),
            size=os.stat(place).st_size,
            annotations=FrozenDict({TITLE: title or os.path.basename(place), **annotations}),
        )
        return cls(described, lambda: open(place, "rb", buffering=0))

    def open(self) -> ByteStream:
        """The bytes, verified."""
        return VerifiedStream(self._open(), self.descriptor)


def artifact(
    artifact_type: str,
    blobs: Iterable[Blob] = (),
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] = FrozenDict(),
    config: Blob | None = None,
) -> Image:
    """The manifest that holds ``blobs``, as an image that every sink takes.

    ``artifact_type`` is a media type that says what it is, ``subject`` the manifest that it is about. The result has no
    image configuration and no diff IDs: reading those raises :class:`~ociworks.errors.NotSupported`. Raises
    :class:`~ociworks.errors.SpecError` for what is no media type.
    """
    content = tuple(blobs) or (_EMPTY_BLOB,)
    configuration = config or _EMPTY_BLOB
    if mediatypes.is_config(configuration.descriptor.media_type):
        raise SpecError("expected an artifact's own configuration, got the one of a container image")
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type=_checked(artifact_type),
        config=configuration.descriptor,
        layers=tuple(blob.descriptor for blob in content),
        subject=None if subject is None else _reference_to(subject),
        annotations=FrozenDict(annotations),
    )
    with configuration.open() as stream:
        raw_config = stream.read()
    return partial.image(to_json(manifest), raw_config, _Blobs(content))


_EMPTY_BLOB: Final = Blob(EMPTY, lambda: io.BytesIO(_NOTHING))


class _Blobs:
    """The blobs of one artifact, by digest."""

    def __init__(self, blobs: Iterable[Blob]) -> None:
        self._blobs = {blob.descriptor.digest: blob for blob in blobs}

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        blob = self._blobs.get(descriptor.digest)
        if blob is None:
            raise BlobNotFound(f"no blob {descriptor.digest} in this artifact")
        return blob.open()


def _reference_to(subject: Descriptor) -> Descriptor:
    return Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)


def _checked(media_type: str) -> str:
    if not mediatypes.is_media_type(media_type):
        raise SpecError(
            f"expected a media type such as application/vnd.example.sbom, got {quote(media_type)}"
        )
    return media_type
