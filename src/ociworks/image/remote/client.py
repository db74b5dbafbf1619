"""The registry client: one verb per thing people do with a registry."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from attrs import evolve, field, frozen

from ociworks.errors import (
    ContentError,
    DigestMismatch,
    ImageNotFound,
    NotFound,
    NotSupported,
    RegistryProtocolError,
    SpecError,
)
from ociworks.image import partial
from ociworks.image.auth.credentials import ANONYMOUS, Credential, Keychain, StaticKeychain
from ociworks.image.hosts import NO_HOSTS, HostsConfig
from ociworks.image.origin import Origin, Url
from ociworks.image.progress import ProgressCallback, Reporter
from ociworks.image.reference import Reference
from ociworks.image.remote import _endpoints
from ociworks.image.remote._answers import claimed_digest
from ociworks.image.remote._blobs import ForeignBlobs, RepositoryBlobs
from ociworks.image.remote._messages import Request, Response, Transport, read_capped
from ociworks.image.remote._notices import Notice, Notices, RateLimit
from ociworks.image.remote._pages import list_tags
from ociworks.image.remote._places import Places
from ociworks.image.remote._policy import TargetPolicy
from ociworks.image.remote._push import Pusher
from ociworks.image.remote._ranges import BlobReader
from ociworks.image.remote._referrers import Referrers, check_subject
from ociworks.image.remote._session import Repository, Session
from ociworks.image.remote._upload import Uploader
from ociworks.image.remote.limits import DEFAULT_LIMITS, Limits
from ociworks.image.types import BlobSource, ByteStream, Image, ImageIndex
from ociworks.spec import Digest, Platform
from ociworks.spec.image import Descriptor, mediatypes, read_manifest

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Client", "ClientOptions"]

_DOCUMENTS: Final = (
    mediatypes.OCI_MANIFEST,
    mediatypes.OCI_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
)
_BUFFER: Final = 256 * 1024
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
    chunk_size: int | None = None
    """Send blobs in pieces of this many bytes; None: in one piece, unless the registry finds that too large."""
    foreign_layers: bool = False
    """Fetch non-distributable layers from the URLs in their manifest when the registry does not have them. Those
    hosts are chosen by whoever made the image; they are asked without credentials."""
    on_warning: Callable[[Notice], None] | None = field(default=None, repr=False)
    """Hears each warning that a registry sends, once, from the thread that met it; they are logged too."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    """Waits between attempts, in seconds."""
    transport: Callable[[Limits], Transport] | None = field(default=None, repr=False)
    """Makes what sends the requests; sockets by default."""


class Client:
    """Talks to registries. Use it as a context manager; safe for several threads.

    References are text or :class:`~ociworks.image.Reference`. TLS is verified; plain http is used only with loopback
    and with the ``host:port`` listed in ``insecure``. ``hosts`` brings mirrors, certificates and proxies, and may call
    single registries insecure (:meth:`~ociworks.image.hosts.HostsConfig.from_environment`: what this host has
    configured); without it nothing but what is passed here has a say. Credentials come from ``keychain`` (default: the
    configuration files of Docker and Podman, read when a registry first asks) and never leave their origin.

    Every method raises :class:`~ociworks.errors.RegistryError`, and :class:`~ociworks.errors.InvalidReference`.
    """

    def __init__(
        self,
        *,
        keychain: Keychain | None = None,
        insecure: Collection[str] = (),
        hosts: HostsConfig | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        chosen = options or ClientOptions()
        self._hosts = hosts or NO_HOSTS
        self._limits = chosen.limits
        self._policy = TargetPolicy.of(
            insecure, chosen.trusted, chosen.https, self._hosts.insecure_registries()
        )
        self._found = keychain
        self._lock = threading.Lock()
        self._transport, speaks_tls = _transport(chosen, self._hosts)
        self._chunk_size = chosen.chunk_size
        self._sleep = chosen.sleep
        self._tag_lock = threading.Lock()
        notices = Notices(chosen.on_warning)
        self._session = Session(
            self._transport, self._policy, chosen.limits, self._keychain, chosen.sleep, notices
        )
        self._foreign = self._strangers(chosen, notices) if chosen.foreign_layers else None
        self._places = Places(self._hosts, self._policy, self._blobs, speaks_tls)

    def close(self) -> None:
        """Close all connections; images from this client can then no longer be read."""
        self._transport.close()

    def abort(self) -> None:
        """Close, from any thread, also what others are reading from: they get RegistryUnreachable or RegistryError."""
        self._transport.abort()

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
        return self._places.read(where, lambda repository, blobs: self._get(where, repository, blobs))

    def _get(self, where: Reference, repository: Repository, blobs: BlobSource) -> Image | ImageIndex:
        raw, content_type = self._document(where, repository)
        algorithm = where.digest.algorithm if where.digest else "sha256"
        try:
            return partial.document(raw, blobs, content_type=content_type, algorithm=algorithm)
        except NotFound as error:
            raise RegistryProtocolError(f"{where} is incomplete: {error}") from error

    def resolve(self, reference: Reference | str) -> Descriptor:
        """What the registry says the reference points to now; nothing is verified before it is read by digest."""
        where = _reference(reference)
        return self._places.read(where, lambda repository, blobs: self._resolve(where, repository, blobs))

    def _resolve(self, where: Reference, repository: Repository, blobs: BlobSource) -> Descriptor:
        response = self._manifest("HEAD", where, repository)
        response.close()
        digest, size = claimed_digest(response), response.headers.length()
        content_type = response.headers.one("content-type")
        if digest is None or size is None or content_type is None:
            return self._get(where, repository, blobs).descriptor
        if where.digest is not None and digest != where.digest:
            raise DigestMismatch(str(where), str(where.digest), str(digest), 0)
        return Descriptor(media_type=mediatypes.essence(content_type), digest=digest, size=size)

    def exists(self, reference: Reference | str) -> bool:
        """Whether the registry has a manifest of this name or digest."""
        where = _reference(reference)
        try:
            self._places.read(where, lambda repository, _: self._manifest("HEAD", where, repository)).close()
        except NotFound:
            return False
        return True

    def tags(self, repository: Reference | str, *, page_size: int | None = None) -> Iterator[str]:
        """The tags of a repository, in the registry's order, page after page as they are asked for.

        ``page_size`` is what to ask for; registries may send fewer at a time. Raises also
        :class:`~ociworks.errors.LimitExceeded`.
        """
        where = _reference(repository)
        return list_tags(self._session, self._repository(where), self._limits, page_size)

    # Blobs

    def open_blob(self, reference: Reference | str, descriptor: Descriptor) -> ByteStream:
        """A blob of the reference's repository, verified, resumed when the connection breaks."""
        # By digest, whatever the tag says: any place will do.
        where = _reference(reference).at(descriptor.digest)
        return self._places.read(where, lambda _, blobs: blobs.open_blob(descriptor))

    def random_access(self, reference: Reference | str, descriptor: Descriptor) -> BinaryIO:
        """A blob as a seekable file whose parts are fetched when they are read.

        **Its bytes are not verified**: a digest is over the whole. :class:`~ociworks.errors.NotSupported` from a read
        when the registry has no ranges.
        """
        reader = BlobReader(self._session, self._repository(_reference(reference)), descriptor)
        return io.BufferedReader(reader, _BUFFER)

    def has_blob(self, reference: Reference | str, descriptor: Descriptor) -> bool:
        """Whether the registry says that the reference's repository has the blob."""
        return self._uploader(self._repository(_reference(reference))).has(descriptor)

    def push_blob(
        self,
        reference: Reference | str,
        descriptor: Descriptor,
        source: Callable[[], ByteStream],
        *,
        mount_from: Reference | str | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """Send one blob into the reference's repository, or have it mounted from another of the same registry.

        ``source`` opens its bytes (each time anew), ``advance`` hears how many were sent. Raises also
        :class:`~ociworks.errors.ContentError` when they are not what the descriptor says.
        """
        where = _reference(reference)
        uploader = self._uploader(self._repository(where))
        uploader.blob(descriptor, source, advance or _ignore, self._mountable(mount_from, where))

    def delete_blob(self, reference: Reference | str, digest: Digest) -> None:
        """Delete a blob of the reference's repository. Not every registry allows that."""
        repository = self._repository(_reference(reference))
        self._delete(_endpoints.blob(repository, digest), repository, f"blob {digest}")

    # Writing

    def push(
        self,
        image: Image | ImageIndex,
        reference: Reference | str,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
        mount_from: Reference | str | None = None,
    ) -> Reference:
        """Push an image, or an index with all its images; gives the reference by digest.

        Blobs that the registry has are not sent, others up to ``workers`` at a time; the tag moves last. Layers that
        come from another repository of the same registry, or may be in ``mount_from`` there, are mounted. What names a
        subject becomes one of its referrers, by the tag schema where the registry keeps no list.
        """
        where = _reference(reference)
        if where.digest is not None and where.digest != image.digest:
            raise DigestMismatch(f"push to {where}", str(where.digest), str(image.digest), 0)
        repository = self._repository(where)
        pusher = Pusher(
            self._uploader(repository),
            self._referrers(repository),
            Reporter(progress, "push"),
            workers,
            self._mountable(mount_from, where),
        )
        pusher.push(image, where.tag or where.target)
        return where.at(image.digest)

    def tag(self, reference: Reference | str, tag: str) -> Reference:
        """Give what the reference names another tag in its repository; nothing else travels."""
        where = _reference(reference)
        to = Reference(registry=where.registry, repository=where.repository, tag=tag)
        repository = self._repository(where)
        raw, content_type = self._document(where, repository)
        found = read_manifest(raw, content_type=content_type)
        self._uploader(repository).manifest(found.descriptor, raw, tag)
        return to.at(found.descriptor.digest)

    def delete(self, reference: Reference | str) -> None:
        """Delete a manifest by digest, with all its tags, or only the tag of a reference without digest.

        Not every registry allows either; :class:`~ociworks.errors.RegistryResponseError` (400, 405) says so. A manifest
        with a subject is taken off the referrers tag where the registry keeps no list.
        """
        where = _reference(reference)
        repository = self._repository(where)
        subject = None if where.digest is None else self._subject(where, repository)
        self._delete(_endpoints.manifest(repository, where.target), repository, f"manifest of {where}")
        if where.digest is not None and subject is not None:
            referrers = self._referrers(repository)
            if not referrers.listed_by_registry(subject):
                referrers.remove(where.digest, subject)

    # Referrers

    def referrers(
        self, reference: Reference | str, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """What the registry lists as referring to the reference, each once, in the order of their digests.

        With ``artifact_type`` only those listed with it. The list is a claim: read each with :meth:`referrer`. Raises
        also :class:`~ociworks.errors.LimitExceeded`, :class:`~ociworks.errors.MediaTypeMismatch`.
        """
        where = _reference(reference)
        subject = where.digest or self.resolve(where).digest
        return self._places.read(
            where.at(subject), lambda repository, _: self._referrers(repository).list(subject, artifact_type)
        )

    def referrer(self, reference: Reference | str, listed: Descriptor) -> Image | ImageIndex:
        """One entry of :meth:`referrers`, verified; its own subject must be what the reference names.

        Raises :class:`~ociworks.errors.RegistryProtocolError` when it is not, and when its artifact type differs.
        """
        where = _reference(reference)
        subject = where.digest or self.resolve(where).digest
        found = self._places.read(
            where.at(listed.digest),
            lambda _, blobs: partial.document(partial.read_blob(blobs, listed), blobs, descriptor=listed),
        )
        check_subject(found.index if isinstance(found, ImageIndex) else found.manifest, subject, listed)
        return found

    def rate_limit(self, registry: str) -> RateLimit | None:
        """How many requests the registry of this name said last that it allows; None when it has said nothing."""
        return self._session.notices.limit_of(registry)

    def check_login(self, registry: str, credential: Credential) -> None:
        """Ask a registry (``host[:port]``) whether a credential is good; the client's own are not used.

        Returns when it says yes, or asks nobody for any; raises :class:`~ociworks.errors.Unauthorized` when not.
        """
        place = Reference(registry=registry, repository="x/x")
        keychain = StaticKeychain({registry: credential})
        session = Session(
            self._transport, self._policy, self._limits, lambda: keychain, self._sleep, self._session.notices
        )
        whole = self._places.registry(place)
        request = Request(method="GET", url=_endpoints.base(whole))
        session.send(request, whole, {200}, f"login to {registry}").close()

    # Parts

    def _strangers(self, options: ClientOptions, notices: Notices) -> ForeignBlobs:
        """Hosts that only manifests name: they get no credentials, and no challenge of theirs is answered."""
        limits = evolve(options.limits, challenges=0)
        session = Session(self._transport, self._policy, limits, lambda: ANONYMOUS, options.sleep, notices)
        return ForeignBlobs(session, limits)

    def _uploader(self, repository: Repository) -> Uploader:
        return Uploader(self._session, repository, self._limits, self._chunk_size)

    def _referrers(self, repository: Repository) -> Referrers:
        return Referrers(self._session, repository, self._limits, self._tag_lock)

    def _blobs(self, repository: Repository) -> RepositoryBlobs:
        return RepositoryBlobs(self._session, repository, self._limits, self._foreign)

    def _mountable(self, given: Reference | str | None, where: Reference) -> tuple[str, ...]:
        if given is None:
            return ()
        other = _reference(given)
        if other.registry != where.registry:
            raise NotSupported(f"cannot mount from {other.name}: expected a repository of {where.registry}")
        return () if other.repository == where.repository else (other.repository,)

    def _delete(self, url: Url, repository: Repository, what: str) -> None:
        request = Request(method="DELETE", url=url)
        self._session.send(request, repository, {200, 202, 204}, what).close()

    def _subject(self, where: Reference, repository: Repository) -> Digest | None:
        """The subject of a manifest, None also for what is no manifest: that may be deleted too."""
        raw, content_type = self._document(where, repository)
        try:
            subject = read_manifest(raw, content_type=content_type).value.subject
        except (ContentError, NotSupported, SpecError):
            return None
        return None if subject is None else subject.digest

    def _document(self, where: Reference, repository: Repository) -> tuple[bytes, str | None]:
        """The bytes of a manifest, which are what was asked for, and the type that its answer states."""
        response = self._manifest("GET", where, repository)
        try:
            content_type = response.headers.one("content-type")
            claimed = claimed_digest(response)
            raw = read_capped(response, "max_document", self._limits.max_document)
        finally:
            response.close()
        _check_identity(where, raw, claimed)
        return raw, content_type

    def _repository(self, reference: Reference) -> Repository:
        return self._places.repository(reference)

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
                from ociworks.image.auth.keychains import default_keychain

                self._found = default_keychain(self._hosts.registries.helpers)
            return self._found


def _transport(
    options: ClientOptions, hosts: HostsConfig
) -> tuple[Transport, Callable[[Origin, float | None], bool]]:
    """What sends the requests, and what finds out whether TLS is spoken; a transport of the caller's decides itself."""
    if options.transport is not None:
        return options.transport(options.limits), lambda *_: True
    from ociworks.image.remote._transport import SocketTransport

    sockets = SocketTransport(options.limits, options.ca_file, hosts)
    return sockets, sockets.speaks_tls


def _reference(given: Reference | str) -> Reference:
    return Reference.parse(given) if isinstance(given, str) else given


def _check_identity(where: Reference, raw: bytes, claimed: Digest | None) -> None:
    """What was asked for decides; a header that says something else about the same bytes is an error too."""
    if where.digest is not None:
        where.digest.verify(raw, f"manifest of {where}")
    if claimed is not None:
        claimed.verify(raw, f"manifest of {where}, by its Docker-Content-Digest")


def _ignore(_done: int) -> None:
    """Hear nothing."""
