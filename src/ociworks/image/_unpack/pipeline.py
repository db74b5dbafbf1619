"""One pass over a layer: network → digest → decompress → diff ID in a thread, tar → files in the caller's.

Hashing, inflating and writing let go of the interpreter lock, so the two run side by side. At most 16 MiB are between
them, so that neither waits for the other while small files and large ones alternate. The reading side sees the end of
the stream only after digest, size and diff ID were found right: what it made of the bytes may be published then, and
not before.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Self

from ociworks.errors import DigestMismatch
from ociworks.image.tar.compression import CHUNK, compression_of, decompress
from ociworks.spec.digest import Hasher

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.progress import Reporter
    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import ByteStream, Layer

__all__ = ["LayerStream"]

_AHEAD: Final = 16
_POLL: Final = 0.01


class LayerStream:
    """The uncompressed, verified bytes of ``layer``, read ahead by a thread. Leaving the block ends the thread."""

    def __init__(self, layer: Layer, limits: Limits, report: Reporter) -> None:
        self._layer = layer
        self._limits = limits
        self._report = report
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stop = False
        self._ended = False
        self.failure: BaseException | None = None
        """What ended the thread early."""
        self._thread = threading.Thread(target=self._run, name="ociworks-unpack", daemon=True)

    @property
    def started(self) -> bool:
        """Whether the block was entered."""
        return self._thread.ident is not None

    @property
    def read_whole(self) -> bool:
        """Whether all of the layer was read and found right, though maybe not yet handed out."""
        return self.started and not self._thread.is_alive() and self.failure is None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()  # a worker that waits for room sees the flag next
            self._thread.join(_POLL)

    def read(self, _size: int, /) -> bytes:
        """The next piece as it comes (:data:`CHUNK` bytes at most, the size is a wish); empty at the proven end.

        Raises what the layer's stream raised, DigestMismatch for the diff ID, CompressionError and LimitExceeded.
        """
        if self._ended:
            return b""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        self._ended = not item
        return item

    def _run(self) -> None:
        try:
            self._pump()
        except BaseException as error:  # noqa: BLE001 - handed to the reading thread, which raises it
            self.failure = error
            self._queue.put(error)

    def _pump(self) -> None:
        layer = self._layer
        hasher = Hasher(layer.diff_id.algorithm)
        self._report.report("start", layer.digest, 0, layer.size)
        with (
            layer.open() as blob,
            decompress(
                _Reported(blob, layer, self._report), compression_of(layer.media_type), self._limits
            ) as stream,
        ):
            while not self._stop and (data := stream.read(CHUNK)):
                hasher.update(data)
                self._queue.put(data)
            if self._stop:
                raise _Stopped
        if hasher.digest() != layer.diff_id:
            what = f"uncompressed layer {layer.digest}"
            raise DigestMismatch(what, str(layer.diff_id), str(hasher.digest()), hasher.size)
        self._report.report("done", layer.digest, layer.size, layer.size)
        self._queue.put(b"")


class _Stopped(Exception):
    """The reading side went away: leave the blob without draining it."""


class _Reported:
    """A blob that reports how far it has been read."""

    def __init__(self, blob: ByteStream, layer: Layer, report: Reporter) -> None:
        self._blob = blob
        self._layer = layer
        self._report = report
        self._done = 0

    def read(self, size: int, /) -> bytes:
        data = self._blob.read(size)
        if data:
            self._done += len(data)
            self._report.report("transfer", self._layer.digest, self._done, self._layer.size)
        return data
