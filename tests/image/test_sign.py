"""Signatures made and verified, in every place where they can be kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.errors import NotSupported, SignatureError, VerificationFailed
from ociworks.image import Image, ImageIndex, Reference, layout, remote, sign
from ociworks.image.auth import ANONYMOUS
from ociworks.image.sign.evidence import signature_tag
from ociworks.image.sign.signing import SignOptions
from ociworks.image.sign.statement import pae
from ociworks.spec import Digest, FrozenDict, JSONValue
from ociworks.spec.image import Descriptor, Manifest, read_manifest
from tests.interop.peers import peer, run

ALICE = sign.PrivateKey.generate()
BOB = sign.PrivateKey.generate("ed25519")
CAROL = sign.PrivateKey.generate("rsa-2048")
SBOM = "https://spdx.dev/Document"


@pytest.fixture
def client() -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS) as made:
        yield made


@pytest.fixture
def name(registry: testing.Registry, client: remote.Client) -> str:
    """An image in the registry."""
    client.push(testing.random_image(1), f"{registry.host}/app:1")
    return f"{registry.host}/app:1"


def every_signer(form: sign.Form, client: remote.Client, name: str) -> None:
    for key in (ALICE, BOB, CAROL):
        sign.sign(client, name, key, options=SignOptions(form=form))


@pytest.mark.parametrize("form", ["cosign", "bundle"])
def test_signed_by_several(form: sign.Form, client: remote.Client, name: str) -> None:
    """Each signature is added to the others; the answer says who signed and what else was there."""
    every_signer(form, client, name)
    found = sign.verify(client, name, ALICE.public, BOB.public)
    assert found.accepted
    assert {signed.key for signed in found.valid} == {ALICE.public, BOB.public}
    assert {signed.form for signed in found.valid} == {form}
    assert [refused.reason for refused in found.rejected] == [
        sign.Reason.BAD_SIGNATURE
    ]  # Carol is not trusted
    assert found.absent == ()
    assert found.raise_if_failed() is found


@pytest.mark.parametrize("form", ["cosign", "bundle"])
def test_signed_by_nobody_who_is_trusted(form: sign.Form, client: remote.Client, name: str) -> None:
    sign.sign(client, name, ALICE, options=SignOptions(form=form))
    found = sign.verify(client, name, BOB.public)
    assert not found
    assert found.absent == (str(BOB.public),)
    assert found.unmet == (f"expected a signature by {BOB.public}",)
    with pytest.raises(VerificationFailed, match="not trusted") as caught:
        found.raise_if_failed()
    assert caught.value.result is found
    with pytest.raises(VerificationFailed):
        found.select()


def test_all_of_them_may_be_required(client: remote.Client, name: str) -> None:
    sign.sign(client, name, ALICE)
    both = (ALICE.public, BOB.public)
    options = sign.VerifyOptions(require_all=True)
    found = sign.verify(client, name, *both, options=options)
    assert not found.accepted
    assert found.unmet == (f"expected a signature by {BOB.public}",)
    sign.sign(client, name, BOB, options=SignOptions(form="bundle"))
    assert sign.verify(client, name, *both, options=options).accepted


def test_signing_twice_changes_nothing(client: remote.Client, name: str) -> None:
    digest = sign.sign(client, name, ALICE)
    place = sign.attachments_of(client, remote_name(name))
    before = place.tagged(signature_tag(digest))
    assert sign.sign(client, name, ALICE) == digest
    assert place.tagged(signature_tag(digest)) == before
    sign.sign(client, name, ALICE, options=SignOptions(annotations={"build": "2"}))
    after = place.tagged(signature_tag(digest))
    assert after is not None
    assert len(layers(after)) == 2


def remote_name(name: str) -> Reference:
    return Reference.parse(name)


def layers(raw: bytes) -> tuple[object, ...]:
    value = read_manifest(raw).value
    assert isinstance(value, Manifest)
    return value.layers


@pytest.mark.parametrize("form", ["cosign", "bundle"])
def test_annotations_are_signed(form: sign.Form, client: remote.Client, name: str) -> None:
    sign.sign(client, name, ALICE, options=SignOptions(form=form, annotations={"build": "7", "arch": "x"}))
    found = sign.verify(client, name, ALICE.public, options=sign.VerifyOptions(annotations={"build": "7"}))
    assert found.valid[0].annotations == {"build": "7", "arch": "x"}
    for wanted in ({"build": "8"}, {"other": "7"}):
        found = sign.verify(client, name, ALICE.public, options=sign.VerifyOptions(annotations=wanted))
        assert [refused.reason for refused in found.rejected] == [sign.Reason.CLAIMS]


def test_attestations(client: remote.Client, name: str) -> None:
    """A statement about the image, by type; it is no signature of the image, and the reverse."""
    predicate: dict[str, JSONValue] = {"spdxVersion": "SPDX-2.3", "packages": (FrozenDict({"name": "x"}),)}
    sign.attest(client, name, ALICE, SBOM, predicate)
    assert not sign.verify(client, name, ALICE.public).accepted
    wanted = sign.VerifyOptions(predicate_type=SBOM)
    found = sign.verify(client, name, ALICE.public, options=wanted).raise_if_failed()
    statement = found.valid[0].statement
    assert statement is not None
    assert statement.predicate == predicate
    assert statement.subjects == (found.image.digest,)


def test_the_words_that_a_statement_is_signed_in() -> None:
    """The example of the DSSE protocol."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.interop
