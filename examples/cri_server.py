"""An application with a service of its own beside the Container Runtime Interface, on one gRPC server.

::

    python cri_server.py /var/lib/demo /run/demo/cri.sock

Its own service, ``demo.Census``, tells how many containers the node has of an image; a kubelet or crictl uses the rest.
Containers are made by a runtime of the application's own class, so that it sees each one begin.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.protobuf import wrappers_pb2 as wrappers

from ociworks.cri import CriConfig, CriService
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire

__all__ = ["Census", "serve"]


class Census:
    """Counts containers through the interface, as any client does."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._runtime = wire.RuntimeServiceStub(self._channel)

    def count(self, request: wrappers.StringValue, context: grpc.ServicerContext) -> wrappers.Int64Value:
        """Containers of the image by that name, running or not."""
        found = self._runtime.ListContainers(api.ListContainersRequest()).containers
        return wrappers.Int64Value(value=Counter(each.image.image for each in found)[request.value])

    def add_to_server(self, server: grpc.Server) -> None:
        """Register the service; a generated ``add_…Servicer_to_server`` would do the same."""
        handler = grpc.unary_unary_rpc_method_handler(
            self.count, wrappers.StringValue.FromString, wrappers.Int64Value.SerializeToString
        )
        services = grpc.method_handlers_generic_handler("demo.Census", {"Count": handler})
        server.add_generic_rpc_handlers((services,))

    def close(self) -> None:
        """Close its connection."""
        self._channel.close()


def serve(config: CriConfig, socket: Path) -> None:
    """Serve both until SIGTERM or SIGINT. Two workers are enough: the interface brings threads of its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = grpc.server(ThreadPoolExecutor(2))
    census = Census(f"unix:{socket}")
    with CriService(config) as cri:
        cri.add_to_server(server)
        census.add_to_server(server)
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        print(f"serving on {socket}", flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        census.close()
        server.stop(5).wait()


def main(place: str, socket: str) -> None:
    """Everything below one directory, so that nothing else on the machine is touched."""
    config = CriConfig(
        root=f"{place}/root",
        state=f"{place}/state",
        cni_conf_dir=f"{place}/net.d",
        cni_cache_dir=f"{place}/cni",
        pod_logs=(f"{place}/logs",),
        restrict_oom_score_adj=True,
    )
    serve(config, Path(socket))


if __name__ == "__main__":
    main(*sys.argv[1:])
