"""Leases: what must not be collected, as files that die with their holder.

::

    <root>/.ociworks/leases/lease-<random>     one digest a line; locked by its holder as long as it lives

====================  ===========================  ======================================================
who                   holds the gate               and does
====================  ===========================  ======================================================
a holder              shared, for one append       append digests to its lease, *then* look what is there
the collector         alone, to its end            read leases, *then* ``index.json``, then remove
====================  ===========================  ======================================================

The gate is a lock on the directory of leases. Either the collector reads the digest in the lease, or the holder looks
after the collector has removed the blob, and brings it again. A lease is given up only after ``index.json`` names what
it held, and the collector reads leases first; so nothing falls between the two. The kernel unlocks the lease of a
holder that was killed, and the next collection removes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Self

from ociworks.errors import LayoutError, SpecError
from ociworks.image import _files, partial
from ociworks.image._cas import STATE
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Lease", "blobs_of", "leased"]

_LEASES: Final = "leases"
_PREFIX: Final = "lease-"
_MAX_LEASE: Final = 16 * 1024 * 1024
"""Bytes of one lease: some two hundred thousand digests."""


class Lease:
    """Keeps blobs of a layout from being collected, until it is released or its process dies.

    Get one from :meth:`Layout.lease`. Safe for several threads; after a fork it lives as long as either process.
    """

    def __init__(self, root: Callable[[], int]) -> None:
        self._root = root
        with _files.directory(root(), STATE, _LEASES, create=True) as leases:
            self._fd, self._name = _files.create_locked(leases, _PREFIX)

    def hold(self, *what: Image | ImageIndex | Descriptor | Digest) -> None:
        """Keep these: of an image or index everything that it needs, of a descriptor or digest that one blob.

        What is held need not be there yet: hold it, look for it, then bring it. Raises
        :class:`~ociworks.errors.LayoutError` when the lease was released.
        """
        digests = dict.fromkeys(digest for each in what for digest in _digests(each))
        if self._fd < 0:
            raise LayoutError("the lease was released")
        with (
            _files.directory(self._root(), STATE, _LEASES) as leases,
            _files.locked(leases, shared=True),
        ):
            _files.write_all(self._fd, "".join(f"{digest}\n" for digest in digests).encode("ascii"))

    def release(self) -> None:
        """Give it up; releasing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            with (
                contextlib.suppress(FileNotFoundError),
                _files.directory(self._root(), STATE, _LEASES) as leases,
            ):
                os.unlink(self._name, dir_fd=leases)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()


@contextlib.contextmanager
def leased(root: int) -> Iterator[set[Digest]]:
    """What living leases hold, while nobody can hold more; leases of the dead are removed.

    Raises :class:`~ociworks.errors.LayoutError` for a lease that cannot be understood: what it keeps is not known.
    """
    with (
        _files.directory(root, STATE, _LEASES, create=True) as leases,
        _files.locked(leases),
    ):
        held: set[Digest] = set()
        for name in os.listdir(leases):
            if not _files.remove_if_abandoned(leases, name):
                held.update(_read(leases, name))
        yield held


def blobs_of(document: Image | ImageIndex) -> Iterator[Descriptor]:
    """The blobs that one document names for itself, and the document: configuration, layers, manifest."""
    if not isinstance(document, ImageIndex):
        yield document.manifest.config
        yield from document.manifest.layers
    yield document.descriptor


def _digests(what: Image | ImageIndex | Descriptor | Digest) -> Iterable[Digest]:
    if isinstance(what, Digest):
        return (what,)
    if isinstance(what, Descriptor):
        return (what.digest,)
    return (blob.digest for each in partial.walk(what) for blob in blobs_of(each))


def _read(leases: int, name: str) -> Iterator[Digest]:
    raw = _files.read_file(leases, name, _MAX_LEASE)
    if raw is None:
        return  # it was released just now
    try:
        yield from (Digest.parse(line) for line in raw.decode("ascii").splitlines())
    except (UnicodeDecodeError, SpecError) as error:
        raise LayoutError(f"lease {name}: {error}") from None
