"""A server as a process of its own, to be killed at any instant and started again; and what may be left of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire
from ociworks.cri.store import Store
from ociworks.image import layout
from tests.cri.nodes import IMAGE, busybox_image, container_config, pod_config

__all__ = [
    "Server",
    "a_container",
    "a_pod",
    "clean",
    "left",
    "prepare",
    "remove_groups",
    "running_server",
    "until",
]

PATIENCE = 60.0
T = TypeVar("T")
_SOON = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
)
"""A server that was started again is found at once."""
_PLUGIN = """\
#!/bin/sh
# A network plugin that gives every pod an address, and remembers which has one.
cat >/dev/null
case "$CNI_COMMAND" in
ADD)
    echo "$CNI_NETNS" >"{addresses}/$CNI_CONTAINERID"
    echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.99.0.2/16"}}]}}' ;;
DEL) rm -f "{addresses}/$CNI_CONTAINERID" ;;
VERSION) echo '{{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}}' ;;
esac
"""


def prepare(place: Path) -> None:
    """An image, a network plugin and a configuration for servers below ``place``."""
    for name in ("root", "cni", "bin", "addresses", "logs"):
        (place / name).mkdir()
    with layout.open(place / "root/images", create=True) as store:
        store.put(busybox_image(), tag=IMAGE)
    plugin = place / "bin/addresses"
    with open(plugin, "x") as stream:
        stream.write(_PLUGIN.format(addresses=place / "addresses"))
    plugin.chmod(0o755)
    document = {"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "addresses"}]}
    (place / "cni/10-test.conflist").write_text(json.dumps(document))
    settings = {
        "root": place / "root",
        "state": place / "state",
        "cni_conf_dir": place / "cni",
        "cni_cache_dir": place / "cni-cache",
    }
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    lines += [
        f'pod_logs = ["{place}/logs"]',
        f'cni_bin_dirs = ["{place}/bin"]',
        "restrict_oom_score_adj = true",
    ]
    lines += ["[handlers.runc]", 'program = "/usr/sbin/runc"']
    (place / "cri.toml").write_text("\n".join(lines) + "\n")


class Server:
    """One server after the other with the same directories."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.channel = grpc.insecure_channel(f"unix:{place}/cri.sock", options=_SOON)

    def start(self) -> None:
        """Start it; ready when this returns."""
        command = [sys.executable, "-m", "ociworks", "cri", "serve", "--config", str(self.place / "cri.toml")]
        command += ["--socket", str(self.place / "cri.sock")]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        assert poller.poll(PATIENCE * 1000), "the server is not ready"
        assert self._process.stdout.readline().startswith(b"serving on "), self.log.read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()

    @property
    def runtime(self) -> wire.RuntimeServiceStub:
        """What a kubelet has."""
        return wire.RuntimeServiceStub(self.channel)

    def close(self) -> None:
        """End it for good."""
        self.kill(signal.SIGTERM)
        self.channel.close()

    # What a kubelet asks

    def run_pod(self, config: api.PodSandboxConfig, handler: str = "") -> str:
        """Make a pod; its ID."""
        request = api.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return self.runtime.RunPodSandbox(request, timeout=PATIENCE).pod_sandbox_id

    def create(self, pod: str, config: api.ContainerConfig, pod_config: api.PodSandboxConfig) -> str:
        """Make a container; its ID."""
        request = api.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        return self.runtime.CreateContainer(request, timeout=PATIENCE).container_id

    def begin(self, container: str) -> None:
        """Start a container."""
        self.runtime.StartContainer(api.StartContainerRequest(container_id=container), timeout=PATIENCE)

    def status(self, container: str) -> api.ContainerStatus:
        """How a container is."""
        request = api.ContainerStatusRequest(container_id=container)
        return self.runtime.ContainerStatus(request, timeout=PATIENCE).status

    def until_exited(self, container: str) -> api.ContainerStatus:
        """Its status when it has ended."""
        return until(lambda: self.status(container), lambda status: status.state == api.CONTAINER_EXITED)

    def pod(self, pod: str) -> api.PodSandboxStatus:
        """How a pod is."""
        request = api.PodSandboxStatusRequest(pod_sandbox_id=pod)
        return self.runtime.PodSandboxStatus(request, timeout=PATIENCE).status

    def containers(self) -> dict[str, api.Container]:
        """All of them by ID."""
        found = self.runtime.ListContainers(api.ListContainersRequest(), timeout=PATIENCE).containers
        return {each.id: each for each in found}

    def pods(self) -> dict[str, api.PodSandbox]:
        """All of them by ID."""
        found = self.runtime.ListPodSandbox(api.ListPodSandboxRequest(), timeout=PATIENCE).items
        return {each.id: each for each in found}

    def remove(self, pod: str) -> None:
        """Stop and remove a pod."""
        self.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=PATIENCE)
        self.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=PATIENCE)

    def recovered(self) -> dict[str, list[str]]:
        """What it found at its start."""
        request = api.StatusRequest(verbose=True)
        info = self.runtime.Status(request, timeout=PATIENCE, wait_for_ready=True).info
        found: dict[str, list[str]] = json.loads(info["recovery"])
        return found


