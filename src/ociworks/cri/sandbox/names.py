"""Names of pods: which are allowed, and how they become one key."""

from __future__ import annotations

import re
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["check_hostname", "reserved_name"]

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOSTNAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAX_HOSTNAME: Final = 64
"""What the kernel takes (``__NEW_UTS_LEN``)."""


def reserved_name(metadata: api.PodSandboxMetadata) -> str:
    """The key under which at most one pod is recorded: name/namespace/uid/attempt, unambiguous since no part has a /.

    InvalidRequest for anything but letters, digits, ``.``, ``_`` and ``-``; a namespace and a uid may be missing.
    """
    for field, value in (
        ("name", metadata.name),
        ("namespace", metadata.namespace),
        ("uid", metadata.uid),
    ):
        if (value or field == "name") and _WORD.fullmatch(value) is None:
            raise InvalidRequest(
                f"config.metadata.{field}: expected up to 253 letters, digits, '.', '_' and '-', got {quote(value)}"
            )
    return f"{metadata.name}/{metadata.namespace}/{metadata.uid}/{metadata.attempt}"


def check_hostname(name: str) -> str:
    """The name, if a host may have it (RFC 1123), or none. InvalidRequest otherwise."""
    if name and (len(name) > _MAX_HOSTNAME or _HOSTNAME.fullmatch(name) is None):
        raise InvalidRequest(
            f"config.hostname: expected up to {_MAX_HOSTNAME} letters, digits, '-' and '.', got {quote(name)}"
        )
    return name
