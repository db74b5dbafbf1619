"""Between Docker's media types and OCI's: the same configuration, the same layers, other names for them.

Only manifests and indexes change, and with them their digests: signatures and other referrers of the old ones do not
speak of the new ones. :func:`ociworks.image.mutate.media_types` does it, and can be stricter.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, overload

from ociworks.image.types import Image, ImageIndex

__all__ = ["MediaTypes", "convert"]

MediaTypes: TypeAlias = Literal["oci", "docker"]
"""Whose media types the documents have."""


@overload
def convert(found: Image, to: MediaTypes) -> Image: ...


@overload
def convert(found: ImageIndex, to: MediaTypes) -> ImageIndex: ...


@overload
def convert(found: Image | ImageIndex, to: MediaTypes) -> Image | ImageIndex: ...


def convert(found: Image | ImageIndex, to: MediaTypes) -> Image | ImageIndex:
    """The same image, or index with all its images, in Docker's or OCI's media types; itself when it is so already.

    Docker's documents have no annotations, and so lose them. Raises :class:`~ociworks.errors.NotSupported` for what
    Docker's formats cannot say: artifacts, subjects, layers of types without a counterpart.
    """
    from ociworks.image.mutate import media_types

    return media_types(found, to, drop_annotations=True)
