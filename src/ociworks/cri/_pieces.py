"""Long lists in pieces that fit into messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

__all__ = ["pieces"]

_COUNT: Final = 500
_SIZE: Final = 1 << 20
M = TypeVar("M", bound=Message)


def pieces(items: Sequence[M]) -> Iterator[list[M]]:
    """The items in order, a few hundred and about a mebibyte at a time; nothing for none."""
    piece: list[M] = []
    size = 0
    for item in items:
        piece.append(item)
        size += item.ByteSize()
        if len(piece) >= _COUNT or size >= _SIZE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
