"""The images of a node: pulled, named, listed, removed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.cri.images import Images
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    ConfigError,
    DeadlinePassed,
    ImageNotFound,
    InvalidReference,
    InvalidRequest,
    NotFound,
    RegistryUnavailable,
    SignatureValidationFailed,
    Unauthorized,
)
from ociworks.image import Image, layout, remote, sign
from ociworks.image.store import Snapshots
from ociworks.spec import FrozenDict
from ociworks.spec.image import Config
from ociworks.testing import RegistryOptions, image_from_files, random_image
from tests.cri.nodes import config_below

NAME = "registry.example/app"
POD = api.PodSandboxConfig()


@pytest.fixture
def source() -> Iterator[testing.Registry]:
    """A registry of this test's own, the mirror of registry.example."""
    with testing.Registry() as registry:
        yield registry


def pushed(registry: testing.Registry, image: Any, name: str = "app:1", **options: Any) -> None:
    with remote.Client(**options) as client:
        client.push(image, f"{registry.host}/{name}")


def opened(place: Path, registry: testing.Registry, **settings: Any) -> Images:
    return Images(config_below(place, registry.url, **settings))


def pull(images: Images, name: str = f"{NAME}:1", **auth: str) -> str:
    return images.pull(api.ImageSpec(image=name), api.AuthConfig(**auth), POD)


def status(images: Images, name: str) -> api.Image | None:
    answer = images.status(api.ImageSpec(image=name))
    return answer.image if answer.HasField("image") else None


def listed(images: Images, name: str = "") -> dict[str, api.Image]:
    found = images.list(api.ImageFilter(image=api.ImageSpec(image=name)))
    return {image.id: image for image in found}


def remove(images: Images, name: str) -> None:
    images.remove(api.ImageSpec(image=name))


def test_an_image_is_its_configuration_everywhere(place: Path, source: testing.Registry) -> None:
    image = random_image(2)
    pushed(source, image)
    with opened(place, source) as images:
        found = pull(images)
        assert found == str(image.manifest.config.digest)
        told = listed(images)[found]
        assert list(told.repo_tags) == [f"{NAME}:1"]
        assert list(told.repo_digests) == [f"{NAME}@{image.digest}"]
        assert told.size == len(image.raw_manifest) + len(image.raw_config) + sum(
            layer.size for layer in image.layers
        )
        assert not told.pinned
        for name in (f"{NAME}:1", f"{NAME}@{image.digest}", f"{NAME}:9@{image.digest}", found, found[7:]):
            assert status(images, name) == told, name
            assert list(listed(images, name)) == [found]
        assert images.get(found[7:20]).id == found
        assert status(images, "registry.example/other:1") is None
        assert status(images, "No Name") is None
        assert listed(images, "registry.example/other") == {}
        with pytest.raises(ImageNotFound):
            images.get(f"{NAME}:2")


def test_a_restart_finds_everything(place: Path, source: testing.Registry) -> None:
    pushed(source, random_image(2))
    with opened(place, source) as images:
        pull(images)
        before = listed(images)
    with opened(place, source) as images:
        assert listed(images) == before


def test_a_moved_tag_leaves_the_old_image_its_digest(place: Path, source: testing.Registry) -> None:
    old, new = random_image(1, seed=1), random_image(1, seed=2)
    pushed(source, old)
    with opened(place, source) as images:
        first = pull(images)
        pushed(source, new)
        second = pull(images)
        assert first != second
        assert list(listed(images)[first].repo_tags) == []
        assert list(listed(images)[first].repo_digests) == [f"{NAME}@{old.digest}"]
        assert list(listed(images)[second].repo_tags) == [f"{NAME}:1"]


def test_pulls_by_digest_keep_the_digest_alone(place: Path, source: testing.Registry) -> None:
    index = testing.random_index()
    pushed(source, index)
    with opened(place, source) as images:
        for name in (f"{NAME}@{index.digest}", f"{NAME}:1@{index.digest}"):
            found = pull(images, name)
            assert found == str(index.image().manifest.config.digest)
            assert list(listed(images)[found].repo_tags) == []
            assert list(listed(images)[found].repo_digests) == [f"{NAME}@{index.digest}"]
        pull(images)
        assert list(listed(images)[found].repo_tags) == [f"{NAME}:1"]


