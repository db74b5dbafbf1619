"""The options of checkpoint and restore, as flags of the command and back."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import ContainerError
from ociworks.runtime import CheckpointOptions, Container, RestoreOptions, Runtime, cli
from ociworks.runtime.checkpoint import flags
from ociworks.spec import Bundle
from ociworks.spec.runtime import Spec
from tests.runtime.boxes import box

Options = CheckpointOptions | RestoreOptions
texts = st.text("abc/:.", min_size=1) | st.just("")
shared = {
    "image_path": st.sampled_from(["/images", "/a/b"]),
    "manage_cgroups_mode": st.sampled_from(["soft", "full", "strict", "ignore"]),
    "empty_ns": st.lists(st.sampled_from(["network", "ipc"])).map(tuple),
    "work_path": texts,
    **dict.fromkeys(
        ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup"),
        st.booleans(),
    ),
}
more = {
    "leave_running": st.booleans(),
    "pre_dump": st.booleans(),
    "tcp_skip_in_flight": st.booleans(),
    "link_remap": st.booleans(),
    "parent_path": texts,
    "page_server": texts,
}


class Recording(Runtime):
    """A runtime that is told options, and does nothing with them."""

    seen: ClassVar[list[Options]] = []
    spec: ClassVar[Spec] = Spec(oci_version="1.3.0")

    def get(self, container_id: str) -> Container:
        return self  # type: ignore[return-value]

    def checkpoint(self, options: CheckpointOptions) -> None:
        self.seen.append(options)
        raise ContainerError("recorded")

    def restore(self, container_id: str, bundle: Bundle, options: RestoreOptions, **_: object) -> Container:
        self.seen.append(options)
        raise ContainerError("recorded")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording(tmp_path_factory.mktemp("flags") / "root")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(box(tmp_path_factory.mktemp("flags") / "bundle").path)


@given(
    st.builds(CheckpointOptions, parent_path=texts, page_server=texts, status_fd=st.integers(0, 99), **shared)
)
def test_of_checkpoint(runtime: Recording, options: CheckpointOptions) -> None:
    assert cli.main(runtime, ["checkpoint", *flags(options), "one"]) != 0
    assert Recording.seen.pop() == options


@given(st.builds(RestoreOptions, lsm_profile=texts, lsm_mount_context=texts, **shared))
def test_of_restore(runtime: Recording, bundle: Path, options: RestoreOptions) -> None:
    assert cli.main(runtime, ["restore", "--detach", "--bundle", str(bundle), *flags(options), "one"]) != 0
    assert Recording.seen.pop() == options
