"""The registry client on its way: pulls, pushes, retries, and what it says when it fails."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    DigestMismatch,
    ImageNotFound,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryResponseError,
    RegistryUnreachable,
)
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS, Basic, Secret, StaticKeychain
from ociworks.image.remote import ClientOptions, Limits
from tests.image.rawserver import RawServer, answer
from tests.image.registries import DESCRIPTOR, HIDDEN, Sleeper, client_for, push, read_blob

if TYPE_CHECKING:
    from pathlib import Path

    from ociworks.image.progress import Progress


def test_a_pull_reads_manifest_and_configuration_only(
    registry: testing.Registry, client: remote.Client
) -> None:
    image = push(registry)
    before = len(registry.requests)
    found = client.image(f"{registry.host}/app:1")
    assert found.digest == image.digest
    assert found.config == image.config
    asked = [request.path for request in registry.requests[before:]]
    assert asked == ["/v2/app/manifests/1", f"/v2/app/blobs/{image.manifest.config.digest}"]
    with found.layers[0].open() as mine, image.layers[0].open() as theirs:
        assert mine.read() == theirs.read()


def test_layers_travel_in_parallel_into_a_layout(
    registry: testing.Registry, client: remote.Client, tmp_path: Path
) -> None:
    image = push(registry, layers=6)
    with layout.open(tmp_path / "l", create=True) as store:
        store.put(client.image(f"{registry.host}/app:1"), tag="app")
        assert store.verify() == []
        assert store.image("app").digest == image.digest
        before = len(registry.requests)
        store.put(client.image(f"{registry.host}/app:1"), tag="again")
        assert len(registry.requests) == before + 2
    assert [thread for thread in threading.enumerate() if thread.name.startswith("ociworks-blob")] == []


def test_a_second_push_sends_nothing_twice(registry: testing.Registry, client: remote.Client) -> None:
    image = push(registry)
    before = len(registry.requests)
    reference = client.push(image, f"{registry.host}/app:2")
    assert str(reference) == f"{registry.host}/app:2@{image.digest}"
    methods = [request.method for request in registry.requests[before:]]
    assert methods == ["HEAD", "HEAD", "HEAD", "PUT"]


def test_resolve(registry: testing.Registry, client: remote.Client) -> None:
    image = push(registry)
    assert client.resolve(f"{registry.host}/app:1") == image.descriptor
    with pytest.raises(NotFound) as caught:
        client.resolve(f"{registry.host}/app:2")
    assert caught.value.status == 404
    with pytest.raises(ImageNotFound, match="use image"):
        client.index(f"{registry.host}/app:1")


def test_errors_carry_status_and_codes(registry: testing.Registry, client: remote.Client) -> None:
    push(registry)
    with pytest.raises(NotFound, match="MANIFEST_UNKNOWN") as caught:
        client.image(f"{registry.host}/app:nothing")
    assert (caught.value.status, caught.value.codes) == (404, ("MANIFEST_UNKNOWN",))
    assert caught.value.url == f"{registry.url}/v2/app/manifests/nothing"
    assert not caught.value.temporary


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Descriptors and threads are the same before and after pulls that succeed, fail and are interrupted."""

    def opened() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = opened()
    with testing.Registry() as registry, client_for(registry.host) as client:
        image = push(registry, layers=4)
        faults = (
            testing.Fault(path=str(image.layers[3].digest), flip_at=1),
            testing.Fault(path=str(image.layers[1].digest), status=404),
            testing.Fault(path="/manifests/", status=500, times=4),
        )
        for number, fault in enumerate(faults):
            registry.inject(fault)
            path = tmp_path / str(number)
            with layout.open(path, create=True) as store, pytest.raises((ContentError, RegistryError)):
                store.put(client.image(f"{registry.host}/app:1"), tag="app")

        def interrupt(event: Progress) -> None:
            if event.phase == "transfer":
                raise KeyboardInterrupt

        found = client.image(f"{registry.host}/app:1")
        with layout.open(tmp_path / "l", create=True) as store, pytest.raises(KeyboardInterrupt):
            store.put(found, progress=interrupt)
        assert os.listdir(tmp_path / "l" / ".ociworks" / "ingest") == []
    assert opened() == before


