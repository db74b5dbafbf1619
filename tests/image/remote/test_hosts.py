"""Connections as the host has them configured: authorities, client certificates, insecure registries, proxies."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ociworks import testing
from ociworks.errors import HostsConfigError, RegistryError, RegistryProtocolError, RegistryUnreachable
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS, Basic, Secret, StaticKeychain
from ociworks.image.hosts import Endpoint, HostsConfig, Place, Proxies, Proxy, RegistriesConf, Rule, Tls
from ociworks.image.origin import Origin, Url
from ociworks.image.remote import ClientOptions, Limits
from ociworks.image.remote._policy import TargetPolicy
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.authority import Authority
from tests.image.rawserver import RawServer, answer
from tests.image.tunnels import HttpProxy

if TYPE_CHECKING:
    from pathlib import Path

    from ociworks.image.auth import Keychain

IMAGE = testing.random_image(2)
BLOB = b"a blob"
DESCRIPTOR = Descriptor.of(BLOB, mediatypes.OCI_LAYER)
QUICK = Limits(connect_timeout=2, first_delay=0, attempts=1)


def client(
    hosts: HostsConfig,
    keychain: Keychain = ANONYMOUS,
    *,
    https: str = "",
    trusted: str = "",
    ca: Path | None = None,
) -> remote.Client:
    options = ClientOptions(
        sleep=lambda _: None,
        limits=QUICK,
        https=[https] if https else [],
        trusted=[trusted] if trusted else [],
        ca_file=str(ca) if ca else None,
    )
    return remote.Client(keychain=keychain, hosts=hosts, options=options)


def serve(authority: Authority, *, clients: bool = False, auth: str = "none") -> testing.Registry:
    return testing.Registry(
        testing.RegistryOptions(
            tls=authority.server("127.0.0.1", clients=clients),
            auth="basic" if auth == "basic" else "none",
        )
    )


def certs(tmp_path: Path, host: str, *files: Path) -> HostsConfig:
    folder = tmp_path / "certs.d" / host
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder / file.name)
    return HostsConfig(certs=(str(tmp_path / "certs.d"),))


def insecure(host: str) -> HostsConfig:
    rule = Rule(prefix=Place.parse(host), location=Place.parse(host), insecure=True)
    return HostsConfig(registries=RegistriesConf(rules=(rule,)))


def round_trip(user: remote.Client, host: str) -> None:
    user.push(IMAGE, f"{host}/app:1")
    found = user.image(f"{host}/app:1")
    assert found.digest == IMAGE.digest
    with found.layers[1].open() as stream:
        assert len(stream.read()) == IMAGE.layers[1].size


# TLS


def test_certificates_for_one_registry(tmp_path: Path) -> None:
    """They also say that a loopback registry speaks TLS, and are for exactly this port."""
    authority = Authority(tmp_path / "ours")
    with serve(authority) as registry, serve(authority) as other:
        hosts = certs(tmp_path, registry.host, authority.certificate)
        with client(hosts) as user:
            round_trip(user, registry.host)
        with (
            client(hosts, https=other.host) as user,
            pytest.raises(RegistryUnreachable, match="not trusted"),
        ):
            user.image(f"{other.host}/app:1")


def test_rg_18_neither_another_authority_nor_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    named = testing.RegistryOptions(tls=theirs.server("other.example"))
    # The environment has no say, even where it is asked for proxies and files.
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs.certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with serve(theirs) as stranger, testing.Registry(named) as misnamed:
        certs(tmp_path / ".config/containers", stranger.host, ours.certificate)
        certs(tmp_path / ".config/containers", misnamed.host, theirs.certificate)
        for registry in (stranger, misnamed):
            with (
                client(HostsConfig.from_environment()) as user,
                pytest.raises(RegistryUnreachable, match="not trusted") as caught,
            ):
                user.image(f"{registry.host}/app:1")
            assert not caught.value.temporary
            assert registry.requests == ()
    assert not (tmp_path / "keys").exists()


def test_rg_18_certificates_never_lead_to_plain_http(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    with testing.Registry() as plain:
        hosts = certs(tmp_path, plain.host, authority.certificate)
        with client(hosts) as user, pytest.raises(RegistryUnreachable, match=r"no TLS|timed out"):
            user.image(f"{plain.host}/app:1")
        assert plain.requests == ()


def test_a_client_certificate_is_shown_to_its_registry_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    pair = authority.issue()
    with serve(authority, clients=True) as registry:
        with (
            client(certs(tmp_path / "without", registry.host, authority.certificate)) as user,
            pytest.raises(RegistryError),
        ):
            user.image(f"{registry.host}/app:1")
        with client(certs(tmp_path, registry.host, authority.certificate, *pair)) as user:
            round_trip(user, registry.host)


@pytest.mark.parametrize("wants_one", [False, True])
def test_where_a_registry_sends_us_its_authority_vouches_but_its_certificate_stays(
    tmp_path: Path, wants_one: bool
) -> None:
    authority = Authority(tmp_path / "ours")
    with serve(authority, clients=wants_one) as cdn, serve(authority, clients=True) as registry:
        blob = testing.Fault(path="/blobs/", status=200, body=BLOB, times=-1)
        cdn.inject(blob)
        there = testing.Fault(
            path="/blobs/", status=307, headers=(("Location", f"{cdn.url}/blobs/x?sig=1"),), times=-1
        )
        registry.inject(there)
        hosts = certs(tmp_path, registry.host, authority.certificate, *authority.issue())
        with client(hosts, trusted=cdn.host) as user:
            if wants_one:
                with pytest.raises(RegistryError):
                    user.open_blob(f"{registry.host}/app", DESCRIPTOR)
                return
            with user.open_blob(f"{registry.host}/app", DESCRIPTOR) as stream:
                assert stream.read() == BLOB


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    certificate, key = authority.issue()
    encrypted = tmp_path / "client.key"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-in", key, "-out", encrypted, "-passout", "pass:secret"],
        check=True, capture_output=True,
    )  # fmt: skip
    folder = tmp_path / "certs.d/127.0.0.1:1"
    hosts = certs(tmp_path, "127.0.0.1:1", authority.certificate, certificate, encrypted)

    def refused(match: str) -> None:
        with RawServer(answer()) as server, client(hosts) as user:
            folder.rename(folder.with_name(server.host))
            try:
                with pytest.raises(HostsConfigError, match=match):
                    user.image(f"{server.host}/app:1")
                assert server.heads == []
            finally:
                folder.with_name(server.host).rename(folder)

    refused(r"client\.cert.*its own key, not encrypted")
    shutil.copy(Authority(tmp_path / "theirs").issue()[1], folder / "client.key")
    refused(r"client\.cert.*its own key")
    (folder / "client.key").unlink()
    refused(r"expected 'client\.key' too")
    (folder / "client.cert").unlink()
    for content in ("", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (folder / "ca.crt").write_text(content)
        refused(r"ca\.crt.*in PEM")
    (folder / "ca.crt").unlink()
    os.mkfifo(folder / "ca.crt")
    refused(r"ca\.crt.*regular file")


# Insecure, because the host says so


def test_an_insecure_registry_is_spoken_to_in_tls_where_it_can(tmp_path: Path) -> None:
    with serve(Authority(tmp_path / "unknown"), auth="basic") as registry:
        keychain = StaticKeychain({registry.host: Basic("user", Secret("password"))})
        with client(insecure(registry.host), keychain) as user:
            round_trip(user, registry.host)
        with (
            client(HostsConfig(), keychain, https=registry.host) as user,
            pytest.raises(RegistryUnreachable),
        ):
            user.image(f"{registry.host}/app:1")


def test_an_insecure_registry_without_tls_is_spoken_to_in_plain_http() -> None:
    with testing.Registry() as registry, client(insecure(registry.host)) as user:
        round_trip(user, registry.host)


LENIENT = TargetPolicy.of([], [], [], ["insecure.example:5000", "10.0.0.1:5001", "bare.example"])


@pytest.mark.parametrize(
    ("registry", "target", "allowed"),
    [
        # one that speaks plain http may send us to itself, and to others that the host calls insecure
        ("http://insecure.example:5000", "http://insecure.example:5000/token", True),
        ("http://insecure.example:5000", "http://10.0.0.1:5001/token", True),
        ("http://insecure.example:5000", "http://bare.example/token", True),
        ("http://insecure.example:5000", "https://10.0.0.1:5001/token", True),
        ("http://insecure.example:5000", "https://auth.example/token", True),
        ("http://insecure.example:5000", "http://auth.example/token", False),
        ("http://insecure.example:5000", "http://insecure.example:5001/token", False),
        ("http://insecure.example:5000", "https://10.0.0.1/token", False),
        # one that speaks TLS never to plain http, however insecure
        ("https://insecure.example:5000", "http://bare.example/token", False),
        ("https://insecure.example:5000", "http://insecure.example:5000/token", False),
        ("https://insecure.example:5000", "https://169.254.169.254/token", False),
    ],
)
def test_rg_03_where_an_insecure_registry_may_send_us(registry: str, target: str, allowed: bool) -> None:
    origin = Url.parse(registry).origin
    if allowed:
        LENIENT.check(Url.parse(target), origin, "token endpoint")
        return
    with pytest.raises(RegistryProtocolError):
        LENIENT.check(Url.parse(target), origin, "token endpoint")


def test_rg_18_which_places_are_spoken_to_in_plain_http() -> None:
    """The table of ``TargetPolicy.origin``; only those that the host calls insecure are tried out."""
    policy = TargetPolicy.of(["said.example:80"], [], ["localhost:5001"])
    tls = Tls(authorities=("/ca.pem",))
    tried: list[str] = []

    def speaks_tls(origin: Origin) -> bool:
        tried.append(str(origin))
        return origin.port == 443

    def scheme(registry: str, **options: Any) -> str:
        return str(policy.origin(Endpoint(registry=registry, repository="x", **options), speaks_tls))

    assert scheme("r.example") == "https://r.example"
    assert scheme("said.example", scheme="https") == "http://said.example"
    assert scheme("localhost:5001", insecure=True) == "https://localhost:5001"
    assert scheme("r.example:5000", scheme="http") == "http://r.example:5000"
    assert scheme("127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert scheme("127.0.0.1:5000", tls=tls) == "https://127.0.0.1:5000"
    assert scheme("127.0.0.1:5000", scheme="https") == "https://127.0.0.1:5000"
    assert tried == []
    assert scheme("r.example", insecure=True) == "https://r.example"
    assert scheme("r.example:5000", insecure=True, tls=tls) == "http://r.example:5000"
    assert scheme("docker.io", insecure=True) == "https://registry-1.docker.io"
    assert tried == ["https://r.example", "https://r.example:5000", "https://registry-1.docker.io"]


def test_an_insecure_registry_that_is_not_there_is_unreachable() -> None:
    with client(insecure("127.0.0.1:1")) as user, pytest.raises(RegistryUnreachable, match="cannot connect"):
        user.image("127.0.0.1:1/app:1")


def test_skip_verify_is_for_its_host_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "unknown")
    with serve(authority) as registry, serve(authority) as other:
        for host in (registry.host, other.host):
            folder = tmp_path / "hosts" / host
            folder.mkdir(parents=True)
            skip = "skip_verify = true" if host == registry.host else ""
            (folder / "hosts.toml").write_text(f'server = "https://{host}"\n{skip}\n')
        with client(HostsConfig(containerd=(str(tmp_path / "hosts"),))) as user:
            round_trip(user, registry.host)
            with pytest.raises(RegistryUnreachable, match="not trusted"):
                user.image(f"{other.host}/app:1")


# Proxies


def through(proxy: HttpProxy, user: str = "") -> HostsConfig:
    chosen = Proxy.parse(f"http://{user}{proxy.host}")
    return HostsConfig(proxies=Proxies(http=chosen, https=chosen))


def test_a_tunnel_to_a_registry_that_only_the_proxy_can_reach(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    options = testing.RegistryOptions(tls=authority.server("registry.example"), auth="basic")
    with testing.Registry(options) as registry, HttpProxy({"registry.example:443": registry.host}) as proxy:
        keychain = StaticKeychain({"registry.example": Basic("user", Secret("password"))})
        hosts = through(proxy, "me:pass%20word@")
        with client(hosts, keychain, ca=authority.certificate) as user:
            round_trip(user, "registry.example")
        assert set(proxy.targets) == {"CONNECT registry.example:443"}
        assert "proxy-authorization: basic bwu6cgfzcyb3b3jk" in proxy.heads[0].lower()
        assert "user-agent" not in proxy.heads[0].lower()
        assert {request.header("proxy-authorization") for request in registry.requests} == {None}


def test_rg_18_a_proxy_cannot_stand_in_for_a_registry(tmp_path: Path) -> None:
    """The certificate is checked against the registry's name, at the end of the tunnel."""
    with (
        serve(Authority(tmp_path / "theirs")) as registry,
        HttpProxy({"registry.example:443": registry.host}) as proxy,
    ):
        with (
            client(through(proxy)) as user,
            pytest.raises(RegistryUnreachable, match=r"certificate of registry\.ex"),
        ):
            user.image("registry.example/app:1")
        assert registry.requests == ()


