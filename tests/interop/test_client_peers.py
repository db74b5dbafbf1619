"""The registry client against Debian's docker-registry, with skopeo on the other side, in both directions."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import NotFound
from ociworks.image import layout, mutate, remote
from ociworks.image.artifact import Blob, artifact
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from tests.image.proxy import CuttingProxy
from tests.image.registries import Sleeper
from tests.interop import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ociworks.image.progress import Progress
    from ociworks.image.types import Image
    from ociworks.spec import Digest

pytestmark = pytest.mark.interop

KIND = "application/vnd.example.sbom"


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run(
        [peers.peer("skopeo"), "--insecure-policy", *arguments], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def same_by_skopeo(image: Image, place: str, folder: Path) -> None:
    """Skopeo pulls it, and what it has pulled is the image."""
    skopeo("copy", "--src-tls-verify=false", f"docker://{place}", f"oci:{folder}:app")
    with layout.open(folder) as pulled:
        assert pulled.image("app").digest == image.digest
        assert pulled.verify() == []


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    with peers.docker_registry(tmp_path) as address:
        yield address


@pytest.fixture
def client() -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS) as opened:
        yield opened


@pytest.mark.parametrize(
    "chunk_size", [None, 64 * 1024, 10 * 1024 * 1024], ids=["whole", "chunks", "one-chunk"]
)
def test_skopeo_pulls_what_ociworks_pushed(host: str, tmp_path: Path, chunk_size: int | None) -> None:
    image = testing.random_image(layers=3, size=300_000)
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(chunk_size=chunk_size)) as client:
        client.push(image, f"{host}/app:1")
    same_by_skopeo(image, f"{host}/app:1", tmp_path / "pulled")


def test_ociworks_pulls_what_skopeo_pushed(host: str, client: remote.Client, tmp_path: Path) -> None:
    image = testing.random_image(layers=3, size=300_000)
    with layout.open(tmp_path / "here", create=True) as store:
        store.put(image, tag="app")
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/here:app", f"docker://{host}/app:1")
    with layout.open(tmp_path / "back", create=True) as back:
        assert back.put(client.image(f"{host}/app:1"), tag="app").digest == image.digest
        assert back.verify() == []


@pytest.mark.parametrize("chunk_size", [None, 500_000], ids=["whole", "chunks"])
def test_an_interrupted_push_is_whole_in_the_end(host: str, tmp_path: Path, chunk_size: int | None) -> None:
    image = testing.random_image(layers=2, size=2_000_000)
    options = ClientOptions(chunk_size=chunk_size, sleep=Sleeper())
    with (
        CuttingProxy(host, [700_000, 1_300_000, 100_000]) as proxy,
        remote.Client(keychain=ANONYMOUS, options=options) as client,
    ):
        client.push(image, f"{proxy.host}/app:1", workers=2)
        assert proxy.cuts == []
    same_by_skopeo(image, f"{host}/app:1", tmp_path / "pulled")


def test_layers_are_mounted(host: str, client: remote.Client, tmp_path: Path) -> None:
    base = testing.random_image(layers=2, size=300_000)
    client.push(base, f"{host}/base:1")
    image = mutate.append(client.image(f"{host}/base:1"), *testing.random_image(1, seed=5).layers)
    sent: set[Digest] = set()

    def note(event: Progress) -> None:
        if event.phase == "transfer":
            sent.add(event.digest)

    client.push(image, f"{host}/app:1", progress=note)
    assert sent == {image.layers[-1].digest, image.manifest.config.digest}
    same_by_skopeo(image, f"{host}/app:1", tmp_path / "pulled")


def test_tags_and_deletes(host: str, client: remote.Client) -> None:
    """This registry sends all tags at once and unsorted; skopeo's pages and ours must still agree."""
    image = testing.random_image(layers=1)
    where = f"{host}/app"
    client.push(image, f"{where}:0")
    for number in range(1, 7):
        client.tag(f"{where}:0", str(number))
    theirs = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{where}"))
    assert sorted(client.tags(where, page_size=3)) == sorted(client.tags(where)) == sorted(theirs["Tags"])
    assert sorted(theirs["Tags"]) == [str(number) for number in range(7)]
    client.delete(f"{where}@{image.digest}")
    assert not client.exists(f"{where}:3")
    client.delete_blob(where, image.layers[0].digest)
    assert not client.has_blob(where, image.layers[0].descriptor)
    with pytest.raises(NotFound):
        client.delete(f"{where}@{image.digest}")


def test_skopeo_reads_the_pages_that_ociworks_reads(client: remote.Client) -> None:
    image = testing.random_image(layers=1)
    with testing.Registry() as registry:
        where = f"{registry.host}/app"
        client.push(image, f"{where}:0")
        for number in range(1, 250):
            client.tag(f"{where}:0", str(number))
        theirs = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{where}"))
        assert list(client.tags(where, page_size=100)) == theirs["Tags"]


def test_parts_of_a_blob(host: str, client: remote.Client) -> None:
    image = testing.random_image(layers=1, size=300_000, compression="none")
    client.push(image, f"{host}/app:1")
    with image.layers[0].open() as stream:
        content = stream.read()
    with client.random_access(f"{host}/app", image.layers[0].descriptor) as file:
        file.seek(200_000)
        assert file.read(1000) == content[200_000:201_000]


def test_referrers_by_the_tag_schema(host: str, client: remote.Client, tmp_path: Path) -> None:
    """This registry keeps no list of referrers: the tag is kept by whoever pushes and deletes."""
    image = testing.random_image(layers=1)
    where = f"{host}/app"
    client.push(image, f"{where}:1")
    assert client.referrers(f"{where}:1") == ()
    made = [artifact(KIND, [Blob.of(b"%d" % number)], subject=image.descriptor) for number in range(3)]
    for each in made:
        client.push(each, f"{where}@{each.digest}")
    listed = client.referrers(f"{where}:1", KIND)
    assert {entry.digest for entry in listed} == {each.digest for each in made}
    for entry in listed:
        found = client.referrer(f"{where}:1", entry)
        with layout.open(tmp_path / "l", create=True) as store:
            store.put(found)
            assert store.verify() == []
    client.delete(f"{where}@{made[0].digest}")
    assert {entry.digest for entry in client.referrers(f"{where}:1")} == {each.digest for each in made[1:]}


def test_an_artifact_travels_by_skopeo(host: str, client: remote.Client, tmp_path: Path) -> None:
    made = artifact(KIND, [Blob.of(b"content", KIND)], annotations={"by": "ociworks"})
    client.push(made, f"{host}/sbom:1")
    same_by_skopeo(made, f"{host}/sbom:1", tmp_path / "pulled")
