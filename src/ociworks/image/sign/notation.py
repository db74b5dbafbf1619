"""Notation: signatures with X.509 certificates (Notary Project), verified against trusted authorities, and made.

::

    store = Certificates.from_pem("acme-rockets.pem")
    verify(registry, ref, NotationTrust(store, identities=("C=US, O=acme-rockets.io, CN=SecureBuilder",)))
    sign_notation(registry, ref, key, chain)

==================  ==================================  =======  ===========  ======
what is checked     that is                             strict   permissive   audit
==================  ==================================  =======  ===========  ======
integrity           the signature, the image's digest   must     must         must
authenticity        a trusted authority, the person     must     must         noted
authentic time      certificates valid now              must     noted        noted
expiry              the signer's "best before"          must     noted        noted
revocation          not checked here, and always said   noted    noted        noted
==================  ==================================  =======  ===========  ======

What is noted is in ``Signed.unchecked``. Without a timestamp of an authority (RFC 3161; not read here) a signature
counts only while its certificates are valid. ``strict`` demands more than can be done offline: revocation is named in
each result.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

from attrs import field, frozen
from cryptography import x509

from ociworks.errors import InvalidSignature, NotSupported, SpecError, quote
from ociworks.image.artifact import Blob, artifact
from ociworks.image.reference import Reference
from ociworks.image.sign import jws
from ociworks.image.sign._encoding import malformed, member, read_object
from ociworks.image.sign.attachments import Source, attachments_of
from ociworks.image.sign.certificates import Certificates, Purpose, check_chain
from ociworks.image.sign.evidence import ENVELOPE_TYPE, NOTATION_TYPE, Evidence
from ociworks.image.sign.keys import Signer
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Signed
from ociworks.image.sign.statement import SIGN_PREDICATE
from ociworks.image.sign.trust import Expected, check_annotations, check_identity, frozen_texts
from ociworks.image.sign.verifying import find
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict, _json, parse, to_json
from ociworks.spec.image import EMPTY, Descriptor

__all__ = ["Level", "NotationOptions", "NotationTrust", "sign_notation"]

Level = Literal["strict", "permissive", "audit"]
"""How much must hold; see the table."""

_FORMS: Final[frozenset[Form]] = frozenset({"notation"})
_PURPOSE: Final = Purpose(code_signing_required=False)
_STRICT: Final[frozenset[Level]] = frozenset({"strict"})
_PERMISSIVE: Final[frozenset[Level]] = frozenset({"strict", "permissive"})
_SPACED = re.compile(r"(?<!\\),[ ]+(?=[A-Za-z0-9.]+=)", re.ASCII)
_THUMBPRINTS: Final = "io.cncf.notary.x509chain.thumbprint#S256"


def _identities(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise NotSupported("identities: expected several subjects, got one text: write (text,)")
    for text in (found := tuple(given)):
        _attributes(text)
    return found


def _attributes(text: str) -> dict[str, str]:
    """The attributes of a subject as RFC 4514 writes it; a space after a comma is no part of a value."""
    try:
        name = x509.Name.from_rfc4514_string(_SPACED.sub(",", text))
    except ValueError:
        raise NotSupported(f"expected a subject such as 'C=US, ST=WA, O=acme', got {quote(text)}") from None
    return _named(name, text)


def _named(name: x509.Name, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in name:
        key = attribute.oid.dotted_string
        if key in found:
            raise NotSupported(f"a subject that has an attribute twice cannot be compared: {quote(text)}")
        found[key] = attribute.value if isinstance(attribute.value, str) else attribute.value.hex()
    if not found:
        raise NotSupported("expected a subject with at least one attribute")
    return found


def _contains(subject: x509.Name, wanted: str) -> bool:
    """Whether each wanted attribute is in the subject with exactly this value."""
    try:
        found = _named(subject, "the certificate")
    except NotSupported:
        return False
    return all(found.get(key) == value for key, value in _attributes(wanted).items())


@frozen
class NotationTrust:
    """Authorities, and whom of those that they certify: the trust store and trusted identities of a trust policy."""

    authorities: Certificates
    identities: tuple[str, ...] = field(default=(), converter=_identities, kw_only=True)
    """Subjects such as ``C=US, O=acme-rockets.io``: all these attributes must be in the certificate's subject.
    Empty: anybody whom the authorities certify."""
    level: Level = field(default="strict", kw_only=True)

    @property
    def name(self) -> str:
        """The identities, or the subjects of the authorities."""
        if self.identities:
            return " or ".join(map(quote, self.identities))
        names = [quote(each.subject.rfc4514_string()) for each in self.authorities.items]
        return f"anybody certified by {' or '.join(names) or 'nobody'}"

    @property
    def forms(self) -> frozenset[Form]:
        """Envelopes of notation."""
        return _FORMS

    def check(self, evidence: Evidence, expected: Expected, /) -> Signed:
        """See :class:`~ociworks.image.sign.trust.Trust`."""
        envelope = jws.Envelope.read(evidence.content, expected.limits)
        key = envelope.verify()
        target = _target(envelope.payload, expected)
        noted = self._judge(envelope, expected.now)
        if expected.predicate_type != SIGN_PREDICATE:
            raise InvalidSignature(Reason.WRONG_TYPE, "a signature, not a statement")
        check_identity(None, expected)
        check_annotations(target.annotations, expected)
        return Signed(
            form="notation",
            where=evidence.where,
            signer=_signer(envelope, noted),
            key=key,
            annotations=target.annotations,
            unchecked=("revocation", *noted),
        )

    def _judge(self, envelope: jws.Envelope, now: datetime) -> list[str]:
        """What failed and is only noted at this level; what must hold raises."""
        checks = [
            (partial(self._authentic, envelope), _PERMISSIVE),
            (partial(_timely, envelope, now), _STRICT),
            (partial(_fresh, envelope, now), _STRICT),
        ]
        noted: list[str] = []
        for check, levels in checks:
            try:
                check()
            except InvalidSignature as error:
                if self.level in levels:
                    raise
                noted.append(str(error))
        return noted

    def _authentic(self, envelope: jws.Envelope) -> None:
        """The chain as it was when it was signed by its own word, and the person."""
        check_chain(envelope.chain.items, self.authorities.items, envelope.headers.signed, _PURPOSE)
        subject = envelope.chain.items[0].subject
        if self.identities and not any(_contains(subject, wanted) for wanted in self.identities):
            raise InvalidSignature(
                Reason.OTHER_IDENTITY, f"expected {self.name}, got {quote(subject.rfc4514_string())}"
            )


def _signer(envelope: jws.Envelope, noted: Collection[str]) -> str:
    """Who the certificate is for; where something did not hold, that is part of the name."""
    subject = envelope.chain.items[0].subject.rfc4514_string()
    subject = subject if subject.isprintable() else quote(subject)
    return f"{subject} (only noted: {'; '.join(noted)})" if noted else subject


def _timely(envelope: jws.Envelope, now: datetime) -> None:
    for each in envelope.chain.items:
        if not each.not_valid_before_utc <= now <= each.not_valid_after_utc:
            raise InvalidSignature(
                Reason.CERTIFICATE,
                f"the certificate of {quote(each.subject.rfc4514_string())} is not valid now, and no timestamp of"
                " an authority was verified",
            )


def _fresh(envelope: jws.Envelope, now: datetime) -> None:
    expiry = envelope.headers.expiry
    if expiry is not None and now >= expiry:
        raise InvalidSignature(Reason.EXPIRED, f"its signer let it expire at {expiry:%Y-%m-%d %H:%M} UTC")


def _target(payload: bytes, expected: Expected) -> Descriptor:
    value = read_object(payload, "payload", len(payload))
    if value.keys() != {"targetArtifact"}:
        raise malformed("payload: expected the member targetArtifact and no others")
    try:
        found = parse(Descriptor, _json.dumps(member(value, "targetArtifact", dict)))
    except SpecError as error:
        raise malformed(f"targetArtifact: {error}") from None
    wanted = expected.descriptor
    if found.digest != wanted.digest:
        raise InvalidSignature(Reason.OTHER_IMAGE, f"a genuine signature, for {found.digest}")
    if (found.media_type, found.size) != (wanted.media_type, wanted.size):
        raise InvalidSignature(Reason.OTHER_IMAGE, "the signed descriptor has another media type or size")
    return found


# Signing


@frozen(kw_only=True)
class NotationOptions:
    """How to sign."""

    annotations: Mapping[str, str] = field(default=FrozenDict(), converter=frozen_texts)
    """What to sign beside the descriptor; names that begin with ``io.cncf.notary`` are reserved."""
    expiry: datetime | None = None
    """When verifiers should stop to accept it."""
    now: datetime | None = None
    """The time of signing to state; None is the time of the call."""


def sign_notation(
    source: Source,
    ref: Reference | str | Digest,
    signer: Signer,
    chain: Certificates,
    *,
    options: NotationOptions | None = None,
) -> Digest:
    """Sign the image or index that ``ref`` names now, as notation does; gives its digest.

    ``chain`` is the certificate of the signer's key first, then its issuers up to the root. It must satisfy what
    verifiers demand at the time of signing. Raises :class:`~ociworks.errors.SignatureError`, and what reading and
    writing ``source`` raises.
    """
    chosen = options or NotationOptions()
    image, reference = find(source, ref)
    now = chosen.now or datetime.now(UTC)
    check_chain(chain.items, chain.items[-1:], now, _PURPOSE)
    envelope = jws.write(_payload(image, chosen.annotations), signer, chain, now, chosen.expiry)
    made = artifact(
        NOTATION_TYPE,
        [Blob.of(envelope, ENVELOPE_TYPE)],
        subject=image.descriptor,
        annotations={_THUMBPRINTS: _thumbprints(chain)},
    )
    layer = made.manifest.layers[0]
    attachments_of(source, reference).attach(made.raw_manifest, {EMPTY: b"{}", layer: envelope}, None)
    return image.digest


def _payload(image: Image | ImageIndex, annotations: Mapping[str, str]) -> bytes:
    if any(name.startswith("io.cncf.notary") for name in annotations):
        raise NotSupported("annotations that begin with io.cncf.notary are reserved")
    described = image.descriptor
    target = Descriptor(
        media_type=described.media_type,
        digest=described.digest,
        size=described.size,
        annotations=FrozenDict(annotations),
    )
    return b'{"targetArtifact":' + to_json(target) + b"}"


def _thumbprints(chain: Certificates) -> str:
    prints = [Digest.of(der).encoded.upper() for der in chain.to_der()]
    return _json.dumps(prints).decode("ascii")
