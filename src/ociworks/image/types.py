"""The three protocols that every source and sink of images speaks: Layer, Image, ImageIndex.

The rule of the house: **attributes never do I/O**. Whoever hands out an Image has already read (and
verified) its manifest and configuration; everything heavier is behind a method, and every byte that a
method yields is checked against its descriptor before it counts as content.

============  ==========================================  ====================================
protocol      attributes (in memory)                      methods (I/O)
============  ==========================================  ====================================
Layer         descriptor digest diff_id size media_type   open() uncompressed() entries()
Image         descriptor digest manifest config layers    files(); else its layers do the I/O
              raw_manifest raw_config
ImageIndex    descriptor digest index raw_index           image(platform) child(descriptor)
============  ==========================================  ====================================

``ociworks.image.partial`` completes all three from a small core. ``isinstance(found, ImageIndex)`` tells the two kinds
of document apart; the other two protocols are for type checkers only, because an ``isinstance`` would read properties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from ociworks.image.files import ImageFiles
    from ociworks.image.layer import File, LayerOptions
    from ociworks.image.tar import Limits, TarEntry
    from ociworks.spec import Digest, Platform
    from ociworks.spec.digest import Readable
    from ociworks.spec.image import Descriptor, ImageConfiguration, Index, Manifest
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["BlobSource", "ByteStream", "Image", "ImageIndex", "Layer"]


@runtime_checkable
class ByteStream(Protocol):
    """Bytes to be read once, front to back, inside a ``with`` block.

    For verified streams leaving the block without an exception drains what is left and compares digest and
    size (:class:`ociworks.errors.DigestMismatch`, :class:`ociworks.errors.SizeMismatch`), so what was read
    may be published only *after* the block. Leaving it with an exception only closes.
    """

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes (all that is left when negative); ``b""`` only at the end."""

    def close(self) -> None:
        """Release what the stream holds; closing twice is harmless."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class BlobSource(Protocol):
    """Where the blobs of an image come from: one method, safe to call from several threads."""

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A stream of exactly this blob, verified.

        Raises :class:`ociworks.errors.BlobNotFound` or, from registries,
        :class:`ociworks.errors.RegistryError`.
        """