@contextmanager
def running_server(place: Path) -> Iterator[Server]:
    """A prepared server; after the block, everything must have been removed."""
    prepare(place)
    server = Server(place)
    server.start()
    try:
        yield server
        for pod in server.pods():
            server.remove(pod)
        server.close()
        assert not (found := left(place)), f"{found}: {server.log.read_text()[-20000:]}"
    finally:
        server.close()
        clean(place)


def group_of(place: Path) -> str:
    """The control group of the pods below ``place``."""
    return f"ociworks-{place.name}"


def a_pod(place: Path, name: str, *, own_network: bool = True) -> api.PodSandboxConfig:
    """A pod in a control group of this test."""
    config = pod_config(place, name)
    config.linux.cgroup_parent = f"/{group_of(place)}/{name}"
    options = config.linux.security_context.namespace_options
    options.network = api.POD if own_network else api.NODE
    options.pid = api.CONTAINER
    return config


def a_container(script: str, name: str = "main", *, shared: Path | None = None) -> api.ContainerConfig:
    """A container that runs a script; with ``shared``, a directory of the host is ``/shared``."""
    config = container_config("sh", "-c", script, name=name)
    config.linux.security_context.namespace_options.pid = api.CONTAINER
    if shared is not None:
        config.mounts.add(host_path=str(shared), container_path="/shared")
    return config


def until(ask: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """What is answered, when it is what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not fits(found := ask()):
        assert time.monotonic() < deadline, found
    return found


def left(place: Path) -> list[str]:
    """What is there of pods and containers, in no server's records or in them."""
    found = [
        str(path) for name in ("sandboxes", "bundles", "mounts") for path in _below(place / "state" / name)
    ]
    for root in _below(place / "state/runtime"):
        found += [str(path) for path in _below(root)]
    found += [str(path) for path in (*_below(place / "root/containers"), *_below(place / "addresses"))]
    with open("/proc/self/mounts") as stream:
        found += [line for line in stream if str(place) in line]
    found += [str(path) for path in _groups(place) if path.name != group_of(place)]
    found += [f"process {pid}" for pid in _processes(place)]
    with Store(place / "root/cri.db") as store:
        found += [pod.id for pod in store.sandboxes.all()]
        found += [container.id for container in store.containers.all()]
    return found


def clean(place: Path) -> None:
    """Leave nothing on this host after a test that failed."""
    for pid in _processes(place):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with open("/proc/self/mounts") as stream:
        mounts = [line.split()[1] for line in stream if str(place) in line]
    for mount in reversed(mounts):
        subprocess.run(["umount", "--lazy", mount], check=False)
    remove_groups(place)


def remove_groups(place: Path) -> None:
    """Remove the control groups of this test, as far as nothing is in them."""
    for group in _groups(place):
        with contextlib.suppress(OSError):
            group.rmdir()


def _below(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _groups(place: Path) -> list[Path]:
    """Control groups of this test, those within others first; the outermost is the kubelet's, which is us."""
    tops = [*Path("/sys/fs/cgroup").glob(f"*/{group_of(place)}"), Path("/sys/fs/cgroup") / group_of(place)]
    found = [path for top in tops if top.is_dir() for path in (top, *top.rglob("*/"))]
    return sorted(found, key=lambda path: -len(path.parts))


def _processes(place: Path) -> list[int]:
    """Those in control groups of this test, and shims that hold a socket below ``place``."""
    found = {int(line) for group in _groups(place) for line in _lines(group / "cgroup.procs")}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text() == "ociworks-shim\n" and any(
                os.readlink(fd).startswith(str(place)) for fd in (entry / "fd").iterdir()
            ):
                found.add(int(entry.name))
    return sorted(found - {os.getpid()})


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
