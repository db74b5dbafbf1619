"""Our registry against other people's clients, and beside Debian's docker-registry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ociworks import testing
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS
from tests.image.authority import self_signed, server_context
from tests.interop import peers
from tests.testing.http import Registry, ask, manifest_of

pytestmark = pytest.mark.interop


@pytest.fixture(params=["memory", "directory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[testing.Registry]:
    directory = tmp_path / "registry" if request.param == "directory" else None
    with testing.Registry(testing.RegistryOptions(directory=directory)) as opened:
        yield opened


def skopeo(*arguments: str) -> str:
    return peers.run(peers.peer("skopeo"), "--insecure-policy", *arguments)


def test_skopeo_copies_an_index_there_and_back(registry: testing.Registry, tmp_path: Path) -> None:
    index = testing.random_index(["linux/amd64", "linux/arm64", "linux/s390x"])
    with layout.open(tmp_path / "l", create=True) as store:
        store.put(index, tag="app")
    skopeo(
        "copy",
        "--all",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/l:app",
        f"docker://{registry.host}/team/app:1",
    )
    # To a second repository by mounts, and then back to a layout.
    skopeo(
        "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{registry.host}/team/app:1", f"docker://{registry.host}/other:1",
    )  # fmt: skip
    mounts = [request for request in registry.requests if "mount=" in request.path]
    assert mounts
    skopeo(
        "copy",
        "--all",
        "--src-tls-verify=false",
        f"docker://{registry.host}/other:1",
        f"oci:{tmp_path}/back:app",
    )
    with layout.open(tmp_path / "back") as back:
        assert back.verify() == []
        assert back.index("app").raw_index == index.raw_index


def test_skopeo_syncs_a_repository(registry: testing.Registry, tmp_path: Path) -> None:
    with remote.Client(keychain=ANONYMOUS) as client:
        for tag in ("1", "2", "3"):
            client.push(testing.random_image(1, seed=len(tag)), f"{registry.host}/app:{tag}")
    skopeo(
        "sync",
        "--src-tls-verify=false",
        "--src",
        "docker",
        "--dest",
        "dir",
        f"{registry.host}/app",
        str(tmp_path / "d"),
    )
    assert sorted(os.listdir(tmp_path / "d")) == ["app:1", "app:2", "app:3"]


@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_podman_and_buildah_push_and_pull(
    registry: testing.Registry, storage: list[str], program: str
) -> None:
    """The image comes back by its digest, from storage of theirs that was emptied in between."""
    image = testing.image_from_files({"etc/motd": b"hello"})
    command = [peers.peer(program), *storage]
    with remote.Client(keychain=ANONYMOUS) as client:
        client.push(image, f"{registry.host}/app:1")
    peers.run(*command, "pull", "--tls-verify=false", f"{registry.host}/app:1")
    peers.run(
        *command,
        "push",
        "--tls-verify=false",
        f"{registry.host}/app:1",
        f"docker://{registry.host}/pushed/app:2",
    )
    peers.run(*command, "rmi", "--all", "--force")
    peers.run(*command, "pull", "--tls-verify=false", f"{registry.host}/pushed/app:2")
    with remote.Client(keychain=ANONYMOUS) as client:
        pushed = client.image(f"{registry.host}/pushed/app:2")
        assert [layer.diff_id for layer in pushed.layers] == [layer.diff_id for layer in image.layers]


def test_podman_over_https_with_a_password(tmp_path: Path, storage: list[str]) -> None:
    """A private authority in ``--cert-dir``, and ``podman login``."""
    certificate = self_signed(tmp_path, "127.0.0.1")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/ca.crt").write_bytes((tmp_path / "127.0.0.1.pem.crt").read_bytes())
    command = [peers.peer("podman"), *storage]
    options = testing.RegistryOptions(
        auth="basic", tls=server_context(certificate), directory=tmp_path / "registry"
    )
    image = testing.image_from_files({"etc/motd": b"hello"})
    with layout.open(tmp_path / "l", create=True) as store:
        store.put(image, tag="app")
    with testing.Registry(options) as registry:
        trust = ("--cert-dir", str(tmp_path / "certs"), "--authfile", str(tmp_path / "auth.json"))
        peers.run(*command, "login", *trust, "-u", "user", "-p", "password", registry.host)
        peers.run(*command, "pull", f"oci:{tmp_path}/l:app")
        identifier = peers.run(*command, "images", "-q").split()[0]
        peers.run(*command, "push", *trust, identifier, f"docker://{registry.host}/app:1")
        peers.run(*command, "rmi", "--all", "--force")
        peers.run(*command, "pull", *trust, f"{registry.host}/app:1")
        (tmp_path / "none").write_text("{}")
        refused = subprocess.run(
            [*command, "pull", "--cert-dir", str(tmp_path / "certs"), f"{registry.host}/app:1"],
            env=os.environ | {"REGISTRY_AUTH_FILE": str(tmp_path / "none")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
        assert "unauthorized" in refused.stderr.lower() or "authentication required" in refused.stderr.lower()


@pytest.fixture
def storage() -> Iterator[list[str]]:
    """The options for a storage of podman's and buildah's own."""
    with peers.container_storage() as options:
        yield list(options)


def test_the_same_answers_as_docker_registry(tmp_path: Path) -> None:
    """Status, error code, and the headers that clients read, for requests that both understand."""
    with peers.docker_registry(tmp_path) as theirs, testing.Registry() as ours:
        seen = [conversation(Peer(theirs)), conversation(ours)]
    assert seen[0] == seen[1]


class Peer(NamedTuple):
    """Where docker-registry is."""

    host: str


HEADERS = ("docker-content-digest", "range", "content-length", "content-range")


def conversation(registry: Registry) -> list[tuple[object, ...]]:
    """The facts of a fixed list of requests."""
    found: list[tuple[object, ...]] = []

    def say(method: str, target: str, body: bytes | None = None, **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = ask(registry, method, target, body, fields)
        codes = answer.codes if answer.status >= 400 and answer.body else []
        kept = {name: answer.headers.get(name) for name in HEADERS} if answer.status < 300 else {}
        if answer.headers.get("content-type", "").startswith("application/json"):
            kept["content-length"] = json.dumps(answer.json()) if not codes else None
        found.append((method, target, answer.status, codes, kept))

    raw = manifest_of(registry)
    digest = json.loads(raw)["config"]["digest"]
    kind = "application/vnd.oci.image.manifest.v1+json"
    say("GET", "/v2/")
    say("GET", "/v2/none/tags/list")
    say("HEAD", f"/v2/app/blobs/{digest}")
    say("GET", f"/v2/app/blobs/{digest}", Range="bytes=1-1")
    say("GET", f"/v2/app/blobs/sha256:{'0' * 64}")
    say("GET", "/v2/app/manifests/none")
    say("PUT", "/v2/app/manifests/1", raw, Content_Type=kind)
    say("PUT", "/v2/app/manifests/1", b"{", Content_Type=kind)
    say("GET", "/v2/app/manifests/1", Accept=kind)
    say("HEAD", "/v2/app/manifests/1", Accept=kind)
    say("GET", "/v2/app/tags/list")
    say("GET", "/v2/_catalog")
    return found
