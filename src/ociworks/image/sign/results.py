"""What a verification found: who signed, who did not, what was refused and why.

A result begins as rejected. It is accepted only by signatures that held completely, and never by the absence of errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from attrs import field, frozen

from ociworks.errors import VerificationFailed
from ociworks.image.reference import Reference
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.statement import Statement
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import FrozenDict, JSONValue, Platform

__all__ = ["Rejected", "Signed", "Verification"]


@frozen(kw_only=True)
class Signed:
    """A signature that holds."""

    form: Form
    where: str
    """Which of the image's attachments it is."""
    signer: str
    """The trusted key, or the subject of the certificate."""
    key: PublicKey
    """The key that made it; a certificate's own key where a certificate is trusted."""
    identity: str | None = None
    """The name that the signature claims for the image; None when this form claims none."""
    annotations: Mapping[str, JSONValue] = FrozenDict()
    """What else was signed: the payload's ``optional`` members, or the annotations of the descriptor."""
    statement: Statement | None = None
    """The in-toto statement, in a bundle."""
    unchecked: tuple[str, ...] = ()
    """What was not checked although it may matter, or failed where a policy says that this is only noted."""


@frozen(kw_only=True)
class Rejected:
    """A signature that does not count."""

    form: Form
    where: str
    reason: Reason
    message: str
    signer: str = ""
    """Whose it would have been; empty when nobody's."""

    def __str__(self) -> str:
        return f"{self.form} signature {self.where}: {self.message}"


@frozen(kw_only=True)
class Verification:
    """The answer about one image. ``accepted`` is the verdict, and :meth:`raise_if_failed` makes it an error.

    Go on with :attr:`image` or :attr:`reference`, which name what was verified by digest: the tag may have moved since.
    """

    image: Image | ImageIndex = field(repr=False)
    """What was verified, exactly these bytes."""
    reference: Reference | None = None
    """Where it is, by digest."""
    valid: tuple[Signed, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    absent: tuple[str, ...] = ()
    """Those who are trusted and of whom there is no signature that holds."""
    unmet: tuple[str, ...] = ("nothing was verified yet",)
    """What was required and is missing."""

    @property
    def accepted(self) -> bool:
        """Whether there are signatures that hold and nothing that was required is missing."""
        return bool(self.valid) and not self.unmet

    def __bool__(self) -> bool:
        return self.accepted

    def raise_if_failed(self) -> Self:
        """The result itself if it is accepted, otherwise :class:`~ociworks.errors.VerificationFailed`."""
        if not self.accepted:
            raise VerificationFailed(self)
        return self

    def select(self, platform: Platform | str | None = None) -> Image:
        """The image for ``platform`` (None: this host's) by the digest that the verified index lists.

        Raises :class:`~ociworks.errors.VerificationFailed` when this is not accepted.
        """
        found = self.raise_if_failed().image
        if isinstance(found, ImageIndex):
            return found.image(platform)
        from ociworks.image import partial

        return partial.require(found, platform)

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import verification

        return verification(self)

    def __str__(self) -> str:
        name = str(self.reference or self.image.digest)
        if self.accepted:
            return f"{name}: signed by {', '.join(signed.signer for signed in self.valid)}"
        lines = [*self.unmet, *map(str, self.rejected)] or ["there is no signature that holds"]
        return f"{name}: not trusted\n" + "\n".join(f"  {line}" for line in lines)
