"""Images of a node beside software that nobody here wrote: Debian's docker-registry, skopeo, umoci."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.cri.images import Images
from ociworks.errors import Unauthorized
from ociworks.image import remote
from ociworks.image.auth import Basic, StaticKeychain
from tests.cri.nodes import config_below
from tests.cri.test_images import listed, pull, status
from tests.interop.peers import docker_registry, peer, run

pytestmark = pytest.mark.interop


def test_the_login_of_a_docker_registry(place: Path) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds=4)).decode()
    htpasswd = place / "htpasswd"
    htpasswd.write_text(f"me:{hashed}\n", "utf-8")
    image = testing.random_image(2)
    with docker_registry(place, htpasswd=htpasswd) as host:
        with remote.Client(keychain=StaticKeychain({host: Basic("me", "secret")})) as client:
            client.push(image, f"{host}/team/app:1")
        with Images(config_below(place)) as images:
            for auth in ({}, {"username": "me", "password": "wrong"}):
                with pytest.raises(Unauthorized):
                    pull(images, f"{host}/team/app:1", **auth)
            found = pull(images, f"{host}/team/app:1", username="me", password="secret")
            assert found == str(image.manifest.config.digest)


def test_a_docker_registry_as_mirror(place: Path) -> None:
    image = testing.random_index()
    with docker_registry(place) as host:
        with remote.Client() as client:
            client.push(image, f"{host}/library/app:1")
        config = config_below(place, registry_mirrors={"docker.io": (f"http://{host}",)})
        with Images(config) as images:
            found = pull(images, "app:1")
            assert list(listed(images)[found].repo_tags) == ["docker.io/library/app:1"]
            assert list(listed(images)[found].repo_digests) == [f"docker.io/library/app@{image.digest}"]
            assert pull(images, f"docker.io/library/app@{image.digest}") == found


def test_others_read_and_write_the_layout(place: Path) -> None:
    """Under its full name skopeo finds what was pulled, and what it puts there is an image of the node."""
    image = testing.random_image(1)
    other = testing.random_image(1, seed=1)
    with testing.Registry() as registry, remote.Client() as client:
        for name, each in (("app:1", image), ("other:1", other)):
            client.push(each, f"{registry.host}/{name}")
        with Images(config_below(place, registry.url)) as images:
            pull(images, "registry.example/app:1")
            layout = f"oci:{place}/root/images"
            command = [peer("skopeo"), "inspect", "--raw", f"{layout}:registry.example/app:1"]
            raw = subprocess.run(command, check=True, capture_output=True).stdout
            assert json.loads(raw) == json.loads(image.raw_manifest)
            source = f"docker://{registry.host}/other:1"
            run(peer("skopeo"), "copy", "--src-tls-verify=false", source, f"{layout}:quay.io/other:2")
            told = status(images, "quay.io/other:2")
            assert told is not None
            assert told.id == str(other.manifest.config.digest)
