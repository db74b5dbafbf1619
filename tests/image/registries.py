"""What tests of the registry client share: clients without waiting, a pushed image, servers that never end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ociworks import testing
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS, Basic, Secret, StaticKeychain
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import to_json
from ociworks.spec.image import Descriptor, Index, mediatypes
from tests.image.rawserver import RawServer, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ociworks.image.types import Image

__all__ = [
    "BLOB",
    "DESCRIPTOR",
    "HIDDEN",
    "MISSING",
    "Sleeper",
    "anonymous",
    "client_for",
    "document",
    "endless",
    "index_of",
    "paths",
    "push",
    "read_blob",
    "serve",
]

HIDDEN = "hunter2-sentinel"
BLOB = b"0123456789abcdef" * 4096
DESCRIPTOR = Descriptor.of(BLOB, mediatypes.OCI_LAYER)
MISSING = answer(b"", status="404 Not Found")


class Sleeper:
    """Notes the pauses instead of making them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


def client_for(*hosts: str, trusted: tuple[str, ...] = (), limits: Limits | None = None) -> remote.Client:
    """A client with a secret password for each of these registries."""
    keychain = StaticKeychain({host: Basic("user", Secret("password")) for host in hosts})
    options = ClientOptions(trusted=trusted, limits=limits or Limits(), sleep=Sleeper())
    return remote.Client(keychain=keychain, options=options)


def anonymous(options: ClientOptions | None = None) -> remote.Client:
    """A client without credentials."""
    return remote.Client(keychain=ANONYMOUS, options=options or ClientOptions(sleep=Sleeper()))


def push(registry: testing.Registry, name: str = "app:1", layers: int = 2, size: int = 100_000) -> Image:
    image = testing.random_image(layers, size=size)
    with client_for(registry.host) as client:
        client.push(image, f"{registry.host}/{name}")
    return image


def paths(registry: testing.Registry, method: str = "GET") -> list[str]:
    return [request.path for request in registry.requests if request.method == method]


def read_blob(client: remote.Client, host: str, descriptor: Descriptor = DESCRIPTOR) -> bytes:
    with client.open_blob(f"{host}/app", descriptor) as stream:
        return stream.read()


def endless(status: str, *headers: str) -> Callable[[bytes], Iterator[bytes]]:
    """A response whose body never ends."""

    def talk(_head: bytes) -> Iterator[bytes]:
        yield answer(b"", *headers, status=status, length=None)
        yield from itertools.repeat(b"x" * 65536)

    return talk


def serve(*rules: tuple[str, bytes | Iterable[bytes]]) -> RawServer:
    """Answers by the start of the request line: the first rule that fits is used; nothing fits: 404."""

    def talk(head: bytes) -> Iterable[bytes]:
        line = head.partition(b"\r\n")[0].decode()
        for start, reply in rules:
            if line.startswith(start):
                return [reply] if isinstance(reply, bytes) else reply
        return [MISSING]

    return RawServer(talk)


def document(raw: bytes, kind: str, *headers: str) -> bytes:
    """A response with a document of a media type."""
    return answer(raw, f"Content-Type: {kind}", *headers)


def index_of(*entries: Descriptor) -> bytes:
    """The bytes of an index."""
    return to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=entries))
