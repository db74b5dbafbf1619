"""Names of containers: which are allowed, and how they become one key (CR-08)."""

from __future__ import annotations

import re
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["reserved_name"]

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)


def reserved_name(sandbox_id: str, metadata: api.ContainerMetadata) -> str:
    """The key under which at most one container is recorded: pod/name/attempt, unambiguous since no part has a slash.

    InvalidRequest for a name with anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if _WORD.fullmatch(metadata.name) is None:
        raise InvalidRequest(
            f"config.metadata.name: expected up to 253 letters, digits, '.', '_' and '-', got {quote(metadata.name)}"
        )
    return f"{sandbox_id}/{metadata.name}/{metadata.attempt}"