def test_plain_http_through_a_proxy() -> None:
    with testing.Registry() as registry, HttpProxy({"plain.example:5000": registry.host}) as proxy:
        options = ClientOptions(sleep=lambda _: None, limits=QUICK)
        with remote.Client(
            keychain=ANONYMOUS,
            insecure=["plain.example:5000"],
            hosts=through(proxy, "me:secret@"),
            options=options,
        ) as user:
            user.push(IMAGE, "plain.example:5000/app:1")
            assert user.resolve("plain.example:5000/app:1").digest == IMAGE.digest
        assert proxy.targets[0].split(" ")[1].startswith("http://plain.example:5000/v2/app/")
        assert "proxy-authorization: basic" in proxy.heads[0].lower()


def test_loopback_is_never_reached_through_a_proxy() -> None:
    with testing.Registry() as registry, HttpProxy({}) as proxy, client(through(proxy)) as user:
        round_trip(user, registry.host)
        assert proxy.heads == []


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (answer(status="407 Proxy Authentication Required"), "wants other credentials"),
        (answer(status="403 Forbidden"), "status 403"),
        (answer(status="502 Bad Gateway"), "status 502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "spoke before"),
        (b"", "does not speak HTTP"),
    ],
)  # fmt: skip
def test_a_proxy_that_gives_no_tunnel(said: bytes, match: str) -> None:
    with RawServer(said) as server:
        hosts = HostsConfig(proxies=Proxies(https=Proxy.parse(f"http://me:hunter2@{server.host}")))
        with client(hosts) as user, pytest.raises(RegistryUnreachable, match=match) as caught:
            user.image("registry.example/app:1")
    assert "hunter2" not in repr(caught.value)


def test_proxies_of_the_environment_when_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    options = testing.RegistryOptions(tls=authority.server("registry.example"))
    with testing.Registry(options) as registry, HttpProxy({"registry.example:443": registry.host}) as proxy:
        environ = {"HOME": str(tmp_path), "HTTPS_PROXY": f"http://{proxy.host}", "NO_PROXY": "other.example"}
        with client(HostsConfig.from_environment(environ), ca=authority.certificate) as user:
            round_trip(user, "registry.example")
        assert proxy.targets
