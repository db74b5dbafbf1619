"""What goes wrong on demand."""

from __future__ import annotations

import time
from collections.abc import Iterator

from attrs import evolve, frozen

from ociworks.spec.digest import BytesLike
from ociworks.testing._registry.messages import Bytes, Content, Response

__all__ = ["Fault", "spoiled"]

_PIECE = 256 * 1024


@frozen(kw_only=True)
class Fault:
    """What goes wrong, for the next ``times`` requests with this method whose path contains ``path``."""

    path: str
    method: str = "GET"
    times: int = 1
    """Negative: for ever."""
    status: int | None = None
    """Answer with this status, ``headers`` and ``body`` instead of doing anything."""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    """Without a status: headers to add to the answer, or to replace in it."""
    cut_after: int | None = None
    """Close the connection after this many bytes of the body."""
    flip_at: int | None = None
    """Change the byte at this offset of the body."""
    pause: float = 0.0
    """Seconds to wait after each 256 KiB of the body."""


def spoiled(response: Response, fault: Fault) -> Response:
    """The response with its fault."""
    if fault.status is not None:
        response.content.close()
        return Response(status=fault.status, headers=dict(fault.headers), content=Bytes(fault.body))
    headers = dict(response.headers) | dict(fault.headers)
    return evolve(
        response,
        headers=headers,
        content=_Spoiled(response.content, fault, response.start),
    )


class _Spoiled:
    """Content of which something is changed, late or missing."""

    def __init__(self, content: Content, fault: Fault, start: int) -> None:
        self._content = content
        self._fault = fault
        self._start = start
        self.size = content.size

    def fileno(self) -> None:
        """Nothing that the kernel could send."""

    def close(self) -> None:
        """Release what is below."""
        self._content.close()

    def pieces(self, start: int, length: int) -> Iterator[BytesLike]:
        """The bytes, flipped, cut and slow as asked for."""
        fault, done = self._fault, 0
        end = length if fault.cut_after is None else min(length, fault.cut_after)
        while done < end:
            count = min(_PIECE, end - done)
            piece = bytearray(b"".join(map(bytes, self._content.pieces(start + done, count))))
            if fault.flip_at is not None and done <= fault.flip_at < done + count:
                piece[fault.flip_at - done] ^= 0xFF
            yield piece
            done += count
            if fault.pause:
                time.sleep(fault.pause)
