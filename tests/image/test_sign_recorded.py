"""Signatures that skopeo made (1.22, with sigstore), byte by byte as it pushed them; Debian's cannot make them.

Each was made by ``skopeo copy --sign-by-sigstore-private-key … --sign-identity registry.example/team/app:1.4``.
``tests/interop/test_sign_skopeo.py`` asks the program itself, where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from ociworks.image import Image, partial, sign
from ociworks.image.memory import MemoryBlobs
from ociworks.image.sign.evidence import signature_tag
from ociworks.spec.image import Descriptor, Manifest, read_manifest
from ociworks.testing import random_image

NAME = "registry.example/team/app:1.4"
RECORDED = json.loads(Path(__file__).with_name("recorded").joinpath("skopeo_signatures.json").read_bytes())
DIFFERENT = {"digest", "size", "dev.cosignproject.cosign/signature"}


@frozen
class Recorded:
    """An image, what is attached to it, and whose key signed it."""

    image: Image
    key: sign.PublicKey
    place: sign.MemoryAttachments
    attached: dict[str, str]
    """The manifest and the payload."""


@pytest.fixture(params=RECORDED, ids=["ecdsa", "rsa"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    texts = request.param
    image = partial.image(texts["manifest"].encode(), texts["configuration"].encode(), MemoryBlobs())
    place = sign.MemoryAttachments()
    blobs = {Descriptor.of(text.encode(), "application/json"): text.encode() for text in texts["blobs"]}
    place.attach(texts["attached"].encode(), blobs, signature_tag(image.digest))
    attached = {"manifest": texts["attached"], "payload": texts["blobs"][-1]}
    return Recorded(image, sign.PublicKey.from_pem(texts["key"].encode()), place, attached)


@pytest.mark.parametrize("identity", [sign.MatchExact(), sign.MatchRepository(), sign.ExactReference(NAME)])
def test_they_are_accepted(recorded: Recorded, identity: sign.IdentityRule) -> None:
    options = sign.VerifyOptions(identity=identity)
    found = sign.verify_image(recorded.place, recorded.image, recorded.key, reference=NAME, options=options)
    (signed,) = found.raise_if_failed().valid
    assert signed.identity == NAME
    assert signed.form == "cosign"


@pytest.mark.parametrize("name", ["registry.example/team/other:1.4", "registry.example/team/app:1.5"])
def test_not_under_another_name(recorded: Recorded, name: str) -> None:
    options = sign.VerifyOptions(identity=sign.MatchExact())
    assert not sign.verify_image(
        recorded.place, recorded.image, recorded.key, reference=name, options=options
    )


def test_not_for_another_image_or_by_another_key(recorded: Recorded) -> None:
    other = sign.PrivateKey.generate().public
    assert not sign.verify_image(recorded.place, recorded.image, other, reference=NAME)
    assert not sign.verify_image(recorded.place, random_image(1), recorded.key, reference=NAME)


def test_ours_have_the_same_form(recorded: Recorded) -> None:
    """The manifest but for digests, size and the signature itself; the payload but for what is optional."""
    place, options = sign.MemoryAttachments(), sign.SignOptions(identity=NAME)
    sign.sign_image(place, recorded.image, sign.PrivateKey.generate(), reference=NAME, options=options)
    raw = place.tagged(signature_tag(recorded.image.digest)) or b""
    manifest = read_manifest(raw).value
    assert isinstance(manifest, Manifest)
    assert form_of(json.loads(raw)) == form_of(json.loads(recorded.attached["manifest"]))
    ours, theirs = json.loads(place.blob(manifest.layers[0])), json.loads(recorded.attached["payload"])
    assert ours["critical"] == theirs["critical"]
    assert list(ours) == list(theirs)


def form_of(value: Any) -> Any:
    """A document without the values of what differs from signature to signature."""
    if isinstance(value, dict):
        return {name: None if name in DIFFERENT else form_of(member) for name, member in value.items()}
    return [form_of(member) for member in value] if isinstance(value, list) else value
