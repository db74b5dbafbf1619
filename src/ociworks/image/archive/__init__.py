"""Files of images: oci-archive (a layout in a tar archive) and docker-archive (what ``docker save`` writes).

::

    with archive.open("app.tar") as images:          # plain, gzip or zstd; which of the two it is, it says itself
        images.tags()                                # the same verbs as a layout
        img = images.image("app:1.4")                # layers are verified when they are read

    archive.write("app.tar", img, "app:1.4")                      # whole or not at all, streaming, reproducible
    with archive.create("both.tar", format="docker") as images:   # several images
        images.put(one, "one:1")
        images.put(two, "two:1")

A docker-archive holds no manifests, so they are made when it is read: OCI manifests, with the layers as they lie in the
archive. Written by ociworks it holds layers as they travel (gzip and zstd too, which docker, podman and skopeo
load), so that their digests stay; the digest of the image is kept only by an oci-archive.

=============  ==========================================================================
file           what it holds
=============  ==========================================================================
``_members``   the files of an archive: one bounded pass, links resolved, random access
``_reading``   ``open`` and ``Archive``
``_contents``  what both kinds give: entries, and blobs by digest
``_oci``       reading an oci-archive
``_docker``    reading a docker-archive: manifests for what has none; below it ``_legacy``: before Docker 1.10
``_writing``   ``create``, ``write`` and ``Writer``; below it ``_formats``: what lies where
=============  ==========================================================================
"""

from __future__ import annotations

from ociworks.image.archive._reading import Archive, Format, open  # noqa: A004
from ociworks.image.archive._writing import Writer, create, write

__all__ = ["Archive", "Format", "Writer", "create", "open", "write"]
