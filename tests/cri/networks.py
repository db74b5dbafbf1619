"""Hosts and pods for tests of networks: namespaces of their own, so that the machine's network is not touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import frozen

from ociworks._linux.process import CLONE_NEWNET, unshare
from ociworks.cri import CriConfig
from ociworks.cri.network import Network, PodNetwork, _namespace
from tests.interop.peers import busybox

__all__ = [
    "Host",
    "bind",
    "configuration",
    "fake_plugin",
    "host",
    "in_pod",
    "in_pod_call",
    "leases",
    "loopback_up",
    "network_below",
    "pinned",
    "plugin_directory",
]

T = TypeVar("T")
SUBNET = "10.123.0.0/24"


def plugin_directory() -> str:
    """Where the distribution has its plugins; the test is skipped without them."""
    for place in ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"):
        if os.access(f"{place}/bridge", os.X_OK):
            return place
    pytest.skip("needs the CNI plugins (containernetworking-plugins)")


@frozen
class Host:
    """A network namespace that plays the host, and pods beside it."""

    netns: int
    place: Path
    stack: ExitStack

    def run(self, call: Callable[[], T]) -> T:
        """Call something as a process of this host would."""
        return _namespace.inside(self.netns, call)

    def pod(self, name: str = "pod", **settings: Any) -> PodNetwork:
        """A pod with a new network namespace, pinned."""
        path = self.stack.enter_context(pinned(self.place / f"net-{name}"))
        return PodNetwork(
            id=f"id-{name}", name=name, namespace="tests", uid=f"u-{name}", netns=path, **settings
        )

    def shell(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program on this host."""
        return self.run(lambda: _run(*command))

    def listener(self) -> socket.socket:
        """A socket of this host that listens on 127.0.0.1."""
        return self.run(lambda: socket.create_server(("127.0.0.1", 0)))


def in_pod(pod: PodNetwork, *command: str) -> subprocess.CompletedProcess[str]:
    """Run an applet of busybox in a pod's network."""
    return _run("nsenter", f"--net={pod.netns}", str(busybox()), *command)


def in_pod_call(pod: PodNetwork, call: Callable[[], T]) -> T:
    """Call something in a pod's network."""
    with _namespace.opened(pod.netns) as netns:
        return _namespace.inside(netns, call)


@contextmanager
def pinned(path: Path) -> Iterator[str]:
    """A new network namespace, mounted on a file."""
    path.touch()

    def make() -> None:
        unshare(CLONE_NEWNET)
        source = f"/proc/{os.readlink('/proc/thread-self')}/ns/net"
        _run("mount", "--bind", source, str(path)).check_returncode()

    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _namespace.inside(own, make)
    finally:
        os.close(own)
    try:
        yield str(path)
    finally:
        _run("umount", "--lazy", str(path))


@contextmanager
def host(place: Path) -> Iterator[Host]:
    """A host with a loopback interface; it and its pods are gone afterwards."""
    with ExitStack() as stack:
        path = stack.enter_context(pinned(place / "net-host"))
        netns = stack.enter_context(_namespace.opened(path))
        _namespace.bring_loopback_up(netns)
        yield Host(netns, place, stack)


def configuration(place: Path, *further: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A bridge with addresses for each pod, then ``further`` plugins."""
    ipam = {
        "type": "host-local",
        "dataDir": str(place / "leases"),
        "ranges": [[{"subnet": SUBNET}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "ociw0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ipam,
    }
    return {"cniVersion": "1.0.0", "name": "podnet", "plugins": [bridge | settings, *further]}


def network_below(place: Path, document: object = None, **settings: Any) -> Network:
    """A network whose directories are below ``place``, with a configuration (bytes, or what becomes JSON)."""
    directory = place / "net.d"
    directory.mkdir(exist_ok=True)
    if document is not None:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        (directory / "10-net.conflist").write_bytes(raw)
    values: dict[str, Any] = {
        "cni_conf_dir": str(directory),
        "cni_cache_dir": str(place / "cache"),
    }
    if "cni_bin_dirs" not in settings:
        values["cni_bin_dirs"] = (str(place / "bin"), plugin_directory())
    return Network(CriConfig(**(values | settings)))


def fake_plugin(place: Path, name: str, script: str) -> Path:
    """A plugin that is a shell script; it answers VERSION like a current one."""
    directory = place / "bin"
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$CNI_COMMAND" = VERSION ]; then\n'
        '  echo \'{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}\'; exit\nfi\n' + script
    )
    path.chmod(0o755)
    return path


def leases(place: Path) -> list[str]:
    """The addresses that host-local has given away."""
    folder = place / "leases" / "podnet"
    return sorted(name.name for name in folder.iterdir() if name.name[0].isdigit()) if folder.is_dir() else []


def bind(source: str, target: str) -> None:
    """Mount a file on another one."""
    _run("mount", "--bind", source, target).check_returncode()


def loopback_up(pod: PodNetwork) -> None:
    """What attaching a pod does first."""
    with _namespace.opened(pod.netns) as netns:
        _namespace.bring_loopback_up(netns)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
