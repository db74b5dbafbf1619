"""Networks of pods, by CNI plugins (Container Network Interface 1.1.0).

::

    network = Network(CriConfig(cni_conf_dir="/etc/cni/net.d", cni_bin_dirs=("/opt/cni/bin",)))
    attached = network.add(pod_network(pod_id, pod_config, "/run/…/ns/net"))
    attached.addresses                             # ("10.88.0.2",)
    network.remove(…)

- ``client``: Network, what a node has; ``pod``: what plugins are told of a pod; ``request``: that, from a request
- ``connect``: connections to ports inside a pod
- ``_configurations``: which network is configured; ``_ranges``: the node's addresses, as the kubelet says them
- ``_chain``: the plugins of one network, one after the other; ``_plugins``: one of them; ``_process``: a program
- ``_results``: what they answer; ``_cache``, ``_files``: that, on disk
- ``_namespace``: network namespaces; ``_turns``: who goes beside whom
"""

from __future__ import annotations

from ociworks.cri.network.client import Attached, Network
from ociworks.cri.network.connect import connect_in
from ociworks.cri.network.pod import Bandwidth, PodNetwork, PortMapping

__all__ = ["Attached", "Bandwidth", "Network", "PodNetwork", "PortMapping", "connect_in"]
