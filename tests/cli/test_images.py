"""The commands about images, each against a real registry in this process, layouts and archives."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import api
from ociworks.image.copy import ALL
from ociworks.image.store import Snapshots
from ociworks.testing import Registry, RegistryOptions, random_image, random_index
from tests.cli.places import Command, command_in, example, lay_out


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as made:
        yield made


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    return command_in(tmp_path / "store", capfd)


def test_copy_pull_push(cli: Command, registry: Registry, tmp_path: Path) -> None:
    """One image from a layout to a registry, to the store, to another name and to an archive: the same digest."""
    digest = f"{example().digest}\n"
    assert cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1") == digest
    assert cli("pull", "-q", f"{registry.host}/app:1") == f"{registry.host}/app@{digest}"
    assert cli("push", "-q", f"{registry.host}/app:1", f"{registry.host}/other:2") == digest
    assert cli("push", "-q", f"{registry.host}/app:1") == digest
    copied = json.loads(
        cli("copy", "-q", "--json", f"{registry.host}/other:2", f"oci-archive:{tmp_path}/a.tar:x")
    )
    assert copied["digest"] == digest.strip()
    assert copied["referrers"] == []


def test_pull_as_this_host_is_configured(
    cli: Command, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command goes where registries.conf leads, as every other one does."""
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nprefix = "hub.invalid"\nlocation = "{registry.host}"\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1")
    assert cli("pull", "-q", "hub.invalid/app:1") == f"hub.invalid/app@{example().digest}\n"


def test_copy_platforms(cli: Command, registry: Registry, tmp_path: Path) -> None:
    """All platforms, one, or several; and no others."""
    index = random_index()
    first, second = (str(entry.platform) for entry in index.index.manifests)
    api.copy(index, f"{registry.host}/app:all", platforms=ALL)
    where = f"{registry.host}/app:all"
    assert cli("copy", "-q", "--all", where, f"oci:{tmp_path}/l:all") == f"{index.digest}\n"
    one = cli("copy", "-q", "--platform", second, where, f"oci:{tmp_path}/l:one").strip()
    assert one == str(index.index.manifests[1].digest)
    several = cli(
        "copy", "-q", "--platform", first, "--platform", second, where, f"oci:{tmp_path}/l:two"
    ).strip()
    assert len(cli("inspect", "--index", f"oci:{tmp_path}/l@{several}").splitlines()) == 2
    cli("copy", "-q", "--platform", "plan9/mips", where, f"oci:{tmp_path}/l:no", status=3)


def test_copy_converts(cli: Command, tmp_path: Path) -> None:
    """Docker's media types when they are asked for."""
    cli("copy", "-q", "--format", "docker", lay_out(tmp_path), f"oci:{tmp_path}/d:x")
    assert json.loads(cli("inspect", "--raw", f"oci:{tmp_path}/d:x"))["mediaType"] == (
        "application/vnd.docker.distribution.manifest.v2+json"
    )


def test_inspect(cli: Command, tmp_path: Path) -> None:
    """For people, harmless to their terminal; for programs; and the exact bytes."""
    image, where = example(), lay_out(tmp_path)
    shown = cli("inspect", where)
    assert str(image.digest) in shown
    assert "label       note=y\\x1b[2J" in shown
    assert "\x1b" not in shown
    facts = json.loads(cli("inspect", "--json", where))
    assert facts["digest"] == str(image.digest)
    assert [layer["digest"] for layer in facts["layers"]] == [str(layer.digest) for layer in image.layers]
    assert facts["config"] == json.loads(image.raw_config)
    assert cli("inspect", "--raw", where).encode() == image.raw_manifest
    assert cli("inspect", "--config", where).encode() == image.raw_config
    assert str(image.digest) in cli("inspect", "--index", where)


def test_inspect_an_artifact(cli: Command, registry: Registry) -> None:
    """What has no image configuration is shown by its artifact type."""
    from ociworks.image import artifact, remote

    made = artifact.artifact("application/vnd.example.notes", [])
    with remote.Client() as client:
        client.push(made, f"{registry.host}/notes:1")
    assert "artifact    application/vnd.example.notes" in cli("inspect", f"{registry.host}/notes:1")
    assert json.loads(cli("inspect", "--json", f"{registry.host}/notes:1"))["artifactType"] == (
        "application/vnd.example.notes"
    )


def test_digest(cli: Command, registry: Registry) -> None:
    """A registry is asked by HEAD alone; a platform's digest is another one."""
    index = random_index()
    api.copy(index, f"{registry.host}/app:1", platforms=ALL)
    before = len(registry.requests)
    assert cli("digest", f"{registry.host}/app:1") == f"{index.digest}\n"
    assert [request.method for request in registry.requests[before:]] == ["HEAD"]
    entry = index.index.manifests[1]
    assert cli("digest", "--platform", str(entry.platform), f"{registry.host}/app:1") == f"{entry.digest}\n"


