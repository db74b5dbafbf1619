"""The registry client: one verb per thing people do with a registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, Self

from attrs import field, frozen

from ociworks.errors import (
    DigestMismatch,
    ImageNotFound,
    NotFound,
    RegistryProtocolError,
)
from ociworks.image import _parallel, partial
from ociworks.image.auth.credentials import Keychain
from ociworks.image.progress import ProgressCallback, Reporter
from ociworks.image.reference import Reference
from ociworks.image.remote import _endpoints
from ociworks.image.remote._answers import claimed_digest
from ociworks.image.remote._blobs import RepositoryBlobs
from ociworks.image.remote._messages import Request, Response, Transport, read_capped
from ociworks.image.remote._policy import TargetPolicy
from ociworks.image.remote._session import Repository, Session
from ociworks.image.remote._upload import Uploader
from ociworks.image.remote.limits import DEFAULT_LIMITS, Limits
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec import Digest, Platform
from ociworks.spec.image import Descriptor, mediatypes

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Client", "ClientOptions"]

_DOCUMENTS: Final = (
    mediatypes.OCI_MANIFEST,
    mediatypes.OCI_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
)
_ACCEPT: Final = ("Accept", ", ".join(_DOCUMENTS))


@frozen(kw_only=True)
class ClientOptions:
    """What is rarely changed. Hosts are written ``host:port``."""

    ca_file: str | None = None
    """A PEM file of further certificate authorities."""
    https: Collection[str] = ()
    """Loopback registries that speak TLS; without this they are asked in plain http."""
    trusted: Collection[str] = ()
    """Hosts whose address is not public, to which registries may nevertheless redirect or send for tokens."""
    limits: Limits = DEFAULT_LIMITS
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    """Waits between attempts, in seconds."""
    transport: Callable[[Limits], Transport] | None = field(default=None, repr=False)
    """Makes what sends the requests; sockets by default."""


class Client:
    """Talks to registries. Use it as a context manager; safe for several threads.

    References are text or :class:`~ociworks.image.Reference`. TLS is always verified; plain http is used only with
    loopback and with the ``host:port`` listed in ``insecure``. Credentials come from ``keychain`` (default: the
    configuration files of Docker and Podman, read when a registry first asks) and never leave their origin.

    Every method raises :class:`~ociworks.errors.RegistryError`, and :class:`~ociworks.errors.InvalidReference`.
    """

    def __init__(
        self,
        *,
        keychain: Keychain | None = None,
        insecure: Collection[str] = (),
        options: ClientOptions | None = None,
    ) -> None:
        chosen = options or ClientOptions()
        self._limits = chosen.limits
        self._policy = TargetPolicy.of(insecure, chosen.trusted, chosen.https)
        self._found = keychain
        self._lock = threading.Lock()
        self._transport = (
            chosen.transport(chosen.limits) if chosen.transport else _sockets(chosen.limits, chosen.ca_file)
        )
        self._session = Session(self._transport, self._policy, chosen.limits, self._keychain, chosen.sleep)

    def close(self) -> None:
        """Close all connections; images from this client can then no longer be read."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def image(self, reference: Reference | str, platform: Platform | str | None = None) -> Image:
        """The image: its manifest and configuration are read, its layers when they are opened.

        A tag is resolved once; everything after goes by digest. Of an index, the image for ``platform`` (None: this
        host's) is chosen; a plain image must be for ``platform`` if one is given. Raises
        :class:`~ociworks.errors.ImageNotFound` for no such platform, :class:`~ociworks.errors.NotFound`,
        :class:`~ociworks.errors.ContentError`, :class:`~ociworks.errors.SpecError`.
        """
        found = self.get(reference)
        return found.image(platform) if isinstance(found, ImageIndex) else partial.require(found, platform)

    def index(self, reference: Reference | str) -> ImageIndex:
        """The index; :class:`~ociworks.errors.ImageNotFound` when the reference is a plain image."""
        found = self.get(reference)
        if not isinstance(found, ImageIndex):
            raise ImageNotFound(f"{_reference(reference)} is an image, not an index; use image()")
        return found

    def get(self, reference: Reference | str) -> Image | ImageIndex:
        """The image or the index, whichever the reference names."""
        where = _reference(reference)
        repository = self._repository(where)
        blobs = RepositoryBlobs(self._session, repository, self._limits)
        response = self._manifest("GET", where, repository)
        try:
            content_type = response.headers.one("content-type")
            claimed = claimed_digest(response)
            raw = read_capped(response, "max_document", self._limits.max_document)
        finally:
            response.close()
        _check_identity(where, raw, claimed)
        algorithm = where.digest.algorithm if where.digest else "sha256"
        try:
            return partial.document(raw, blobs, content_type=content_type, algorithm=algorithm)
        except NotFound as error:
            raise RegistryProtocolError(f"{where} is incomplete: {error}") from error

    def resolve(self, reference: Reference | str) -> Descriptor:
        """What the registry says the reference points to now; nothing is verified before it is read by digest."""
        where = _reference(reference)
        repository = self._repository(where)
        response = self._manifest("HEAD", where, repository)
        response.close()
        digest, size = claimed_digest(response), response.headers.length()
        content_type = response.headers.one("content-type")
        if digest is None or size is None or content_type is None:
            return self.get(where).descriptor
        if where.digest is not None and digest != where.digest:
            raise DigestMismatch(str(where), str(where.digest), str(digest), 0)
        return Descriptor(media_type=mediatypes.essence(content_type), digest=digest, size=size)

    def open_blob(self, reference: Reference | str, descriptor: Descriptor) -> ByteStream:
        """A blob of the reference's repository, verified, resumed when the connection breaks."""
        repository = self._repository(_reference(reference))
        return RepositoryBlobs(self._session, repository, self._limits).open_blob(descriptor)

    def push(
        self,
        image: Image | ImageIndex,
        reference: Reference | str,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Reference:
        """Push an image, or an index with all its images; gives the reference by digest.

        Blobs that the registry has are not sent, others up to ``workers`` at a time; the tag moves last.
        """
        where = _reference(reference)
        if where.digest is not None and where.digest != image.digest:
            raise DigestMismatch(f"push to {where}", str(where.digest), str(image.digest), 0)
        uploader = Uploader(self._session, self._repository(where), self._limits)
        reporter = Reporter(progress, "push")
        for each in partial.walk(image):
            if not isinstance(each, ImageIndex):
                _push_blobs(each, uploader, reporter, workers)
            target = where.tag or where.target if each.digest == image.digest else each.digest
            uploader.manifest(each.descriptor, _raw(each), target)
        return where.at(image.digest)

    def _repository(self, reference: Reference) -> Repository:
        origin = self._policy.registry(reference.registry)
        return Repository(reference.registry, reference.repository, origin)

    def _manifest(self, method: str, where: Reference, repository: Repository) -> Response:
        request = Request(
            method="HEAD" if method == "HEAD" else "GET",
            url=_endpoints.manifest(repository, where.target),
            headers=(_ACCEPT,),
        )
        return self._session.send(request, repository, {200}, f"manifest of {where}")

    def _keychain(self) -> Keychain:
        with self._lock:
            if self._found is None:
                from ociworks.image.auth.dockerconfig import DockerConfig

                self._found = DockerConfig.default()
            return self._found


def _sockets(limits: Limits, ca_file: str | None) -> Transport:
    from ociworks.image.remote._transport import SocketTransport

    return SocketTransport(limits, ca_file)


def _reference(given: Reference | str) -> Reference:
    return Reference.parse(given) if isinstance(given, str) else given


def _raw(image: Image | ImageIndex) -> bytes:
    return image.raw_index if isinstance(image, ImageIndex) else image.raw_manifest


def _check_identity(where: Reference, raw: bytes, claimed: Digest | None) -> None:
    """What was asked for decides; a header that says something else about the same bytes is an error too."""
    if where.digest is not None:
        where.digest.verify(raw, f"manifest of {where}")
    if claimed is not None:
        claimed.verify(raw, f"manifest of {where}, by its Docker-Content-Digest")


def _push_blobs(image: Image, uploader: Uploader, reporter: Reporter, workers: int) -> None:
    config = image.manifest.config
    sources: dict[Digest, tuple[Descriptor, Callable[[], ByteStream]]] = {
        layer.digest: (layer.descriptor, layer.open) for layer in image.layers
    }
    sources[config.digest] = (config, lambda: partial.stream_of(image.raw_config, config))

    def push(item: tuple[Descriptor, Callable[[], ByteStream]], checkpoint: Callable[[], None]) -> None:
        descriptor, source = item

        def advance(done: int) -> None:
            checkpoint()
            reporter.report("transfer", descriptor.digest, done, descriptor.size)

        if uploader.has(descriptor):
            reporter.report("skip", descriptor.digest, descriptor.size, descriptor.size)
            return
        reporter.report("start", descriptor.digest, 0, descriptor.size)
        uploader.blob(descriptor, source, advance)
        reporter.report("done", descriptor.digest, descriptor.size, descriptor.size)

    _parallel.each(sources.values(), push, workers)
