"""The nodes for ``benchmarks.cri``: ``ociworks cri serve``, and containerd with runc, set up alike.

The peer is Debian's containerd; a newer one is whatever ``$BENCH_CONTAINERD`` names, with its shim beside it.

Each has its own directories, socket and CNI bridge (Debian's plugins); images come from one registry in the benchmark's
process. Everything happens in a network and a mount namespace that the benchmark starts itself in, so the machine keeps
neither bridges nor mounts, and the benchmark is the reaper of all that is left behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire

__all__ = ["Node", "alone", "containerd", "missing", "newer_containerd", "ociworks", "pss_below_us"]

PLUGINS = "/usr/lib/cni"
_INSIDE = "OCIWORKS_BENCH_ALONE"
_SUBREAPER = 36
_WAIT = 60.0
_NEEDED = ("RuntimeReady", "NetworkReady")
_IMAGES = 'plugins."io.containerd.cri.v1.images"'
_RUNTIME = 'plugins."io.containerd.cri.v1.runtime"'


def missing() -> str:
    """What this machine lacks, or nothing."""
    programs = ("containerd", "containerd-shim-runc-v2", "runc", "unshare", "ip", "mount")
    lacking = [name for name in programs if shutil.which(name) is None]
    if not os.path.exists(f"{PLUGINS}/bridge"):
        lacking.append("containernetworking-plugins")
    if os.geteuid() != 0:
        lacking.append("root")
    return ", ".join(lacking)


def alone(module: str) -> None:
    """Start this benchmark again in namespaces of its own, unless it is there already."""
    if os.environ.get(_INSIDE):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        os.makedirs(
            "/run/containerd", exist_ok=True
        )  # where shims have their sockets, whatever is configured
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run/containerd"], check=True)
        return
    os.environ[_INSIDE] = "1"
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", module]
    os.execvp(command[0], command)  # noqa: S606 - a program without a shell


@dataclass
class Node:
    """A server of the interface, and a client of it."""

    name: str
    runtime: wire.RuntimeServiceStub
    images: wire.ImageServiceStub
    image: str
    parent: str
    """The control group of its pods."""
    logs: Path
    pods: list[str] = field(default_factory=list)

    def run(self, number: int, *, container: bool = True) -> tuple[str, str]:
        """Run a pod, with a sleeping container in it; both IDs."""
        config = self._pod_config(number)
        pod = self.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
        if not container:
            return pod, ""
        request = api.CreateContainerRequest(
            pod_sandbox_id=pod, config=self._container(), sandbox_config=config
        )
        made = self.runtime.CreateContainer(request).container_id
        self.runtime.StartContainer(api.StartContainerRequest(container_id=made))
        return pod, made

    def remove(self, pod: str) -> None:
        """Stop and remove a pod."""
        self.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
        self.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))

    def exec(self, container: str) -> None:
        """Run ``true`` in a container."""
        request = api.ExecSyncRequest(container_id=container, cmd=["/bin/true"], timeout=10)
        if self.runtime.ExecSync(request).exit_code:
            raise SystemExit(f"{self.name}: ExecSync failed")

    def clear(self) -> None:
        """Remove every pod."""
        for pod in self.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items:
            self.remove(pod.id)

    def _pod_config(self, number: int) -> api.PodSandboxConfig:
        name = f"bench-{number}"
        return api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=f"uid-{number}", namespace="bench"),
            hostname=name,
            log_directory=str(self.logs / name),
            linux=api.LinuxPodSandboxConfig(cgroup_parent=self.parent),
        )

    def _container(self) -> api.ContainerConfig:
        security = api.LinuxContainerSecurityContext(
            seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault)
        )
        return api.ContainerConfig(
            metadata=api.ContainerMetadata(name="main"),
            image=api.ImageSpec(image=self.image),
            command=["/bin/sleep", "1000000"],
            log_path="main.log",
            linux=api.LinuxContainerConfig(security_context=security),
        )


@contextmanager
def ociworks(place: Path, image: str, registry: str) -> Iterator[Node]:
    """Ours."""
    config = place / "cri.toml"
    config.write_text(
        f'root = "{place}/root"\nstate = "{place}/state"\npod_logs = ["{place}/logs"]\n'
        f'cni_conf_dir = "{place}/cni"\ncni_cache_dir = "{place}/cni-cache"\ncni_bin_dirs = ["{PLUGINS}"]\n'
        "restrict_oom_score_adj = true\n"
        f'[registry_mirrors]\n"{registry}" = ["http://{registry}"]\n'
    )
    _network(place, "ours", 100)
    command = [sys.executable, "-m", "ociworks", "cri", "serve", "--config", str(config)]
    with _served("ociworks", place, image, [*command, "--socket", f"{place}/cri.sock"]) as node:
        yield node


@contextmanager
def containerd(place: Path, image: str, registry: str) -> Iterator[Node]:
    """The peer."""
    _network(place, "peer", 101)
    config = place / "containerd.toml"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    config.write_text(
        f'version = 2\nroot = "{place}/root"\nstate = "{place}/state"\n'
        f'[grpc]\naddress = "{place}/cri.sock"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{place}/opt"\n'
        f'[{cri}]\nsandbox_image = "{image}"\nrestrict_oom_score_adj = true\ndisable_apparmor = true\n'
        f'[{cri}.cni]\nbin_dir = "{PLUGINS}"\nconf_dir = "{place}/cni"\n'
        f'[{cri}.registry.mirrors."{registry}"]\nendpoint = ["http://{registry}"]\n'
    )
    with _served("containerd", place, image, ["containerd", "--config", str(config)]) as node:
        yield node


@contextmanager
def newer_containerd(program: str, place: Path, image: str, registry: str) -> Iterator[Node]:
    """A containerd of version 2, which counts pods; the shim is beside it."""
    _network(place, "newer", 102)
    hosts = place / "hosts" / registry
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{registry}"]\n')
    config = place / "containerd.toml"
    config.write_text(
        f'version = 3\nroot = "{place}/root"\nstate = "{place}/state"\n'
        f'[grpc]\naddress = "{place}/cri.sock"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{place}/opt"\n'
        f'[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n'
        f'[{_IMAGES}.pinned_images]\nsandbox = "{image}"\n'
        f'[{_IMAGES}.registry]\nconfig_path = "{place}/hosts"\n'
        f"[{_RUNTIME}]\nrestrict_oom_score_adj = true\ndisable_apparmor = true\n"
        f'[{_RUNTIME}.cni]\nbin_dirs = ["{PLUGINS}"]\nconf_dir = "{place}/cni"\n'
    )
    path = f"{Path(program).resolve().parent}:{os.environ['PATH']}"
    command = ["env", f"PATH={path}", program, "--config", str(config)]
    with _served("newer-containerd", place, image, command) as node:
        yield node


@contextmanager
def _served(name: str, place: Path, image: str, command: Sequence[str]) -> Iterator[Node]:
    with ExitStack() as stack:
        log = stack.enter_context(open(place / "server.log", "wb"))
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        stack.callback(_end, server)
        channel = stack.enter_context(grpc.insecure_channel(f"unix:{place}/cri.sock"))
        node = Node(
            name=name,
            runtime=wire.RuntimeServiceStub(channel),
            images=wire.ImageServiceStub(channel),
            image=image,
            parent=f"/ociworks-bench-{os.getpid()}/{name}",
            logs=place / "logs",
        )
        node.runtime.Version(api.VersionRequest(), wait_for_ready=True, timeout=_WAIT)
        _until_ready(node, place)
        node.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=image)), timeout=_WAIT)
        stack.callback(node.clear)
        yield node


def _until_ready(node: Node, place: Path) -> None:
    until = time.monotonic() + _WAIT
    while time.monotonic() < until:
        status = node.runtime.Status(api.StatusRequest()).status
        if all(item.status for item in status.conditions if item.type in _NEEDED):
            return
        time.sleep(0.1)
    raise SystemExit(f"{node.name} is not ready:\n{(place / 'server.log').read_text()[-2000:]}")


def _network(place: Path, name: str, subnet: int) -> None:
    (place / "cni").mkdir()
    bridge = {
        "type": "bridge",
        "bridge": f"bench-{name}",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{place}/leases",
            "ranges": [[{"subnet": f"10.{subnet}.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
    (place / "cni" / "10-bench.conflist").write_text(json.dumps(document))


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def pss_below_us() -> int:
    """Kilobytes of memory of all processes that descend from this one: PSS, the kernel's fair share of each."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, us = 0, os.getpid()
    for pid in parents:
        above = pid
        while above not in (0, us):
            above = parents.get(above, 0)
        if above == us and pid != us:
            found += _pss(pid)
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
