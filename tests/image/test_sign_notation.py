"""Notation: envelopes made and verified, the levels of a trust policy, and an independent reading of the envelope."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ociworks import testing
from ociworks.errors import InvalidKey, InvalidSignature, NotSupported
from ociworks.image import layout, sign
from ociworks.image.sign.jws import Envelope
from ociworks.image.sign.keys import HashName
from ociworks.spec import Digest
from tests.image.certificates import NOW, Holder, Key, Wishes, authority, issue
from tests.interop.peers import peer

NAME = "registry.example/app:1"


class Place:
    """An image in a layout, and somebody who may sign it."""

    def __init__(self, store: layout.Layout, holder: Holder, root: Holder) -> None:
        self.store, self.holder, self.root = store, holder, root
        self.digest = store.put(testing.random_image(1), NAME).digest

    def add(self, options: sign.NotationOptions | None = None) -> None:
        sign.sign_notation(self.store, NAME, signer(self.holder.key), self.holder.chain, options=options)

    def verify(self, trust: sign.NotationTrust, **options: object) -> sign.Verification:
        return sign.verify(self.store, NAME, trust, options=sign.VerifyOptions(**options))  # type: ignore[arg-type]

    @property
    def trust(self) -> sign.NotationTrust:
        return sign.NotationTrust(sign.Certificates((self.root.certificate,)))


def signer(key: Key) -> sign.PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        hashes: dict[int, HashName] = {2048: "sha256", 3072: "sha384", 4096: "sha512"}
        return sign.PrivateKey(key, hash=hashes[key.key_size], padding="pss")
    return sign.PrivateKey(key)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = authority()
    holder = issue(Wishes(), authority(root))
    return Place(layout.open(tmp_path / "store", create=True), holder, root)


def test_signed_by_somebody_certified(place: Place) -> None:
    assert not place.verify(place.trust).accepted
    place.add(sign.NotationOptions(annotations={"build": "7"}))
    found = place.verify(place.trust, annotations={"build": "7"}).raise_if_failed()
    (signed,) = found.valid
    assert signed.signer == "C=US,O=acme,CN=builder"
    assert signed.annotations == {"build": "7"}
    assert signed.unchecked == ("revocation",)
    assert found.image.digest == place.digest


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (rsa.generate_private_key(65537, 2048), "PS256"),
        (rsa.generate_private_key(65537, 3072), "PS384"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_algorithm_is_that_of_the_key(key: Key, algorithm: str, tmp_path: Path) -> None:
    root = authority()
    made = Place(layout.open(tmp_path / "s", create=True), issue(Wishes(key=key), root), root)
    made.add()
    assert json.loads(envelope(made)["protected_json"])["alg"] == algorithm
    assert made.verify(made.trust).accepted


def envelope(place: Place) -> dict[str, bytes]:
    """The one envelope in the layout, its parts decoded by hand."""
    import base64

    source = sign.attachments_of(place.store)
    (entry,) = source.referrers(place.digest)
    manifest = json.loads(source.manifest(entry))
    raw = (Path(place.store.path) / "blobs/sha256" / manifest["layers"][0]["digest"][7:]).read_bytes()
    value = json.loads(raw)

    def decoded(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    return {
        "raw": raw,
        "manifest": json.dumps(manifest).encode(),
        "protected_json": decoded(value["protected"]),
        "payload_json": decoded(value["payload"]),
        "signature": decoded(value["signature"]),
        "message": f"{value['protected']}.{value['payload']}".encode(),
        "leaf": base64.b64decode(value["header"]["x5c"][0]),
    }


def test_the_form_of_what_is_stored(place: Place) -> None:
    """As the specifications of the Notary Project show it."""
    place.add(sign.NotationOptions(now=NOW, expiry=NOW + timedelta(days=2)))
    found = envelope(place)
    manifest = json.loads(found["manifest"])
    assert manifest["artifactType"] == "application/vnd.cncf.notary.signature"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/jose+json"]
    prints = json.loads(manifest["annotations"]["io.cncf.notary.x509chain.thumbprint#S256"])
    assert prints[0] == Digest.of(found["leaf"]).encoded.upper()
    assert len(prints) == 3
    headers = json.loads(found["protected_json"])
    assert headers["cty"] == "application/vnd.cncf.notary.payload.v1+json"
    assert set(headers["crit"]) == {"io.cncf.notary.signingScheme", "io.cncf.notary.expiry"}
    assert headers["io.cncf.notary.signingTime"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    target = json.loads(found["payload_json"])["targetArtifact"]
    assert target["digest"] == str(place.digest)


@pytest.mark.interop
def test_openssl_verifies_the_envelope(tmp_path: Path) -> None:
    """RSA-PSS with a salt as long as the hash, over the two encoded parts and a dot; and the chain, by its rules."""
    openssl = peer("openssl")
    root = authority()
    holder = issue(Wishes(key=rsa.generate_private_key(65537, 2048)), root)
    made = Place(layout.open(tmp_path / "s", create=True), holder, root)
    made.add()
    found = envelope(made)
    for name in ("message", "signature"):
        (tmp_path / name).write_bytes(found[name])
    (tmp_path / "leaf.pem").write_bytes(sign.Certificates.from_der(found["leaf"]).to_pem())
    (tmp_path / "root.pem").write_bytes(sign.Certificates((root.certificate,)).to_pem())
    for command in (
        "x509 -in leaf.pem -pubkey -noout -out pub",
        "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify pub -signature signature message",
        "verify -CAfile root.pem leaf.pem",
    ):
        subprocess.run([openssl, *command.split()], cwd=tmp_path, check=True, capture_output=True)


def test_trusted_identities(place: Place) -> None:
    """All attributes must be there, each with exactly its value; one of several subjects is enough."""
    place.add()
    store = place.trust.authorities
    for identities in (("C=US, O=acme",), ("O=nobody", "CN=builder,O=acme"), ()):
        assert place.verify(sign.NotationTrust(store, identities=identities)).accepted, identities
    for identities in (("O=acm",), ("O=acme, CN=builder, L=Seattle",), ("O=Acme",), ("CN=uilder",)):
        found = place.verify(sign.NotationTrust(store, identities=identities))
        assert [each.reason for each in found.rejected] == [sign.Reason.OTHER_IDENTITY], identities
    for wrong in ("", "acme", "O=a,O=b"):
        with pytest.raises(NotSupported):
            sign.NotationTrust(store, identities=(wrong,))
    with pytest.raises(NotSupported, match="expected several"):
        sign.NotationTrust(store, identities="O=acme")


def test_expiry(place: Place) -> None:
    """Refused at the strict level, noted at the others, from the very second on."""
    place.add(sign.NotationOptions(now=NOW, expiry=NOW + timedelta(days=1)))
    store = place.trust.authorities
    late = NOW + timedelta(days=1)
    assert place.verify(place.trust, now=late - timedelta(seconds=1)).accepted
    assert [each.reason for each in place.verify(place.trust, now=late).rejected] == [sign.Reason.EXPIRED]
    noted = place.verify(sign.NotationTrust(store, level="permissive"), now=late)
    assert noted.accepted
    assert any("expire" in text for text in noted.valid[0].unchecked)


def test_certificates_that_are_over(place: Place) -> None:
    """Without a timestamp nobody knows when it was signed, so the certificates must be valid now."""
    place.add()
    store = place.trust.authorities
    late = NOW + timedelta(days=60)
    assert [each.reason for each in place.verify(place.trust, now=late).rejected] == [sign.Reason.CERTIFICATE]
    assert place.verify(sign.NotationTrust(store, level="permissive"), now=late).accepted


def test_audit_only_notes_who(place: Place) -> None:
    """Integrity is demanded; that the authority is not trusted is part of the signer's name."""
    place.add()
    strangers = sign.Certificates((authority().certificate,))
    assert not place.verify(sign.NotationTrust(strangers)).accepted
    assert not place.verify(sign.NotationTrust(strangers, level="permissive")).accepted
    found = place.verify(sign.NotationTrust(strangers, level="audit")).raise_if_failed()
    assert "only noted" in found.valid[0].signer