@pytest.mark.parametrize(
    ("user", "uid", "username"),
    [
        ("", None, ""),
        ("1002", 1002, ""),
        ("1002:users", 1002, ""),
        ("0", 0, ""),
        ("www-data", None, "www-data"),
        ("www-data:100", None, "www-data"),
        ("4294967296", None, "4294967296"),
        ("+0", None, "+0"),
    ],
)
def test_the_user_of_an_image(
    place: Path, source: testing.Registry, user: str, uid: int | None, username: str
) -> None:
    pushed(source, image_from_files({"a": b""}, config=Config(user=user)))
    with opened(place, source) as images:
        told = status(images, pull(images))
        assert told is not None
        assert (told.uid.value if told.HasField("uid") else None) == uid
        assert told.username == username


def test_removal_takes_every_name_and_leaves_nothing(place: Path, source: testing.Registry) -> None:
    image = random_image(2)
    for tag in ("app:1", "app:2", "other:1"):
        pushed(source, image, tag)
    with opened(place, source) as images:
        found = pull(images)
        pull(images, f"{NAME}:2")
        pull(images, "registry.example/other:1")
        assert len(listed(images)[found].repo_tags) == 3
        with pytest.raises(InvalidRequest, match="whole ID"):
            remove(images, found[7:20])
        remove(images, f"{NAME}:2")
        remove(images, f"{NAME}:2")
        remove(images, found)
        assert listed(images) == {}
        assert left_over(place) == []


def left_over(place: Path) -> list[str]:
    """Blobs and layers."""
    with layout.open(place / "root/images") as images:
        blobs = [str(digest) for digest in images.blobs()]
    with Snapshots(place / "root/snapshots") as snapshots:
        return blobs + [str(digest) for digest in snapshots.chain_ids()]


def test_layers_that_another_image_has_stay(place: Path, source: testing.Registry) -> None:
    base = testing.image_from_layers([{"a": b"1"}, {"b": b"2"}])
    more = testing.image_from_layers([{"a": b"1"}, {"b": b"2"}, {"c": b"3"}])
    pushed(source, base)
    pushed(source, more, "app:more")
    with opened(place, source) as images:
        pull(images)
        pull(images, f"{NAME}:more")
        remove(images, f"{NAME}:more")
        with Snapshots(place / "root/snapshots") as snapshots:
            assert set(snapshots.chain_ids()) == set(base.config.rootfs.chain_ids())


def test_a_verbose_status_has_the_configuration(place: Path, source: testing.Registry) -> None:
    image = random_image(1)
    pushed(source, image)
    with opened(place, source) as images:
        answer = images.status(api.ImageSpec(image=pull(images)), verbose=True)
        info = json.loads(answer.info["info"])
        assert info["imageSpec"] == json.loads(image.raw_config)
        assert info["chainID"] == str(image.config.rootfs.chain_ids()[-1])


def test_pinned_images(place: Path, source: testing.Registry) -> None:
    pushed(source, random_image(1))
    with opened(place, source, pinned_images=(f"{NAME}:1",)) as images:
        found = pull(images)
        assert listed(images)[found].pinned


