"""How much evidence is looked at. Registries choose its number and size, so reaching a bound is a refusal."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["DEFAULT_LIMITS", "Limits"]


@frozen(kw_only=True)
class Limits:
    """Counts, and sizes in bytes; what goes beyond raises :class:`~ociworks.errors.LimitExceeded`.

    The first hundred of a million signatures are not an answer.
    """

    max_signatures: int = 256
    """Signatures of one image, of all forms together."""
    max_referrers: int = 1000
    """Manifests that refer to one image, signatures or not."""
    max_evidence: int = 4 * 1024 * 1024
    """One payload, bundle or envelope."""
    max_total: int = 32 * 1024 * 1024
    """All payloads, bundles and envelopes of one image."""
    max_certificates: int = 10
    """Certificates of one signature."""
    max_log_entries: int = 16
    """Entries of the transparency log in one bundle."""
    max_subjects: int = 1000
    """Subjects of one statement."""


DEFAULT_LIMITS: Final = Limits()
"""The bounds unless the caller says otherwise."""
