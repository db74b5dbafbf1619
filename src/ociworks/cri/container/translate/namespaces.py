"""Which namespaces a container has: its pod's, the host's, another container's or its own.

===========  ==================================================================================
namespace    container
===========  ==================================================================================
network      the pod's pinned one; the host's when the pod has the host's
ipc, uts     the same
user         the pod's pinned one, when the pod has one; its mappings are those of the pod
pid          CONTAINER: its own · POD: the pod's · NODE: the host's · TARGET: another container's
mount        its own, always
cgroup       its own; the host's when privileged
===========  ==================================================================================

A container never gets further out of its pod than the pod itself is: asking for the host's network or IPC in a pod that
has its own is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ociworks.cri.container.translate.request import Request
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest
from ociworks.spec.runtime import IDMapping, Namespace

__all__ = ["mappings", "namespaces"]

_MODES = api.NamespaceMode


def namespaces(request: Request) -> tuple[Namespace, ...]:
    """The table above. InvalidRequest for modes that a pod does not offer."""
    return tuple(_namespaces(request))


def mappings(given: api.UserNamespace) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """Users and groups of a user namespace, as the specification has them."""
    return _mapped(given.uids), _mapped(given.gids)


def _namespaces(request: Request) -> Iterator[Namespace]:
    options = _options(request.config)
    yield Namespace(type="mount")
    for kind, mode in (("network", options.network), ("ipc", options.ipc)):
        _check_shared(request, kind, mode)
    for kind in ("network", "ipc", "uts", "user"):
        if kind in request.namespaces:
            yield Namespace(type=kind, path=request.namespaces[kind])
    _check_users(request, options)
    yield from _pid(request, options.pid)
    if not request.privileged:
        yield Namespace(type="cgroup")


def _pid(request: Request, mode: int) -> Iterator[Namespace]:
    pod = request.pod.linux.security_context.namespace_options.pid
    if mode == _MODES.CONTAINER:
        yield Namespace(type="pid")
    elif mode == _MODES.TARGET:
        if not request.target_pid:
            raise InvalidRequest("namespace_options.target_id: expected a container of the same pod")
        yield Namespace(type="pid", path=request.target_pid)
    elif mode == _MODES.POD and "pid" in request.namespaces:
        yield Namespace(type="pid", path=request.namespaces["pid"])
    elif mode not in (_MODES.POD, _MODES.NODE):
        raise InvalidRequest(f"namespace_options.pid: unknown mode {mode}")
    elif pod != _MODES.NODE:
        wanted = "POD" if mode == _MODES.POD else "NODE"
        raise InvalidRequest(f"namespace_options.pid: {wanted} is not what the pod was made with")


def _check_shared(request: Request, kind: str, mode: int) -> None:
    if mode not in (_MODES.POD, _MODES.NODE):
        raise InvalidRequest(f"namespace_options.{kind}: expected POD or NODE, got mode {mode}")
    if mode == _MODES.NODE and kind in request.namespaces:
        raise InvalidRequest(f"namespace_options.{kind}: NODE, but the pod has a namespace of its own")


def _check_users(request: Request, options: api.NamespaceOption) -> None:
    wanted = options.userns_options
    if not options.HasField("userns_options"):
        return
    if wanted.mode not in (_MODES.POD, _MODES.NODE):
        raise InvalidRequest(f"userns_options.mode: expected POD or NODE, got mode {wanted.mode}")
    own = request.pod.linux.security_context.namespace_options.userns_options
    if wanted.mode == _MODES.NODE:
        if request.joins_user_namespace:
            raise InvalidRequest("userns_options.mode: NODE, but the pod has a user namespace")
    elif (wanted.uids or wanted.gids) and mappings(wanted) != mappings(own):
        raise InvalidRequest("userns_options: expected the mappings of the pod")


def _mapped(given: Iterable[api.IDMapping]) -> tuple[IDMapping, ...]:
    return tuple(
        IDMapping(container_id=each.container_id, host_id=each.host_id, size=each.length) for each in given
    )


def _options(config: api.ContainerConfig) -> api.NamespaceOption:
    return config.linux.security_context.namespace_options
