"""Requests to the Container Runtime Interface that cannot be served. Each class stands for one gRPC status."""

from __future__ import annotations

from ociworks.errors.base import OciworksError

__all__ = [
    "AlreadyReserved",
    "ConfigError",
    "DeadlinePassed",
    "InvalidRequest",
    "NetworkError",
    "PluginFailed",
    "PodError",
    "PodNotFound",
    "PodStateError",
    "RegistryUnavailable",
    "ServerEnding",
    "SignatureValidationFailed",
    "StoreError",
    "StreamError",
    "TooMany",
]


class PodError(OciworksError):
    """The root of the errors of the Container Runtime Interface (gRPC: INTERNAL)."""


class InvalidRequest(PodError, ValueError):
    """A field of a request says something that is not allowed (INVALID_ARGUMENT); the message names the field."""


class PodNotFound(PodError, LookupError):
    """No pod or container of this ID, or several that begin with it (NOT_FOUND)."""


class AlreadyReserved(PodError):
    """Another pod or container has this name; ``holder`` is its ID (ALREADY_EXISTS)."""

    def __init__(self, message: str, *, holder: str) -> None:
        self.holder = holder
        super().__init__(message)


class PodStateError(PodError):
    """The pod or container is not in a state that allows this (FAILED_PRECONDITION)."""


class NetworkError(PodError):
    """A network plugin failed, or no network is configured (UNAVAILABLE: trying again may help)."""


class PluginFailed(NetworkError):
    """A network plugin did not do what it was asked for; the message has its own words, escaped.

    ``plugin`` is its type, ``command`` what it was asked, ``code`` the error code of its answer (CNI section 5, Error:
    11 means to try again later), None when it gave no answer that can be read.
    """

    def __init__(self, message: str, *, plugin: str, command: str, code: int | None = None) -> None:
        self.plugin = plugin
        self.command = command
        self.code = code
        super().__init__(message)


class RegistryUnavailable(PodError):
    """An image cannot be pulled because its registry does not answer.

    UNKNOWN, and the word ``RegistryUnavailable`` before the reason: that is how a kubelet recognises it.
    """


class SignatureValidationFailed(PodError):
    """An image must not be used by the policy for signatures.

    UNKNOWN, and the word ``SignatureValidationFailed`` before the reason: that is how a kubelet recognises it.
    """


class TooMany(PodError):
    """A bound is reached; what there is goes on (RESOURCE_EXHAUSTED)."""


class DeadlinePassed(PodError):
    """It took longer than the request allows (DEADLINE_EXCEEDED)."""


class ServerEnding(PodError):
    """The server ends while this is under way; what was done stays, and the next one does the rest (UNAVAILABLE)."""


class StoreError(PodError):
    """What is recorded of pods and containers cannot be read or written (INTERNAL)."""


class StreamError(PodError):
    """A client of the streaming server breaks the protocol or one of its bounds; its session ends (INTERNAL)."""


class ConfigError(PodError, ValueError):
    """The configuration of the server cannot be used; the message names the file and the key."""
