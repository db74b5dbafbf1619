"""Limits, mounts, devices and signals of requests in runtime configurations, without root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.cri.config import CriConfig
from ociworks.cri.container.translate import PodFiles, Source
from ociworks.cri.container.translate.limits import merged
from ociworks.cri.container.translate.signals import signal_of
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageConfigError, InvalidRequest, NotSupported
from ociworks.runtime import cgroups
from ociworks.spec import FrozenDict
from ociworks.spec.signals import signal_number
from tests.cri.requests import image, linux, linux_of, mount_at, process_of, translated


def resources_of(**limits: Any) -> spec.runtime.Resources:
    section = linux()
    section.resources.MergeFrom(api.LinuxContainerResources(**limits))
    found = linux_of(linux=section).resources
    assert found is not None
    return found


# --- limits -------------------------------------------------------------------------------------------


def test_limits() -> None:
    """What is said, and nothing for what is not."""
    found = resources_of(
        cpu_period=100000,
        cpu_quota=50000,
        cpu_shares=512,
        memory_limit_in_bytes=1 << 26,
        cpuset_cpus="0-1,3",
        unified={"memory.high": "1000"},
    )
    assert found.cpu == spec.runtime.CPU(shares=512, quota=50000, period=100000, cpus="0-1,3")
    assert found.memory == spec.runtime.Memory(limit=1 << 26)
    assert found.unified == {"memory.high": "1000"}
    nothing = resources_of()
    assert (nothing.cpu, nothing.memory, nothing.hugepage_limits) == (None, None, ())


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu_shares": -1},
        {"cpu_quota": -2},
        {"memory_limit_in_bytes": -2},
        {"cpuset_cpus": "0 1"},
        {"cpuset_mems": "../x"},
        {"oom_score_adj": 1001},
        {"unified": {"../memory.max": "1"}},
        {"unified": {"memory/max": "1"}},
        {"hugepage_limits": [api.HugepageLimit(page_size="../2MB", limit=1)]},
    ],
)
def test_limits_that_mean_nothing(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        resources_of(**limits)


def test_missing_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out where that is tolerated, and refused where not."""
    monkeypatch.setattr(cgroups, "detect", lambda: cgroups.Hierarchies(mode="none"))
    section = linux()
    section.resources.hugepage_limits.add(page_size="2MB", limit=1 << 21)
    found = linux_of(linux=section).resources
    assert found is not None
    assert found.hugepage_limits == ()
    with pytest.raises(NotSupported):
        translated(linux=section, server=CriConfig(tolerate_missing_hugetlb=False))


def test_huge_pages_of_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubelet limits every size to nothing; beside version 1, runc fails over what only version 2 can limit."""

    def groups(mode: str, version: int) -> None:
        mount = cgroups.Hierarchy(
            version=version, mount_point="/c", controllers=("hugetlb",), own="/", root="/", device=1
        )
        monkeypatch.setattr(cgroups, "detect", lambda: cgroups.Hierarchies(mode=mode, mounts=(mount,)))

    section = linux()
    section.resources.hugepage_limits.add(page_size="2MB", limit=0)

    def limited(*, foreign: bool) -> bool:
        found = linux_of(linux=section, foreign=foreign).resources
        return found is not None and bool(found.hugepage_limits)

    groups("hybrid", 2)
    assert (limited(foreign=False), limited(foreign=True)) == (True, False)
    groups("hybrid", 1)
    assert (limited(foreign=False), limited(foreign=True)) == (True, True)
    groups("v2", 2)
    assert (limited(foreign=False), limited(foreign=True)) == (True, True)


def test_oom_score() -> None:
    """As asked, and with the restriction not below the server's own."""
    section = linux()
    section.resources.oom_score_adj = -999
    assert process_of(linux=section).oom_score_adj == -999
    own = int(Path("/proc/self/oom_score_adj").read_text())
    restricted = process_of(linux=section, server=CriConfig(restrict_oom_score_adj=True))
    assert restricted.oom_score_adj == max(own, -999)


def test_an_update_changes_what_it_says() -> None:
    before = api.LinuxContainerResources(cpu_shares=2, memory_limit_in_bytes=5, unified={"a.b": "1"})
    change = api.LinuxContainerResources(cpu_shares=3, unified={"c.d": "2"})
    after = merged(before, change)
    assert (after.cpu_shares, after.memory_limit_in_bytes) == (3, 5)
    assert dict(after.unified) == {"a.b": "1", "c.d": "2"}
    assert before.cpu_shares == 2


# --- mounts -------------------------------------------------------------------------------------------


def source(path: str = "/srv", **settings: Any) -> Source:
    settings.setdefault("host_path", path)
    return Source(mount=api.Mount(**settings), path=path)


def places(**settings: Any) -> list[str]:
    return [mount.destination for mount in translated(**settings).spec.mounts]


