"""TLS: verified against the system's authorities and the caller's own, whatever the environment says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import RegistryUnreachable
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from tests.image.authority import self_signed, server_context

if TYPE_CHECKING:
    from pathlib import Path


def test_a_private_authority_is_added_by_the_caller(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    image = testing.random_image(2)
    with testing.Registry(testing.RegistryOptions(tls=server_context(certificate))) as registry:
        assert registry.url == f"https://{registry.host}"
        options = ClientOptions(ca_file=certificate, https=[registry.host])
        with remote.Client(keychain=ANONYMOUS, options=options) as client:
            client.push(image, f"{registry.host}/app:1")
            found = client.image(f"{registry.host}/app:1")
            with found.layers[1].uncompressed() as stream:
                assert len(stream.read()) > 64 * 1024


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_rg_18_strangers_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither an unknown authority nor a certificate for another name, even if the environment asks for it."""
    certificate = self_signed(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    with testing.Registry(testing.RegistryOptions(tls=server_context(certificate))) as registry:
        ca_file = certificate if name == "other.example" else None
        options = ClientOptions(ca_file=ca_file, https=[registry.host])
        with (
            remote.Client(keychain=ANONYMOUS, options=options) as client,
            pytest.raises(RegistryUnreachable, match="not trusted") as caught,
        ):
            client.image(f"{registry.host}/app:1")
        assert not caught.value.temporary
        assert registry.requests == ()
    assert not (tmp_path / "keys").exists()


def test_rg_19_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    image = testing.random_image(1)
    with testing.Registry() as registry, remote.Client(keychain=ANONYMOUS) as client:
        client.push(image, f"{registry.host}/app:1")
        assert client.image(f"{registry.host}/app:1").digest == image.digest
