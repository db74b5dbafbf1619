"""The requirements of a policy: what an image must satisfy, each an answer of its own (containers-policy.json(5))."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from attrs import field, frozen

from ociworks.errors import InvalidKey, PolicyError, quote
from ociworks.image.reference import Reference
from ociworks.image.sign.attachments import Source
from ociworks.image.sign.certificates import Certificates
from ociworks.image.sign.identity import IdentityRule
from ociworks.image.sign.keyless import Keyless
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.limits import Limits
from ociworks.image.sign.results import Verification
from ociworks.image.sign.transparency import TransparencyLog
from ociworks.image.sign.trust import Trust
from ociworks.image.sign.trusted_key import TrustedKey
from ociworks.image.sign.verifying import VerifyOptions, verify_image
from ociworks.image.types import Image, ImageIndex

__all__ = [
    "AcceptAnything",
    "Fulcio",
    "Material",
    "Outcome",
    "Question",
    "Reject",
    "Requirement",
    "SignedBy",
    "SigstoreSigned",
]

Material: TypeAlias = "str | bytes"
"""A file's path, or its content. The files are read when a requirement is looked at."""


@frozen(kw_only=True)
class Question:
    """About which image, found where, asked for by which name."""

    source: Source
    image: Image | ImageIndex
    reference: Reference | None
    limits: Limits


@frozen(kw_only=True)
class Outcome:
    """How one requirement came out."""

    requirement: str
    """Its type in the policy."""
    accepted: bool
    message: str
    """Why."""
    verification: Verification | None = None
    """Who signed and who did not, where signatures were looked at."""


class Requirement(Protocol):
    """One requirement."""

    def ask(self, question: Question, /) -> Outcome:
        """The outcome; raises what reading the image's source raises."""


@frozen
class AcceptAnything:
    """``insecureAcceptAnything``: satisfied by every image."""

    def ask(self, _question: Question, /) -> Outcome:
        """Accepted."""
        return Outcome(
            requirement="insecureAcceptAnything", accepted=True, message="anything is accepted here"
        )


@frozen
class Reject:
    """``reject``: satisfied by no image."""

    def ask(self, _question: Question, /) -> Outcome:
        """Rejected."""
        return Outcome(
            requirement="reject", accepted=False, message="the policy rejects all images of this scope"
        )


@frozen
class SignedBy:
    """``signedBy``: a detached GPG signature. ociworks does not verify those, so nothing satisfies it."""

    def ask(self, _question: Question, /) -> Outcome:
        """Rejected, with what to do."""
        return Outcome(
            requirement="signedBy",
            accepted=False,
            message="GPG signatures are not verified by ociworks: sign with a sigstore key and use sigstoreSigned, or"
            " pull with a program that reads them",
        )


@frozen(kw_only=True)
class Fulcio:
    """A person as an identity provider names them, certified by these authorities."""

    authorities: Material = field(repr=False)
    issuer: str
    subject: str


@frozen(kw_only=True)
class SigstoreSigned:
    """``sigstoreSigned``: one signature by one of the keys (or by the person) that claims the right name."""

    keys: tuple[Material, ...] = field(default=(), repr=False)
    logs: tuple[Material, ...] = field(default=(), repr=False)
    """Public keys of the transparency log; with them, the signature must be in it."""
    fulcio: Fulcio | None = None
    identity: IdentityRule

    def ask(self, question: Question, /) -> Outcome:
        """Accepted if there is such a signature. Bundles claim no name, so they do not satisfy a policy."""
        options = VerifyOptions(identity=self.identity, names_required=True, limits=question.limits)
        found = verify_image(
            question.source,
            question.image,
            *self.trusted(),
            reference=question.reference,
            options=options,
        )
        return Outcome(
            requirement="sigstoreSigned", accepted=found.accepted, message=str(found), verification=found
        )

    def trusted(self) -> tuple[Trust, ...]:
        """Those who may have signed; raises :class:`~ociworks.errors.PolicyError` for files that cannot be used."""
        log = TransparencyLog(tuple(map(_key, self.logs))) if self.logs else None
        if self.fulcio is None:
            return tuple(TrustedKey(_key(material), log) for material in self.keys)
        if log is None:
            raise PolicyError("fulcio needs the public key of the log")
        return (
            Keyless(
                authorities=_authorities(self.fulcio.authorities),
                log=log,
                issuer=self.fulcio.issuer,
                subject=self.fulcio.subject,
            ),
        )


def _key(material: Material) -> PublicKey:
    """containers/image verifies SHA-256 signatures only, whatever the curve."""
    try:
        key = PublicKey.from_pem(material)
        return PublicKey.from_der(key.to_der(), hash="sha256") if key.algorithm.hash else key
    except (InvalidKey, OSError) as error:
        raise PolicyError(f"{_shown(material)}: {error}") from None


def _authorities(material: Material) -> Certificates:
    try:
        return Certificates.from_pem(material)
    except (InvalidKey, OSError) as error:
        raise PolicyError(f"{_shown(material)}: {error}") from None


def _shown(material: Material) -> str:
    return (
        "key data in the policy" if isinstance(material, bytes) else f"file {quote(material)} of the policy"
    )
