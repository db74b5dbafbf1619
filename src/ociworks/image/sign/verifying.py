"""Verification: every signature of an image against everybody who is trusted, and the answer.

::

    found = verify(registry, "registry.example/app:1.4", PublicKey.from_pem("cosign.pub"))
    found.raise_if_failed()
    img = found.select("linux/arm64")        # by the digest that the verified index lists

``verify`` returns also when nobody signed: look at ``accepted``, or call ``raise_if_failed``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from ociworks.errors import InvalidReference, InvalidSignature, NotSupported, OciworksError
from ociworks.image.reference import Reference
from ociworks.image.sign.attachments import Source, attachments_of
from ociworks.image.sign.evidence import Evidence, collect
from ociworks.image.sign.identity import IdentityRule, MatchRepository
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.limits import DEFAULT_LIMITS, Limits
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Rejected, Signed, Verification
from ociworks.image.sign.statement import SIGN_PREDICATE
from ociworks.image.sign.trust import Expected, Trust, frozen_texts
from ociworks.image.sign.trusted_key import TrustedKey
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict

if TYPE_CHECKING:
    from ociworks.image._catalog import Catalog
    from ociworks.image.remote import Client

__all__ = ["Trusted", "VerifyOptions", "find", "verify", "verify_image"]

Trusted: TypeAlias = "PublicKey | Trust"
"""Somebody whose signatures count: a key, or what says more than a key."""


@frozen(kw_only=True)
class VerifyOptions:
    """What is asked of the signatures."""

    require_all: bool = False
    """Whether everybody who is trusted must have signed; otherwise one of them is enough."""
    identity: IdentityRule = field(factory=MatchRepository)
    """Which names a signature may claim for the image. Forms that claim none (bundles, notation) pass unless
    ``names_required``: they are bound to the bytes alone."""
    names_required: bool = False
    """Whether signatures of forms that claim no name are refused."""
    annotations: Mapping[str, str] = field(default=FrozenDict(), converter=frozen_texts)
    """What must have been signed beside the digest."""
    predicate_type: str = SIGN_PREDICATE
    """The type of in-toto statement that is asked for. The default is a plain signature; with another type only
    attestations of that type count, and the predicate is in ``Signed.statement``."""
    limits: Limits = DEFAULT_LIMITS
    now: datetime | None = None
    """The time at which certificates and expiry are judged; None is the time of the call."""


def verify(
    source: Source,
    ref: Reference | str | Digest,
    *trusted: Trusted,
    options: VerifyOptions | None = None,
) -> Verification:
    """Who of the ``trusted`` signed the image, found by its name in a registry or layout.

    The manifest or index is read first, and everything is about the digest of the bytes that came. Of an index, the
    index itself must be signed; use :meth:`Verification.select` for its image of a platform.

    Raises what reading ``source`` raises (:class:`~ociworks.errors.RegistryError`,
    :class:`~ociworks.errors.ImageNotFound`, :class:`~ociworks.errors.LayoutError`, …),
    :class:`~ociworks.errors.LimitExceeded`, and :class:`~ociworks.errors.NotSupported` for trust in nobody.
    """
    image, reference = find(source, ref)
    return verify_image(source, image, *trusted, reference=reference, options=options)


def verify_image(
    source: Source,
    image: Image | ImageIndex,
    *trusted: Trusted,
    reference: Reference | str | None = None,
    options: VerifyOptions | None = None,
) -> Verification:
    """The same for an image that was already read. ``reference`` is the name that it was asked for by.

    In a registry, signatures are looked for in the repository of that name.
    """
    chosen = options or VerifyOptions()
    if not trusted:
        raise NotSupported("nobody is trusted: give at least one key, or other trust")
    name = Reference.parse(reference) if isinstance(reference, str) else reference
    trusts = tuple(TrustedKey(each) if isinstance(each, PublicKey) else each for each in trusted)
    expected = _expected(image, name, chosen)
    forms = frozenset[Form]().union(*(each.forms for each in trusts))
    valid, rejected = _judge(
        collect(attachments_of(source, name), image.digest, forms, chosen.limits), trusts, expected
    )
    absent = tuple(each.name for each in trusts if not any(signer is each for signer, _ in valid))
    return Verification(
        image=image,
        reference=None if name is None else name.at(image.digest),
        valid=tuple(signed for _, signed in valid),
        rejected=rejected,
        absent=absent,
        unmet=_unmet(absent, bool(valid), require_all=chosen.require_all),
    )


def _expected(image: Image | ImageIndex, name: Reference | None, options: VerifyOptions) -> Expected:
    return Expected(
        descriptor=image.descriptor,
        raw=image.raw_index if isinstance(image, ImageIndex) else image.raw_manifest,
        reference=name,
        identity=options.identity,
        names_required=options.names_required,
        annotations=options.annotations,
        predicate_type=options.predicate_type,
        limits=options.limits,
        now=options.now or datetime.now(UTC),
    )


def _unmet(absent: Sequence[str], signed: bool, *, require_all: bool) -> tuple[str, ...]:  # noqa: FBT001
    if require_all:
        return tuple(f"expected a signature by {name}" for name in absent)
    return () if signed else (f"expected a signature by {' or '.join(absent)}",)


def _judge(
    found: Iterable[Evidence | Rejected], trusts: Collection[Trust], expected: Expected
) -> tuple[list[tuple[Trust, Signed]], tuple[Rejected, ...]]:
    """Each piece of evidence on its own: none can change the answer about another."""
    valid: list[tuple[Trust, Signed]] = []
    rejected: list[Rejected] = []
    for item in found:
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        answers = [(trust, _check(trust, item, expected)) for trust in trusts if item.form in trust.forms]
        held = [(trust, answer) for trust, answer in answers if isinstance(answer, Signed)]
        valid += held
        if not held:
            rejected.append(_telling([answer for _, answer in answers if isinstance(answer, Rejected)]))
    return valid, tuple(rejected)


def _check(trust: Trust, evidence: Evidence, expected: Expected) -> Signed | Rejected:
    try:
        return trust.check(evidence, expected)
    except InvalidSignature as error:
        reason, message = error.reason, str(error)
    except OciworksError as error:
        reason, message = Reason.MALFORMED, str(error)
    except Exception as error:  # noqa: BLE001 - one hostile signature must neither be accepted nor hide the others
        reason, message = Reason.UNEXPECTED, f"looking at it failed: {type(error).__name__}"
    return Rejected(
        form=evidence.form, where=evidence.where, reason=reason, message=message, signer=trust.name
    )


def _telling(answers: Sequence[Rejected]) -> Rejected:
    """The refusal by somebody who did sign it, if there is one."""
    return next((each for each in answers if each.reason is not Reason.BAD_SIGNATURE), answers[0])


def find(source: Source, ref: Reference | str | Digest) -> tuple[Image | ImageIndex, Reference | None]:
    """The image or index of that name, and the name as far as it is one."""
    from ociworks.image._catalog import Catalog
    from ociworks.image.remote import Client

    if isinstance(source, Client):
        return _in_registry(source, ref)
    if isinstance(source, Catalog):
        return _in_catalog(source, ref)
    raise NotSupported(
        "expected a registry client, a layout or an archive; for other sources read the image and use verify_image"
    )


def _in_registry(client: Client, ref: Reference | str | Digest) -> tuple[Image | ImageIndex, Reference]:
    if isinstance(ref, Digest):
        raise NotSupported("expected a reference: a digest alone names no registry")
    name = Reference.parse(ref) if isinstance(ref, str) else ref
    return client.get(name), name


def _in_catalog(store: Catalog, ref: Reference | str | Digest) -> tuple[Image | ImageIndex, Reference | None]:
    found = store.get(str(ref) if isinstance(ref, Reference) else ref)
    if not isinstance(ref, str):
        return found, ref if isinstance(ref, Reference) else None
    try:
        return found, Reference.parse(ref)
    except InvalidReference:
        return found, None
