"""SG-07 and SG-08: keys, signatures, payloads and bundles that are none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import InvalidKey, InvalidSignature, OciworksError
from ociworks.image import sign
from ociworks.image.sign import Reason
from ociworks.image.sign.evidence import signature_tag
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor
from tests.image.certificates import Wishes, issue
from tests.image.signatures import IMAGE, SIGNATURE, Place, b64, bundle, payload, statement
from tests.security.signing import KEY, LOGGED, MESSAGE, SIGNED, STRANGER, refused


def pem_of(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(lambda: pem_of(rsa.generate_private_key(65537, 1024)), id="rsa-1024"),
        pytest.param(lambda: pem_of(rsa.generate_private_key(3, 2048)), id="exponent-3"),
        pytest.param(lambda: pem_of(ec.generate_private_key(ec.SECP256K1())), id="secp256k1"),
        pytest.param(lambda: pem_of(ec.generate_private_key(ec.SECP224R1())), id="p224"),
        pytest.param(lambda: pem_of(dsa.generate_private_key(2048)), id="dsa"),
        pytest.param(lambda: KEY.public.to_pem() * 2, id="two keys"),
        pytest.param(KEY.to_pem, id="a private key"),
        pytest.param(lambda: sign.Certificates((issue(Wishes()).certificate,)).to_pem(), id="a certificate"),
        pytest.param(lambda: b"junk\n" + KEY.public.to_pem(), id="junk before"),
        pytest.param(lambda: KEY.public.to_pem() + b"junk", id="junk after"),
        pytest.param(lambda: KEY.public.to_pem().replace(b"PUBLIC", b"RSA PUBLIC"), id="another label"),
        pytest.param(lambda: KEY.public.to_pem().replace(b"=", b"*"), id="another alphabet"),
        pytest.param(lambda: KEY.public.to_pem()[:60], id="truncated"),
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: b"\x00" * 300_000, id="large"),
    ],
)
def test_sg_07_keys_that_are_refused(pem: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidKey):
        sign.PublicKey.from_pem(pem())


@pytest.mark.parametrize("tail", [b"\0", b"x" * 10])
def test_sg_07_a_key_with_something_after_it(tail: bytes) -> None:
    with pytest.raises(InvalidKey):
        sign.PublicKey.from_der(KEY.public.to_der() + tail)


def der(r: int, s: int) -> bytes:
    return encode_dss_signature(r, s)


GOOD_R, GOOD_S = decode_dss_signature(SIGNED)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(der(0, GOOD_S), id="zero r"),
        pytest.param(der(GOOD_R, 0), id="zero s"),
        pytest.param(der(0, 0), id="zeroes"),
        pytest.param(der(GOOD_R + ORDER, GOOD_S), id="r beyond the order"),
        pytest.param(SIGNED + b"\0", id="trailing byte"),
        pytest.param(SIGNED[:-1], id="short"),
        pytest.param(b"\x30\x81" + SIGNED[1:], id="long form of the length"),
        pytest.param(GOOD_R.to_bytes(32, "big") + GOOD_S.to_bytes(32, "big"), id="raw instead of DER"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x30\x06\x02\x01\xff\x02\x01\xff", id="negative"),
    ],
)
def test_sg_07_encodings_of_a_signature(signed: bytes) -> None:
    with pytest.raises(InvalidSignature) as caught:
        KEY.public.verify(signed, MESSAGE)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_sg_07_the_key_decides_about_hash_and_padding() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(InvalidSignature):
        sign.PublicKey(elliptic.public_key()).verify(elliptic.sign(MESSAGE, ec.ECDSA(hashes.SHA1())), MESSAGE)
    modular = rsa.generate_private_key(65537, 2048)
    plain = modular.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    pss = modular.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    one, two = sign.PublicKey(modular.public_key()), sign.PublicKey(modular.public_key(), padding="pss")
    one.verify(plain, MESSAGE)
    two.verify(pss, MESSAGE)
    for key, signed in ((one, pss), (two, plain), (one, plain[1:]), (one, b"\0" + plain)):
        with pytest.raises(InvalidSignature):
            key.verify(signed, MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b64(SIGNED)[:20] + "\n" + b64(SIGNED)[20:], id="newline"),
        pytest.param(b64(SIGNED) + "\n", id="newline at the end"),
        pytest.param(base64.urlsafe_b64encode(b"\xff\xfe" + SIGNED).decode(), id="another alphabet"),
        pytest.param(b64(SIGNED).rstrip("=") + "!", id="no base 64"),
        pytest.param("é", id="not ASCII"),
        pytest.param("", id="empty"),
    ],
)
def test_sg_07_encodings_of_the_annotation(text: str) -> None:
    found = Place().layers((MESSAGE, {SIGNATURE: text})).verify(KEY.public)
    assert refused(found)[0] in {Reason.MALFORMED, Reason.BAD_SIGNATURE}


@given(st.binary(max_size=200))
def test_sg_07_no_exception_of_the_library_gets_out(signed: bytes) -> None:
    for key in KEYS:
        with pytest.raises(InvalidSignature):
            key.verify(signed, MESSAGE)


KEYS = [sign.PrivateKey.generate(kind).public for kind in ("ecdsa-p256", "ecdsa-p521", "rsa-2048", "ed25519")]


@given(st.binary(max_size=300))
def test_sg_07_key_files_of_any_bytes(raw: bytes) -> None:
    for read in (
        sign.PublicKey.from_pem,
        sign.PublicKey.from_der,
        sign.PrivateKey.from_pem,
        sign.Certificates.from_pem,
    ):
        with pytest.raises(InvalidKey):
            read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(MESSAGE[:-2], id="truncated"),
        pytest.param(MESSAGE.replace(b'"optional"', b'"critical": {}, "optional"'), id="a member twice"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(MESSAGE.decode().encode("utf-16"), id="utf-16"),
        pytest.param(b"\xef\xbb\xbf" + MESSAGE, id="byte order mark"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"null", id="null"),
        pytest.param(MESSAGE + MESSAGE, id="two documents"),
        pytest.param(json.dumps({**payload(), "more": 1}).encode(), id="unknown member"),
        pytest.param(json.dumps({**payload(), "optional": []}).encode(), id="optional is a list"),
        pytest.param(json.dumps({"critical": None}).encode(), id="critical is null"),
        pytest.param(b"{}", id="empty"),
    ],
)
def test_sg_08_payloads_that_are_none(raw: bytes) -> None:
    """Signed by the right key, and still none."""
    assert refused(Place().signed(KEY, raw).verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_08_an_unknown_critical_member_is_refused() -> None:
    document = payload()
    document["critical"]["only-on-tuesdays"] = True
    assert refused(Place().signed(KEY, document).verify(KEY.public)) == [Reason.MALFORMED]
    document = payload()
    document["critical"]["type"] = "atomic container signature"
    assert refused(Place().signed(KEY, document).verify(KEY.public)) == [Reason.WRONG_TYPE]


def test_sg_08_the_bytes_that_were_signed_are_the_bytes_that_count() -> None:
    """The same JSON with other blanks has no signature."""
    other = json.dumps(payload(), indent=1).encode()
    assert json.loads(other) == json.loads(MESSAGE)
    assert refused(Place().layers((other, {SIGNATURE: b64(SIGNED)})).verify(KEY.public)) == [
        Reason.BAD_SIGNATURE
    ]


def broken(change: Callable[[dict[str, Any]], None]) -> bytes:
    value = json.loads(bundle(KEY, statement()))
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(broken(lambda value: value["dsseEnvelope"].update(signatures=[])), id="no signatures"),
        pytest.param(broken(lambda value: value["dsseEnvelope"].pop("signatures")), id="without signatures"),
        pytest.param(
            broken(lambda value: value["dsseEnvelope"].update(signatures=[{}, {}])), id="two signatures"
        ),
        pytest.param(
            broken(lambda value: value["dsseEnvelope"].update(signatures="x")), id="signatures as text"
        ),
        pytest.param(broken(lambda value: value["dsseEnvelope"].update(payload=7)), id="payload as number"),
        pytest.param(
            broken(lambda value: value["dsseEnvelope"].update(payload="*")), id="payload is no base 64"
        ),
        pytest.param(broken(lambda value: value.pop("verificationMaterial")), id="no material"),
        pytest.param(broken(lambda value: value.update(verificationMaterial={})), id="empty material"),
        pytest.param(broken(lambda value: value.update(messageSignature={})), id="two contents"),
        pytest.param(broken(lambda value: value.pop("dsseEnvelope")), id="no content"),
        pytest.param(broken(lambda value: value.update(mediaType=["x"])), id="type is a list"),
        pytest.param(
            broken(lambda value: value["verificationMaterial"].update(tlogEntries={})), id="entries as object"
        ),
        pytest.param(
            broken(lambda value: value["verificationMaterial"].update(tlogEntries=[1])),
            id="entries as numbers",
        ),
    ],
)
def test_sg_08_bundles_that_are_none(raw: bytes) -> None:
    assert refused(Place().refers(raw).verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_08_bundles_of_other_versions_are_told_apart() -> None:
    old = broken(lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"))
    assert refused(Place().refers(old).verify(KEY.public)) == [Reason.UNSUPPORTED]


def test_sg_08_manifests_of_signatures_that_are_none() -> None:
    for raw in (b"", b"{}", b'{"mediaType": 7}', b"\xff", IMAGE.raw_config):
        place = Place()
        place.attach(raw, {}, signature_tag(IMAGE.digest))
        assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_08_a_referrer_of_something_else() -> None:
    """A registry may list what it likes: the manifest itself says what it refers to, and of which type it is."""

    class Lying(Place):
        def referrers(self, subject: Digest, /) -> list[Descriptor]:
            listed = super().referrers(STRANGER.digest)
            kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
            return [
                Descriptor(media_type=each.media_type, digest=each.digest, size=each.size, artifact_type=kind)
                for each in listed
            ]

    place = Lying().refers(bundle(KEY, statement()), subject=STRANGER.descriptor)
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]
    place = Lying().refers(bundle(KEY, statement()), artifact_type="text/plain", subject=STRANGER.descriptor)
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]


@given(st.binary(max_size=400))
def test_sg_08_any_bytes_anywhere(raw: bytes) -> None:
    """Nothing that arrives is accepted, and nothing but the project's errors gets out."""
    place = Place().layers((raw, {SIGNATURE: b64(raw), "dev.sigstore.cosign/bundle": repr(raw)}))
    place.refers(raw)
    place.envelope(raw)
    trust = sign.NotationTrust(sign.Certificates(()))
    assert not place.verify(KEY.public, trust, LOGGED).accepted
    assert all(
        each.reason is not Reason.UNEXPECTED for each in place.verify(KEY.public, trust, LOGGED).rejected
    )
    with pytest.raises(OciworksError):
        sign.Policy.parse(raw)
