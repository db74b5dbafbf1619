"""A registry in this process: the distribution specification over loopback, in memory, with faults on demand.

::

    with testing.Registry() as registry:
        registry.host                        # "127.0.0.1:40123", for references
        registry.url                         # "http://127.0.0.1:40123"
        registry.inject(testing.Fault(path="/blobs/sha256:", cut_after=1000))

It is for tests and demonstrations: real clients such as skopeo can push and pull, but it bounds nothing.
"""

from __future__ import annotations

import base64
import secrets
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, Self

from attrs import field, frozen

from ociworks.testing._registry_http import Handler
from ociworks.testing._registry_store import RegistryStore

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Fault", "Registry", "RegistryOptions", "SeenRequest"]


@frozen(kw_only=True)
class Fault:
    """What goes wrong, for the next ``times`` requests with this method whose path contains ``path``."""

    path: str
    method: str = "GET"
    times: int = 1
    """Negative: for ever."""
    status: int | None = None
    """Answer with this status, ``headers`` and ``body`` instead of doing anything."""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    """Without a status: headers to add to the answer, or to replace in it."""
    cut_after: int | None = None
    """Close the connection after this many bytes of the body."""
    flip_at: int | None = None
    """Change the byte at this offset of the body."""
    pause: float = 0.0
    """Seconds to wait after each 256 KiB of the body."""


@frozen(kw_only=True)
class RegistryOptions:
    """How a registry behaves."""

    auth: Literal["none", "basic", "bearer"] = "none"
    username: str = "user"
    password: str = field(default="password", repr=False)
    anonymous_pull: bool = False
    """With ``bearer``: tokens for pulling are given without credentials."""
    realm: str | None = None
    """The token endpoint to name in challenges; this registry's own by default."""
    redirect_blobs_to: str | None = None
    """The URL of another registry that serves the blobs."""
    tls: ssl.SSLContext | None = None
    """A server context: the registry then speaks https."""


@frozen
class SeenRequest:
    """A request as it arrived."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Registry:
    """An in-memory registry on a free port of 127.0.0.1, from construction until :meth:`close`."""

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self.options = options or RegistryOptions()
        self.store = RegistryStore()
        self._requests: list[SeenRequest] = []
        self._faults: list[tuple[Fault, list[int]]] = []
        self._tokens: dict[str, tuple[str, bool]] = {}
        self._lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if self.options.tls is not None:
            self._server.socket = self.options.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="ociworks-testing-registry",
            daemon=True,
        )
        self._thread.start()

    @property
    def host(self) -> str:
        """``127.0.0.1:port``: the registry part of references."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'http' if self.options.tls is None else 'https'}://{self.host}"

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    def inject(self, fault: Fault) -> None:
        """Let something go wrong from now on."""
        with self._lock:
            self._faults.append((fault, [fault.times]))

    def close(self) -> None:
        """Stop, close every connection and wait for the threads."""
        self._server.shutdown()
        self._server.end()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # For the handler

    def note(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Fault | None:
        """Remember a request; gives the fault that it meets."""
        with self._lock:
            self._requests.append(SeenRequest(method, path, tuple(headers)))
            for fault, left in self._faults:
                if left[0] and fault.method == method and fault.path in path:
                    left[0] -= 1
                    return fault
        return None

    def challenge(self, name: str | None, method: str) -> str:
        """The ``WWW-Authenticate`` header for a refused request."""
        if self.options.auth == "basic":
            return 'Basic realm="testing"'
        realm = self.options.realm or f"{self.url}/token"
        scope = f"repository:{name}:{'pull' if method in {'GET', 'HEAD'} else 'pull,push'}"
        return f'Bearer realm="{realm}",service="testing",scope="{scope}"'

    def allows(self, authorization: str | None, name: str | None, *, write: bool) -> bool:
        """Whether these credentials may do this."""
        if self.options.auth == "none":
            return True
        if self.options.auth == "basic":
            return authorization == self._basic()
        if authorization is None or not authorization.startswith("Bearer "):
            return False
        repository, may_write = self._tokens.get(authorization.removeprefix("Bearer "), ("", False))
        return (name is None or repository == name) and (may_write or not write)

    def issue(self, authorization: str | None, query: Mapping[str, str]) -> str | None:
        """A token for the requested scope; None when the credentials do not allow it."""
        kind, _, rest = query.get("scope", "").partition(":")
        name, _, actions = rest.rpartition(":")
        write = "push" in actions.split(",")
        known = authorization == self._basic() or query.get("refresh_token") == self.options.password
        if kind != "repository" and kind:
            return None
        if not known and not (authorization is None and self.options.anonymous_pull and not write):
            return None
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (name, write)
        return token

    def _basic(self) -> str:
        pair = f"{self.options.username}:{self.options.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class _Server(ThreadingHTTPServer):
    """Threads that are waited for, and connections that can be ended from outside.

    The threads are daemons all the same: a registry that nobody closes must not keep the interpreter alive.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self._open: set[socket.socket] = set()
        self._workers: list[threading.Thread] = []
        self._guard = threading.Lock()
        super().__init__(address, handler)

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        if isinstance(request, socket.socket):
            with self._guard:
                self._open.add(request)
        worker = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._workers = [each for each in self._workers if each.is_alive()] + [worker]
        worker.start()

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            with self._guard:
                self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what tests are made of."""

    def end(self) -> None:
        """End every connection, so that no thread waits for a request that never comes, and join the threads."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
        for worker in self._workers:
            worker.join()
