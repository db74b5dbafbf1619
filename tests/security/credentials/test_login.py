"""RG-19 and RG-20 for logins: what is written, where, and for whom."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import AuthFileError, CredentialHelperError, OciworksError, RegistryError, Unauthorized
from ociworks.image import remote
from ociworks.image.auth import Basic, CredentialHelper, Secret, default_keychain, login, logout
from tests.image.helpers import install_helper, kept_by

if TYPE_CHECKING:
    from pathlib import Path

from tests.security.credentials.files import HIDDEN, config, encoded


def stored(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_rg_19_login_is_confirmed_by_the_registry_and_written_for_its_owner_alone(
    home: Path, auth: str
) -> None:
    options = testing.RegistryOptions(auth="basic" if auth == "basic" else "bearer")
    path = home / ".docker/config.json"
    with testing.Registry(options) as registry:
        for wrong in ["", HIDDEN]:
            with pytest.raises(Unauthorized) as caught:
                login(registry.host, "user", wrong)
            assert not wrong or wrong not in repr(caught.value)
            assert not path.exists()
        previous = os.umask(0)
        try:
            assert login(registry.host, "user", "password") == str(path)
        finally:
            os.umask(previous)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert os.listdir(path.parent) == ["config.json"]
        image = testing.random_image(1)
        with remote.Client() as client:
            client.push(image, f"{registry.host}/app:1")
        assert logout(registry.host) == (str(path),)
        assert logout(registry.host) == ()
        assert stored(path).get("auths", {}) == {}
        with remote.Client() as client, pytest.raises(Unauthorized):
            client.image(f"{registry.host}/app:1")


def test_rg_19_login_keeps_what_it_does_not_know(home: Path) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir()
    other = {"auth": encoded("a:b"), "email": "x@y", "later": {"deep": [1, None, "é"]}}
    path.write_text(
        json.dumps({"HttpHeaders": {"X": "y"}, "auths": {"o.example": other}, "psFormat": "table", "n": 1.5})
    )
    path.chmod(0o644)
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        old = f"https://{registry.host}/v2/"
        path.write_text(path.read_text().replace('"o.example"', f'"{old}": {{"auth": "eDp5"}}, "o.example"'))
        login(registry.host, "user", "password")
        found = stored(path)
        assert found == {
            "HttpHeaders": {"X": "y"}, "psFormat": "table", "n": 1.5,
            "auths": {"o.example": other, registry.host: {"auth": encoded("user:password")}},
        }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rg_19_login_goes_where_the_registry_is_known_already(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = home / "run/containers/auth.json"
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        auth.parent.mkdir(parents=True)
        config(auth.parent, {"auths": {registry.host: {"auth": encoded("old:old")}}}, "auth.json")
        assert login(registry.host, "user", "password") == str(auth)
        assert default_keychain().find(registry.host, "x") == Basic("user", Secret("password"))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "chosen.json"))
        assert login(registry.host, "user", "password") == str(home / "chosen.json")
        assert login(f"{registry.host}/team", "user", "password", file=str(home / "f")) == str(home / "f")
        assert stored(home / "f") == {"auths": {f"{registry.host}/team": {"auth": encoded("user:password")}}}


def test_rg_19_login_with_a_helper(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = install_helper(monkeypatch, tmp_path, "real")
    path = home / ".docker/config.json"
    path.parent.mkdir()
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        for content in ({"credsStore": "real"}, {"credHelpers": {registry.host: "real"}}):
            path.write_text(json.dumps(content))
            assert login(registry.host, "user", "password") == "docker-credential-real"
            assert kept_by(store) == {registry.host: ("user", "password")}
            assert stored(path) == {**content, "auths": {registry.host: {}}}
            with remote.Client() as client:
                client.push(testing.random_image(1), f"{registry.host}/app:1")
            assert logout(registry.host) == ("docker-credential-real",)
            assert kept_by(store) == {}
            assert stored(path).get("auths", {}) == {}
        path.write_text(json.dumps({"credsStore": "not-there"}))
        with pytest.raises(CredentialHelperError):
            login(registry.host, "user", "password")
        assert stored(path) == {"credsStore": "not-there"}


def test_rg_19_logout_takes_every_copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the helper, in the file beside it under another spelling, and in another file."""
    store = install_helper(monkeypatch, tmp_path, "real")
    CredentialHelper("real").store("r.example", Basic("user", Secret("1")))
    docker, podman = home / ".docker", home / ".config/containers"
    for folder, name, content in [
        (
            docker,
            "config.json",
            {"credsStore": "real", "auths": {"https://r.example/v1/": {"auth": encoded("u:p")}}},
        ),
        (
            podman,
            "auth.json",
            {"auths": {"r.example": {"auth": encoded("u:p")}, "r.example/x": {"auth": encoded("x:y")}}},
        ),
    ]:
        folder.mkdir(parents=True)
        config(folder, content, name)
    where = (str(podman / "auth.json"), "docker-credential-real", str(docker / "config.json"))
    assert logout("r.example") == where
    assert kept_by(store) == {}
    assert default_keychain().find("r.example", "y") is None
    assert default_keychain().find("r.example", "x") == Basic("x", Secret("y"))
    assert logout("r.example/x") == where[:1]
    (home / ".dockercfg").write_text(json.dumps({"r.example": {"auth": encoded("u:p")}}))
    with pytest.raises(AuthFileError, match="by hand"):
        logout("r.example")


