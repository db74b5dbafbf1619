"""Which gRPC status an error is. Errors are told apart by type, never by their words.

=====================================================  ====================
``InvalidRequest``, ``SpecError``                      INVALID_ARGUMENT
``PodNotFound``, ``ContainerNotFound``, images         NOT_FOUND
``AlreadyReserved``, ``ContainerExists``               ALREADY_EXISTS
``PodStateError``, ``IllegalTransition``               FAILED_PRECONDITION
``NetworkError``, registries that cannot be reached    UNAVAILABLE
``ServerEnding``                                       UNAVAILABLE
``TooMany``, ``RateLimited``, ``LimitExceeded``        RESOURCE_EXHAUSTED
``DeadlinePassed``, ``ContainerTimeout``               DEADLINE_EXCEEDED
``NotSupported``, ``MissingDependency``                UNIMPLEMENTED
``Unauthorized``, ``Forbidden``, trust                 PERMISSION_DENIED
``RegistryUnavailable``, ``SignatureValidationFailed`` UNKNOWN
every other ``OciworksError``                          INTERNAL
=====================================================  ====================
"""

from __future__ import annotations

from typing import Final

import grpc

from ociworks import errors

__all__ = ["status_of"]

# The first that fits counts: more specific classes stand before their parents.
_TABLE: Final[tuple[tuple[type[errors.OciworksError], grpc.StatusCode], ...]] = (
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ConfigError, grpc.StatusCode.INTERNAL),
    (errors.PodNotFound, grpc.StatusCode.NOT_FOUND),
    (errors.ContainerNotFound, grpc.StatusCode.NOT_FOUND),
    (errors.ImageNotFound, grpc.StatusCode.NOT_FOUND),
    (errors.BlobNotFound, grpc.StatusCode.NOT_FOUND),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyReserved, grpc.StatusCode.ALREADY_EXISTS),
    (errors.ContainerExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.PodStateError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.IllegalTransition, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RegistryUnavailable, grpc.StatusCode.UNKNOWN),
    (errors.SignatureValidationFailed, grpc.StatusCode.UNKNOWN),
    (errors.NetworkError, grpc.StatusCode.UNAVAILABLE),
    (errors.ServerEnding, grpc.StatusCode.UNAVAILABLE),
    (errors.RegistryUnreachable, grpc.StatusCode.UNAVAILABLE),
    (errors.TooMany, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.LimitExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.DeadlinePassed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.ContainerTimeout, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.NotSupported, grpc.StatusCode.UNIMPLEMENTED),
    (errors.MissingDependency, grpc.StatusCode.UNIMPLEMENTED),
    (errors.Unauthorized, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (errors.RegistryBlocked, grpc.StatusCode.PERMISSION_DENIED),
    (errors.VerificationFailed, grpc.StatusCode.PERMISSION_DENIED),
    (errors.SpecError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.OciworksError, grpc.StatusCode.INTERNAL),
)


def status_of(error: errors.OciworksError) -> grpc.StatusCode:
    """The status that a client of the interface understands."""
    return next(code for kind, code in _TABLE if isinstance(error, kind))
