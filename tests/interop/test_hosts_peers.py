"""Host configuration and credentials beside the programs whose files they are: skopeo, podman, docker-registry.

Each test gives both sides the same home directory, and both must do the same with it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import RegistryBlocked, RegistryError, ShortNameError, Unauthorized
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS, Basic, Secret, StaticKeychain, login, logout
from ociworks.image.hosts import HostsConfig
from ociworks.image.remote import ClientOptions
from tests.image.authority import Authority
from tests.image.helpers import install_helper, kept_by
from tests.interop import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

IMAGE = testing.random_image(2)
DEAD = "127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of our own: for us by the environment, for the peers as well."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def ask(program: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [peers.peer(program), *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def skopeo(*arguments: str) -> str:
    done = ask("skopeo", "--insecure-policy", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def guarded(tmp_path: Path, home: Path) -> Iterator[str]:
    """Debian's docker-registry with TLS by an authority in the user's ``certs.d``, and one user."""
    authority = Authority(tmp_path / "authority")
    passwords = tmp_path / "htpasswd"
    passwords.write_text(peers.run(peers.peer("htpasswd"), "-Bbn", "user", "pass:word"))
    with peers.docker_registry(
        tmp_path, tls=authority.issue("127.0.0.1", socket.gethostname()), htpasswd=passwords
    ) as host:
        folder = home / ".config/containers/certs.d" / host
        folder.mkdir(parents=True)
        shutil.copy(authority.certificate, folder / "ca.crt")
        yield host


def client() -> remote.Client:
    """As this user would have it."""
    return remote.Client(hosts=HostsConfig.from_environment(), options=ClientOptions(sleep=lambda _: None))


# Credentials


@pytest.mark.parametrize("program", ["skopeo", "podman"])
def test_what_they_log_in_we_use(home: Path, guarded: str, program: str) -> None:
    with client() as user, pytest.raises(Unauthorized):
        user.image(f"{guarded}/team/app:1")
    done = ask(program, "login", "--username", "user", "--password-stdin", guarded, given="pass:word")
    assert done.returncode == 0, done.stderr
    assert (home / "run/containers/auth.json").exists()
    with client() as user:
        user.push(IMAGE, f"{guarded}/team/app:1")
        assert user.image(f"{guarded}/team/app:1").digest == IMAGE.digest
    assert logout(guarded) == (str(home / "run/containers/auth.json"),)
    assert ask(program, "logout", guarded).returncode != 0
    assert "not logged in" in ask(program, "login", "--get-login", guarded).stderr.lower()


def test_what_we_log_in_they_use(home: Path, guarded: str, tmp_path: Path) -> None:
    with pytest.raises(Unauthorized):
        login(guarded, "user", "wrong")
    written = login(guarded, "user", "pass:word")
    assert written == str(home / ".docker/config.json")
    assert ask("skopeo", "login", "--get-login", guarded).stdout.strip() == "user"
    assert ask("podman", "login", "--get-login", guarded).stdout.strip() == "user"
    with client() as user:
        user.push(IMAGE, f"{guarded}/team/app:1")
    assert json.loads(skopeo("inspect", f"docker://{guarded}/team/app:1"))["Digest"] == str(IMAGE.digest)
    skopeo("copy", f"docker://{guarded}/team/app:1", f"docker://{guarded}/team/copy:1")
    assert logout(guarded) == (written,)
    assert ask("skopeo", "inspect", f"docker://{guarded}/team/app:1").returncode != 0


def test_both_write_one_file_and_keep_what_is_in_it(home: Path, guarded: str) -> None:
    path = home / "auth.json"
    path.write_text(json.dumps({"auths": {"other.example/team": {"auth": "eDp5"}}}))
    arguments = ["--authfile", str(path), "--username", "user", "--password", "pass:word"]
    assert ask("skopeo", "login", *arguments, guarded).returncode == 0
    first = json.loads(path.read_text())
    assert login(guarded, "user", "pass:word", file=str(path)) == str(path)
    assert json.loads(path.read_text()) == first
    assert set(first["auths"]) == {guarded, "other.example/team"}
    assert ask("skopeo", "logout", "--authfile", str(path), guarded).returncode == 0
    assert set(json.loads(path.read_text())["auths"]) == {"other.example/team"}


def test_a_namespace_in_an_auth_file_is_found_by_both(home: Path, guarded: str) -> None:
    path = home / "run/containers/auth.json"
    path.parent.mkdir()
    arguments = ["--authfile", str(path), "--username", "user", "--password", "pass:word"]
    done = ask("podman", "login", *arguments, f"{guarded}/team")
    if done.returncode:
        login(f"{guarded}/team", "user", "pass:word", file=str(path))
    with client() as user:
        user.push(IMAGE, f"{guarded}/team/app:1")
        with pytest.raises(Unauthorized):
            user.image(f"{guarded}/other/app:1")
    skopeo("inspect", f"docker://{guarded}/team/app:1")
    assert ask("skopeo", "inspect", f"docker://{guarded}/other/app:1").returncode != 0


def test_one_credential_helper_serves_both(
    home: Path, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = install_helper(monkeypatch, tmp_path, "testing")
    path = home / "run/containers/auth.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"credHelpers": {guarded: "testing"}}))
    assert login(guarded, "user", "pass:word", file=str(path)) == "docker-credential-testing"
    assert kept_by(kept) == {guarded: ("user", "pass:word")}
    with client() as user:
        user.push(IMAGE, f"{guarded}/app:1")
    skopeo("inspect", f"docker://{guarded}/app:1")
    assert ask("skopeo", "logout", guarded).returncode == 0
    assert kept_by(kept) == {}
    assert ask("skopeo", "login", "--username", "user", "--password", "pass:word", guarded).returncode == 0
    with client() as user:
        assert user.image(f"{guarded}/app:1").digest == IMAGE.digest


# registries.conf


@pytest.fixture
def open_registry(tmp_path: Path, home: Path) -> Iterator[str]:
    with peers.docker_registry(tmp_path) as host:
        with remote.Client(keychain=ANONYMOUS) as user:
            user.push(IMAGE, f"{host}/mirrored/team/app:1")
            user.push(IMAGE, f"{host}/plain:1")
            user.push(IMAGE, f"{host}/unseen:1")
        yield host


def configure(home: Path, text: str) -> None:
    path = home / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def both(reference: str) -> tuple[str | None, str | None]:
    """The digest that skopeo and we find, None for a failure."""
    done = ask("skopeo", "--insecure-policy", "inspect", "--no-tags", f"docker://{reference}")
    theirs = json.loads(done.stdout)["Digest"] if done.returncode == 0 else None
    try:
        with client() as user:
            return theirs, str(user.image(reference).digest)
    except (RegistryError, RegistryBlocked):
        return theirs, None


def rule(prefix: str, location: str = "", *mirrors: str, more: str = "") -> str:
    """A ``[[registry]]``, everything in it insecure."""
    head = f"[[registry]]\nprefix = '{prefix}'\n" + (
        f"location = '{location}'\ninsecure = true\n" if location else ""
    )
    return f"{head}{more}\n" + "".join(
        f"[[registry.mirror]]\nlocation = '{each}'\ninsecure = true\n" for each in mirrors
    )


FOR_DIGESTS = rule("up.invalid", DEAD, "HOST/mirrored", more="mirror-by-digest-only = true")


@pytest.mark.parametrize(
    ("text", "reference", "found"),
    [
        # a mirror, below another path; the registry itself does not exist
        (rule("up.invalid/team", f"{DEAD}/x", "HOST/mirrored/team"), "up.invalid/team/app:1", True),
        # the first mirror is down, the second lacks it, the location has it
        (rule("up.invalid", "HOST/mirrored", DEAD, "HOST/nothing"), "up.invalid/team/app:1", True),
        (rule("*.invalid", "", "HOST/mirrored"), "a.b.invalid/team/app:1", True),
        (FOR_DIGESTS, "up.invalid/team/app:1", False),
        (FOR_DIGESTS, "up.invalid/team/app@DIGEST", True),
        (rule("HOST", "HOST", more="blocked = true"), "HOST/plain:1", False),
        # a longer prefix that is not blocked
        (rule("HOST/mirrored", "HOST/mirrored") + rule("HOST", "x.invalid", more="blocked = true"),
         "HOST/mirrored/team/app:1", True),
        # another rule blocks a mirror, or the location
        (rule("up.invalid", "HOST/mirrored", "m.invalid") + rule("m.invalid", "m.invalid", more="blocked = true"),
         "up.invalid/team/app:1", True),
        (rule("up.invalid", "HOST/mirrored") + rule("HOST", "HOST", more="blocked = true"),
         "up.invalid/team/app:1", False),
        # a prefix ends at a slash
        (rule("up.invalid/te", "HOST/mirrored/te"), "up.invalid/team/app:1", False),
    ],
    ids=["mirror", "falling-back", "wildcard", "by-tag", "by-digest", "blocked", "longest", "blocked-mirror",
         "blocked-location", "slash"],
)  # fmt: skip
def test_skopeo_finds_what_we_find(
    home: Path, open_registry: str, text: str, reference: str, found: bool
) -> None:
    configure(home, text.replace("HOST", open_registry))
    name = reference.replace("HOST", open_registry).replace("DIGEST", str(IMAGE.digest))
    assert both(name) == ((str(IMAGE.digest),) * 2 if found else (None, None))


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]]\nlocation='https://a.b'",
        "[[registry]]\nlocation='a.b'\ninsecure='yes'",
        "[[registry]]\nprefix='a.b'",
        "[[registry]]\nlocation='a.b'\ninsecure=true\n[[registry]]\nprefix='c.d'\nlocation='a.b'",
        "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='m.b'\npull-from-mirror='some'",
        "[[registry]]\nprefix='*.a.b/c'\nlocation='a.b'",
        "short-name-mode = 'sometimes'",
        "[aliases]\n'c' = 'f'",
        "[aliases]\n'a.b/c' = 'd.e/f'",
        "unqualified-search-registries = ['a b']",
        "x = [",
    ],
)
def test_what_we_refuse_to_read_skopeo_refuses_too(home: Path, text: str) -> None:
    """A file that one of us passes over and the other does not would be two configurations."""
    from ociworks.errors import HostsConfigError

    configure(home, text)
    done = ask("skopeo", "--insecure-policy", "inspect", f"docker://{DEAD}/x:1")
    with pytest.raises(HostsConfigError):
        HostsConfig.from_environment()
    if "pull-from-mirror" not in text or "some" in done.stderr:  # newer than Debian's
        assert "registries.conf" in done.stderr


def test_an_insecure_registry_with_an_unknown_certificate(home: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "unknown")
    with peers.docker_registry(tmp_path, tls=authority.issue("other.example")) as host:
        configure(home, f"[[registry]]\nlocation='{host}'\ninsecure=true")
        with client() as user:
            user.push(IMAGE, f"{host}/app:1")
        assert both(f"{host}/app:1") == (str(IMAGE.digest),) * 2
        configure(home, "")
        assert ask("skopeo", "--insecure-policy", "inspect", f"docker://{host}/app:1").returncode != 0


def test_short_names_mean_what_podman_pulls(home: Path, open_registry: str, stack: ExitStack) -> None:
    """An alias, one search registry, and several in the mode that refuses to guess."""
    # podman refuses long paths
    place = stack.enter_context(tempfile.TemporaryDirectory(prefix="pod"))
    storage = ["--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]

    def podman(name: str) -> subprocess.CompletedProcess[str]:
        return ask("podman", *storage, "pull", "--quiet", "--tls-verify=false", name)

    alias = f"'team/app' = '{open_registry}/mirrored/team/app'"
    configure(home, f"unqualified-search-registries = ['{open_registry}']\n[aliases]\n{alias}\n")
    for name, path in [("plain:1", "plain:1"), ("team/app:1", "mirrored/team/app:1")]:
        meant = f"{open_registry}/{path}"
        done = podman(name)
        assert done.returncode == 0, done.stderr
        assert [str(each) for each in HostsConfig.from_environment().resolve_short_name(name)] == [meant]
        names = json.loads(ask("podman", *storage, "image", "inspect", meant).stdout)[0]["RepoTags"]
        assert meant in names
    configure(
        home, f"unqualified-search-registries=['{DEAD}', '{open_registry}']\nshort-name-mode='enforcing'\n"
    )  # fmt: skip
    # Nothing of that name has been pulled: podman would remember where it came from.
    refused = podman("unseen:1")
    assert "short-name" in refused.stderr
    with pytest.raises(ShortNameError):
        HostsConfig.from_environment().resolve_short_name("unseen:1")


# Proxies


def test_through_tinyproxy(home: Path, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real proxy, which must resolve a name that is not ours to call loopback: this machine's own."""
    name, port = socket.gethostname(), guarded.rpartition(":")[2]
    try:
        local = socket.gethostbyname(name) == "127.0.0.1" and name != "localhost"
    except OSError:
        local = False
    if not local:
        pytest.skip("this machine's name does not lead to 127.0.0.1")
    registry = f"{name}:{port}"
    shutil.copytree(
        home / ".config/containers/certs.d" / guarded, home / ".config/containers/certs.d" / registry
    )
    with tinyproxy(tmp_path) as (proxy, log):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy}")
        keychain = StaticKeychain({registry: Basic("user", Secret("pass:word"))})
        with remote.Client(keychain=keychain, hosts=HostsConfig.from_environment()) as user:
            user.push(IMAGE, f"{registry}/app:1")
            assert user.image(f"{registry}/app:1").digest == IMAGE.digest
        assert f"CONNECT {registry}" in log.read_text()
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@{proxy}")
        with (
            remote.Client(keychain=keychain, hosts=HostsConfig.from_environment()) as user,
            pytest.raises(RegistryError, match=r"wants other credentials|status 401"),
        ):
            user.image(f"{registry}/app:1")


class tinyproxy:  # noqa: N801 - used like a function
    """Debian's tinyproxy with one user, and its log."""

    def __init__(self, folder: Path) -> None:
        program = peers.peer("tinyproxy")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._log = folder / "tinyproxy.log"
        configuration = folder / "tinyproxy.conf"
        configuration.write_text(
            f'Port {self._port}\nListen 127.0.0.1\nTimeout 60\nLogLevel Connect\nLogFile "{self._log}"\n'
            "MaxClients 20\nAllow 127.0.0.1\nBasicAuth me secret\n"
        )
        self._process = subprocess.Popen(
            [program, "-d", "-c", str(configuration)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> tuple[str, Path]:
        while self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    break
            os.sched_yield()
        return f"127.0.0.1:{self._port}", self._log

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