def test_ls_and_cat(cli: Command, tmp_path: Path) -> None:
    """Files as a container would see them: whiteouts honoured, links followed inside the image."""
    where = lay_out(tmp_path)
    assert cli("ls", where).splitlines() == ["bin", "etc", "lib", "usr"]
    assert cli("ls", "-R", where).splitlines()[:2] == ["/bin", "/bin/sh"]
    assert "-rwsr-xr-x     0     0          2 1970-01-01 00:00 sh" in cli("ls", "-l", where, "/bin")
    assert "lib -> usr/lib" in cli("ls", "-l", where)
    assert json.loads(cli("ls", "--json", where, "/lib/a")) == {
        "path": "/lib/a", "type": "file", "mode": "0644", "uid": 0, "gid": 0, "size": 3, "mtime": 0.0,
    }  # fmt: skip
    assert cli("cat", where, "/etc/os-release", "lib/a") == "ID=x\naaa"
    cli("cat", where, "/old", status=3)
    cli("ls", where, "/nothing", status=3)
    cli("cat", where, "/etc", status=1)


def test_export(cli: Command, tmp_path: Path) -> None:
    """One archive of what is there in the end, to a file or to standard output."""
    where = lay_out(tmp_path)
    cli("export", where, "-o", str(tmp_path / "x.tar"))
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert sorted(archive.getnames()) == [
            "bin", "bin/sh", "etc", "etc/os-release", "lib", "usr", "usr/lib", "usr/lib/a",
        ]  # fmt: skip
    command = [sys.executable, "-m", "ociworks", "export", where]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "bin/sh" in archive.getnames()


def test_a_closed_pipe_is_no_failure(tmp_path: Path) -> None:
    """Whoever reads our output may stop, as ``head`` does: no message."""
    reader = [sys.executable, "-c", "import sys; sys.stdin.read(1)"]
    writer = [sys.executable, "-m", "ociworks", "export", lay_out(tmp_path)]
    with (
        subprocess.Popen(reader, stdin=subprocess.PIPE) as head,
        subprocess.Popen(writer, stdout=head.stdin, stderr=subprocess.PIPE) as command,
    ):
        assert head.stdin is not None
        head.stdin.close()
        _, errors = command.communicate()
    assert errors == b""
    assert command.returncode in {0, 141}


def test_tags_and_referrers_and_delete(cli: Command, registry: Registry, tmp_path: Path) -> None:
    """What a repository has, what is attached, and what is left after deleting."""
    from ociworks.image import artifact, remote

    for tag in ("1", "2"):
        cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:{tag}")
    assert cli("tags", f"{registry.host}/app") == "1\n2\n"
    assert json.loads(cli("tags", "--json", f"{registry.host}/app")) == ["1", "2"]
    note = artifact.artifact("application/vnd.example.notes", [], subject=example().descriptor)
    with remote.Client() as client:
        client.push(note, f"{registry.host}/app@{note.digest}")
    assert cli("referrers", f"{registry.host}/app:1").split()[0] == str(note.digest)
    listed = json.loads(cli("referrers", "--json", f"{registry.host}/app:1"))
    assert listed[0]["artifactType"] == "application/vnd.example.notes"
    assert cli("referrers", "--artifact-type", "application/other", f"{registry.host}/app:1") == ""
    done = json.loads(
        cli("copy", "-q", "--json", "--referrers", f"{registry.host}/app:1", f"{registry.host}/b:1")
    )
    assert [entry["digest"] for entry in done["referrers"]] == [str(note.digest)]
    cli("delete", f"{registry.host}/app:2")
    assert cli("tags", f"{registry.host}/app") == "1\n"
    cli("tags", f"{registry.host}/none", status=3)


def test_delete_and_gc_in_the_store(cli: Command, registry: Registry, tmp_path: Path) -> None:
    """An image goes with its last name; its blobs go when they are collected."""
    cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1")
    cli("pull", "-q", f"{registry.host}/app:1")
    cli("copy", "-q", f"store:{registry.host}/app:1", f"store:{registry.host}/app:2")
    cli("delete", f"store:{registry.host}/app:1")
    assert json.loads(cli("gc", "--json"))["removed"] == []
    cli("delete", f"store:{registry.host}/app:2")
    assert cli("gc", "--dry-run").startswith("would remove 4 blobs")
    assert len(json.loads(cli("gc", "--json"))["removed"]) == 4
    with Snapshots(tmp_path / "store-snapshots") as snapshots:
        snapshots.prepare(random_image(layers=2)).close()
    assert "\nwould remove 2 unpacked layers, " in cli("gc", "-n")
    assert len(json.loads(cli("gc", "--json"))["layers"]) == 2
    cli("delete", f"store:{registry.host}/app:2", status=3)
    cli("delete", f"oci-archive:{tmp_path}/a.tar", status=1)


def test_login_and_logout(cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry confirms the password, which is read from standard input; afterwards commands use it."""
    auth = str(tmp_path / "auth.json")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", auth)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with Registry(RegistryOptions(auth="basic", username="ann", password="secret")) as registry:

        def login(password: str, status: int) -> None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(password.encode())))
            cli("login", "-u", "ann", "--password-stdin", "--authfile", auth, registry.host, status=status)

        login("wrong\n", 4)
        cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1", status=4)
        login("secret\n", 0)
        cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1")
        assert cli("logout", registry.host) == f"removed from {auth}\n"
        cli("logout", "--authfile", auth, registry.host, status=3)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str, cli: Command) -> None:
    """Every command is in the script."""
    script = cli("completion", shell)
    assert "referrers" in script
    if shell == "bash":
        done = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
        assert done.returncode == 0
