"""RG-19 and RG-20 for credential helpers: which one is run, what it gets, and what its answer may be."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import AuthFileError, CredentialHelperError
from ociworks.image import remote
from ociworks.image.auth import Basic, CredentialHelper, HelperOptions, IdentityToken, Secret
from tests.image.helpers import install_helper, says

if TYPE_CHECKING:
    from pathlib import Path

from tests.security.credentials.files import HIDDEN, config, encoded


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
