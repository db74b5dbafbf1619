"""RG-19 and RG-20 for everything that holds credentials: files, helpers, the environment, errors and logs."""

from __future__ import annotations

import base64
import json
import logging
import os
import select
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    AuthFileError,
    CredentialHelperError,
    HostsConfigError,
    OciworksError,
    RegistryError,
    RegistryUnreachable,
    Unauthorized,
)
from ociworks.image import remote
from ociworks.image.auth import (
    Basic,
    CredentialHelper,
    DockerConfig,
    HelperOptions,
    IdentityToken,
    Secret,
    StaticKeychain,
    default_keychain,
    login,
    logout,
)
from ociworks.image.hosts import HostsConfig, Proxies, Proxy
from ociworks.image.remote import ClientOptions
from tests.image.helpers import install_helper, kept_by, says

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = "hunter2-sentinel"


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def config(folder: Path, content: object, name: str = "config.json") -> DockerConfig:
    path = folder / name
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return DockerConfig.load(str(path))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing configured."""
    for name in (
        "REGISTRY_AUTH_FILE",
        "DOCKER_CONFIG",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home


# Matching


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


# Helpers: which one


@pytest.mark.parametrize(
    "name",
    [
        "../../bin/sh",
        "a b",
        "a/b",
        "",
        ".",
        "..",
        "-x",
        "a\nb",
        "a;b",
        "$(id)",
        "x" * 65,
        "é",
        "a\0b",
        "/bin/sh",
    ],
    ids=ascii,
)
def test_rg_19_helper_names_have_a_grammar(tmp_path: Path, name: str) -> None:
    with pytest.raises(CredentialHelperError, match="expected a name"):
        CredentialHelper(name)
    if name:
        with pytest.raises((CredentialHelperError, AuthFileError)):
            config(tmp_path, {"credHelpers": {"r.example": name}}).find("r.example", "x")


def test_rg_19_a_missing_helper_is_an_error_and_nothing_else_is_tried(tmp_path: Path) -> None:
    """CVE-2021-41092: with the helper gone, credentials went somewhere else."""
    keychain = config(
        tmp_path,
        {"auths": {"r.example": {"auth": encoded("u:p")}}, "credHelpers": {"r.example": "not-there"}},
    )
    with pytest.raises(CredentialHelperError, match="docker-credential-not-there get: not found in PATH"):
        keychain.find("r.example", "x")
    store = config(tmp_path, {"auths": {"r.example": {"auth": encoded("u:p")}}, "credsStore": "not-there"})
    with pytest.raises(CredentialHelperError):
        store.find("r.example", "x")
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        broken = config(tmp_path, {"credHelpers": {registry.host: "not-there"}})
        with remote.Client(keychain=broken) as client, pytest.raises(CredentialHelperError):
            client.image(f"{registry.host}/app:1")
        assert [request.header("authorization") for request in registry.requests] == [None]


def test_rg_19_a_helper_of_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_helper(monkeypatch, tmp_path, "here", says('{"Username":"u","Secret":"p"}'))
    monkeypatch.chdir(tmp_path)
    for path in (".", "", "bin:."):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(CredentialHelperError, match="not found"):
            CredentialHelper("here").get("r.example")


# Helpers: what they answer


def test_rg_19_a_helper_is_asked_before_the_entries_of_its_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_helper(monkeypatch, tmp_path, "real")
    helper = CredentialHelper("real")
    helper.store("r.example:5000", Basic("user", Secret("päss:wörd")))
    helper.store("t.example", IdentityToken(Secret("token")))
    helper.store("https://index.docker.io/v1/", Basic("docker", Secret("hub")))
    assert helper.list() == {
        "r.example:5000": "user", "t.example": "<token>", "https://index.docker.io/v1/": "docker",
    }  # fmt: skip
    auths = {"r.example:5000": {"auth": encoded("file:1")}, "n.example": {"auth": encoded("file:2")},
             "r.example:5000/team": {"auth": encoded("team:3")}, "empty.example": {}}  # fmt: skip
    exact = config(tmp_path, {"auths": auths, "credHelpers": {"r.example:5000": "real", "n.example": "real"}})
    assert exact.find("r.example:5000", "team/x") == Basic("user", Secret("päss:wörd"))
    assert exact.find("r.example", "x") is None
    assert exact.find("n.example", "x") is None  # the helper says that it has none, which is an answer
    every = config(tmp_path, {"auths": auths, "credsStore": "real"})
    assert every.find("r.example:5000", "x") == Basic("user", Secret("päss:wörd"))
    assert every.find("r.example:5000", "team/x") == Basic("team", Secret("3"))
    assert every.find("t.example", "x") == IdentityToken(Secret("token"))
    assert every.find("docker.io", "library/x") == Basic("docker", Secret("hub"))
    assert every.find("n.example", "x") == Basic("file", Secret("2"))
    assert every.find("empty.example", "x") is None
    assert helper.erase("t.example")
    assert not helper.erase("t.example")
    assert every.find("t.example", "x") is None


@pytest.mark.parametrize(
    ("output", "status"),
    [
        (HIDDEN, 0), ("", 0), ("[]", 0), ("{}", 0), ('{"Username":1}', 0),
        (f'{{"Username":"","Secret":"{HIDDEN}"}}', 0),
        (f'{{"Username":"a","Username":"b","Secret":"{HIDDEN}"}}', 0), (f'{{"Username":"a:b","Secret":"{HIDDEN}"}}', 0),
        (f'{{"Username":"a\\u000ab","Secret":"{HIDDEN}"}}', 0), (f"error: {HIDDEN}", 1),
        ("credentials not found in native keychain", 2), ("credentials not found in native keychain", 0),
        (f"credentials not found in native keychain {HIDDEN}", 1), ("no credentials server URL", 1),
    ],
)  # fmt: skip
def test_rg_19_anything_but_an_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int
) -> None:
    install_helper(monkeypatch, tmp_path, "odd", says(output, status))
    keychain = config(
        tmp_path,
        {"auths": {"r.example": {"auth": encoded("u:p")}}, "credHelpers": {"r.example": "odd"}},
    )
    with pytest.raises(CredentialHelperError, match="docker-credential-odd get") as caught:
        keychain.find("r.example", "x")
    assert HIDDEN not in repr(caught.value)


def test_rg_19_a_helper_that_hangs_is_killed_with_all_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    install_helper(
        monkeypatch, tmp_path, "slow",
        f"#!/bin/sh\nsleep 600 &\necho $! >{pids}.new\necho $$ >>{pids}.new\nmv {pids}.new {pids}\nwait\n",
    )  # fmt: skip
    with pytest.raises(CredentialHelperError, match=r"no answer within 3 s"):
        CredentialHelper("slow", HelperOptions(timeout=3)).get("r.example")
    for pid in pids.read_text().split():
        assert has_ended(int(pid))


def has_ended(pid: int) -> bool:
    """Whether a process, somebody else's child, ends."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with open(fd, "rb", closefd=True) as pidfd:
        return bool(select.select([pidfd], [], [], 30)[0])


