"""Mirrors in the client: who is asked, in which order, with whose credentials, and what happens when one fails."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import DigestMismatch, NotFound, RegistryBlocked, RegistryUnreachable
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS, Basic, Secret, StaticKeychain
from ociworks.image.hosts import HostsConfig, Mirror, Place, RegistriesConf, Rule
from ociworks.image.remote import ClientOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ociworks.image.auth import Keychain
    from ociworks.image.types import Image

DEAD = "127.0.0.1:1"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def registry(stack: ExitStack, auth: str = "none") -> testing.Registry:
    options = testing.RegistryOptions(auth="bearer" if auth == "bearer" else "none")
    return stack.enter_context(testing.Registry(options))


def mirrored(upstream: str, *mirrors: str, pull: str = "all") -> HostsConfig:
    """``upstream.example/…`` is kept at ``upstream``, and below ``copy/`` at the mirrors."""
    rule = Rule(
        prefix=Place("upstream.example"),
        location=Place(upstream),
        mirrors=tuple(
            Mirror(location=Place(each, "copy"), pull="digest-only" if pull == "digest-only" else "all")
            for each in mirrors
        ),
    )
    return HostsConfig(registries=RegistriesConf(rules=(rule,)))


def client(
    stack: ExitStack, hosts: HostsConfig | None = None, keychain: Keychain = ANONYMOUS, *, trusted: str = ""
) -> remote.Client:
    options = ClientOptions(sleep=lambda _: None, trusted=[trusted] if trusted else [])
    return stack.enter_context(remote.Client(keychain=keychain, hosts=hosts, options=options))


def filled(stack: ExitStack, host: str, name: str, seed: int = 1) -> Image:
    image = testing.random_image(2, seed=seed)
    client(stack, keychain=StaticKeychain({host: Basic("user", Secret("password"))})).push(
        image, f"{host}/{name}"
    )
    return image


def paths(seen: testing.Registry, since: int = 0) -> list[str]:
    return [request.path for request in seen.requests[since:]]


def stored(tmp_path: Path, image: Image) -> None:
    with layout.open(tmp_path / "l", create=True) as store:
        store.put(image, tag="x")
        assert store.verify() == []


def test_a_mirror_that_has_it_is_enough(stack: ExitStack, tmp_path: Path) -> None:
    mirror = registry(stack)
    image = filled(stack, mirror.host, "copy/team/app:1")
    puller = client(stack, mirrored(DEAD, mirror.host))
    found = puller.image("upstream.example/team/app:1")
    assert found.digest == image.digest
    stored(tmp_path, found)
    assert puller.resolve("upstream.example/team/app:1").digest == image.digest
    with puller.open_blob("upstream.example/team/app", image.layers[0].descriptor) as stream:
        assert len(stream.read()) == image.layers[0].size
    assert all("/v2/copy/team/app/" in path for path in paths(mirror))


def test_the_next_is_asked_when_one_is_missing_or_does_not_have_it(stack: ExitStack, tmp_path: Path) -> None:
    empty, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    found = client(stack, mirrored(upstream.host, DEAD, empty.host)).image("upstream.example/app:1")
    assert found.digest == image.digest
    stored(tmp_path, found)
    assert paths(empty) == ["/v2/copy/app/manifests/1"]


def test_what_a_mirror_lacks_comes_from_the_next(stack: ExitStack, tmp_path: Path) -> None:
    mirror, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    filled(stack, mirror.host, "copy/app:1")
    since = len(upstream.requests)
    mirror.inject(testing.Fault(path=str(image.layers[1].digest), status=404, times=-1))
    stored(tmp_path, client(stack, mirrored(upstream.host, mirror.host)).image("upstream.example/app:1"))
    assert paths(upstream, since) == [f"/v2/app/blobs/{image.layers[1].digest}"]


def test_a_mirror_cannot_change_what_a_digest_means(stack: ExitStack) -> None:
    """It has something else under the tag; by digest that is found out, and the registry itself is asked."""
    mirror, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    other = filled(stack, mirror.host, "copy/app:1", seed=2)
    lie = testing.Fault(path="/manifests/", status=200, body=other.raw_manifest, times=-1,
                        headers=(("Content-Type", str(other.descriptor.media_type)),))  # fmt: skip
    mirror.inject(lie)
    puller = client(stack, mirrored(upstream.host, mirror.host))
    assert puller.image(f"upstream.example/app@{image.digest}").digest == image.digest
    alone = client(stack, mirrored(DEAD, mirror.host))
    with pytest.raises(RegistryUnreachable) as caught:
        alone.image(f"upstream.example/app@{image.digest}")
    (note,) = caught.value.__notes__
    assert note.startswith(f"mirror {mirror.host}/copy/app: ")
    assert str(image.digest) in note
    with pytest.raises(DigestMismatch):
        client(stack, mirrored(mirror.host)).image(f"upstream.example/app@{image.digest}")


def test_the_last_error_is_the_registrys_own(stack: ExitStack) -> None:
    mirror, upstream = registry(stack), registry(stack)
    with pytest.raises(NotFound) as caught:
        client(stack, mirrored(upstream.host, mirror.host, DEAD)).image("upstream.example/app:1")
    assert upstream.host in str(caught.value)
    assert [note.partition(": ")[0] for note in caught.value.__notes__] == [
        f"mirror {mirror.host}/copy/app", f"mirror {DEAD}/copy/app",
    ]  # fmt: skip


def test_nobody_waits_for_a_mirror(stack: ExitStack) -> None:
    """What fails for a moment is asked of the next place at once; the last one gets every chance."""
    mirror, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    mirror.inject(testing.Fault(path="/manifests/", status=503, times=-1))
    upstream.inject(testing.Fault(path="/manifests/", status=503, times=3))
    assert (
        client(stack, mirrored(upstream.host, mirror.host)).image("upstream.example/app:1").digest
        == image.digest
    )
    assert paths(mirror) == ["/v2/copy/app/manifests/1"]
    mirror.inject(testing.Fault(path="/blobs/", status=503, times=-1))
    with (
        client(stack, mirrored(upstream.host, mirror.host))
        .image("upstream.example/app:1")
        .layers[0]
        .open() as stream
    ):
        assert len(stream.read()) == image.layers[0].size


def test_mirrors_for_digests_are_not_asked_about_tags(stack: ExitStack) -> None:
    mirror, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    puller = client(stack, mirrored(upstream.host, mirror.host, pull="digest-only"))
    puller.image("upstream.example/app:1")
    assert paths(mirror) == []
    puller.image(f"upstream.example/app@{image.digest}")
    assert paths(mirror) == [f"/v2/copy/app/manifests/{image.digest}"]


def test_rg_19_each_place_sees_its_own_credentials_and_scope(stack: ExitStack) -> None:
    mirror, upstream = registry(stack, "bearer"), registry(stack, "bearer")
    filled(stack, upstream.host, "app:1")
    since, first = len(mirror.requests), len(upstream.requests)
    keychain = StaticKeychain(
        {
            mirror.host: Basic("mirror-user", Secret("mirror-password")),
            upstream.host: Basic("user", Secret("password")),
        }
    )
    client(stack, mirrored(upstream.host, mirror.host), keychain).image("upstream.example/app:1")
    to_mirror, to_upstream = mirror.requests[since:], upstream.requests[first:]
    scopes = [request.path for request in to_mirror if "scope=" in request.path]
    assert scopes
    assert all("scope=repository%3Acopy%2Fapp%3Apull" in path for path in scopes)
    assert not {request.header("authorization") for request in to_mirror} & {
        request.header("authorization") for request in to_upstream if request.header("authorization")
    }


def test_pushing_goes_to_the_registry_itself(stack: ExitStack) -> None:
    mirror, upstream = registry(stack), registry(stack)
    hosts = HostsConfig(
        registries=RegistriesConf(
            rules=(
                Rule(
                    prefix=Place(upstream.host),
                    location=Place(upstream.host),
                    mirrors=(Mirror(location=Place(mirror.host)),),
                ),
            )
        )
    )
    client(stack, hosts).push(testing.random_image(1), f"{upstream.host}/app:1")
    assert paths(mirror) == []


def test_a_blocked_registry_is_not_asked(stack: ExitStack) -> None:
    upstream = registry(stack)
    rule = Rule(prefix=Place(upstream.host), location=Place(upstream.host), blocked=True)
    blocked = client(stack, HostsConfig(registries=RegistriesConf(rules=(rule,))))
    for ask in (
        lambda: blocked.image(f"{upstream.host}/app:1"),
        lambda: blocked.resolve(f"{upstream.host}/app:1"),
        lambda: blocked.push(testing.random_image(1), f"{upstream.host}/app:1"),
    ):
        with pytest.raises(RegistryBlocked):
            ask()
    assert paths(upstream) == []


def containerd(tmp_path: Path, text: str) -> HostsConfig:
    folder = tmp_path / "certs.d/upstream.example"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(text)
    return HostsConfig(containerd=(str(tmp_path / "certs.d"),))


def test_hosts_toml_gives_path_namespace_and_headers(stack: ExitStack, tmp_path: Path) -> None:
    cdn = registry(stack)
    mirror = stack.enter_context(testing.Registry(testing.RegistryOptions(redirect_blobs_to=cdn.url)))
    image = testing.random_image(2)
    client(stack, trusted=cdn.host).push(image, f"{mirror.host}/app:1")
    client(stack).push(image, f"{cdn.host}/app:1")
    hosts = containerd(
        tmp_path,
        f'server = "http://{mirror.host}"\n[header]\nX-Secret = "hunter2"\nAuthorization = "Custom abc"\n',
    )
    since, first = len(mirror.requests), len(cdn.requests)
    stored(tmp_path, client(stack, hosts, trusted=cdn.host).image("upstream.example/app:1"))
    seen = mirror.requests[since:]
    assert seen[0].path == "/v2/app/manifests/1?ns=upstream.example"
    assert {request.header("x-secret") for request in seen} == {"hunter2"}
    assert {request.header("authorization") for request in seen} == {"Custom abc"}
    # What is for the mirror stays there.
    beyond = cdn.requests[first:]
    assert len(beyond) == len(image.layers) + 1
    assert {request.header("x-secret") for request in beyond} == {None}
    assert {request.header("authorization") for request in beyond} == {None}


def test_a_host_that_may_only_be_pulled_from_does_not_resolve(stack: ExitStack, tmp_path: Path) -> None:
    """The tag is asked of the registry itself, the blobs come from the mirror."""
    mirror, upstream = registry(stack), registry(stack)
    image = filled(stack, upstream.host, "app:1")
    filled(stack, mirror.host, "app:1", seed=1)
    hosts = containerd(
        tmp_path,
        f'server = "http://{upstream.host}"\n[host."http://{mirror.host}"]\ncapabilities = ["pull"]\n',
    )
    since, first = len(mirror.requests), len(upstream.requests)
    stored(tmp_path, client(stack, hosts).image("upstream.example/app:1"))
    assert [path.partition("?")[0] for path in paths(upstream, first)] == ["/v2/app/manifests/1"]
    assert {path.partition("?")[0].rpartition("/")[2] for path in paths(mirror, since)} == {
        str(each) for each in [image.manifest.config.digest, *(layer.digest for layer in image.layers)]
    }
