"""What a client of the image service sees: through gRPC, with statuses that a kubelet understands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from ociworks import testing
from ociworks.cri import CriService
from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.nodes import IMAGE, Client, config_below, serving


def named(name: str) -> api.ImageSpec:
    return api.ImageSpec(image=name)


def test_a_life(cri: Client) -> None:
    pulled = cri.images.PullImage(api.PullImageRequest(image=named(IMAGE))).image_ref
    assert pulled.startswith("sha256:")
    answer = cri.images.ImageStatus(api.ImageStatusRequest(image=named(IMAGE), verbose=True))
    assert answer.image.id == pulled
    assert answer.info
    assert cri.images.ListImages(api.ListImagesRequest()).images == [answer.image]
    streamed = [each for part in cri.images.StreamImages(api.StreamImagesRequest()) for each in part.images]
    assert streamed == [answer.image]
    used = cri.images.ImageFsInfo(api.ImageFsInfoRequest()).image_filesystems[0].used_bytes.value
    assert used > answer.image.size
    for name in (IMAGE, pulled, IMAGE):
        cri.images.RemoveImage(api.RemoveImageRequest(image=named(name)))
    gone = cri.images.ImageStatus(api.ImageStatusRequest(image=named(pulled)))
    assert not gone.HasField("image")
    assert not cri.images.ListImages(api.ListImagesRequest()).images


@pytest.fixture
def policed(place: Path, registry: testing.Registry) -> Iterator[Client]:
    """A node that accepts no image."""
    file = place / "policy.json"
    file.write_text('{"default": [{"type": "reject"}]}', "utf-8")
    config = config_below(place, registry.url, image_policy=str(file))
    with CriService(config) as service, serving(service, place) as client:
        yield client


def refused(client: Client, name: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as found:
        client.images.PullImage(api.PullImageRequest(image=named(name)))
    return found.value.code(), found.value.details() or ""


def test_a_kubelet_recognises_a_registry_that_is_not_there(cri: Client) -> None:
    """It drops the code UNKNOWN, and only then looks at the word that the message begins with."""
    code, words = refused(cri, "127.0.0.1:1/a:1")
    assert code is grpc.StatusCode.UNKNOWN
    assert words.startswith("RegistryUnavailable: ")


def test_a_kubelet_recognises_what_a_policy_refuses(policed: Client) -> None:
    code, words = refused(policed, IMAGE)
    assert code is grpc.StatusCode.UNKNOWN
    assert words.startswith("SignatureValidationFailed: ")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT),
        ("Not A Name", grpc.StatusCode.INVALID_ARGUMENT),
        ("registry.example/a:1\0", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_statuses(cri: Client, name: str, code: grpc.StatusCode) -> None:
    assert refused(cri, name)[0] is code


def test_an_image_that_its_registry_does_not_have(cri: Client, registry: testing.Registry) -> None:
    assert refused(cri, f"{registry.host}/busybox:none")[0] is grpc.StatusCode.NOT_FOUND