class Layer(Protocol):
    """One layer of an image (image-spec layer.md): a tar archive, mostly compressed.

    A protocol that also completes: derive from it, bring ``descriptor``, ``diff_id`` and :meth:`open`, and the rest
    follows. And the place where layers are made (``from_…``).
    """

    __slots__ = ()

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor as it stands in the manifest."""
        raise NotImplementedError

    @property
    def diff_id(self) -> Digest:
        """The digest of the uncompressed tar, as the image's configuration states it (config.md, DiffID)."""
        raise NotImplementedError

    def open(self) -> ByteStream:
        """The bytes as they travel, verified against digest and size."""
        raise NotImplementedError

    @property
    def digest(self) -> Digest:
        """The digest of the bytes as they travel (compressed)."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """The size in bytes as they travel."""
        return self.descriptor.size

    @property
    def media_type(self) -> str:
        """The media type of the bytes as they travel; it decides the compression."""
        return self.descriptor.media_type

    def uncompressed(self) -> ByteStream:
        """The tar archive. The bytes below it are verified; comparing the diff ID is up to the caller."""
        from ociworks.image.partial import uncompressed

        return uncompressed(self)

    def entries(self, limits: Limits | None = None) -> Iterator[TarEntry]:
        """The entries of the archive, in order, without unpacking anything; bounded by ``limits`` (None: default).

        Digest, size and diff ID are compared when the last entry was taken. Raises
        :class:`ociworks.errors.LayerError`, :class:`ociworks.errors.ContentError` and
        :class:`ociworks.errors.LimitExceeded`.
        """
        from ociworks.image.partial import entries

        return entries(self, limits)

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import layer

        return layer(self)

    @staticmethod
    def from_directory(
        path: str | os.PathLike[str],
        *,
        at: str = "/",
        owner: tuple[int, int] | None = (0, 0),
        mtime: int | None = 0,
        compression: Compression = "gzip",
        options: LayerOptions | None = None,
    ) -> Layer:
        """The files below ``path`` as a layer that has them at ``at``; equal trees give equal layers.

        Entries are sorted, modes and hard links kept. ``owner`` and ``mtime`` (seconds since 1970) hold for all of
        them; None keeps what each file has. Sockets are left out and reported. When ``at`` is not the root, the
        directory itself is described, and so are those above it (:class:`~ociworks.image.LayerOptions`).

        Raises ``OSError`` when ``path`` is no directory, :class:`ociworks.errors.LayerError` when something in it
        cannot be read or packed or changes meanwhile, and :class:`ociworks.errors.LimitExceeded`.
        """
        from ociworks.image._pack.sources import LayerOptions, layer_from_directory

        return layer_from_directory(path, at, owner, mtime, compression, options or LayerOptions())

    @staticmethod
    def from_files(
        files: Mapping[str, bytes | File],
        *,
        mtime: int = 0,
        compression: Compression = "gzip",
        options: LayerOptions | None = None,
    ) -> Layer:
        """A layer of these files: path to content. A path that ends in a slash is a directory.

        Directories above the files are described too (:class:`~ociworks.image.LayerOptions`). Raises
        :class:`ociworks.errors.TarError` for an impossible path, :class:`ociworks.errors.SpecError` when two paths
        are the same or a directory or link has content.
        """
        from ociworks.image._pack.sources import LayerOptions, layer_from_files

        return layer_from_files(files, mtime, compression, options or LayerOptions())

    @staticmethod
    def from_overlay_upper(
        path: str | os.PathLike[str],
        *,
        compression: Compression = "gzip",
        options: LayerOptions | None = None,
    ) -> Layer:
        """The upper directory of an overlay mount as a layer: what it adds, changes and deletes. Linux.

        Owners, times and attributes are kept; overlayfs's own become whiteouts and opaque markers. Read it when the
        mount is gone or quiet, and as root unless the mount has ``userxattr``: others do not see ``trusted.``
        attributes. Raises :class:`ociworks.errors.LayerError` for what mounts with ``redirect_dir`` or ``metacopy``
        moved elsewhere, and like :meth:`from_directory`.
        """
        from ociworks.image._pack.sources import LayerOptions, layer_from_overlay_upper

        return layer_from_overlay_upper(path, compression, options or LayerOptions())

    @staticmethod
    def from_tar(
        source: str | os.PathLike[str] | Readable,
        *,
        compression: Compression | None = None,
        options: LayerOptions | None = None,
    ) -> Layer:
        """An archive, plain or compressed by gzip or zstd, as a layer.

        Its bytes are kept, unless ``compression`` asks for another one than it has; the archive inside stays the same
        in any case. It is read as strictly as unpacking reads it: :class:`ociworks.errors.TarError`,
        :class:`ociworks.errors.CompressionError` or :class:`ociworks.errors.LimitExceeded` come now and not later.
        A stream is read to its end, and not closed.
        """
        from ociworks.image._pack.sources import LayerOptions, layer_from_tar

        return layer_from_tar(source, compression, options or LayerOptions())


class Image(Protocol):
    """One image for one platform: a manifest, its configuration, its layers (image-spec manifest.md).

    Like :class:`Layer` it completes what derives from it.
    """

    __slots__ = ()

    @property
    def descriptor(self) -> Descriptor:
        """What an index would say of this image: media type, digest, size, and the platform when known."""
        raise NotImplementedError

    @property
    def digest(self) -> Digest:
        """The digest of the manifest's bytes."""
        raise NotImplementedError

    @property
    def manifest(self) -> Manifest:
        """The manifest as a value."""
        raise NotImplementedError

    @property
    def raw_manifest(self) -> bytes:
        """The manifest's exact bytes."""
        raise NotImplementedError

    @property
    def config(self) -> ImageConfiguration:
        """The configuration as a value; :class:`ociworks.errors.NotSupported` when it is of another type."""
        raise NotImplementedError

    @property
    def raw_config(self) -> bytes:
        """The configuration's exact bytes."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, base first."""
        raise NotImplementedError

    def files(self) -> ImageFiles:
        """The files of the image without unpacking it, whiteouts honoured; nothing is read yet.

        Keep it as long as there are questions: it remembers what it read. What its methods raise is said in
        :class:`ociworks.image.files.ImageFiles`.
        """
        from ociworks.image.files import files

        return files(self)


@runtime_checkable
class ImageIndex(Protocol):
    """A list of images, mostly one per platform (image-spec image-index.md)."""

    @property
    def descriptor(self) -> Descriptor:
        """What a parent index would say of this one: media type, digest, size."""

    @property
    def digest(self) -> Digest:
        """The digest of the index's bytes."""

    @property
    def index(self) -> Index:
        """The index as a value."""

    @property
    def raw_index(self) -> bytes:
        """The index's exact bytes."""

    def image(self, platform: Platform | str | None = None) -> Image:
        """The image for ``platform`` (None: this host's); ImageNotFound when there is none.

        Nested indexes are walked within bounds; among equal matches the first in document order wins.
        """

    def child(self, descriptor: Descriptor) -> Image | ImageIndex:
        """The entry that ``descriptor`` names, read and verified."""