def test_several_who_ask_get_one_pull(place: Path, source: testing.Registry) -> None:
    image = random_image(3, size=1 << 20)
    pushed(source, image)
    found: list[str] = []
    with opened(place, source) as images:
        threads = [threading.Thread(target=lambda: found.append(pull(images))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [str(image.manifest.config.digest)] * 8
    blobs = [
        each.path
        for each in source.requests
        if each.method == "GET" and str(image.layers[0].digest) in each.path
    ]
    assert len(blobs) == 1


# --- credentials


@pytest.fixture(params=["basic", "bearer"])
def locked(request: pytest.FixtureRequest) -> Iterator[testing.Registry]:
    """A registry that wants a login, and has an image."""
    with testing.Registry(RegistryOptions(auth=request.param, username="me", password="secret")) as registry:
        from ociworks.image.auth import Basic, StaticKeychain

        pushed(registry, random_image(1), keychain=StaticKeychain({registry.host: Basic("me", "secret")}))
        yield registry


def test_the_login_of_the_request(place: Path, locked: testing.Registry) -> None:
    name = f"{locked.host}/app:1"
    with opened(place, locked) as images:
        for auth in ({}, {"username": "me", "password": "wrong"}):
            with pytest.raises(Unauthorized):
                pull(images, name, **auth)
        assert listed(images) == {}
        text = base64.b64encode(b"me:secret").decode()
        for auth in (
            {"username": "me", "password": "secret"},
            {"auth": text},
            {"auth": text, "server_address": f"http://{locked.host}/v2/"},
        ):
            assert pull(images, name, **auth)


@pytest.mark.parametrize(
    "auth", [{"auth": "?"}, {"auth": "bWU="}, {"username": "a:b"}, {"registry_token": "a b"}]
)
def test_a_login_that_is_none(place: Path, source: testing.Registry, auth: dict[str, str]) -> None:
    with opened(place, source) as images, pytest.raises(InvalidRequest, match="auth"):
        pull(images, **auth)


def test_a_login_goes_to_its_registry_alone(place: Path, locked: testing.Registry) -> None:
    """Neither a mirror nor another server than the one it names gets it (ATTACKS RG-13)."""
    good = {"username": "me", "password": "secret"}
    with opened(place, locked) as images:
        with pytest.raises(Unauthorized):
            pull(images, f"{locked.host}/app:1", server_address="registry.example", **good)
        with pytest.raises((Unauthorized, RegistryUnavailable)):
            pull(images, f"{NAME}:1", **good)  # the mirror of registry.example is not registry.example
        assert pull(images, f"{NAME}:1", server_address=locked.host, **good)


def test_a_token_for_the_registry_is_sent_as_it_is(place: Path) -> None:
    with testing.Registry(RegistryOptions(auth="bearer")) as registry:
        with opened(place, registry) as images, pytest.raises(Unauthorized):
            pull(images, f"{registry.host}/app:1", registry_token="abc.def")
        sent = {each.header("authorization") for each in registry.requests}
        assert "Bearer abc.def" in sent
        assert not any("token" in each.path for each in registry.requests)


def test_the_file_of_logins_when_the_request_has_none(place: Path, locked: testing.Registry) -> None:
    text = base64.b64encode(b"me:secret").decode()
    file = place / "auth.json"
    with open(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as stream:
        json.dump({"auths": {locked.host: {"auth": text}}}, stream)
    with opened(place, locked, registry_auth_file=str(file)) as images:
        assert pull(images, f"{NAME}:1")  # by the mirror, whose login it is


# --- what goes wrong


def test_errors_have_types(place: Path, source: testing.Registry) -> None:
    with opened(place, source) as images:
        with pytest.raises(InvalidReference):
            pull(images, "Not A Name")
        with pytest.raises(NotFound):
            pull(images, f"{source.host}/app:none")
        with pytest.raises(RegistryUnavailable, match=r"\ARegistryUnavailable: "):
            pull(images, "127.0.0.1:1/app:1")


def test_what_a_policy_refuses_does_not_arrive(place: Path, source: testing.Registry) -> None:
    image = random_image(1)
    pushed(source, image)
    file = place / "policy.json"
    file.write_text('{"default": [{"type": "reject"}]}', "utf-8")
    with opened(place, source, image_policy=str(file)) as images:
        with pytest.raises(SignatureValidationFailed, match=r"\ASignatureValidationFailed: "):
            pull(images)
        assert listed(images) == {}
    assert left_over(place) == []
    assert not any(
        str(image.layers[0].digest) in each.path for each in source.requests if each.method == "GET"
    )


def test_what_a_policy_accepts_arrives_and_nothing_else(place: Path, source: testing.Registry) -> None:
    """A tag that moves to something unsigned changes nothing here."""
    good, bad = random_image(1, seed=1), random_image(1, seed=2)
    name = f"{source.host}/app:1"
    key = sign.PrivateKey.generate()
    pushed(source, good)
    with remote.Client() as client:
        sign.sign(client, name, key)
    signed = {"type": "sigstoreSigned", "keyData": base64.b64encode(key.public.to_pem()).decode()}
    file = place / "policy.json"
    file.write_text(
        json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {source.host: [signed]}}})
    )
    with opened(place, source, image_policy=str(file)) as images:
        found = pull(images, name)
        assert found == str(good.manifest.config.digest)
        pushed(source, bad)
        with pytest.raises(SignatureValidationFailed):
            pull(images, name)
        assert list(listed(images)) == [found]
        assert list(listed(images)[found].repo_tags) == [name]


def test_hosts_toml_of_a_registry(place: Path, source: testing.Registry) -> None:
    pushed(source, random_image(1))
    folder = place / "hosts/quay.io"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'[host."{source.url}"]\n', "utf-8")
    with opened(place, source, registry_config_dirs=(str(place / "hosts"),)) as images:
        found = pull(images, "quay.io/app:1")
        assert list(listed(images)[found].repo_tags) == ["quay.io/app:1"]


@pytest.mark.parametrize(
    "mirrors",
    [{"registry.example": ("ftp://a",)}, {"not a host": ("http://a",)}, {"a.example": ("http://a/?x",)}],
)
def test_mirrors_that_are_none(
    place: Path, source: testing.Registry, mirrors: dict[str, tuple[str, ...]]
) -> None:
    with (
        opened(place, source, registry_mirrors=mirrors) as images,
        pytest.raises(ConfigError, match="mirrors"),
    ):
        pull(images)


