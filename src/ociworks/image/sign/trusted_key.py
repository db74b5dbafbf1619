"""Trust in a key: signatures that it made count."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from ociworks.errors import InvalidSignature
from ociworks.image.sign._material import Material, conclude, material_of
from ociworks.image.sign.evidence import Evidence
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Signed
from ociworks.image.sign.transparency import Logged, TransparencyLog
from ociworks.image.sign.trust import Expected

__all__ = ["TrustedKey"]

_FORMS: Final[frozenset[Form]] = frozenset({"cosign", "bundle"})


@frozen
class TrustedKey:
    """A public key; with ``log``, only for signatures that are in that transparency log.

    Where a :class:`~ociworks.image.sign.PublicKey` stands for trust, this is what it becomes.
    """

    key: PublicKey
    log: TransparencyLog | None = None

    @property
    def name(self) -> str:
        """Algorithm and fingerprint of the key."""
        return str(self.key)

    @property
    def forms(self) -> frozenset[Form]:
        """The tag of cosign, and bundles."""
        return _FORMS

    def check(self, evidence: Evidence, expected: Expected, /) -> Signed:
        """See :class:`~ociworks.image.sign.trust.Trust`."""
        material = material_of(evidence, expected)
        if evidence.form == "bundle" and material.certificates:
            raise InvalidSignature(Reason.BAD_SIGNATURE, "made with a certificate, not with a trusted key")
        self.key.verify(material.signature, material.message)
        unchecked = self._logged(material)
        found = conclude(material, evidence, expected)
        return Signed(
            form=evidence.form,
            where=evidence.where,
            signer=self.name,
            key=self.key,
            identity=found.identity,
            annotations=found.annotations,
            statement=found.statement,
            unchecked=unchecked,
        )

    def _logged(self, material: Material) -> tuple[str, ...]:
        if self.log is None:
            return ("transparency log",)
        logged = Logged(signature=material.signature, digest=material.logged, verifier=self.key.to_pem())
        self.log.confirm(material.entries, logged)
        return ()
