"""Changed images in the hands of other software: skopeo, umoci and podman read what ociworks made of an image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.image import Layer, layout, mutate, remote, validate
from ociworks.image.mutate import Changes
from ociworks.image.types import Image
from ociworks.spec.image import Config, History
from tests.image.archives import directory, file, hardlink, layer, symlink
from tests.image.mutate.trees import Tree, read_tree
from tests.interop import peers

pytestmark = pytest.mark.interop

WHEN = 1_600_000_000


def base() -> Image:
    """Three layers with all that layers do to each other."""
    img = testing.image_from_layers(
        [
            layer(directory(b"etc"), file(b"etc/motd", b"one"), file(b"secret", b"x"), directory(b"old")),
            layer(
                file(b"old/a", b"1"), symlink(b"lib", b"usr/lib"), directory(b"usr"), directory(b"usr/lib")
            ),
            layer(
                file(b".wh.secret"),
                file(b"old/.wh..wh..opq"),
                file(b"old/b", b"2"),
                file(b"etc/motd", b"two"),
                hardlink(b"motd", b"etc/motd"),
            ),
        ],
        config=Config(env=("PATH=/bin",), cmd=("true",), labels={"a": "b"}),
        platform="linux/amd64",
    )
    return mutate.config(img, Changes(history=History(created_by="CMD true")))


def changed() -> dict[str, Image]:
    img = base()
    other = testing.image_from_files({"newbase": b"1"}, platform="linux/amd64")
    app = mutate.append(img, Layer.from_files({"/srv/app": b"app"}))
    return {
        "appended": app,
        "configured": mutate.config(
            img, Changes(user="7", entrypoint=("/app",), env={"A": "b"}, volumes=["/v"])
        ),
        "annotated": mutate.annotate(img, {"org.opencontainers.image.title": "t"}),
        "rebased": mutate.rebase(app, old_base=img, new_base=other),
        "flattened": mutate.flatten(img),
        "squashed": mutate.squash(img, last=2),
        "timed": mutate.time(img, WHEN),
        "docker": mutate.media_types(img, "docker"),
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened


def skopeo(*arguments: str) -> str:
    return peers.run(peers.peer("skopeo"), "--insecure-policy", *arguments)


OCI = sorted(set(changed()) - {"docker"})


@pytest.mark.parametrize("name", OCI)
def test_skopeo_says_the_same(store: layout.Layout, name: str) -> None:
    """Digest, layers, environment, labels, user: what skopeo reads is what was written."""
    img = changed()[name]
    validate.image(img).raise_if_failed()
    store.put(img, tag="it")
    shown = json.loads(skopeo("inspect", f"oci:{store.path}:it"))
    assert shown["Digest"] == str(img.digest)
    assert shown["Layers"] == [str(each.digest) for each in img.layers]
    config = json.loads(skopeo("inspect", "--config", f"oci:{store.path}:it"))
    assert config["rootfs"]["diff_ids"] == [str(diff_id) for diff_id in img.config.rootfs.diff_ids]
    assert len(config["history"]) == len(img.config.history)
    assert img.config.config is not None
    assert tuple(config["config"].get("Env") or ()) == img.config.config.env
    assert (config["config"].get("User") or None) == img.config.config.user


@pytest.mark.parametrize("name", OCI)
def test_skopeo_converts_it(store: layout.Layout, tmp_path: Path, name: str) -> None:
    """A copy to Docker's format and back reads history and layers together, and refuses what does not fit."""
    img = changed()[name]
    store.put(img, tag="it")
    skopeo("copy", "--format", "v2s2", f"oci:{store.path}:it", f"dir:{tmp_path}/dir")
    skopeo("copy", "--format", "oci", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/back:it")
    with layout.open(tmp_path / "back") as back:
        validate.image(back.image("it")).raise_if_failed()
        assert back.image("it").config.rootfs == img.config.rootfs


def test_skopeo_reads_a_docker_image_from_a_registry(tmp_path: Path) -> None:
    """Layouts hold OCI's documents only; Docker's live in registries."""
    img = changed()["docker"]
    with testing.Registry() as registry, remote.Client() as client:
        client.push(img, f"{registry.host}/app:1")
        shown = json.loads(
            skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{registry.host}/app:1")
        )
        assert shown == json.loads(img.raw_manifest)
        target = f"docker-archive:{tmp_path}/it.tar:app:1"
        skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/app:1", target)


def unpacked_by_umoci(store: layout.Layout, img: Image, folder: Path) -> Tree:
    store.put(img, tag="it")
    command = [peers.peer("umoci"), "unpack", "--image", f"{store.path}:it", str(folder)]
    if os.geteuid() != 0:
        command.insert(2, "--rootless")
    peers.run(*command)
    return read_tree(folder / "rootfs")


def without_times(tree: Tree) -> Tree:
    return {name: (*parts[:3], *parts[4:]) for name, parts in tree.items()}


@pytest.mark.parametrize("name", ["flattened", "squashed", "timed"])
def test_umoci_unpacks_the_same_tree(store: layout.Layout, tmp_path: Path, name: str) -> None:
    before = unpacked_by_umoci(store, base(), tmp_path / "before")
    after = unpacked_by_umoci(store, changed()[name], tmp_path / "after")
    if name == "timed":
        assert {parts[3] for path, parts in after.items()} == {WHEN * 10**9}
        before, after = without_times(before), without_times(after)
    assert after == before


def test_podman_loads_and_shows_it(tmp_path: Path) -> None:
    """A squashed, configured image in podman's own store: it keeps the ID and the layers."""
    podman = peers.peer("podman")
    img = mutate.config(mutate.squash(base(), last=2), Changes(user="7"))
    with layout.open(tmp_path / "layout", create=True) as store:
        store.put(img, tag="it")
    with peers.container_storage() as storage:
        pulled = peers.run(podman, *storage, "pull", "--quiet", f"oci:{tmp_path}/layout:it").strip()
        (shown,) = json.loads(peers.run(podman, *storage, "image", "inspect", pulled))
    assert shown["Id"] == img.manifest.config.digest.encoded
    assert shown["RootFS"]["Layers"] == [str(diff_id) for diff_id in img.config.rootfs.diff_ids]
    assert shown["User"] == "7"
    assert len(shown["History"]) == len(img.config.history)


def test_skopeo_chooses_from_a_built_index(store: layout.Layout) -> None:
    images = [
        testing.random_image(1, seed=n, platform=p) for n, p in enumerate(("linux/amd64", "linux/arm64"))
    ]
    store.put(mutate.annotate(mutate.index(images), {"a": "b"}), tag="all")
    for img in images:
        architecture = img.config.architecture
        shown = json.loads(skopeo("inspect", "--override-arch", architecture, f"oci:{store.path}:all"))
        assert (shown["Architecture"], shown["Layers"]) == (architecture, [str(img.layers[0].digest)])
