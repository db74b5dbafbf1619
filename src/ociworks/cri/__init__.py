"""The Kubernetes Container Runtime Interface: pods and containers for a kubelet. Needs ``ociworks[cri]``.

::

    from ociworks.cri import CriConfig, CriService

    with CriService(CriConfig(root="/var/lib/demo", state="/run/demo")) as cri:
        cri.add_to_server(server)                  # grpc.server or grpc.aio.server, beside your own services
        server.start()

- ``service``: CriService; ``runtime_service``, ``image_service``: its RPCs, thin; ``_rpc``, ``_methods``,
  ``_requests``, ``_pieces``, ``_caller``: how they are put on a server; ``_rpcserver``: one of our own
- ``node``: every part, wired; ``events``: what happens, for followers; ``handlers``: runtimes by name
- ``network``: networks of pods, by CNI plugins; ``_podnetworks``: that, as pods need it
- ``images``: pulled, named, removed, and given to containers as root filesystems
- ``sandbox``: pods; ``container``: containers in them
- ``config``: CriConfig; ``records``, ``store``: what exists, across restarts
- ``streaming``: programs and ports with streams, ExecSync
- ``monitor``: notices the ends of containers; ``_again``: what it has to try again; ``recovery``: brings records and
  reality together at the start
- ``stats``: what containers and pods use, and metrics; ``checkpoints``: containers and pods on disk
- ``locks``: one for each pod and container; ``_ending``: whether somebody may still wait for long
- ``_status``: errors as gRPC statuses; ``proto``: the messages
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.cri.config import CriConfig, Handler
    from ociworks.cri.service import CriService

__all__ = ["CriConfig", "CriService", "Handler"]

_HOMES = {
    "CriConfig": "ociworks.cri.config",
    "CriService": "ociworks.cri.service",
    "Handler": "ociworks.cri.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
