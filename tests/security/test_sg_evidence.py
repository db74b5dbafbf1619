"""SG-02, SG-05 and SG-06: no evidence, evidence of something else, and evidence without end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ociworks import testing
from ociworks.errors import InvalidKey, LimitExceeded, RegistryError
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
from tests.security.signing import KEY, LOG, LOGGED, MESSAGE, OTHER, SIGNED, STRANGER, refused


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