def test_a_registry_that_stores_something_else_is_found_out(
    registry: testing.Registry, client: remote.Client
) -> None:
    lie = (("Docker-Content-Digest", str(DESCRIPTOR.digest)),)
    registry.inject(testing.Fault(path="/manifests/", method="PUT", headers=lie))
    with pytest.raises(DigestMismatch):
        client.push(testing.random_image(1), f"{registry.host}/app:1")


def test_temporary_failures_are_tried_again(registry: testing.Registry, sleeper: Sleeper) -> None:
    image = push(registry)
    registry.inject(testing.Fault(path="/manifests/", status=503, times=2))
    registry.inject(testing.Fault(path="/manifests/", status=429, headers=(("Retry-After", "7"),)))
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(sleep=sleeper)) as client:
        assert client.image(f"{registry.host}/app:1").digest == image.digest
    assert sleeper.pauses == [0.5, 1.0, 7.0]


def test_retries_are_bounded(registry: testing.Registry, client: remote.Client, sleeper: Sleeper) -> None:
    registry.inject(testing.Fault(path="/manifests/", status=500, times=-1))
    with pytest.raises(RegistryResponseError, match="status 500") as caught:
        client.image(f"{registry.host}/app:1")
    assert caught.value.temporary
    assert len(registry.requests) == Limits().attempts
    registry.inject(testing.Fault(path="/blobs/", status=429, headers=(("Retry-After", "99999"),)))
    with pytest.raises(RateLimited) as limited:
        read_blob(client, registry.host)
    assert limited.value.retry_after == 99999
    assert len(sleeper.pauses) == Limits().attempts - 1


def test_final_failures_are_not_repeated(
    registry: testing.Registry, client: remote.Client, sleeper: Sleeper
) -> None:
    for status in (400, 403, 404, 405, 501):
        registry.inject(testing.Fault(path="/manifests/", status=status))
        with pytest.raises(RegistryResponseError):
            client.image(f"{registry.host}/app:1")
    assert sleeper.pauses == []
    assert len(registry.requests) == 5


def test_an_interrupted_upload_starts_again(registry: testing.Registry, client: remote.Client) -> None:
    registry.inject(testing.Fault(path="/blobs/uploads/", method="PUT", status=503))
    image = testing.random_image(2)
    client.push(image, f"{registry.host}/app:1")
    assert client.image(f"{registry.host}/app:1").digest == image.digest


def test_nobody_listens(client: remote.Client, sleeper: Sleeper) -> None:
    with testing.Registry() as gone:
        host = gone.host
    with pytest.raises(RegistryUnreachable, match="cannot connect"):
        client.image(f"{host}/app:1")


def test_a_closed_client_says_so(registry: testing.Registry) -> None:
    push(registry)
    with remote.Client(keychain=ANONYMOUS) as client:
        image = client.image(f"{registry.host}/app:1")
    with pytest.raises(RegistryError, match="closed"):
        image.layers[0].open()


def test_rg_20_nothing_secret_is_said(registry: testing.Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Pre-signed redirects, refused passwords and echoing servers, with every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    echo = answer(
        b'{"errors":[{"code":"UNAUTHORIZED","message":"%s"}]}' % HIDDEN.encode(),
        f'WWW-Authenticate: Basic realm="{HIDDEN}"',
        status="401 Unauthorized",
    )
    signed = answer(b"", f"Location: http://127.0.0.1:1/blob?sig={HIDDEN}", status="307 Temporary Redirect")
    for script in (echo, signed):
        with RawServer(script) as server:
            keychain = StaticKeychain({server.host: Basic("user", Secret(HIDDEN))})
            options = ClientOptions(sleep=Sleeper(), trusted=["127.0.0.1:1"])
            with remote.Client(keychain=keychain, options=options) as client:
                with pytest.raises(RegistryError) as caught:
                    read_blob(client, server.host)
                error: BaseException | None = caught.value
                while error is not None:
                    said += [str(error), repr(error), str(vars(error))]
                    error = error.__cause__ or error.__context__
    assert len(said) >= 6
    assert HIDDEN not in "".join(said)
    assert HIDDEN not in caplog.text
