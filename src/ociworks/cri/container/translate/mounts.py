"""The mounts of a container: the customary ones, the pod's files, the image's volumes and what the request asks for.

Of several mounts at one place the last kind in that order counts, so a request may stand in for ``/dev/shm`` or
``/etc/hosts``. Shorter paths come first, and of equally long ones the request's order holds: what is mounted inside
another mount is not hidden by it, whatever order it was written in (CR-12).

============================  ==========================================================
propagation                   mount, and what the host's mount must be
============================  ==========================================================
PRIVATE                       ``rprivate``; anything
HOST_TO_CONTAINER             ``rslave``; shared or a slave
BIDIRECTIONAL                 ``rshared``; shared
============================  ==========================================================
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from attrs import evolve

from ociworks.cri.container.translate.namespaces import mappings
from ociworks.cri.container.translate.request import Request, Source
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote
from ociworks.spec.defaults import default_mounts
from ociworks.spec.runtime import Mount

__all__ = ["check_mount", "mounts", "place_of", "root_propagation"]

_PROPAGATIONS: Final[dict[int, str]] = {
    api.MountPropagation.PROPAGATION_PRIVATE: "rprivate",
    api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    api.MountPropagation.PROPAGATION_BIDIRECTIONAL: "rshared",
}
_OPTIONS: Final = frozenset({"nosuid", "nodev", "noexec", "nosymfollow", "noatime", "nodiratime", "relatime"})
"""What ``mount_options`` may say: only what takes something away, or is about times."""
_BELOW_PROC: Final = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
)
"""What file systems that show a container its own share may cover; anything else below /proc is the kernel's."""
_MAX_PATH: Final = 4095
_SHM: Final = "/dev/shm"  # noqa: S108 - the container's
_CGROUPS: Final = "/sys/fs/cgroup"


def mounts(request: Request) -> tuple[Mount, ...]:
    """In the order in which they are made. InvalidRequest for places that cannot be."""
    found: dict[str, Mount] = {}
    for group in (_customary(request), _pod_files(request), _volumes(request), _requested(request)):
        for each in group:
            found.pop(each.destination, None)
            found[each.destination] = each
    return tuple(sorted(found.values(), key=lambda each: _depth(each.destination)))


def root_propagation(sources: tuple[Source, ...]) -> str | None:
    """What the whole tree has to be so that one mount can be shared with the host, or be its slave."""
    modes = {source.mount.propagation for source in sources}
    if api.MountPropagation.PROPAGATION_BIDIRECTIONAL in modes:
        return "rshared"
    return "rslave" if api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER in modes else None


def check_mount(given: api.Mount) -> None:
    """Judge what can be judged without a look at the host. InvalidRequest says which field is wrong."""
    place_of(given.container_path)
    _check_origin(given)
    private = given.propagation == api.MountPropagation.PROPAGATION_PRIVATE
    if given.propagation not in _PROPAGATIONS:
        raise InvalidRequest(f"mounts.propagation: unknown value {given.propagation}")
    if given.recursive_read_only and not given.readonly:
        raise InvalidRequest("mounts.recursive_read_only: needs readonly")
    if given.recursive_read_only and not private:
        raise InvalidRequest("mounts.recursive_read_only: needs private propagation")
    if bool(given.uidMappings) != bool(given.gidMappings):
        raise InvalidRequest("mounts.uidMappings and gidMappings: expected both or none")
    for option in given.mount_options:
        if option not in _OPTIONS:
            raise InvalidRequest(
                f"mounts.mount_options: {quote(option)} is not one of {', '.join(sorted(_OPTIONS))}"
            )


def _check_origin(given: api.Mount) -> None:
    """Of the host, or of an image."""
    if given.HasField("image"):
        if given.host_path:
            raise InvalidRequest("mounts: host_path and image: expected one of them")
        if given.propagation != api.MountPropagation.PROPAGATION_PRIVATE:
            raise InvalidRequest("mounts.propagation: a mount of an image is private")
        if not given.readonly:
            raise InvalidRequest("mounts.readonly: a mount of an image cannot be written")
    elif not given.host_path.startswith("/"):
        raise InvalidRequest(f"mounts.host_path: expected an absolute path, got {quote(given.host_path)}")
    elif given.image_sub_path:
        raise InvalidRequest("mounts.image_sub_path: only a mount of an image has one")


def _customary(request: Request) -> Iterator[Mount]:
    """The default mounts, with ``/sys`` as far as the container may have it."""
    for each in default_mounts():
        if each.destination == "/sys":
            yield _sys(request, each)
        elif each.destination == _CGROUPS:
            writable = request.privileged or request.handler.cgroup_writable
            yield _writable(each) if writable else each
        else:
            yield each


def _sys(request: Request, each: Mount) -> Mount:
    if request.joins_user_namespace and "network" not in request.namespaces:
        # A new sysfs shows the network namespace's devices, and only that namespace's owner may mount it.
        options = ("rbind", "rprivate", "nosuid", "noexec", "nodev", "ro", "rro")
        return evolve(each, type="none", source="/sys", options=options)
    return _writable(each) if request.privileged else each


def _writable(each: Mount) -> Mount:
    return evolve(each, options=tuple("rw" if option == "ro" else option for option in each.options))


def _pod_files(request: Request) -> Iterator[Mount]:
    access = "ro" if request.security.readonly_rootfs else "rw"
    files = request.files
    for place, path in (
        ("/etc/hostname", files.hostname),
        ("/etc/hosts", files.hosts),
        ("/etc/resolv.conf", files.resolv_conf),
    ):
        if path:
            yield Mount(destination=place, type="bind", source=path, options=("rbind", "rprivate", access))
    if files.shm:
        yield Mount(destination=_SHM, type="bind", source=files.shm, options=("rbind", "rprivate", "rw"))


def _volumes(request: Request) -> Iterator[Mount]:
    for place, path in request.volumes.items():
        yield Mount(
            destination=place_of(place), type="bind", source=path, options=("rbind", "rprivate", "rw")
        )


def _requested(request: Request) -> Iterator[Mount]:
    for source in request.sources:
        given = source.mount
        check_mount(given)
        users, groups = mappings(api.UserNamespace(uids=given.uidMappings, gids=given.gidMappings))
        yield Mount(
            destination=place_of(given.container_path),
            type="bind",
            source=source.path,
            options=_options(given),
            uid_mappings=users,
            gid_mappings=groups,
        )


def _options(given: api.Mount) -> tuple[str, ...]:
    options = ["rbind", _PROPAGATIONS[given.propagation]]
    if given.HasField("image"):
        options += ["ro", "nosuid", "nodev"]
    else:
        options.append("ro" if given.readonly else "rw")
    if given.recursive_read_only:
        options.append("rro")
    return (*options, *dict.fromkeys(given.mount_options))


def place_of(path: str) -> str:
    """A place in the container: absolute (a relative one begins at the root), plain, and not the kernel's."""
    if not path or "\0" in path or ".." in path.split("/") or len(path.encode()) > _MAX_PATH:
        raise InvalidRequest(f"mounts.container_path: expected a path without '..', got {quote(path)}")
    place = posixpath.normpath("//" + path).replace("//", "/", 1)
    if place == "/":
        raise InvalidRequest("mounts.container_path: the root is the image's")
    if place.startswith("/proc/") and place not in _BELOW_PROC:
        raise InvalidRequest(f"mounts.container_path: {quote(place)} is the kernel's")
    return place


def _depth(place: str) -> int:
    return place.count("/")
