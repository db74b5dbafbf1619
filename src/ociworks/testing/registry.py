"""A registry in this process: the distribution specification over loopback, in memory or on a directory.

::

    with testing.Registry() as registry:
        registry.host                        # "127.0.0.1:40123", for references
        registry.url                         # "http://127.0.0.1:40123"
        registry.inject(testing.Fault(path="/blobs/sha256:", cut_after=1000))

    testing.Registry(testing.RegistryOptions(directory="images", listen=("127.0.0.1", 5000)))

It passes the conformance suite of the specification (distribution-spec, ``conformance/``), and everything that a
client can send is bounded by `RegistryLimits`. ``ociworks registry serve`` is the same server.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qs, unquote

from attrs import evolve, field, frozen

from ociworks.testing._registry.access import Access, AccessOptions
from ociworks.testing._registry.directory import DirectoryStore
from ociworks.testing._registry.faults import Fault, spoiled
from ociworks.testing._registry.limits import RegistryLimits
from ociworks.testing._registry.memory import MemoryStore
from ociworks.testing._registry.messages import Request, Response
from ociworks.testing._registry.passwords import from_htpasswd, one_user
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.server import Connection, Server
from ociworks.testing._registry.site import Site, SiteOptions, refusal
from ociworks.testing._registry.wire import Disconnected, Head, Malformed, RequestBody, Wire

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Fault", "Registry", "RegistryLimits", "RegistryOptions", "SeenRequest", "ServedRequest"]

_ABSOLUTE = re.compile(r"https?://[^/?#]*(/[^#]*)")
_MAX_PARAMETERS = 200


@frozen(kw_only=True)
class RegistryOptions:
    """How a registry behaves."""

    auth: Literal["none", "basic", "bearer"] = "none"
    username: str = "user"
    password: str = field(default="password", repr=False)
    htpasswd: str | os.PathLike[str] | None = None
    """A file of users with bcrypt hashes, instead of ``username`` and ``password``; needs the extra ``registry``."""
    anonymous_pull: bool = False
    """Pulling needs no credentials."""
    realm: str | None = None
    """The token endpoint to name in challenges; this registry's own by default."""
    redirect_blobs_to: str | None = None
    """The URL of another registry that serves the blobs."""
    tls: ssl.SSLContext | None = None
    """A server context: the registry then speaks https."""
    directory: str | os.PathLike[str] | None = None
    """Where everything is kept, made when it is missing; in memory by default."""
    listen: tuple[str, int] = ("127.0.0.1", 0)
    """Address and port; 0 is a free one."""
    read_only: bool = False
    """Every change is refused with 405."""
    delete: bool = True
    """Without it, deleting is refused with 405."""
    check_references: bool = True
    """Without it, a manifest may name what is not in its repository (a sparse index)."""
    limits: RegistryLimits = field(factory=RegistryLimits)
    remember: int = 100_000
    """The latest requests that `Registry.requests` keeps."""
    log: Callable[[ServedRequest], None] | None = None
    """Hears of each request that was answered, from the thread that answered it."""


@frozen
class SeenRequest:
    """A request as it arrived."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@frozen(kw_only=True)
class ServedRequest:
    """A request and its answer, for a log. Method and path are untrusted text; there are no credentials in it."""

    client: str
    method: str
    path: str
    status: int
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of the response's body."""
    seconds: float


