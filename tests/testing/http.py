"""A plain HTTP client for the registry's tests: what is sent is what the test says, and nothing is followed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from ociworks.spec import Digest
from ociworks.spec.image import mediatypes

__all__ = ["MANIFEST", "Answer", "Registry", "ask", "manifest_of", "push_blob", "raw", "start_upload"]

MANIFEST = mediatypes.OCI_MANIFEST


class Registry(Protocol):
    """Anything with an address: ours, or a peer."""

    @property
    def host(self) -> str:
        """``host:port``."""


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def codes(self) -> list[str]:
        """The codes of an error body."""
        return [error["code"] for error in json.loads(self.body)["errors"]]

    def json(self) -> dict[str, object]:
        """The body."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def next(self) -> str:
        """The target of ``Link: <…>; rel="next"``."""
        target, _, rest = self.headers["link"].removeprefix("<").partition(">")
        assert rest == '; rel="next"'
        return target


def ask(
    registry: Registry,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; a body in pieces is sent chunked."""
    with contextlib.closing(http.client.HTTPConnection(registry.host, timeout=60)) as connection:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())


def raw(registry: Registry, data: bytes, *, half_close: bool = True) -> bytes:
    """Send these bytes; everything that comes back until the registry closes."""
    host, _, port = registry.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        with contextlib.suppress(OSError):  # it may have said no and closed before the end
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                answer += data
        return answer


def start_upload(registry: Registry, name: str = "app", query: str = "") -> str:
    """POST: the location of a new upload, as a path."""
    answer = ask(registry, "POST", f"/v2/{name}/blobs/uploads/{query}", b"")
    assert answer.status == 202
    return urlsplit(answer.headers["location"]).path


def push_blob(registry: Registry, content: bytes, name: str = "app") -> Digest:
    """A blob, in a single POST."""
    digest = Digest.of(content)
    answer = ask(registry, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
    if answer.status == 202:  # docker-registry knows POST and PUT only
        location = urlsplit(answer.headers["location"])
        answer = ask(registry, "PUT", f"{location.path}?{location.query}&digest={digest}", content)
    assert answer.status == 201
    return digest


def manifest_of(registry: Registry, name: str = "app", seed: bytes = b"", **members: object) -> bytes:
    """A manifest without layers whose configuration is pushed; ``members`` are added to it."""
    config = b"{}" + b" " * len(seed)
    digest = push_blob(registry, config, name)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": str(digest), "size": len(config)},
        "layers": [],
        "annotations": {"seed": seed.hex()},
    }
    return json.dumps(value | members).encode()
