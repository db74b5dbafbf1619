"""The runtime as a whole: Version, Status, RuntimeConfig, UpdateRuntimeConfig."""

from __future__ import annotations

from typing import Final

import ociworks
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = ["runtime_config", "status", "update_runtime_config", "version"]

_KUBELET_API: Final = "0.1.0"
"""What a kubelet expects since this interface exists; it is no version of ours."""


def version(node: Node, request: api.VersionRequest) -> api.VersionResponse:
    """Names and versions. A kubelet refuses an answer with an empty field."""
    return api.VersionResponse(
        version=_KUBELET_API,
        runtime_name="ociworks",
        runtime_version=ociworks.__version__,
        runtime_api_version="v1",
    )


def status(node: Node, request: api.StatusRequest) -> api.StatusResponse:
    """Whether pods can be run, and what pods may ask for."""
    return api.StatusResponse(
        status=api.RuntimeStatus(conditions=node.conditions()),
        info=node.information() if request.verbose else {},
        runtime_handlers=node.handlers.describe(),
        features=api.RuntimeFeatures(supplemental_groups_policy=True, mount_options=True),
    )


def runtime_config(node: Node, request: api.RuntimeConfigRequest) -> api.RuntimeConfigResponse:
    """The control group driver, so that the kubelet need not be told."""
    systemd = node.config.cgroup_driver == "systemd"
    driver = api.CgroupDriver.SYSTEMD if systemd else api.CgroupDriver.CGROUPFS
    return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=driver))


def update_runtime_config(
    node: Node, request: api.UpdateRuntimeConfigRequest
) -> api.UpdateRuntimeConfigResponse:
    """The node's range of addresses, for network plugins."""
    if cidr := request.runtime_config.network_config.pod_cidr:
        node.network.set_pod_cidr(cidr)
    return api.UpdateRuntimeConfigResponse()
