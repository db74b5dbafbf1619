"""Pushing to and pulling from a registry on a directory: ``ociworks registry serve`` against Debian's docker-registry.

Both are programs of their own on loopback, with storage side by side; the client is the same. ``BENCH_REGISTRY_MIB`` is
the size of a blob.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks._measure import Work, compare, report
from ociworks.spec import Digest
from ociworks.spec.digest import Hasher

SIZE = int(os.environ.get("BENCH_REGISTRY_MIB", "200"))
PIECE = os.urandom(1 << 20)
CHUNK = 32 * 1024
CONFIGURATION = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:0"}}
"""


def ours(folder: str) -> contextlib.AbstractContextManager[str]:
    """Our server; gives ``host:port``."""
    command = [
        sys.executable,
        "-m",
        "ociworks",
        "registry",
        "serve",
        "-q",
        "--listen",
        "127.0.0.1:0",
        "--dir",
        folder,
    ]
    return serving(command, rb"serving on http://(\S+)")


def theirs(program: str, folder: str) -> contextlib.AbstractContextManager[str]:
    """docker-registry; gives ``host:port``."""
    os.mkdir(folder)
    with open(f"{folder}/config.yml", "x", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder))
    return serving([program, "serve", file.name], rb"listening on ([0-9.]+:[0-9]+)")


@contextlib.contextmanager
def serving(command: list[str], pattern: bytes) -> Iterator[str]:
    """A server, until the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        lines = iter(process.stdout or ())
        try:
            found = next(match for line in lines if (match := re.search(pattern, line)))
            threading.Thread(target=lambda: deque(lines, maxlen=0), daemon=True).start()
            yield found[1].decode()
        finally:
            process.terminate()


class Peer:
    """One registry, and what is done to it."""

    def __init__(self, host: str) -> None:
        self.connection = http.client.HTTPConnection(host, blocksize=1 << 20)
        self.digest = self.put()

    def put(self) -> Digest:
        """A new blob: POST, then PUT with its length."""
        seed = os.urandom(16)
        hasher = Hasher()
        for piece in blob(seed):
            hasher.update(piece)
        self._ask("PUT", self._start(hasher.digest()), blob(seed), {"Content-Length": str(SIZE << 20)})
        return hasher.digest()

    def stream(self) -> None:
        """A new blob of a length that nobody knows: POST, PATCH in small chunks, PUT; as skopeo and podman do it."""
        seed = os.urandom(16)
        hasher = Hasher()
        for piece in blob(seed):
            hasher.update(piece)
        pieces = (piece[at : at + CHUNK] for piece in blob(seed) for at in range(0, len(piece), CHUNK))
        self._ask("PATCH", self._start(None), pieces, {"Transfer-Encoding": "chunked"})
        self._ask("PUT", f"{self.location}&digest={hasher.digest()}", None, {})

    def get(self) -> None:
        """A blob, thrown away."""
        self._ask("GET", f"/v2/app/blobs/{self.digest}", None, {})

    def heads(self) -> None:
        """Many small answers."""
        for _ in range(200):
            self._ask("HEAD", f"/v2/app/blobs/{self.digest}", None, {})

    def _start(self, digest: Digest | None) -> str:
        self._ask("POST", "/v2/app/blobs/uploads/", b"", {})
        return self.location if digest is None else f"{self.location}&digest={digest}"

    def _ask(
        self, method: str, target: str, body: bytes | Iterator[bytes] | None, headers: dict[str, str]
    ) -> None:
        chunked = "Transfer-Encoding" in headers
        self.connection.request(method, target, body, headers, encode_chunked=chunked)
        answer = self.connection.getresponse()
        buffer = bytearray(1 << 20)
        while answer.readinto(buffer):
            pass
        if answer.status >= 300:
            raise SystemExit(f"{method} {target}: {answer.status}")
        location = urlsplit(answer.getheader("Location", ""))
        self.location = f"{location.path}?{location.query}"


def blob(seed: bytes) -> Iterator[bytes]:
    """The content that begins with ``seed``, in pieces."""
    yield seed + PIECE[len(seed) :]
    for _ in range(SIZE - 1):
        yield PIECE


def main() -> None:
    """Print the ratios."""
    program = shutil.which("docker-registry")
    if program is None:
        print("registry: docker-registry is not installed, nothing to compare with")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        ours(f"{folder}/ours") as mine,
        theirs(program, f"{folder}/theirs") as other,
    ):
        our, their = Peer(mine), Peer(other)
        works: list[tuple[str, Work, Work]] = [
            (f"GET {SIZE} MiB", our.get, their.get),
            (f"PUT {SIZE} MiB", our.put, their.put),
            (f"PATCH {SIZE} MiB, chunked", our.stream, their.stream),
            ("200 times HEAD", our.heads, their.heads),
        ]
        report(
            "registry",
            [compare(name, one, "docker-registry", two, pairs=7, aim=1.0) for name, one, two in works],
        )


if __name__ == "__main__":
    main()
