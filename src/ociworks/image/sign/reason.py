"""Why a signature does not count, as one word that programs may compare."""

from __future__ import annotations

import enum
from typing import Literal

__all__ = ["Form", "Reason"]

Form = Literal["cosign", "bundle", "notation"]
"""How a signature is stored: cosign's tag, a sigstore bundle, or a notation envelope."""


class Reason(enum.StrEnum):
    """Why a signature does not count."""

    MALFORMED = "malformed"
    """It cannot be read."""
    BAD_SIGNATURE = "bad-signature"
    """No trusted key made it, or what it signs was changed."""
    OTHER_IMAGE = "other-image"
    """It is genuine, and for another image."""
    OTHER_IDENTITY = "other-identity"
    """It is genuine, and claims another name than the one asked for, or another person made it."""
    CLAIMS = "claims"
    """It is genuine, and lacks an annotation that was asked for."""
    WRONG_TYPE = "wrong-type"
    """It is genuine, and another kind of statement than the one asked for."""
    NOT_LOGGED = "not-logged"
    """The proof that it is in the transparency log is missing, or is one for something else."""
    CERTIFICATE = "certificate"
    """Its certificates are not valid for this, not at this time, or not from a trusted authority."""
    EXPIRED = "expired"
    """The signer said that it should no longer be used."""
    UNSUPPORTED = "unsupported"
    """It uses something that is not verified here."""
    UNEXPECTED = "unexpected"
    """Looking at it failed in a way that nobody foresaw; that is never a reason to accept."""
