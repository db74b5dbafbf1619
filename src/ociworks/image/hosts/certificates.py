"""``certs.d``: certificates for one registry, as Docker and Podman look them up.

::

    certs.d/registry.example:5000/
        ca.crt  (any *.crt)        authorities, trusted beside the system's
        client.cert, client.key    what we show to the server (any pair of this form)

Of several such directories the first that has one for the registry is used, alone: the user's, then
``/etc/containers/certs.d``, then ``/etc/docker/certs.d`` (containers-certs.d(5)).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from ociworks.errors import HostsConfigError, quote
from ociworks.image.hosts.endpoint import PLAIN_TLS, ClientCertificate, Tls

__all__ = ["certificates_of", "read_directory"]

_MAX_ENTRIES: Final = 256


def certificates_of(directories: Sequence[str], registry: str) -> Tls:
    """What the first of ``directories`` with an entry for ``registry`` (``host[:port]``) says.

    A directory that may not be looked into counts as absent, as it does for other programs. Raises
    :class:`~ociworks.errors.HostsConfigError`.
    """
    for directory in directories:
        found = read_directory(os.path.join(directory, registry))
        if found is not None:
            return found
    return PLAIN_TLS


def read_directory(directory: str) -> Tls | None:
    """The certificates in one directory, None when there is no such directory (or it may not be read)."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise HostsConfigError(directory, "", f"cannot be read: {error.strerror}") from None
    if len(names) > _MAX_ENTRIES:
        raise HostsConfigError(directory, "", f"expected at most {_MAX_ENTRIES} entries, got {len(names)}")
    return Tls(
        authorities=tuple(os.path.join(directory, name) for name in names if name.endswith(".crt")),
        certificates=tuple(_pairs(directory, names)),
    )


def _pairs(directory: str, names: Sequence[str]) -> list[ClientCertificate]:
    """A key without its certificate, or the reverse, is a mistake that would look like "no certificate" later."""
    certificates = {name.removesuffix(".cert") for name in names if name.endswith(".cert")}
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for name in sorted(certificates ^ keys):
        missing = f"{name}.key" if name in certificates else f"{name}.cert"
        raise HostsConfigError(
            directory, "", f"expected {quote(missing)} too (a client's pair is NAME.cert and NAME.key)"
        )
    return [
        ClientCertificate(*(os.path.join(directory, f"{name}.{kind}") for kind in ("cert", "key")))
        for name in sorted(certificates)
    ]