def test_pod_files() -> None:
    """The pod's files, read-only when the root is; a request's own take their place."""
    files = PodFiles(hosts="/p/hosts", hostname="/p/hostname", resolv_conf="/p/resolv.conf", shm="/p/shm")
    made = translated(files=files).spec
    assert mount_at(made, "/etc/hosts").source == "/p/hosts"
    assert mount_at(made, "/dev/shm").options == ("rbind", "rprivate", "rw")
    closed = translated(files=files, linux=linux(readonly_rootfs=True)).spec
    assert "ro" in mount_at(closed, "/etc/resolv.conf").options
    own = translated(files=files, sources=(source(container_path="/etc/hosts"),)).spec
    assert mount_at(own, "/etc/hosts").source == "/srv"
    assert len({mount.destination for mount in own.mounts}) == len(own.mounts)


def test_mount_options() -> None:
    """Access, propagation, what is below, and mapped owners."""
    users = [api.IDMapping(host_id=5, container_id=0, length=1)]
    made = translated(
        sources=(
            source(container_path="/a", readonly=True, recursive_read_only=True),
            source(container_path="/b", propagation=api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER),
            source(container_path="/c", uidMappings=users, gidMappings=users, mount_options=["nosuid"]),
            source(container_path="/d", host_path="", image=api.ImageSpec(image="x"), readonly=True),
        )
    ).spec
    assert mount_at(made, "/a").options == ("rbind", "rprivate", "ro", "rro")
    assert mount_at(made, "/b").options == ("rbind", "rslave", "rw")
    assert mount_at(made, "/c").options == ("rbind", "rprivate", "rw", "nosuid")
    assert mount_at(made, "/c").uid_mappings[0].host_id == 5
    assert mount_at(made, "/d").options == ("rbind", "rprivate", "ro", "nosuid", "nodev")
    assert made.linux is not None
    assert made.linux.rootfs_propagation == "rslave"
    shared = source(container_path="/b", propagation=api.MountPropagation.PROPAGATION_BIDIRECTIONAL)
    assert linux_of(sources=(shared,)).rootfs_propagation == "rshared"


@given(st.permutations(["/a", "/a/b", "/a/b/c", "/z", "relative", "/a/../etc"]))
def test_mounts_do_not_hide_each_other(order: list[str]) -> None:
    """Whatever the order of a request, what lies inside another mount comes after it."""
    order = [place for place in order if ".." not in place]
    found = places(sources=tuple(source(container_path=place) for place in order))
    for index, place in enumerate(found):
        assert not any(place.startswith(f"{later}/") for later in found[index + 1 :])
    assert "/relative" in found


def test_volumes_of_the_image() -> None:
    """A directory of the container's own, unless the request has something there."""
    volumes = FrozenDict({"/data": "/root/volumes/0", "/mine": "/root/volumes/1"})
    made = translated(volumes=volumes, sources=(source(container_path="/mine"),)).spec
    assert mount_at(made, "/data").source == "/root/volumes/0"
    assert mount_at(made, "/mine").source == "/srv"


# --- devices ------------------------------------------------------------------------------------------


def test_devices() -> None:
    """A node and its rule; a directory is all devices in it."""
    found = linux_of(
        devices=[api.Device(container_path="/dev/mine", host_path="/dev/null", permissions="rw")]
    )
    assert [(device.path, device.major, device.minor) for device in found.devices] == [("/dev/mine", 1, 3)]
    assert found.resources is not None
    rule = found.resources.devices[-1]
    assert (rule.allow, rule.type, rule.major, rule.minor, rule.access) == (True, "c", 1, 3, "rw")
    many = linux_of(devices=[api.Device(container_path="/dev/all", host_path="/dev")])
    assert "/dev/all/null" in {device.path for device in many.devices}


@pytest.mark.parametrize(
    "device",
    [
        api.Device(host_path="/dev/null", container_path="relative"),
        api.Device(host_path="/dev/no-such-device"),
        api.Device(host_path="/etc/passwd"),
        api.Device(host_path="/dev/../dev/null"),
        api.Device(host_path="/dev/null", permissions="rx"),
        api.Device(host_path="/dev/null", permissions="rr"),
    ],
)
def test_devices_that_are_none(device: api.Device) -> None:
    with pytest.raises(InvalidRequest):
        translated(devices=[device])


# --- signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(set(api.Signal.values()) - {0}))
def test_stop_signals(number: int) -> None:
    """Every signal of the interface has a name that the system knows, and comes back as the same number."""
    name = translated(stop_signal=number).stop_signal
    again = signal_of(name)
    assert signal_number(name) == signal_number(translated(stop_signal=again).stop_signal)


def test_stop_signal_of_the_image() -> None:
    assert translated(image=image(stop_signal="SIGRTMIN+3")).stop_signal == "SIGRTMIN+3"
    assert (
        translated(image=image(stop_signal="SIGRTMIN+3"), stop_signal=api.Signal.SIGNAL_SIGHUP).stop_signal
        == "SIGHUP"
    )
    with pytest.raises(ImageConfigError):
        translated(image=image(stop_signal="nonsense"))
    assert translated().stop_signal == "SIGTERM"
    with pytest.raises(InvalidRequest):
        translated(stop_signal=999)
