"""TLS settings of a connection: whom to trust, what to show. No environment variable has a say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ociworks.errors import HostsConfigError
from ociworks.image.hosts import Tls
from ociworks.image.hosts._toml import read_regular

if TYPE_CHECKING:
    import ssl

__all__ = ["context"]


def context(ca_file: str | None, tls: Tls) -> ssl.SSLContext:
    """A context with the system's authorities, those of ``ca_file`` (PEM), and what ``tls`` says.

    Raises :class:`~ociworks.errors.HostsConfigError` for files that ``tls`` names.
    """
    import ssl

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # The paths compiled into OpenSSL: load_default_certs() would follow SSL_CERT_FILE and SSL_CERT_DIR.
    paths = ssl.get_default_verify_paths()
    cafile = paths.openssl_cafile if os.path.isfile(paths.openssl_cafile) else None
    capath = paths.openssl_capath if os.path.isdir(paths.openssl_capath) else None
    if cafile or capath:
        made.load_verify_locations(cafile, capath)
    if ca_file is not None:
        made.load_verify_locations(ca_file)
    _add(made, tls)
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _add(context: ssl.SSLContext, tls: Tls) -> None:
    for path in tls.authorities:
        text = _pem(path)
        try:
            context.load_verify_locations(cadata=text)
        except (OSError, ValueError):
            raise HostsConfigError(path, "", "expected certificates of authorities in PEM") from None
    for pair in tls.certificates:
        for path in (pair.certificate, pair.key):
            _pem(path)
        try:
            # An empty answer instead of a question on the terminal when the key is encrypted.
            context.load_cert_chain(pair.certificate, pair.key, password=lambda: "")
        except (OSError, ValueError):
            raise HostsConfigError(
                pair.certificate, "", "expected a certificate in PEM, and its own key, not encrypted"
            ) from None


def _pem(path: str) -> str:
    raw = read_regular(path)
    if raw is None:
        raise HostsConfigError(path, "", "expected a file")
    return raw.decode("ascii", "replace")
