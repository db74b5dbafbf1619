"""Where a repository may be reached, and how: what host configuration says, as values."""

from __future__ import annotations

from typing import Final, Literal

from attrs import field, frozen

from ociworks.image.auth.secret import Secret

__all__ = ["PLAIN_TLS", "ClientCertificate", "Endpoint", "Tls"]


@frozen
class ClientCertificate:
    """A certificate to show to a server, and its key: PEM files, perhaps the same one."""

    certificate: str
    key: str


@frozen(kw_only=True)
class Tls:
    """How to speak TLS with one host. The files are read when a connection is first made."""

    authorities: tuple[str, ...] = ()
    """PEM files of certificate authorities, trusted beside the system's."""
    certificates: tuple[ClientCertificate, ...] = ()
    verify: bool = True
    """Without it any certificate will do: only ever for a host whose own configuration says so."""

    @property
    def configured(self) -> bool:
        """Whether anything was said about this host: it then speaks TLS, even on loopback."""
        return self != PLAIN_TLS


PLAIN_TLS: Final = Tls()
"""The system's authorities, no client certificate, verified."""


@frozen(kw_only=True)
class Endpoint:
    """One place to ask for a repository: a mirror, or the registry itself."""

    registry: str
    """``host[:port]``, as in :attr:`Reference.registry`: what credentials are found by."""
    repository: str
    """The repository there, which a mirror may keep under another path."""
    scheme: Literal["http", "https"] | None = None
    """None: https, except for a loopback registry that has no TLS configuration."""
    insecure: bool = False
    """TLS with any certificate where TLS is spoken, plain http where it is not."""
    tls: Tls = PLAIN_TLS
    root: str = "/v2"
    """The path below which the API is."""
    namespace: str | None = None
    """What a mirror of several registries is told in the query ``ns``: the registry of the reference."""
    headers: tuple[tuple[str, Secret], ...] = field(default=())
    """Sent with every request to this place, and only to it."""
    resolves: bool = True
    """Whether it is trusted to say which digest a tag has."""
    connect_timeout: float | None = None
    """Seconds; None: the client's."""