def test_a_certificate_that_signs_itself(tmp_path: Path) -> None:
    """Trusted when it is in the store, byte for byte."""
    alone = issue(Wishes())
    made = Place(layout.open(tmp_path / "s", create=True), alone, alone)
    made.add()
    assert made.verify(made.trust).accepted
    other = sign.NotationTrust(sign.Certificates((issue(Wishes()).certificate,)))
    assert not made.verify(other).accepted


def test_signing_refuses_what_verifiers_would(place: Place) -> None:
    wrong = sign.PrivateKey.generate()
    with pytest.raises(InvalidKey, match="expected the key of the first certificate"):
        sign.sign_notation(place.store, NAME, wrong, place.holder.chain)
    old = issue(Wishes(after=-timedelta(hours=1)), place.root)
    with pytest.raises(InvalidSignature, match="valid from"):
        sign.sign_notation(place.store, NAME, signer(old.key), old.chain)
    with pytest.raises(NotSupported, match="reserved"):
        place.add(sign.NotationOptions(annotations={"io.cncf.notary.x": "y"}))


def test_times_are_rfc_3339() -> None:
    from ociworks.image.sign.jws import _time

    assert _time("2030-01-31T12:00:00.5+02:00", "t").isoformat() == "2030-01-31T10:00:00+00:00"
    for wrong in ("2030-01-31", "2030-01-31 12:00:00Z", "2030-13-31T12:00:00Z", "2030-01-31T12:00:00", "x"):
        with pytest.raises(InvalidSignature):
            _time(wrong, "t")


def test_an_envelope_is_read_back() -> None:
    """What is written is what is read; the limits are those of the caller."""
    from ociworks.image.sign import jws

    holder = issue(Wishes(), authority())
    raw = jws.write(b"{}", signer(holder.key), holder.chain, NOW, None)
    found = Envelope.read(raw, sign.Limits())
    assert (found.payload, found.headers.signed, found.headers.expiry) == (b"{}", NOW, None)
    assert found.verify() == signer(holder.key).public
    with pytest.raises(InvalidSignature, match="certificates"):
        Envelope.read(raw, sign.Limits(max_certificates=1))