class Registry:
    """A registry that serves from construction until :meth:`close`.

    Raises ``OSError`` when it cannot listen there, :class:`~ociworks.errors.LayoutError` when the directory is
    something else or in use, and what reading ``htpasswd`` raises.
    """

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self.options = options or RegistryOptions()
        self._requests: deque[SeenRequest] = deque(maxlen=self.options.remember)
        self._faults: list[tuple[Fault, list[int]]] = []
        self._lock = threading.Lock()
        self._access = Access(_access(self.options), lambda: self.url)
        self._store = _store(self.options)
        self._site = Site(self._store, self._access, _site(self.options))
        try:
            self._server = Server(self.options.listen, self._converse, self.options.limits, self.options.tls)
        except BaseException:
            self._store.close()
            raise

    @property
    def host(self) -> str:
        """``127.0.0.1:port``: the registry part of references."""
        host, port = self._server.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'http' if self.options.tls is None else 'https'}://{self.host}"

    @property
    def store(self) -> MemoryStore:
        """The content of a registry in memory, for tests that damage it."""
        if not isinstance(self._store, MemoryStore):
            raise AttributeError("a registry on a directory has its content there")
        return self._store

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """The latest requests, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    def inject(self, fault: Fault) -> None:
        """Let something go wrong from now on."""
        with self._lock:
            self._faults.append((fault, [fault.times]))

    def close(self, grace: float = 0.0) -> None:
        """Stop: requests under way get ``grace`` seconds, then every connection ends; waits for the threads."""
        self._server.close(grace)
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # One connection

    def _converse(self, wire: Wire, client: str, connection: Connection) -> None:
        """Answer the requests of a connection, one after another."""
        try:
            while not connection.ending:
                head = wire.head()
                if head is None:
                    return
                connection.busy = True
                again = self._exchange(wire, head, client, connection)
                connection.busy = False
                if not again:
                    return
        except Malformed as error:
            wire.send(Response(status=error.status), keep=False)
            wire.linger()
        except Disconnected:
            return

    def _exchange(self, wire: Wire, head: Head, client: str, connection: Connection) -> bool:
        """Answer one request; gives whether another may follow."""
        began = time.monotonic()
        fault = self._note(head)
        body = RequestBody(wire, head)
        if fault is not None and fault.status is not None:
            response = spoiled(Response(status=fault.status), fault)
        else:
            response = self._answer(head, body, client)
            if fault is not None:
                response = spoiled(response, fault)
        try:
            clean = body.drain() or not head.keep
            keep = head.keep and not body.unread and clean and not connection.ending
            response = _marked(response)
            again = wire.send(response, body=head.method != "HEAD", keep=keep)
        finally:
            response.content.close()
        self._tell(head, client, response, body.received, time.monotonic() - began)
        if body.unread:
            wire.linger()
        return again

    def _answer(self, head: Head, body: RequestBody, client: str) -> Response:
        try:
            path, query = _split(head.target)
        except ValueError:
            return refusal(Refused("UNSUPPORTED", "malformed target", status=400))
        return self._site.answer(
            Request(
                method=head.method,
                target=head.target,
                path=path,
                query=query,
                headers=head.headers,
                body=body,
                client=client,
            )
        )

    def _note(self, head: Head) -> Fault | None:
        """Remember a request; gives the fault that it meets."""
        with self._lock:
            self._requests.append(SeenRequest(head.method, head.target, head.headers))
            for fault, left in self._faults:
                if left[0] and fault.method == head.method and fault.path in head.target:
                    left[0] -= 1
                    return fault
        return None

    def _tell(self, head: Head, client: str, response: Response, received: int, seconds: float) -> None:
        if self.options.log is None:
            return
        # The token endpoint's query may carry what is as good as a password.
        path = head.target.partition("?")[0] if head.target.startswith("/token") else head.target
        self.options.log(
            ServedRequest(
                client=client,
                method=head.method,
                path=path,
                status=response.status,
                received=received,
                sent=0 if head.method == "HEAD" else response.sent,
                seconds=seconds,
            )
        )


def _marked(response: Response) -> Response:
    return evolve(response, headers={"Docker-Distribution-Api-Version": "registry/2.0", **response.headers})


def _split(target: str) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    """Path, decoded once, and query of a request's target; raises ``ValueError``."""
    if not target.startswith("/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise ValueError(target)
        target = match[1]
    path, _, query = target.partition("?")
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    return unquote(path), {name: tuple(values) for name, values in fields.items()}


def _store(options: RegistryOptions) -> MemoryStore | DirectoryStore:
    age = options.limits.upload_age
    if options.directory is None:
        return MemoryStore(age)
    return DirectoryStore(options.directory, upload_age=age, max_manifest=options.limits.manifest)


def _access(options: RegistryOptions) -> AccessOptions:
    users = (
        one_user(options.username, options.password)
        if options.htpasswd is None
        else from_htpasswd(options.htpasswd)
    )
    return AccessOptions(
        auth=options.auth,
        users=users,
        anonymous_pull=options.anonymous_pull,
        realm=options.realm,
        refresh=options.password if options.htpasswd is None else None,
    )


def _site(options: RegistryOptions) -> SiteOptions:
    return SiteOptions(
        limits=options.limits,
        read_only=options.read_only,
        delete=options.delete,
        check_references=options.check_references,
        redirect_blobs_to=options.redirect_blobs_to,
    )
