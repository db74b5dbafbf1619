"""SG-01 … SG-08: signatures, payloads, statements and log entries that must not be believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import (
    InvalidKey,
    InvalidSignature,
    LimitExceeded,
    OciworksError,
    RegistryError,
    VerificationFailed,
)
from ociworks.image import remote, sign
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from ociworks.image.sign import Reason
from ociworks.image.sign.evidence import signature_tag
from ociworks.image.sign.statement import PAYLOAD_TYPE, pae
from ociworks.spec import Digest, FrozenDict, to_json
from ociworks.spec.image import EMPTY, Descriptor, Index, Manifest, mediatypes
from tests.image.certificates import Wishes, issue
from tests.image.signatures import (
    IMAGE,
    NAME,
    SIGNATURE,
    SIMPLE,
    Place,
    b64,
    bundle,
    log_entry,
    payload,
    signature,
    statement,
)

KEY = sign.PrivateKey.generate()
OTHER = sign.PrivateKey.generate()
LOG = sign.PrivateKey.generate()
STRANGER = testing.random_image(1, seed=9)
SBOM = "https://spdx.dev/Document"
VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"


def refused(found: sign.Verification) -> list[Reason]:
    """Why nothing counted; it must be nothing."""
    assert not found.accepted
    assert not found.valid
    with pytest.raises(VerificationFailed):
        found.raise_if_failed()
    return [each.reason for each in found.rejected]


# --- SG-01 ----------------------------------------------------------------------------------------------


def test_sg_01_a_signature_of_another_image() -> None:
    """Copied from image to image: genuine, and for another; a bad one is told apart from it."""
    assert refused(Place().signed(KEY, payload(STRANGER.digest)).verify(KEY.public)) == [Reason.OTHER_IMAGE]
    assert refused(Place().signed(OTHER, payload()).verify(KEY.public)) == [Reason.BAD_SIGNATURE]
    assert refused(Place().refers(bundle(KEY, statement([STRANGER.digest]))).verify(KEY.public)) == [
        Reason.OTHER_IMAGE
    ]


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        (str(IMAGE.manifest.config.digest), Reason.OTHER_IMAGE),
        (str(Digest.of(IMAGE.raw_manifest, "sha512")), Reason.OTHER_IMAGE),
        (str(IMAGE.digest).upper(), Reason.MALFORMED),
        (f" {IMAGE.digest}", Reason.MALFORMED),
        (f"{IMAGE.digest}\n", Reason.MALFORMED),
        (IMAGE.digest.encoded, Reason.MALFORMED),
        (str(IMAGE.digest)[:-1], Reason.MALFORMED),
        ("", Reason.MALFORMED),
        (None, Reason.MALFORMED),
        ([str(IMAGE.digest)], Reason.MALFORMED),
    ],
)
def test_sg_01_other_spellings_of_the_digest(claimed: object, reason: Reason) -> None:
    assert refused(Place().signed(KEY, payload(claimed)).verify(KEY.public)) == [reason]


def test_sg_01_a_payload_without_the_field() -> None:
    document = payload()
    document["critical"]["image"] = {}
    assert refused(Place().signed(KEY, document).verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_01_a_message_signature_of_another_image() -> None:
    """A bundle over bytes: over those of the manifest, whatever digest it says itself."""

    def made(signed: bytes, told: bytes) -> bytes:
        value = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_256",
                    "digest": b64(bytes.fromhex(Digest.of(told).encoded)),
                },
                "signature": b64(KEY.sign(signed)),
            },
        }
        return json.dumps(value).encode()

    mine, theirs = IMAGE.raw_manifest, STRANGER.raw_manifest
    assert Place().refers(made(mine, mine)).verify(KEY.public).accepted
    assert refused(Place().refers(made(theirs, theirs)).verify(KEY.public)) == [Reason.OTHER_IMAGE]
    assert refused(Place().refers(made(theirs, mine)).verify(KEY.public)) == [Reason.BAD_SIGNATURE]
    assert refused(Place().refers(made(mine, theirs)).verify(KEY.public)) == [Reason.OTHER_IMAGE]


# --- SG-02 ----------------------------------------------------------------------------------------------


def test_sg_02_no_signatures() -> None:
    assert refused(Place().verify(KEY.public)) == []
    assert refused(Place().layers().verify(KEY.public)) == []
    assert not sign.Verification(image=IMAGE).accepted


def test_sg_02_only_unusable_ones() -> None:
    place = Place().layers((b"{", {SIGNATURE: "!"}), (b"", {}), (b"[]", signature(KEY, b"[]")))
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED] * 3
    assert refused(Place().layers((b"{}", signature(KEY, b"{}")), kind="text/plain").verify(KEY.public)) == [
        Reason.UNSUPPORTED
    ]


def test_sg_02_one_good_one_among_bad_ones_is_enough_and_no_more() -> None:
    """Bad signatures neither accept nor hide a good one; what must be there is still asked for."""
    good = json.dumps(payload()).encode()
    place = Place().layers((b"x", {}), (good, signature(OTHER, good)), (good, signature(KEY, good)))
    assert place.verify(KEY.public).accepted
    found = place.verify(KEY.public, sign.PrivateKey.generate().public, require_all=True)
    assert not found.accepted
    assert len(found.valid) == 1


@pytest.mark.parametrize("status", [500, 503, 401, 403, 429])
def test_sg_02_trouble_is_not_acceptance(status: int) -> None:
    """A registry that does not answer about signatures gives an error, never an answer."""
    options = ClientOptions(sleep=lambda _seconds: None)
    with testing.Registry() as registry, remote.Client(keychain=ANONYMOUS, options=options) as client:
        name = f"{registry.host}/app:1"
        client.push(IMAGE, name)
        sign.sign(client, name, KEY)
        registry.inject(
            testing.Fault(method="GET", path=signature_tag(IMAGE.digest), status=status, times=99)
        )
        with pytest.raises(RegistryError):
            sign.verify(client, name, KEY.public)


def test_sg_02_a_missing_tag_is_no_signature() -> None:
    with testing.Registry() as registry, remote.Client(keychain=ANONYMOUS) as client:
        client.push(IMAGE, f"{registry.host}/app:1")
        assert refused(sign.verify(client, f"{registry.host}/app:1", KEY.public)) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyError, MemoryError, RecursionError, InvalidKey])
def test_sg_02_a_verifier_that_fails(error: type[Exception]) -> None:
    """Whatever it raises, the signature does not count, and others are still looked at."""

    class Failing:
        name = "somebody"
        forms = frozenset({"cosign"})

        def check(self, evidence: object, expected: object, /) -> sign.Signed:
            raise error("broken")

    place = Place().signed(KEY, payload())
    assert refused(place.verify(Failing()))[0] in {Reason.UNEXPECTED, Reason.MALFORMED}  # type: ignore[arg-type]
    assert place.verify(Failing(), KEY.public).accepted  # type: ignore[arg-type]
    assert not place.verify(Failing(), KEY.public, require_all=True).accepted  # type: ignore[arg-type]


def test_sg_02_an_invalid_log_entry_is_never_optional() -> None:
    """Without a trusted log entries are not looked at, and the result says so; with one they must hold."""
    place = Place().signed(KEY, payload(), **{"dev.sigstore.cosign/bundle": '{"SignedEntryTimestamp": ""}'})
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]
    trusted = sign.TrustedKey(KEY.public, sign.TransparencyLog(LOG.public))
    assert refused(Place().signed(KEY, payload()).verify(trusted)) == [Reason.NOT_LOGGED]
    assert "transparency log" in Place().signed(KEY, payload()).verify(KEY.public).valid[0].unchecked


# --- SG-03 ----------------------------------------------------------------------------------------------


def test_sg_03_another_statement_than_the_one_asked_for() -> None:
    place = Place().refers(bundle(KEY, statement(predicateType=VULNERABILITIES)))
    assert refused(place.verify(KEY.public, predicate_type=SBOM)) == [Reason.WRONG_TYPE]
    assert refused(place.verify(KEY.public)) == [Reason.WRONG_TYPE]  # an attestation is no signature
    assert place.verify(KEY.public, predicate_type=VULNERABILITIES).accepted
    assert refused(Place().signed(KEY, payload()).verify(KEY.public, predicate_type=SBOM)) == [
        Reason.WRONG_TYPE
    ]


def test_sg_03_all_of_it_must_be_true_of_one_statement() -> None:
    """The right type about another image and another type about this one do not make a whole."""
    place = Place()
    place.refers(bundle(KEY, statement([STRANGER.digest], predicateType=SBOM)))
    place.refers(bundle(KEY, statement(predicateType=VULNERABILITIES)))
    place.refers(bundle(OTHER, statement(predicateType=SBOM)))
    assert sorted(refused(place.verify(KEY.public, predicate_type=SBOM))) == [
        Reason.BAD_SIGNATURE,
        Reason.OTHER_IMAGE,
        Reason.WRONG_TYPE,
    ]


@pytest.mark.parametrize(
    ("document", "kind", "reason"),
    [
        (statement(), "application/json", Reason.WRONG_TYPE),
        (statement(_type="https://example/other"), "application/vnd.in-toto+json", Reason.WRONG_TYPE),
        (statement([]), "application/vnd.in-toto+json", Reason.OTHER_IMAGE),
        (
            statement(subject=[{"digest": {"gitCommit": "x"}}]),
            "application/vnd.in-toto+json",
            Reason.OTHER_IMAGE,
        ),
        (statement(subject=[{"digest": {"sha256": "X"}}]), "application/vnd.in-toto+json", Reason.MALFORMED),
        (statement(predicate="text"), "application/vnd.in-toto+json", Reason.MALFORMED),
        (b"not json", "application/vnd.in-toto+json", Reason.MALFORMED),
        (b"[]", "application/vnd.in-toto+json", Reason.MALFORMED),
    ],
)
def test_sg_03_statements_that_are_none(document: Any, kind: str, reason: Reason) -> None:
    assert refused(Place().refers(bundle(KEY, document, kind=kind)).verify(KEY.public)) == [reason]


def test_sg_03_the_payload_type_is_signed() -> None:
    """An envelope whose type was changed afterwards does not hold."""
    value = json.loads(bundle(KEY, statement(), kind="text/plain"))
    value["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"
    assert refused(Place().refers(json.dumps(value).encode()).verify(KEY.public)) == [Reason.BAD_SIGNATURE]


# --- SG-04 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claimed", "asked", "accepted"),
    [
        ("registry.example/prod/app", NAME, True),
        ("registry.example/prod/app:2", NAME, True),  # the default is the repository
        ("registry.example/test/app", NAME, False),
        ("registry.example/prod/application", NAME, False),
        ("other.example/prod/app", NAME, False),
        ("", NAME, False),
        ("alpine", "docker.io/library/alpine:3", True),
        ("index.docker.io/library/alpine", "alpine:3", True),
        ("docker.io/alpine:3", "alpine", True),
        ("docker.io/prod/alpine", "alpine", False),
        ("REGISTRY.example/prod/app", NAME, True),
        ("https://registry.example/prod/app", NAME, False),
        (" registry.example/prod/app", NAME, False),
    ],
)
def test_sg_04_the_claimed_name(claimed: str, asked: str, accepted: bool) -> None:
    found = Place().signed(KEY, payload(name=claimed)).verify(KEY.public, name=asked)
    assert found.accepted is accepted
    assert [each.reason for each in found.rejected] == ([] if accepted else [Reason.OTHER_IDENTITY])


@pytest.mark.parametrize("name", [None, 7, ["registry.example/prod/app"]])
def test_sg_04_a_name_that_is_none(name: object) -> None:
    assert refused(Place().signed(KEY, payload(name=name)).verify(KEY.public)) == [Reason.MALFORMED]


PROD = "registry.example/prod/app"
BY_DIGEST = f"{PROD}@{IMAGE.digest}"


@pytest.mark.parametrize(
    ("rule", "claimed", "asked", "accepted"),
    [
        (sign.MatchExact(), f"{PROD}:1", f"{PROD}:1", True),
        (sign.MatchExact(), f"{PROD}:2", f"{PROD}:1", False),
        (sign.MatchExact(), PROD, f"{PROD}:1", False),
        (sign.MatchExact(), f"{PROD}:1", BY_DIGEST, False),
        (sign.MatchExact(), f"{PROD}:latest", PROD, True),
        (sign.MatchRepoDigestOrExact(), f"{PROD}:1", f"{PROD}:1", True),
        (sign.MatchRepoDigestOrExact(), f"{PROD}:2", f"{PROD}:1", False),
        (sign.MatchRepoDigestOrExact(), f"{PROD}:2", BY_DIGEST, True),
        (sign.MatchRepoDigestOrExact(), "registry.example/test/app:1", BY_DIGEST, False),
        (sign.MatchRepoDigestOrExact(), PROD, BY_DIGEST, False),
        (sign.MatchRepoDigestOrExact(), BY_DIGEST, BY_DIGEST, True),
        (sign.MatchRepository(), f"{PROD}:2", BY_DIGEST, True),
        (sign.ExactReference(f"{PROD}:1"), f"{PROD}:1", "mirror.example/x:9", True),
        (sign.ExactReference(f"{PROD}:1"), f"{PROD}:2", "mirror.example/x:9", False),
        (sign.ExactRepository(PROD), f"{PROD}:2", "mirror.example/x:9", True),
        (sign.ExactRepository(PROD), f"{PROD}2:1", "mirror.example/x:9", False),
        (
            sign.RemapIdentity("mirror.example/m", "registry.example/prod"),
            f"{PROD}:1",
            "mirror.example/m/app:1",
            True,
        ),
        (
            sign.RemapIdentity("mirror.example/m", "registry.example/prod"),
            f"{PROD}:2",
            "mirror.example/m/app:1",
            False,
        ),
        (
            sign.RemapIdentity("mirror.example/m", "registry.example/prod"),
            f"{PROD}:1",
            "mirror.example/mm/app:1",
            False,
        ),
        (
            sign.RemapIdentity("mirror.example", "registry.example"),
            f"{PROD}:1",
            "mirror.example/prod/app:1",
            True,
        ),
        (
            sign.RemapIdentity("mirror.example", "registry.example"),
            f"{PROD}:1",
            "mirror.example.evil/prod/app:1",
            False,
        ),
        (sign.AnyIdentity(), "anything", NAME, True),
    ],
)
def test_sg_04_rules_about_names(rule: Any, claimed: str, asked: str, accepted: bool) -> None:
    found = Place().signed(KEY, payload(name=claimed)).verify(KEY.public, name=asked, identity=rule)
    assert found.accepted is accepted


def test_sg_04_forms_without_a_name_can_be_refused() -> None:
    place = Place().refers(bundle(KEY, statement()))
    assert place.verify(KEY.public).accepted
    assert refused(place.verify(KEY.public, names_required=True)) == [Reason.OTHER_IDENTITY]


def test_sg_04_an_older_digest_under_the_current_tag() -> None:
    """Freshness is out of scope and documented: the older signed image is accepted as what it is, by its own digest."""
    older = testing.random_image(1, seed=4)
    place = Place()
    sign.sign_image(place, older, KEY, reference=NAME)
    found = sign.verify_image(place, older, KEY.public, reference=NAME)
    assert found.accepted
    assert found.reference is not None
    assert found.reference.digest == older.digest != IMAGE.digest


# --- SG-05 ----------------------------------------------------------------------------------------------


MESSAGE = json.dumps(payload()).encode()
SIGNED = KEY.sign(MESSAGE)
LOGGED = sign.TrustedKey(KEY.public, sign.TransparencyLog(LOG.public))


def with_entry(entry: Mapping[str, Any]) -> Place:
    return Place().layers(
        (MESSAGE, {SIGNATURE: b64(SIGNED), "dev.sigstore.cosign/bundle": json.dumps(entry)})
    )


def test_sg_05_the_entry_of_this_very_signature() -> None:
    found = with_entry(log_entry(LOG, MESSAGE, SIGNED, KEY.public.to_pem())).verify(LOGGED)
    assert found.raise_if_failed().valid[0].unchecked == ()


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(log_entry(LOG, b"artifact B", SIGNED, KEY.public.to_pem()), id="another artifact"),
        pytest.param(log_entry(LOG, MESSAGE, SIGNED, OTHER.public.to_pem()), id="another key"),
        pytest.param(log_entry(LOG, MESSAGE, KEY.sign(MESSAGE), KEY.public.to_pem()), id="another signature"),
        pytest.param(log_entry(OTHER, MESSAGE, SIGNED, KEY.public.to_pem()), id="another log"),
        pytest.param(log_entry(LOG, MESSAGE, SIGNED, b"no key"), id="no key"),
        pytest.param(log_entry(LOG, MESSAGE, SIGNED, KEY.public.to_pem(), kind="dsse2"), id="another kind"),
        pytest.param({}, id="empty"),
    ],
)
def test_sg_05_entries_about_something_else(entry: Mapping[str, Any]) -> None:
    assert refused(with_entry(entry).verify(LOGGED))


@pytest.mark.parametrize("change", ["integratedTime", "logIndex", "logID", "body"])
def test_sg_05_every_part_of_an_entry_is_promised(change: str) -> None:
    entry = log_entry(LOG, MESSAGE, SIGNED, KEY.public.to_pem())
    value = entry["Payload"][change]
    entry["Payload"][change] = value + 1 if isinstance(value, int) else value[:-4] + "AAA="
    assert refused(with_entry(entry).verify(LOGGED))


def test_sg_05_in_bundles_too() -> None:
    """Each entry must be the one of this signature: one that matches does not excuse one that does not."""
    body = json.dumps(statement()).encode()
    key = sign.PrivateKey.generate(
        "ed25519"
    )  # deterministic, so that its signature is known before it is in the bundle
    signed = key.sign(pae(PAYLOAD_TYPE, body))
    trusted = sign.TrustedKey(key.public, sign.TransparencyLog(LOG.public))
    right = log_entry(LOG, body, signed, key.public.to_pem(), kind="dsse")
    wrong = log_entry(LOG, b"else", signed, key.public.to_pem(), kind="dsse")
    for entries, accepted in (([right], True), ([wrong], False), ([right, wrong], False), ([], False)):
        value = json.loads(bundle(key, body))
        value["verificationMaterial"]["tlogEntries"] = [in_bundle_form(entry) for entry in entries]
        place = Place().refers(json.dumps(value).encode())
        assert place.verify(trusted).accepted is accepted
        assert place.verify(key.public).accepted  # who trusts no log does not ask one


def in_bundle_form(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "logIndex": str(entry["Payload"]["logIndex"]),
        "logId": {"keyId": b64(bytes.fromhex(entry["Payload"]["logID"]))},
        "kindVersion": {"kind": "dsse", "version": "0.0.1"},
        "integratedTime": str(entry["Payload"]["integratedTime"]),
        "inclusionPromise": {"signedEntryTimestamp": entry["SignedEntryTimestamp"]},
        "canonicalizedBody": entry["Payload"]["body"],
    }


# --- SG-06 ----------------------------------------------------------------------------------------------


class Counting(Place):
    """Counts what is fetched."""

    fetched = 0

    def blob(self, descriptor: Descriptor, /) -> bytes:
        self.fetched += 1
        return super().blob(descriptor)


def manifest_of(count: int, size: int) -> bytes:
    entry = Descriptor(
        media_type=SIMPLE, digest=IMAGE.digest, size=size, annotations=FrozenDict({SIGNATURE: "AA=="})
    )
    return to_json(Manifest(media_type=mediatypes.OCI_MANIFEST, config=EMPTY, layers=(entry,) * count))


@pytest.mark.parametrize(("count", "size"), [(10_000, 10), (257, 10), (1, 10 * 2**30), (200, 4 * 2**20)])
def test_sg_06_too_many_and_too_large(count: int, size: int) -> None:
    """Refused as a whole before the first is fetched."""
    place = Counting()
    place.attach(manifest_of(count, size), {}, signature_tag(IMAGE.digest))
    with pytest.raises(LimitExceeded):
        place.verify(KEY.public)
    assert place.fetched == 0


def test_sg_06_many_referrers() -> None:
    class Endless(Place):
        def referrers(self, subject: Digest, /) -> list[Descriptor]:
            kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
            return [Descriptor(media_type="x/y", digest=subject, size=1, artifact_type=kind)] * 1001

    with pytest.raises(LimitExceeded):
        Endless().verify(KEY.public)


def test_sg_06_a_million_layers_do_not_even_parse() -> None:
    place = Place()
    raw = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":['
        + (b"{}," * 1_000_000)
    )
    place.attach(raw[:-1] + b"]}", {}, signature_tag(IMAGE.digest))
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_06_evidence_inside_a_bundle() -> None:
    """Log entries, subjects and certificates are counted too."""
    value = json.loads(bundle(KEY, statement()))
    value["verificationMaterial"]["tlogEntries"] = [{}] * 100_000
    assert refused(Place().refers(json.dumps(value).encode()).verify(KEY.public)) == [Reason.MALFORMED]
    many = statement([IMAGE.digest, *[STRANGER.digest] * 20_000])
    assert refused(Place().refers(bundle(KEY, many)).verify(KEY.public)) == [Reason.MALFORMED]
    pem = sign.Certificates((issue(Wishes()).certificate,)).to_pem().decode()
    chain = {"dev.sigstore.cosign/certificate": pem, "dev.sigstore.cosign/chain": pem * 100}
    assert refused(Place().signed(KEY, payload(), **chain).verify(KEY.public)) == [Reason.MALFORMED]


def test_sg_06_an_index_that_points_to_itself() -> None:
    entry = Descriptor(media_type=mediatypes.OCI_INDEX, digest=IMAGE.digest, size=10)
    raw = to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(entry,)))
    place = Place()
    place.attach(raw, {}, signature_tag(IMAGE.digest))
    assert refused(place.verify(KEY.public)) == [Reason.MALFORMED]


# --- SG-07 ----------------------------------------------------------------------------------------------


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


# --- SG-08 ----------------------------------------------------------------------------------------------


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