def test_rg_19_a_helper_that_closes_its_output_and_stays_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_helper(monkeypatch, tmp_path, "stays", "#!/bin/sh\nexec sleep 600 >/dev/null\n")
    with pytest.raises(CredentialHelperError, match="no answer within"):
        CredentialHelper("stays", HelperOptions(timeout=1)).get("r.example")


def test_rg_19_a_helper_that_floods_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_helper(monkeypatch, tmp_path, "flood", f"#!/bin/sh\nyes {HIDDEN}\n")
    with pytest.raises(CredentialHelperError, match="more than 262144 bytes") as caught:
        CredentialHelper("flood").get("r.example")
    assert HIDDEN not in str(caught.value)


def test_rg_19_a_helper_that_does_not_read_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_helper(
        monkeypatch, tmp_path, "deaf", '#!/bin/sh\nexec 0<&-\necho \'{"Username":"u","Secret":"p"}\'\n'
    )
    assert CredentialHelper("deaf").get("r.example") == Basic("u", Secret("p"))


def test_rg_20_what_a_helper_says_on_stderr_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install_helper(monkeypatch, tmp_path, "loud", f"#!/bin/sh\necho {HIDDEN} >&2\nexit 3\n")
    with pytest.raises(CredentialHelperError, match="status 3") as caught:
        CredentialHelper("loud").get("r.example")
    assert HIDDEN not in repr(caught.value)
    assert HIDDEN not in "".join(capfd.readouterr())


def test_rg_19_a_helper_gets_no_shell_and_a_chosen_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    install_helper(
        monkeypatch, tmp_path, "env",
        f'#!/bin/sh\n{{ cat; echo; echo "$@"; env; pwd; }} >{seen}\necho \'{{"Username":"u","Secret":"p"}}\'\n',
    )  # fmt: skip
    for name in ("LD_PRELOAD", "PYTHONPATH", "OCIWORKS_SECRET", "SSH_AUTH_SOCK", "AWS_PROFILE"):
        monkeypatch.setenv(name, "" if name == "LD_PRELOAD" else name.lower())
    CredentialHelper("env").get("r.example:5000")
    lines = seen.read_text().splitlines()
    assert lines[:2] == ["r.example:5000", "get"]
    names = {line.partition("=")[0] for line in lines[2:]}
    assert "AWS_PROFILE" in names
    assert not names & {"LD_PRELOAD", "PYTHONPATH", "OCIWORKS_SECRET", "SSH_AUTH_SOCK"}
    assert lines[-1] == "/"


def test_rg_19_helpers_leave_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_helper(monkeypatch, tmp_path, "flood", "#!/bin/sh\nyes\n")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(CredentialHelperError):
            CredentialHelper("flood").get("r.example")
    assert sorted(os.listdir("/proc/self/fd")) == before


# Files


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


# The environment


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


# What is written


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


# Nothing shows


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


def test_rg_20_a_login_that_fails_shows_no_password(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistryError) as caught:
        login("127.0.0.1:1", "user", HIDDEN)
    with pytest.raises(OciworksError) as refused:
        login("127.0.0.1:1", "us:er", HIDDEN)
    assert HIDDEN not in repr(caught.value) + repr(refused.value) + caplog.text
    assert subprocess.run(["ls", home], capture_output=True, check=True).stdout == b""