def alike() -> tuple[Image, Image]:
    """Two images whose IDs begin with the same four digits."""
    seen: dict[str, Image] = {}
    for number in itertools.count():
        image = image_from_files({"a": str(number).encode()})
        other = seen.setdefault(image.manifest.config.digest.encoded[:4], image)
        if other is not image:
            return image, other
    raise AssertionError


def test_cr_08_ids_of_images(place: Path, source: testing.Registry) -> None:
    """Other algorithms and cases are no IDs; what several begin with is an error, and nothing goes by a beginning."""
    with opened(place, source) as images:
        for number, image in enumerate(alike()):
            pushed(source, image, f"app:{number}")
            found = pull(images, f"{NAME}:{number}")
        for name in (
            f"sha512:{'0' * 128}",
            f"sha256:{found[7:].upper()}",
            f"md5:{found[7:39]}",
            f"{found} ",
            found[7:10],
        ):
            assert status(images, name) is None, name
            remove(images, name)
        assert status(images, found[7:40]) is not None
        for call in (status, remove, listed):
            with pytest.raises(InvalidRequest, match="2 image IDs begin"):
                call(images, found[7:11])
        with pytest.raises(InvalidRequest, match="whole ID"):
            remove(images, found[7:40])
        assert len(listed(images)) == 2


def test_cr_08_a_name_that_begins_an_id_removes_nothing_else(place: Path, source: testing.Registry) -> None:
    """The name of an image that is not here (any more) is not taken for another one's ID."""
    with opened(place, source) as images:
        pushed(source, random_image(1), "app:1")
        found = pull(images)
        with pytest.raises(InvalidRequest, match="whole ID"):
            remove(images, found[7:13])
        remove(images, f"{found[7:13]}:latest")
        assert list(listed(images)) == [found]


def test_a_layer_that_is_another_than_promised_gives_no_image(place: Path, source: testing.Registry) -> None:
    image = testing.image_from_layers([b"no archive at all" * 100])
    pushed(source, image)
    with opened(place, source) as images:
        with pytest.raises(Exception, match="."):
            pull(images)
        assert listed(images) == {}
    with opened(place, source) as images:
        assert listed(images) == {}
    assert left_over(place) == []


def test_a_damaged_image_is_none_until_it_is_pulled_again(
    place: Path, source: testing.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    image = random_image(1)
    pushed(source, image)
    with opened(place, source) as images:
        found = pull(images)
    blob = place / "root/images/blobs/sha256" / image.manifest.config.digest.encoded
    blob.unlink()
    with opened(place, source) as images:
        assert status(images, found) is None
        assert list(images.damaged()) == [image.digest]
        assert list(images.trouble()) == [str(image.digest)]
        assert "is damaged" in caplog.text
        assert pull(images) == found
        assert status(images, found) is not None
        assert images.damaged() == FrozenDict()


def test_a_layout_of_the_application(place: Path, source: testing.Registry) -> None:
    """Its images are found by the names that it gave them; those of this node come beside."""
    own = random_image(1, seed=5)
    pushed(source, random_image(1))
    with layout.open(place / "mine", create=True) as store:
        store.put(own, "mine:1")
        with Images(config_below(place, source.url), store) as images:
            told = status(images, "mine:1")
            assert told is not None
            assert list(told.repo_tags) == ["docker.io/library/mine:1"]
            pull(images)
            assert len(listed(images)) == 2
            remove(images, "mine:1")
            assert len(listed(images)) == 1
        assert len(store.tags()) == 2


def test_a_pull_that_brings_nothing_ends(place: Path, source: testing.Registry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/app:1"
        with opened(place, source, image_pull_timeout=1) as images:
            with pytest.raises((DeadlinePassed, RegistryUnavailable)):
                pull(images, name)
            assert listed(images) == {}


def test_fs_info_counts_layers(place: Path, source: testing.Registry) -> None:
    pushed(source, random_image(2, size=1 << 20))
    with opened(place, source) as images:
        pull(images)
        answer = images.fs_info()
        assert answer.image_filesystems[0].fs_id.mountpoint == str(place / "root/snapshots")
        assert answer.image_filesystems[0].used_bytes.value > 2 << 20
        assert answer.image_filesystems[0].inodes_used.value >= 4
        assert answer.container_filesystems[0].fs_id.mountpoint == str(place / "root/snapshots")
        assert answer.image_filesystems[0].timestamp == answer.container_filesystems[0].timestamp > 0