def test_openssl_verifies_a_bundle(tmp_path: Path) -> None:
    """The signature in a bundle, over the encoding written out here; and the members that others look for."""
    image, place = testing.random_image(1), sign.MemoryAttachments()
    sign.sign_image(place, image, ALICE, reference="a.example/b", options=SignOptions(form="bundle"))
    (entry,) = place.referrers(image.digest)
    manifest = json.loads(place.manifest(entry))
    assert manifest["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert manifest["subject"]["digest"] == str(image.digest)
    assert manifest["annotations"]["dev.sigstore.bundle.content"] == "dsse-envelope"
    assert (
        manifest["annotations"]["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"
    )
    bundle = json.loads(
        place.blob(Descriptor(media_type="x/y", size=1, digest=Digest(manifest["layers"][0]["digest"])))
    )
    assert base64.b64decode(bundle["verificationMaterial"]["publicKey"]["hint"]).hex() == (
        ALICE.public.fingerprint.encoded
    )
    envelope = bundle["dsseEnvelope"]
    body = base64.b64decode(envelope["payload"])
    statement = json.loads(body)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"] == {"sha256": image.digest.encoded}
    (tmp_path / "message").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d " % len(body) + body)
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pub").write_bytes(ALICE.public.to_pem())
    run(peer("openssl"), *"dgst -sha256 -verify pub -signature signature message".split(), cwd=tmp_path)


def test_a_layout_keeps_signatures(tmp_path: Path) -> None:
    image = testing.random_image(1)
    with layout.open(tmp_path / "store", create=True) as store:
        store.put(image, "registry.example/app:1")
        sign.sign(store, "registry.example/app:1", ALICE)
        sign.sign(store, "registry.example/app:1", BOB, options=SignOptions(form="bundle"))
        found = sign.verify(
            store,
            "registry.example/app:1",
            ALICE.public,
            BOB.public,
            options=sign.VerifyOptions(require_all=True),
        )
        assert found.raise_if_failed().image.digest == image.digest
        assert not sign.verify(store, image.digest, ALICE.public).accepted  # no name to compare with
        anything = sign.VerifyOptions(identity=sign.AnyIdentity())
        assert sign.verify(store, image.digest, ALICE.public, options=anything).accepted


def test_memory_keeps_signatures() -> None:
    image, place = testing.random_image(1), sign.MemoryAttachments()
    sign.sign_image(place, image, ALICE, reference="registry.example/app:1")
    found = sign.verify_image(place, image, ALICE.public, reference="registry.example/app:2")
    assert found.accepted
    assert found.reference == remote_name("registry.example/app:2").at(image.digest)
    with pytest.raises(SignatureError, match="expected a name"):
        sign.sign_image(place, image, ALICE)


def test_an_index_is_signed_as_such(registry: testing.Registry, client: remote.Client) -> None:
    """The signature is of the index; its images come by the digests that it lists."""
    name = f"{registry.host}/multi:1"
    index = testing.random_index()
    client.push(index, name)
    assert sign.sign(client, name, ALICE) == index.digest
    found = sign.verify(client, name, ALICE.public).raise_if_failed()
    assert isinstance(found.image, ImageIndex)
    chosen: Image = found.select("linux/arm64")
    assert chosen.digest in {entry.digest for entry in index.index.manifests}
    assert not sign.verify_image(client, chosen, ALICE.public, reference=name).accepted


def test_a_key_that_lives_elsewhere(client: remote.Client, name: str) -> None:
    """Anything with a public key and a sign method signs; what it gives is verified before it is stored."""

    class Module:
        public = ALICE.public

        def sign(self, message: bytes, /) -> bytes:
            return ALICE.sign(message)

    class Broken(Module):
        def sign(self, message: bytes, /) -> bytes:
            return BOB.sign(message)

    sign.sign(client, name, Module())
    assert sign.verify(client, name, ALICE.public).accepted
    with pytest.raises(SignatureError):
        sign.sign(client, name, Broken(), options=SignOptions(annotations={"a": "b"}))


def test_trust_in_nobody_is_an_error(client: remote.Client, name: str) -> None:
    with pytest.raises(NotSupported, match="nobody is trusted"):
        sign.verify(client, name)


def test_what_was_not_checked_is_said(client: remote.Client, name: str) -> None:
    sign.sign(client, name, ALICE)
    assert sign.verify(client, name, ALICE.public).valid[0].unchecked == ("transparency log",)


@pytest.mark.parametrize(
    ("asked", "identity", "claimed"),
    [
        ("registry.example/app:1", None, "registry.example/app:1"),
        ("registry.example/app", None, "registry.example/app:latest"),
        ("registry.example/app@{digest}", None, "registry.example/app@{digest}"),
        ("registry.example/app:1@{digest}", None, "registry.example/app:1"),
        ("registry.example/app:1", "alpine:3", "docker.io/library/alpine:3"),
        ("registry.example/app:1", "registry.example/app", "registry.example/app"),
    ],
)
def test_the_name_that_is_signed(asked: str, identity: str | None, claimed: str) -> None:
    """What was asked for, as far as it names one image; or exactly what the signer says."""
    image, place = testing.random_image(1), sign.MemoryAttachments()
    name = asked.format(digest=image.digest)
    sign.sign_image(place, image, ALICE, reference=name, options=SignOptions(identity=identity))
    anything = sign.VerifyOptions(identity=sign.AnyIdentity())
    found = sign.verify_image(place, image, ALICE.public, reference=name, options=anything)
    assert found.valid[0].identity == claimed.format(digest=image.digest)


class Forgetful(sign.MemoryAttachments):
    """Somebody else writes the same tag right after us, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.written = 0

    def attach(self, manifest: bytes, blobs: Mapping[Descriptor, bytes], tag: str | None, /) -> None:
        self.written += 1
        if self.written > self.times:
            super().attach(manifest, blobs, tag)


def test_a_signature_that_was_overwritten_is_added_again() -> None:
    """A few times; then it is said that it does not stay."""
    image, place = testing.random_image(1), Forgetful(2)
    sign.sign_image(place, image, ALICE, reference="a.example/b:1")
    assert place.written == 3
    assert sign.verify_image(place, image, ALICE.public, reference="a.example/b:1").accepted
    with pytest.raises(SignatureError, match="does not stay"):
        sign.sign_image(Forgetful(99), image, ALICE, reference="a.example/b:1")