def test_rg_19_docker_hub_is_written_as_docker_reads_it(home: Path) -> None:
    from ociworks.image.auth.logins import _parse

    place = _parse("https://index.docker.io/v1/")
    assert str(place) == "docker.io"
    assert place.key("/x/config.json") == "https://index.docker.io/v1/"
    assert place.key("/x/auth.json") == "docker.io"
    for wrong in ["", "http://", "a b", "-x/y", "reg.example/Upper", "user@reg.example"]:
        with pytest.raises(OciworksError):
            login(wrong, "u", "p")


def test_rg_19_a_write_that_fails_leaves_the_file_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "auth.json"
    path.write_text('{"auths":{}}')

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        for name in ("fsync", "rename"):
            with monkeypatch.context() as patched:
                patched.setattr(os, name, fail)
                with pytest.raises(AuthFileError, match="No space left"):
                    login(registry.host, "user", "password", file=str(path))
            assert path.read_text() == '{"auths":{}}'
            assert os.listdir(home) == ["auth.json"]
        path.write_text("{")
        with pytest.raises(AuthFileError, match="cannot be read"):
            login(registry.host, "user", "password", file=str(path))
        assert path.read_text() == "{"


def test_rg_19_a_link_is_kept_and_what_it_names_replaced(home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles/docker.json").write_text("{}")
    (home / "auth.json").symlink_to("dotfiles/docker.json")
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        login(registry.host, "user", "password", file=str(home / "auth.json"))
    assert (home / "auth.json").is_symlink()
    assert "auths" in stored(home / "dotfiles/docker.json")


def test_rg_19_logins_at_once_do_not_lose_each_other(home: Path) -> None:
    path = str(home / "auth.json")
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry, remote.Client() as client:
        threads = [
            threading.Thread(
                target=login,
                args=(f"{registry.host}/team{n}", "user", "password"),
                kwargs={"file": path, "client": client},
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(stored(home / "auth.json")["auths"]) == {f"{registry.host}/team{n}" for n in range(8)}  # type: ignore[call-overload]


def test_rg_20_a_login_that_fails_shows_no_password(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistryError) as caught:
        login("127.0.0.1:1", "user", HIDDEN)
    with pytest.raises(OciworksError) as refused:
        login("127.0.0.1:1", "us:er", HIDDEN)
    assert HIDDEN not in repr(caught.value) + repr(refused.value) + caplog.text
    assert subprocess.run(["ls", home], capture_output=True, check=True).stdout == b""
