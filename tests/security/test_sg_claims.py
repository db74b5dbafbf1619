"""SG-01, SG-03 and SG-04: signatures of another image, about another statement, under another name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ociworks import testing
from ociworks.image import sign
from ociworks.image.sign import Reason
from ociworks.spec import Digest
from tests.image.signatures import IMAGE, NAME, Place, b64, bundle, payload, statement
from tests.security.signing import KEY, OTHER, SBOM, STRANGER, refused

VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"


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
