"""Finding the signatures of an image: bytes and annotations, none of them believed yet.

=============  =======================================  ============================================================
form           where                                    what
=============  =======================================  ============================================================
``cosign``     tag ``sha256-<hex>.sig``                 one layer per signature: a simple-signing payload; the
                                                        signature is an annotation of the layer
``bundle``     referrers of a sigstore bundle's type    one layer: a sigstore bundle
``notation``   referrers of notation's type             one layer: a JWS envelope
=============  =======================================  ============================================================

What a registry says of a referrer (its type, its subject) is compared with the manifest itself. Counts and sizes are
compared with the :class:`~ociworks.image.sign.limits.Limits` before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from attrs import define, field, frozen

from ociworks.errors import ContentError, ImageConfigError, LimitExceeded, NotSupported, SpecError, quote
from ociworks.image.sign import payload
from ociworks.image.sign.attachments import Attachments
from ociworks.image.sign.limits import Limits
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Rejected
from ociworks.spec import Digest, FrozenDict
from ociworks.spec.image import Descriptor, Manifest, read_manifest

__all__ = [
    "BUNDLE_TYPE",
    "ENVELOPE_TYPE",
    "NOTATION_TYPE",
    "Evidence",
    "collect",
    "signature_tag",
]

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BUNDLE_TYPES: Final = frozenset({BUNDLE_TYPE, "application/vnd.dev.sigstore.bundle+json;version=0.3"})
NOTATION_TYPE: Final = "application/vnd.cncf.notary.signature"
ENVELOPE_TYPE: Final = "application/jose+json"

_UNREADABLE = (SpecError, ContentError, NotSupported, ImageConfigError)


@frozen(kw_only=True)
class Evidence:
    """One signature as it was found."""

    form: Form
    where: str
    content: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default=FrozenDict(), repr=False)


def signature_tag(digest: Digest) -> str:
    """Cosign's tag for the signatures of an image."""
    return f"{digest.algorithm}-{digest.encoded}.sig"


def collect(
    source: Attachments, subject: Digest, forms: Collection[Form], limits: Limits
) -> Iterator[Evidence | Rejected]:
    """Every signature of these forms; those that cannot be read are given as rejected.

    Raises :class:`~ociworks.errors.LimitExceeded`, and what reading the source raises: trouble on the way there is
    not the same as no signature.
    """
    budget = _Budget(limits)
    if "cosign" in forms:
        yield from _tagged(source, subject, budget)
    if "bundle" in forms or "notation" in forms:
        yield from _referring(source, subject, forms, budget)


@define
class _Budget:
    """What may still be looked at."""

    limits: Limits
    signatures: int = 0
    size: int = 0

    def count(self, signatures: int) -> None:
        """Allow so many more signatures, or raise."""
        self.signatures += signatures
        if self.signatures > self.limits.max_signatures:
            raise LimitExceeded("signatures of an image", "max_signatures", self.limits.max_signatures)

    def take(self, *descriptors: Descriptor) -> None:
        """Allow these to be fetched, or raise."""
        for descriptor in descriptors:
            self.size += descriptor.size
            if descriptor.size > self.limits.max_evidence:
                raise LimitExceeded(
                    f"signature {descriptor.digest}", "max_evidence", self.limits.max_evidence
                )
        if self.size > self.limits.max_total:
            raise LimitExceeded("signatures of an image", "max_total", self.limits.max_total)


def _tagged(source: Attachments, subject: Digest, budget: _Budget) -> Iterator[Evidence | Rejected]:
    tag = signature_tag(subject)
    try:
        raw = source.tagged(tag)
        manifest = None if raw is None else _manifest(raw)
    except _UNREADABLE as error:
        yield _unreadable("cosign", tag, error)
        return
    if manifest is None:
        return
    budget.count(len(manifest.layers))
    budget.take(*manifest.layers)  # all of them before the first is fetched
    for number, layer in enumerate(manifest.layers, 1):
        where = f"{tag} layer {number}"
        if layer.media_type != payload.MEDIA_TYPE:
            yield Rejected(
                form="cosign",
                where=where,
                reason=Reason.UNSUPPORTED,
                message=f"expected media type {payload.MEDIA_TYPE}, got {quote(layer.media_type)}",
            )
        else:
            yield _fetch(source, "cosign", where, layer)


def _referring(
    source: Attachments, subject: Digest, forms: Collection[Form], budget: _Budget
) -> Iterator[Evidence | Rejected]:
    listed = source.referrers(subject)
    if len(listed) > budget.limits.max_referrers:
        raise LimitExceeded(f"referrers of {subject}", "max_referrers", budget.limits.max_referrers)
    found = [(form, entry) for entry in listed if (form := _form(entry.artifact_type)) in forms and form]
    budget.count(len(found))
    budget.take(*(entry for _, entry in found))
    for form, entry in found:
        yield _referrer(source, subject, form, entry, budget)


def _form(artifact_type: str | None) -> Form | None:
    if artifact_type in _BUNDLE_TYPES:
        return "bundle"
    return "notation" if artifact_type == NOTATION_TYPE else None


def _referrer(
    source: Attachments, subject: Digest, form: Form, entry: Descriptor, budget: _Budget
) -> Evidence | Rejected:
    where = str(entry.digest)
    try:
        raw = source.manifest(entry)
        entry.digest.verify(raw, f"referrer {entry.digest}")
        manifest = _manifest(raw)
    except _UNREADABLE as error:
        return _unreadable(form, where, error)
    if problem := _problem(manifest, subject, form):
        return Rejected(form=form, where=where, reason=Reason.MALFORMED, message=problem)
    (layer,) = manifest.layers
    budget.take(layer)
    return _fetch(source, form, where, layer)


def _problem(manifest: Manifest, subject: Digest, form: Form) -> str:
    """What is wrong with the manifest of a signature; empty when nothing is."""
    if manifest.subject is None or manifest.subject.digest != subject:
        return f"expected a manifest whose subject is {subject}"
    if _form(manifest.artifact_type or manifest.config.media_type) != form:
        return f"expected an artifact of the type that the registry said: {form}"
    if len(manifest.layers) != 1:
        return f"expected one layer, got {len(manifest.layers)}"
    found = manifest.layers[0].media_type
    if form == "notation" and found != ENVELOPE_TYPE:
        return f"expected an envelope of type {ENVELOPE_TYPE} (COSE is not read), got {quote(found)}"
    if form == "bundle" and found not in _BUNDLE_TYPES:
        return f"expected a sigstore bundle of version 0.3, got {quote(found)}"
    return ""


def _manifest(raw: bytes) -> Manifest:
    found = read_manifest(raw).value
    if not isinstance(found, Manifest):
        raise SpecError("expected the manifest of a signature, got an index")
    return found


def _fetch(source: Attachments, form: Form, where: str, layer: Descriptor) -> Evidence | Rejected:
    try:
        content = source.blob(layer)
        layer.verify(content, where)
    except _UNREADABLE as error:
        return _unreadable(form, where, error)
    return Evidence(form=form, where=where, content=content, annotations=layer.annotations)


def _unreadable(form: Form, where: str, error: Exception) -> Rejected:
    return Rejected(form=form, where=where, reason=Reason.MALFORMED, message=f"cannot be read: {error}")
