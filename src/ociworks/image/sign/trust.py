"""What may be trusted: the protocol between a verification and those who decide about one signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from ociworks.errors import InvalidSignature, quote
from ociworks.image.reference import Reference
from ociworks.image.sign.identity import IdentityRule
from ociworks.image.sign.limits import Limits
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Signed
from ociworks.spec import FrozenDict, JSONValue
from ociworks.spec.image import Descriptor

if TYPE_CHECKING:
    from ociworks.image.sign.evidence import Evidence

__all__ = ["Expected", "Trust", "check_annotations", "check_identity", "frozen_texts"]


def frozen_texts(given: Mapping[str, str]) -> FrozenDict[str, str]:
    """A copy that nobody changes: for annotations in options."""
    return FrozenDict(given)


@frozen(kw_only=True)
class Expected:
    """What a signature must be about."""

    descriptor: Descriptor
    """Of the manifest or index whose bytes were read."""
    raw: bytes = field(repr=False)
    """Those bytes."""
    reference: Reference | None
    """What was asked for."""
    identity: IdentityRule
    names_required: bool
    annotations: Mapping[str, str]
    predicate_type: str
    limits: Limits
    now: datetime


class Trust(Protocol):
    """Somebody whose signatures count, and how to recognise them."""

    @property
    def name(self) -> str:
        """For messages and results."""

    @property
    def forms(self) -> frozenset[Form]:
        """The forms of signature that it can decide about."""

    def check(self, evidence: Evidence, expected: Expected, /) -> Signed:
        """The signature, if all of it holds; otherwise :class:`~ociworks.errors.InvalidSignature`."""


def check_identity(claimed: str | None, expected: Expected) -> None:
    """Raise ``InvalidSignature`` unless the claimed name will do; None is a form of signature that has no name."""
    if claimed is None:
        if expected.names_required:
            raise InvalidSignature(
                Reason.OTHER_IDENTITY,
                "this form of signature claims no name for the image, and a name is required",
            )
        return
    if not expected.identity.accepts(claimed, expected.reference):
        raise InvalidSignature(
            Reason.OTHER_IDENTITY,
            f"it is for the name {quote(claimed)}, which {expected.identity} does not accept for {expected.reference}",
        )


def check_annotations(found: Mapping[str, JSONValue], expected: Expected) -> None:
    """Raise ``InvalidSignature`` unless each wanted annotation was signed."""
    for name, value in expected.annotations.items():
        if found.get(name) != value or not isinstance(found.get(name), str):
            raise InvalidSignature(
                Reason.CLAIMS, f"it does not have the annotation {quote(name)}={quote(value)}"
            )
