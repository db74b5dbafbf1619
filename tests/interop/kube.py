"""As much of a Kubernetes API server as kubectl asks for to reach one pod, and the kubelet behind it.

A request for a program or a port is asked of the container runtime, and the client's connection is then joined to the
URL that it gives, byte for byte: what kubectl says is what the streaming server hears.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.interop.peers import peer

__all__ = ["Kubectl", "Query", "kubectl"]

Query = Mapping[str, list[str]]
POD = "/api/v1/namespaces/default/pods/pod"
_RESOURCES = [
    {"name": name, "namespaced": True, "kind": kind, "singularName": "", "verbs": ["get", "create"]}
    for name, kind in (
        ("pods", "Pod"),
        ("pods/exec", "PodExecOptions"),
        ("pods/attach", "PodAttachOptions"),
        ("pods/portforward", "PodPortForwardOptions"),
    )
]
_ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES},
    POD: {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "pod", "namespace": "default", "uid": "1"},
        "spec": {"containers": [{"name": "main", "image": "busybox", "stdin": True}]},
        "status": {"phase": "Running", "containerStatuses": []},
    },
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith(f"{POD}/"):
            self._join(parts.path.rpartition("/")[2], parse_qs(parts.query))
            return
        found = _ANSWERS.get(parts.path)
        body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _join(self, kind: str, query: Query) -> None:
        """The client waits for the answer before it says more, so that nothing of it has been read yet."""
        self.close_connection = True
        url = urlsplit(self.server.url_of(kind, query))
        head = f"{self.command} {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items() if name != "Host")
        with socket.create_connection((str(url.hostname), int(url.port or 80))) as upstream:
            upstream.sendall(f"{head}\r\n".encode("latin-1"))
            back = threading.Thread(target=_copy, args=(upstream, self.connection))
            back.start()
            _copy(self.connection, upstream)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, url_of: Callable[[str, Query], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url_of = url_of


class Kubectl:
    """The program, for a cluster with one pod called ``pod``."""

    def __init__(self, server: str, home: Path, *, websockets: bool) -> None:
        given = f"--server={server}", "--kubeconfig=/dev/null", f"--cache-dir={home}"
        self._command = (peer("kubectl"), *given)
        wish = str(websockets).lower()
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": wish,
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": wish,
        }

    def run(self, *words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """To its end."""
        return subprocess.run(
            [*self._command, *words],
            input=input,
            capture_output=True,
            env=self._environment,
            check=False,
            timeout=60,
        )

    @contextmanager
    def begun(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """For the time of the block."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*self._command, *words],
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextmanager
    def port_forward(self, port: int) -> Iterator[int]:
        """The local port that it forwards to one of the pod."""
        with self.begun("port-forward", "--address=127.0.0.1", "pod/pod", f":{port}") as process:
            assert process.stdout is not None
            line = process.stdout.readline().decode()  # Forwarding from 127.0.0.1:40123 -> 80
            yield int(line.partition(" -> ")[0].rpartition(":")[2])


@contextmanager
def kubectl(place: Path, url_of: Callable[[str, Query], str], *, websockets: bool) -> Iterator[Kubectl]:
    """With ``url_of`` as the runtime: the kind of the request and what it asks for → the URL of its streams."""
    with _Server(url_of) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            home = place / "kubectl"
            home.mkdir(exist_ok=True)
            yield Kubectl(f"http://127.0.0.1:{server.server_address[1]}", home, websockets=websockets)
        finally:
            server.shutdown()
            thread.join()
