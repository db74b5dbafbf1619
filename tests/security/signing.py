"""Who signs in the attacks on signatures, and what a refusal is."""

from __future__ import annotations

import json

import pytest

from ociworks import testing
from ociworks.errors import VerificationFailed
from ociworks.image import sign
from ociworks.image.sign import Reason
from tests.image.signatures import payload

__all__ = ["KEY", "LOG", "LOGGED", "MESSAGE", "OTHER", "SBOM", "SIGNED", "STRANGER", "refused"]

KEY = sign.PrivateKey.generate()
OTHER = sign.PrivateKey.generate()
LOG = sign.PrivateKey.generate()
STRANGER = testing.random_image(1, seed=9)
SBOM = "https://spdx.dev/Document"
MESSAGE = json.dumps(payload()).encode()
SIGNED = KEY.sign(MESSAGE)
LOGGED = sign.TrustedKey(KEY.public, sign.TransparencyLog(LOG.public))


def refused(found: sign.Verification) -> list[Reason]:
    """Why nothing counted; it must be nothing."""
    assert not found.accepted
    assert not found.valid
    with pytest.raises(VerificationFailed):
        found.raise_if_failed()
    return [each.reason for each in found.rejected]
