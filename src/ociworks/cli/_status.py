"""Exit statuses of our own failures, so that a script can tell what to do next.

======  ==========================================================================================
status  meaning
======  ==========================================================================================
0       done
1       any other failure
2       wrong usage
3       not found: no such image, tag, blob, platform or file in an image
4       not allowed: credentials are missing or wrong, or may not do this, or the registry is blocked
5       later, perhaps: unreachable, out of time, or too many requests
6       not what was promised: digest, size, media type, layer or signature
130     interrupted
======  ==========================================================================================
"""

from __future__ import annotations

from typing import Final

from ociworks import errors

__all__ = ["status_of"]

_STATUSES: Final = (
    (errors.ImageNotFound, 3),
    (errors.BlobNotFound, 3),
    (errors.ImageFileNotFound, 3),
    (errors.NotFound, 3),
    (errors.Unauthorized, 4),
    (errors.Forbidden, 4),
    (errors.RegistryBlocked, 4),
    (errors.RegistryUnreachable, 5),
    (errors.RateLimited, 5),
    (errors.ContentError, 6),
    (errors.LayerError, 6),
    (errors.InvalidImage, 6),
    (errors.InvalidSignature, 6),
    (errors.VerificationFailed, 6),
)


def status_of(error: Exception) -> int:
    """The exit status that tells what kind of failure this was."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return 1
