"""Signatures of images: verify them, make them, and decide by policy.

::

    from ociworks.image import remote, sign

    with remote.Client() as registry:
        found = sign.verify(registry, "registry.example/app:1.4", sign.PublicKey.from_pem("cosign.pub"))
        found.raise_if_failed()                      # who signed: found.valid; who did not, and why: found.rejected
        img = found.select("linux/arm64")            # exactly what was verified, whatever the tag says by now

        sign.sign(registry, "registry.example/app:1.4", sign.PrivateKey.from_pem("cosign.key", password="…"))

========================  ======================================================================================
where                     what
========================  ======================================================================================
``verifying``             ``verify``: every signature against everybody who is trusted
``signing``               ``sign``, ``attest``: cosign's tag and sigstore bundles
``policy``                ``policy.json``: decide by transport and scope; ``policyfile`` reads it,
                          ``requirements`` are what it demands
``results``, ``reason``   who signed, who did not, what was refused and why
``keys``                  public and private keys; ``_algorithms``, ``_pem``, ``_cosignkey``: kinds, files, encryption
``trust``                 what decides about one signature; ``trusted_key``: a key
``keyless``               trust in people whom an authority certifies for minutes (Fulcio), offline
``notation``, ``jws``     signatures with certificates (Notary Project); ``certificates``: chains;
                          ``trustpolicy``: its configuration files
``transparency``          entries of the transparency log, verified offline
``identity``              which names a signature may claim
``payload``, ``statement``  what is signed: simple signing; in-toto statements in DSSE envelopes
``evidence``              finding signatures; ``attachments``: in registries, layouts, memory; ``limits``: how many
``_material``, ``_encoding``  reading what was found
========================  ======================================================================================

What is not verified is said in each result (``Signed.unchecked``) and in docs/adr/0016-signatures.md.

Importing this package loads no module; names are loaded when first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.image.sign.attachments import Attachments, MemoryAttachments, attachments_of
    from ociworks.image.sign.certificates import Certificates
    from ociworks.image.sign.identity import (
        AnyIdentity,
        ExactReference,
        ExactRepository,
        IdentityRule,
        MatchExact,
        MatchRepoDigestOrExact,
        MatchRepository,
        RemapIdentity,
    )
    from ociworks.image.sign.keyless import Keyless, Pattern
    from ociworks.image.sign.keys import PrivateKey, PublicKey, Signer
    from ociworks.image.sign.limits import Limits
    from ociworks.image.sign.notation import NotationOptions, NotationTrust, sign_notation
    from ociworks.image.sign.policy import Decision, Policy
    from ociworks.image.sign.reason import Form, Reason
    from ociworks.image.sign.results import Rejected, Signed, Verification
    from ociworks.image.sign.signing import SignOptions, attest, sign, sign_image
    from ociworks.image.sign.statement import Statement
    from ociworks.image.sign.transparency import TransparencyLog
    from ociworks.image.sign.trust import Trust
    from ociworks.image.sign.trusted_key import TrustedKey
    from ociworks.image.sign.trustpolicy import TrustPolicy, TrustStatement
    from ociworks.image.sign.verifying import VerifyOptions, verify, verify_image

__all__ = [
    "AnyIdentity",
    "Attachments",
    "Certificates",
    "Decision",
    "ExactReference",
    "ExactRepository",
    "Form",
    "IdentityRule",
    "Keyless",
    "Limits",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "MemoryAttachments",
    "NotationOptions",
    "NotationTrust",
    "Pattern",
    "Policy",
    "PrivateKey",
    "PublicKey",
    "Reason",
    "Rejected",
    "RemapIdentity",
    "SignOptions",
    "Signed",
    "Signer",
    "Statement",
    "TransparencyLog",
    "Trust",
    "TrustPolicy",
    "TrustStatement",
    "TrustedKey",
    "Verification",
    "VerifyOptions",
    "attachments_of",
    "attest",
    "sign",
    "sign_image",
    "sign_notation",
    "verify",
    "verify_image",
]

_HOMES = {
    "certificates": ("Certificates",),
    "keyless": ("Keyless", "Pattern"),
    "notation": ("NotationOptions", "NotationTrust", "sign_notation"),
    "attachments": ("Attachments", "MemoryAttachments", "attachments_of"),
    "identity": (
        "AnyIdentity",
        "ExactReference",
        "ExactRepository",
        "IdentityRule",
        "MatchExact",
        "MatchRepoDigestOrExact",
        "MatchRepository",
        "RemapIdentity",
    ),
    "keys": ("PrivateKey", "PublicKey", "Signer"),
    "limits": ("Limits",),
    "policy": ("Decision", "Policy"),
    "reason": ("Form", "Reason"),
    "results": ("Rejected", "Signed", "Verification"),
    "signing": ("SignOptions", "attest", "sign", "sign_image"),
    "statement": ("Statement",),
    "transparency": ("TransparencyLog",),
    "trust": ("Trust",),
    "trusted_key": ("TrustedKey",),
    "trustpolicy": ("TrustPolicy", "TrustStatement"),
    "verifying": ("VerifyOptions", "verify", "verify_image"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
