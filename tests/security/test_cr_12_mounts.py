"""CR-12: host paths, volumes of images and relabelling that a request asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.container.sources import find_sources
from ociworks.cri.container.translate import Source
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageConfigError, InvalidRequest, NotSupported
from tests.cri.requests import image, translated


def find(*mounts: api.Mount, rro: bool = True) -> tuple[Source, ...]:
    return find_sources(mounts, image_path=lambda _: "/x", recursive_read_only=lambda: rro)


def mount(path: object, place: str = "/data", **settings: Any) -> api.Mount:
    return api.Mount(host_path=str(path), container_path=place, **settings)


@pytest.mark.parametrize(
    "path", ["relative", "/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0", "/a/../etc", "", "/a\0b"]
)
def test_cr_12_host_paths(path: str) -> None:
    """Relative ones, and the kernel's links into processes, are refused."""
    with pytest.raises(InvalidRequest):
        find(mount(path))


def test_cr_12_sources_are_found_once(tmp_path: Path) -> None:
    """A link is followed when it is looked at; what it leads to later does not count."""
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    found = find(mount(tmp_path / "link"))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/etc")
    made = translated(sources=found).spec
    assert next(each for each in made.mounts if each.destination == "/data").source == str(tmp_path / "one")


@pytest.mark.parametrize(
    "place", ["", "/", "//", "/a/../b", "..", "/proc/sys", "/proc/self", "/a\0b", "/" + "x" * 5000]
)
def test_cr_12_places_in_the_container(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidRequest):
        find(mount(tmp_path, place))


@pytest.mark.parametrize("again", ["/data", "/data/", "//data", "/./data", "data"])
def test_cr_12_places_that_are_named_twice(tmp_path: Path, again: str) -> None:
    with pytest.raises(InvalidRequest):
        find(mount(tmp_path), mount(tmp_path, again))


def test_cr_12_guarantees_that_are_not_given(tmp_path: Path) -> None:
    """An error, never a weaker mount."""
    closed = mount(tmp_path, readonly=True, recursive_read_only=True)
    assert find(closed)
    with pytest.raises(NotSupported):
        find(closed, rro=False)
    shared = api.MountPropagation.PROPAGATION_BIDIRECTIONAL
    slave = api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER
    for wrong in (
        mount(tmp_path, recursive_read_only=True),
        mount(tmp_path, readonly=True, recursive_read_only=True, propagation=slave),
        mount(tmp_path, propagation=7),
        mount("/proc/self", propagation=shared),
        mount(tmp_path, mount_options=["suid"]),
        mount(tmp_path, mount_options=["lowerdir=/etc"]),
        mount(tmp_path, uidMappings=[api.IDMapping(length=1)]),
        mount(tmp_path, image=api.ImageSpec(image="x"), readonly=True),
        mount("", image=api.ImageSpec(image="x")),
        mount("", image=api.ImageSpec(image="x"), readonly=True, propagation=shared),
        mount(tmp_path, image_sub_path="x"),
    ):
        with pytest.raises(InvalidRequest):
            find(wrong)


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/var/lib", "/proc", "/dev"])
def test_cr_12_relabelling_of_the_host(path: str) -> None:
    """Refused whether or not this kernel has labels."""
    with pytest.raises(InvalidRequest):
        find(mount(path, selinux_relabel=True))


@pytest.mark.parametrize(
    "volume", ["/../../x", "/", "/proc", "/proc/x", "/sys/fs/cgroup", "/dev", "/a\nb", ""]
)
def test_cr_12_volumes_of_an_image(tmp_path: Path, volume: str) -> None:
    """No directory is made for a place that is none."""
    from ociworks.cri.container.volumes import make_volumes

    with pytest.raises(ImageConfigError):
        make_volumes(str(tmp_path / "volumes"), image(volumes=(volume,)), None, ())  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_cr_12_a_volume_where_the_image_has_a_link(tmp_path: Path) -> None:
    """``/a`` with ``a -> /etc`` gives the image's /etc, never the host's."""
    from ociworks.cri.container.volumes import make_volumes
    from ociworks.image.store import Snapshots
    from ociworks.testing import File, image_from_files

    made = image_from_files(
        {
            "a": File(link="/etc"),
            "up": File(link="../../../../etc"),
            "loop": File(link="loop"),
            "gone": File(link="/nowhere"),
            "etc/mine": b"image",
        }
    )
    with Snapshots(tmp_path / "snapshots") as snapshots, snapshots.prepare(made) as snapshot:
        places = ("/a", "/up", "/loop", "/gone")
        found = make_volumes(str(tmp_path / "volumes"), image(volumes=places), snapshot, ())
    assert {place: sorted(os.listdir(path)) for place, path in found.items()} == {
        "/a": ["mine"],
        "/up": ["mine"],
        "/loop": [],
        "/gone": [],
    }
