"""RG-19 and RG-20 for files with credentials and the environment: what is read, and for which registry."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    AuthFileError,
    CredentialHelperError,
    HostsConfigError,
    RegistryUnreachable,
    Unauthorized,
)
from ociworks.image import remote
from ociworks.image.auth import (
    Basic,
    CredentialHelper,
    DockerConfig,
    Secret,
    StaticKeychain,
    default_keychain,
)
from ociworks.image.hosts import HostsConfig, Proxies, Proxy
from ociworks.image.remote import ClientOptions
from tests.image.helpers import install_helper

if TYPE_CHECKING:
    from pathlib import Path

from tests.security.credentials.files import HIDDEN, config, encoded


def test_rg_19_hosts_match_exactly_and_paths_on_slashes(tmp_path: Path) -> None:
    keychain = config(
        tmp_path,
        {
            "auths": {
                "reg.example": {"auth": encoded("plain:1")},
                "reg.example:443": {"auth": encoded("port:2")},
                "reg.example.evil": {"auth": encoded("evil:3")},
                "reg.example/team": {"auth": encoded("team:4")},
                "reg.example/team/app/deep": {"auth": encoded("deep:5")},
            }
        },
    )
    users = {"x": "plain", "team": "team", "team/app": "team", "teams/app": "plain", "team/app/deep": "deep",
             "team/app/deeper": "team", "team/app/deep/er": "deep"}  # fmt: skip
    for repository, user in users.items():
        found = keychain.find("reg.example", repository)
        assert isinstance(found, Basic)
        assert found.username == user
    port, evil = keychain.find("reg.example:443", "team"), keychain.find("reg.example.evil", "team")
    assert (port, evil) == (Basic("port", Secret("2")), Basic("evil", Secret("3")))
    for stranger in ["reg.example:5000", "evil.reg.example", "reg.exampl", "reg.example.evil:443", "example"]:
        assert keychain.find(stranger, "team/app") is None


def test_rg_19_files_are_asked_in_the_documented_order(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry(path: Path, user: str, *, legacy: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = {"r.example": {"auth": encoded(f"{user}:x")}}
        path.write_text(json.dumps(entries if legacy else {"auths": entries}))
        path.chmod(0o600)

    def user() -> str | None:
        found = default_keychain().find("r.example", "x")
        return found.username if isinstance(found, Basic) else None

    assert user() is None
    entry(home / ".dockercfg", "legacy", legacy=True)
    assert user() == "legacy"
    entry(home / ".docker/config.json", "docker")
    assert user() == "docker"
    entry(tmp_path / "elsewhere/config.json", "chosen-docker")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "elsewhere"))
    assert user() == "chosen-docker"
    entry(home / ".config/containers/auth.json", "config")
    assert user() == "config"
    entry(tmp_path / "xdg/containers/auth.json", "xdg")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert user() == "xdg"
    entry(home / "run/containers/auth.json", "runtime")
    assert user() == "runtime"
    entry(tmp_path / "alone.json", "alone")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "alone.json"))
    assert user() == "alone"
    (tmp_path / "alone.json").write_text("{}")
    assert user() is None


def test_rg_19_credential_helpers_of_registries_conf(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_helper(monkeypatch, tmp_path, "real")
    CredentialHelper("real").store("r.example", Basic("helper", Secret("1")))
    (home / ".docker").mkdir()
    config(home / ".docker", {"auths": {"r.example": {"auth": encoded("file:2")}}})
    assert default_keychain(["real", "containers-auth.json"]).find("r.example", "x") == Basic(
        "helper", Secret("1")
    )
    assert default_keychain(["containers-auth.json", "real"]).find("r.example", "x") == Basic(
        "file", Secret("2")
    )
    with pytest.raises(CredentialHelperError):
        default_keychain(["not-there", "containers-auth.json"]).find("r.example", "x")
    with pytest.raises(CredentialHelperError):
        default_keychain(["../x"])


def test_rg_19_files_that_others_may_read_are_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config(tmp_path, {"auths": {"r.example": {"auth": encoded(f"u:{HIDDEN}")}}})
    assert caplog.text == ""
    (tmp_path / "config.json").chmod(0o644)
    assert DockerConfig.load(str(tmp_path / "config.json")).find("r.example", "x") is not None
    assert "may be read by others" in caplog.text
    assert HIDDEN not in caplog.text


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket-like", "large", "loop"])
def test_rg_19_only_small_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket-like":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.write_bytes(b" " * (1024 * 1024 + 1))
    else:
        path.symlink_to(path)
    with pytest.raises(AuthFileError, match=r"config\.json"):
        DockerConfig.load(str(path))


def test_rg_19_the_environment_supplies_and_redirects_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No netrc, no proxy, no certificates, no session keys; a host configuration that was not asked for neither."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {HIDDEN}\n")
    (home / ".netrc").write_text(netrc.read_text())
    conf = home / ".config/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSL_CERT_FILE", str(netrc))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(netrc))
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        conf.write_text(f"[[registry]]\nlocation = '{registry.host}'\nblocked = true\n")
        with remote.Client() as client, pytest.raises(Unauthorized):
            client.image(f"{registry.host}/app:1")
        assert {request.header("authorization") for request in registry.requests} == {None}
    assert not (tmp_path / "keys").exists()


def test_rg_20_no_secret_of_the_host_is_shown(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Passwords of proxies, headers of hosts.toml, and credentials, with every logger at DEBUG."""
    folder = tmp_path / "certs.d/r.example"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(
        f'[host."http://127.0.0.1:1"]\n[host."http://127.0.0.1:1".header]\nX-Token = "{HIDDEN}"\n'
    )
    proxies = Proxies(https=Proxy.parse(f"http://me:{HIDDEN}@127.0.0.1:1"))
    hosts = HostsConfig(containerd=(str(tmp_path / "certs.d"),), proxies=proxies)
    keychain = StaticKeychain({"r.example": Basic("user", Secret(HIDDEN))})
    shown = [repr(hosts)]
    with caplog.at_level(logging.DEBUG):
        options = ClientOptions(sleep=lambda _: None)
        with (
            remote.Client(keychain=keychain, hosts=hosts, options=options) as client,
            pytest.raises(RegistryUnreachable) as caught,
        ):
            client.image("r.example/app:1")
        shown += [
            repr(caught.value),
            str(caught.value),
            *caught.value.__notes__,
            repr(caught.value.__context__),
        ]
        (folder / "hosts.toml").write_text(f'[header]\nX-Token = "{HIDDEN}\\n"\n')
        with remote.Client(hosts=hosts) as client, pytest.raises(HostsConfigError) as wrong:
            client.image("r.example/app:1")
        shown += [repr(wrong.value)]
    assert "127.0.0.1:1" in "".join(shown)
    assert HIDDEN not in "".join(shown) + caplog.text
