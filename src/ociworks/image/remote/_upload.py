"""Pushing blobs and manifests (distribution-spec, Push).

===================================================  ===================  ===========================================
request                                              expected             then
===================================================  ===================  ===========================================
HEAD  /v2/<name>/blobs/<digest>                      200 or 404           200: it is there, nothing to send
a blob                                               see ``_transfer``
PUT   /v2/<name>/manifests/<tag or digest>           201                  last, when all that it names is there;
                                                                          without ``OCI-Subject`` the referrers tag
                                                                          of its subject is ours to keep
===================================================  ===================  ===========================================
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from ociworks.errors import DigestMismatch, LimitExceeded, NotFound
from ociworks.image.remote import _endpoints
from ociworks.image.remote._answers import claimed_digest
from ociworks.image.remote._messages import Body, Request
from ociworks.image.remote._transfer import Transfer
from ociworks.spec.digest import Hasher

if TYPE_CHECKING:
    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["Uploader"]


class Uploader:
    """Pushes into one repository; safe for several threads."""

    def __init__(
        self, session: Session, repository: Repository, limits: Limits, chunk_size: int | None = None
    ) -> None:
        self.repository = repository
        self._session = session
        self._limits = limits
        self._chunk_size = chunk_size

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry says that it has the blob."""
        request = Request(method="HEAD", url=_endpoints.blob(self.repository, descriptor.digest))
        try:
            response = self._session.send(request, self.repository, {200}, f"blob {descriptor.digest}")
        except NotFound:
            return False
        response.close()
        return True

    def blob(
        self,
        descriptor: Descriptor,
        source: Callable[[], ByteStream],
        advance: Callable[[int], None],
        mount_from: Sequence[str] = (),
    ) -> Literal["sent", "mounted"]:
        """Send a blob, or have the registry take it from one of its repositories ``mount_from``.

        ``source`` is opened when the first byte is needed, and again only to go back; ``advance`` hears the bytes sent.
        """
        Hasher(descriptor.digest.algorithm)  # what cannot be proved is not begun
        transfer = Transfer(
            self._session, self.repository, self._limits, descriptor, source, advance, self._chunk_size
        )
        return transfer.run(mount_from, lambda: self.has(descriptor))

    def manifest(self, descriptor: Descriptor, raw: bytes, target: Digest | str) -> Digest | None:
        """Send a manifest under a tag or its digest; gives the subject that the registry has taken note of."""
        if len(raw) > self._limits.max_manifest_pushed:
            raise LimitExceeded(
                f"manifest {descriptor.digest}", "max_manifest_pushed", self._limits.max_manifest_pushed
            )
        request = Request(
            method="PUT",
            url=_endpoints.manifest(self.repository, target),
            headers=(("Content-Type", descriptor.media_type),),
            body=Body(lambda: io.BytesIO(raw), len(raw)),
        )
        what = f"manifest {descriptor.digest}"
        response = self._session.send(request, self.repository, {201}, what)
        try:
            stored = claimed_digest(response)
            subject = claimed_digest(response, "oci-subject")
        finally:
            response.close()
        if stored is not None and stored != descriptor.digest:
            raise DigestMismatch(
                f"{what} as the registry stored it", str(descriptor.digest), str(stored), len(raw)
            )
        return subject
