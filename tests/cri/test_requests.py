"""What requests must stand before anything looks into them, and long answers in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri._pieces import pieces
from ociworks.cri._requests import check_text, need, subject
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest


@given(st.dictionaries(st.text(), st.text()), st.lists(st.text()))
def test_nul_is_found_exactly_where_there_is_one(labels: dict[str, str], args: list[str]) -> None:
    """In keys, values and lists; other control characters may be there, and numbers hold zero bytes."""
    config = api.ContainerConfig(
        labels=labels,
        args=args,
        linux=api.LinuxContainerConfig(resources=api.LinuxContainerResources(cpu_shares=256)),
    )
    request = api.CreateContainerRequest(config=config)
    if any("\0" in text for text in (*labels, *labels.values(), *args)):
        with pytest.raises(InvalidRequest, match=r"config\.(labels|args\[\d+\]): expected text without NUL"):
            check_text(request)
    else:
        check_text(request)


def test_bytes_may_hold_anything() -> None:
    check_text(api.ExecSyncResponse(stdout=b"\0"))


def test_needs_are_named() -> None:
    request = api.RunPodSandboxRequest(config=api.PodSandboxConfig(hostname="a"))
    need(request, "config", "config.hostname")
    with pytest.raises(InvalidRequest, match=r"config\.metadata: expected a value"):
        need(request, "config", "config.metadata")
    need(api.RunPodSandboxRequest(config=api.PodSandboxConfig(metadata={})), "config.metadata")


@pytest.mark.parametrize(
    ("request_", "about"),
    [
        (api.StopContainerRequest(container_id="abc"), "'abc'"),
        (api.RemovePodSandboxRequest(pod_sandbox_id="\x1b"), r"'\x1b'"),
        (api.PullImageRequest(image=api.ImageSpec(image="a:1"), auth=api.AuthConfig(password="p")), "'a:1'"),
        (
            api.RunPodSandboxRequest(
                config=api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name="n", namespace="s"))
            ),
            "'s/n'",
        ),
    ],
)
def test_subjects(request_: api.StopContainerRequest, about: str) -> None:
    """For the log: fit for a terminal, without secrets."""
    assert subject(request_) == about


@given(st.lists(st.integers(0, 3000), max_size=1200))
def test_pieces_are_the_whole(sizes: list[int]) -> None:
    items = [api.Image(id="x" * size) for size in sizes]
    found = list(pieces(items))
    assert [item for piece in found for item in piece] == items
    assert all(0 < len(piece) <= 500 and sum(item.ByteSize() for item in piece) < 2 << 20 for piece in found)
