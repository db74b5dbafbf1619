"""A certificate authority for tests, and certificates of nobody, made with openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "self_signed", "server_context"]


class Authority:
    """Issues certificates below a folder; ``certificate`` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN=authority of {folder.name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate for addresses and names, or for a client without any, and its key."""
        stem = self._folder / (names[0] if names else "client")
        certificate, key, request = (stem.with_name(f"{stem.name}.{kind}") for kind in ("cert", "key", "csr"))
        kinds = [f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names]
        extension = self._folder / "extension"
        purpose = f"subjectAltName={','.join(kinds)}" if names else "extendedKeyUsage=clientAuth"
        extension.write_text(f"{purpose}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={stem.name}", "-keyout", key, "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", extension, "-out", certificate,
        )  # fmt: skip
        return certificate, key

    def server(self, *names: str, clients: bool = False) -> ssl.SSLContext:
        """What a server needs; with ``clients``, one that wants to see a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        if clients:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def self_signed(folder: Path, name: str) -> str:
    """A certificate for an address or a name, signed by itself, and its key in one PEM file; gives the path."""
    kind = "IP" if name[0].isdigit() else "DNS"
    path = folder / f"{name}.pem"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=testing", "-addext", f"subjectAltName={kind}:{name}", "-keyout", path, "-out", f"{path}.crt",
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + (folder / f"{name}.pem.crt").read_bytes())
    return str(path)


def server_context(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _openssl(*arguments: str | Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
