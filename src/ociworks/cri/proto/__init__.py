"""The Container Runtime Interface, version ``runtime.v1``, as Protocol Buffers.

``runtime_v1.proto`` is the source; the modules beside it are generated (``scripts/protos``)::

    from ociworks.cri.proto import runtime_v1_pb2 as api          # the messages
    from ociworks.cri.proto import runtime_v1_pb2_grpc as wire    # stubs for clients; loads grpc
"""

from __future__ import annotations

from ociworks.cri.proto import runtime_v1_pb2

__all__ = ["runtime_v1_pb2"]
