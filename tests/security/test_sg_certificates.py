"""SG-05 and SG-09: certificates that do not vouch for what they are shown for, and names that only look right."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ociworks.errors import NotSupported
from ociworks.image import sign
from ociworks.image.sign import Reason, jws
from ociworks.spec import Digest
from tests.image.certificates import NOW, Holder, Key, Wishes, authority, issue, usage
from tests.image.signatures import IMAGE, SIGNATURE, Place, b64, bundle, log_entry, payload, statement
from tests.interop.peers import peer

MAIL = "dev@example.com"
PROVIDER = "https://accounts.example"
LOG = sign.PrivateKey.generate()
ROOT = authority()
MIDDLE = authority(ROOT)
AT = int(NOW.timestamp())
MESSAGE = json.dumps(payload()).encode()


def provider(name: str = PROVIDER) -> tuple[x509.ExtensionType, bool]:
    raw = b"\x0c" + bytes([len(name)]) + name.encode()
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), raw), False


def old_provider(name: str = PROVIDER) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), name.encode()), False


def mail(*names: str) -> tuple[x509.ExtensionType, bool]:
    """Addresses as an authority might let them pass: the library refuses to make some of them."""
    made = [x509.RFC822Name._init_without_validation(name) for name in names]
    return x509.SubjectAlternativeName(made), True


def person(*extra: tuple[x509.ExtensionType, bool], issuer: Holder | None = MIDDLE, **wishes: Any) -> Holder:
    """Somebody certified, right unless wished otherwise."""
    return issue(Wishes(extra=extra or (mail(MAIL), provider()), **wishes), issuer)


def trust(**changes: Any) -> sign.Keyless:
    fields: dict[str, Any] = {
        "authorities": sign.Certificates((ROOT.certificate,)),
        "log": sign.TransparencyLog(LOG.public),
        "issuer": PROVIDER,
        "subject": MAIL,
        **changes,
    }
    return sign.Keyless(**fields)


def place(who: Holder, *, at: int = AT, logged: Holder | None = None) -> Place:
    """Cosign's tag with a genuine signature, certificate and log entry."""
    signed = raw_signature(who.key)
    entry = log_entry(LOG, MESSAGE, signed, pem(logged or who), time=at)
    annotations = {
        SIGNATURE: b64(signed),
        "dev.sigstore.cosign/certificate": pem(who).decode(),
        "dev.sigstore.cosign/chain": sign.Certificates(who.above).to_pem().decode(),
        "dev.sigstore.cosign/bundle": json.dumps(entry),
    }
    return Place().layers((MESSAGE, annotations))


def raw_signature(key: Key) -> bytes:
    """Also by keys that the library would refuse."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))


def pem(who: Holder) -> bytes:
    return sign.Certificates((who.certificate,)).to_pem()


def refused(found: sign.Verification) -> Reason:
    assert not found.accepted
    (one,) = found.rejected
    return one.reason


def test_sg_09_somebody_certified() -> None:
    found = place(person()).verify(trust()).raise_if_failed()
    assert found.valid[0].signer == f"{MAIL} by {PROVIDER}"
    assert "signed certificate timestamp" in found.valid[0].unchecked
    assert place(person(mail(MAIL), old_provider())).verify(trust()).accepted


def test_sg_09_bundles_with_a_certificate() -> None:
    who = person(issuer=ROOT)
    key = sign.PrivateKey(who.key)
    body = json.dumps(statement()).encode()
    raw = b64(sign.Certificates((who.certificate,)).to_der()[0])
    value = json.loads(bundle(key, body, material={"certificate": {"rawBytes": raw}}))
    signed = json.loads(json.dumps(value))["dsseEnvelope"]["signatures"][0]["sig"]
    entry = log_entry(LOG, body, base64.b64decode(signed), pem(who), time=AT, kind="dsse")
    value["verificationMaterial"]["tlogEntries"] = [
        {
            "logIndex": "7",
            "logId": {"keyId": b64(bytes.fromhex(LOG.public.fingerprint.encoded))},
            "integratedTime": str(AT),
            "inclusionPromise": {"signedEntryTimestamp": entry["SignedEntryTimestamp"]},
            "canonicalizedBody": entry["Payload"]["body"],
        }
    ]
    made = Place().refers(json.dumps(value).encode())
    assert made.verify(trust()).accepted
    assert refused(made.verify(key.public)) is Reason.BAD_SIGNATURE  # a trusted key is no certificate
    del value["verificationMaterial"]["tlogEntries"]
    assert refused(Place().refers(json.dumps(value).encode()).verify(trust())) is Reason.NOT_LOGGED


@pytest.mark.parametrize(
    "who",
    [
        pytest.param(lambda: person(uses=()), id="no usage"),
        pytest.param(lambda: person(uses=(ExtendedKeyUsageOID.SERVER_AUTH,)), id="for servers"),
        pytest.param(
            lambda: person(
                uses=(ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
            ),
            id="for anything",
        ),
        pytest.param(lambda: person(usage=usage(key_agreement=True)), id="not for signatures"),
        pytest.param(
            lambda: person(usage=usage(digital_signature=True, key_cert_sign=True)),
            id="may sign certificates",
        ),
        pytest.param(lambda: person(ca=True), id="an authority"),
        pytest.param(lambda: person(key=rsa.generate_private_key(65537, 1024)), id="a short key"),
        pytest.param(
            lambda: person(
                mail(MAIL),
                provider(),
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x"), True),
            ),
            id="an unknown critical extension",
        ),
        pytest.param(lambda: person(issuer=authority()), id="another root of the same name"),
        pytest.param(lambda: person(issuer=None), id="by itself"),
        pytest.param(lambda: person(issuer=person()), id="by somebody who is no authority"),
        pytest.param(
            lambda: person(issuer=authority(ROOT, usage=usage(digital_signature=True))), id="by no signer"
        ),
        pytest.param(
            lambda: person(issuer=authority(authority(ROOT, path_length=0), subject="CN=lower")),
            id="too long a path",
        ),
        pytest.param(
            lambda: person(issuer=authority(ROOT, after=-timedelta(hours=1))),
            id="by an authority that expired",
        ),
    ],
)
def test_sg_09_certificates_for_something_else(who: Callable[[], Holder]) -> None:
    assert refused(place(who()).verify(trust())) in {Reason.CERTIFICATE, Reason.BAD_SIGNATURE}


@pytest.mark.interop
def test_sg_09_outdated_hashes(tmp_path: Path) -> None:
    """Libraries no longer make SHA-1 certificates; openssl still does."""
    make = (
        "req -x509 -sha1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 2 -keyout key -out cert"
        " -addext keyUsage=critical,digitalSignature -addext basicConstraints=critical,CA:FALSE"
    )
    for name in ("sha1", "sha256"):
        command = make.replace("sha1", name).split()
        subprocess.run([peer("openssl"), *command], cwd=tmp_path, check=True, capture_output=True)
        chain = sign.Certificates.from_pem(tmp_path / "cert")
        key = sign.PrivateKey.from_pem(tmp_path / "key")
        made = Place().envelope(jws.write(target(), key, chain, datetime.now(UTC), None))
        assert made.verify(sign.NotationTrust(chain)).accepted is (name == "sha256")


def test_sg_05_the_time_of_the_log_must_be_within_the_certificate() -> None:
    for days in (-2, 40):
        late = AT + days * 86_400
        assert refused(place(person(), at=late).verify(trust())) is Reason.CERTIFICATE
    for impossible in (-(2**62), 2**62):
        assert refused(place(person(), at=impossible).verify(trust()))


def test_sg_05_the_entry_must_name_this_certificate() -> None:
    assert refused(place(person(), logged=person()).verify(trust())) is Reason.NOT_LOGGED


def test_sg_09_there_is_no_certificate() -> None:
    key = sign.PrivateKey.generate()
    assert refused(Place().signed(key, payload()).verify(trust())) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param((mail(f"{MAIL}.evil"), provider()), id="a longer domain"),
        pytest.param((mail(f"x{MAIL}"), provider()), id="a longer name"),
        pytest.param((mail("dev@example.org"), provider()), id="another domain"),
        pytest.param((mail(f"{MAIL}\n"), provider()), id="a newline"),
        pytest.param((mail(f"{MAIL}\nx@example.com"), provider()), id="two lines"),
        pytest.param((mail(f"{MAIL}\0.evil"), provider()), id="a NUL"),
        pytest.param((mail("DEV@example.com"), provider()), id="another case"),
        pytest.param((mail(MAIL, "other@example.com"), provider()), id="two names"),
        pytest.param((provider(),), id="no name"),
        pytest.param((x509.SubjectAlternativeName([x509.DNSName(MAIL)]), True), id="another kind of name"),
        pytest.param((mail(MAIL), provider(f"{PROVIDER}.evil")), id="another provider"),
        pytest.param((mail(MAIL), provider(f"{PROVIDER}/")), id="nearly the provider"),
        pytest.param((mail(MAIL),), id="no provider"),
        pytest.param(
            (
                mail(MAIL),
                (
                    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), b"\x0c\x05x"),
                    False,
                ),
            ),
            id="a provider that cannot be read",
        ),
        pytest.param((mail(MAIL), provider("https://evil.example"), old_provider()), id="two providers"),
    ],
)
def test_sg_09_names_that_only_look_right(extra: Any) -> None:
    extra = extra if isinstance(extra[0], tuple) else (extra, provider())
    who = person(*extra, subject=f"CN={MAIL}")
    assert refused(place(who).verify(trust())) is Reason.OTHER_IDENTITY


@pytest.mark.parametrize(
    ("pattern", "name", "accepted"),
    [
        (r"[a-z]+@example\.com", MAIL, True),
        (r".*@example.com", "x@example.com.evil", False),
        (r".*@example\.com", "x@example.com\n", False),
        (r".*@example\.com", "evil\nx@example.com", False),
        (r"dev", MAIL, False),
        (r"\w+@example\.com", "dév@example.com".encode().decode("latin-1"), False),
    ],
)
def test_sg_09_patterns_match_the_whole_name(pattern: str, name: str, accepted: bool) -> None:
    try:
        who = person(mail(name), provider())
    except ValueError:
        return  # the library refuses to make such a certificate
    assert place(who).verify(trust(subject=sign.Pattern(pattern))).accepted is accepted


def test_sg_09_a_pattern_must_be_one() -> None:
    with pytest.raises(NotSupported):
        sign.Pattern("(")


# --- notation -------------------------------------------------------------------------------------------


def key_of(who: Holder) -> sign.PrivateKey:
    if isinstance(who.key, rsa.RSAPrivateKey):
        return sign.PrivateKey(who.key, padding="pss")
    return sign.PrivateKey(who.key)


def target(**changes: Any) -> bytes:
    described = {
        "mediaType": IMAGE.descriptor.media_type,
        "digest": str(IMAGE.digest),
        "size": IMAGE.descriptor.size,
        **changes,
    }
    return json.dumps({"targetArtifact": described}).encode()


def enveloped(who: Holder, body: bytes | None = None, **changes: Any) -> Place:
    return Place().envelope(
        jws.write(body or target(), key_of(who), changes.pop("chain", who.chain), NOW, None)
    )


NOTATION = sign.NotationTrust(sign.Certificates((ROOT.certificate,)))


def test_sg_09_notation_accepts_somebody_certified() -> None:
    assert enveloped(person()).verify(NOTATION).accepted
    assert enveloped(person(uses=())).verify(NOTATION).accepted  # the usage may be missing there


@pytest.mark.parametrize(
    "who",
    [
        pytest.param(lambda: person(uses=(ExtendedKeyUsageOID.SERVER_AUTH,)), id="for servers"),
        pytest.param(lambda: person(usage=usage(key_agreement=True)), id="not for signatures"),
        pytest.param(lambda: person(ca=True), id="an authority"),
        pytest.param(lambda: person(issuer=authority()), id="another root of the same name"),
        pytest.param(lambda: person(issuer=None), id="by itself"),
        pytest.param(lambda: person(issuer=person()), id="by somebody who is no authority"),
        pytest.param(lambda: person(after=-timedelta(hours=1)), id="expired"),
        pytest.param(lambda: person(before=-timedelta(hours=1)), id="not yet valid"),
        pytest.param(lambda: ROOT, id="the root itself"),
    ],
)
def test_sg_09_notation_refuses_others(who: Callable[[], Holder]) -> None:
    assert refused(enveloped(who()).verify(NOTATION)) is Reason.CERTIFICATE


def test_sg_09_names_of_signers_are_one_line() -> None:
    """What a certificate calls somebody cannot pretend to be another line of a report."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x\n  sigstoreSigned: accepted")])
    found = enveloped(issue(Wishes(name=name), ROOT)).verify(NOTATION).raise_if_failed()
    assert "\n" not in str(found)


def test_sg_09_chains_that_are_none() -> None:
    who = person()
    leaf, middle, root = who.chain.items
    for chain in (
        (leaf, root),
        (leaf, middle),
        (leaf,),
        (leaf, root, middle),
        (leaf, middle, root, root),
        (leaf, leaf, root),
    ):
        made = enveloped(who, chain=sign.Certificates(chain))
        assert refused(made.verify(NOTATION)) is Reason.CERTIFICATE, chain
    many = sign.Certificates((leaf, *[middle] * 1000, root))
    assert refused(enveloped(who, chain=many).verify(NOTATION)) is Reason.MALFORMED  # SG-06


def test_sg_01_notation_signs_a_whole_descriptor() -> None:
    who = person()
    for changes in (
        {"digest": str(Digest.of(b"other"))},
        {"size": 1},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
    ):
        assert refused(enveloped(who, target(**changes)).verify(NOTATION)) is Reason.OTHER_IMAGE
    for body in (
        b"{}",
        b"[]",
        b'{"targetArtifact": 7}',
        b'{"targetArtifact": {}}',
        target()[:-1] + b', "more": 1}',
    ):
        assert refused(enveloped(who, body).verify(NOTATION)) is Reason.MALFORMED


def raw_envelope(who: Holder, headers: dict[str, Any], **members: Any) -> bytes:
    """A genuine signature over any protected headers."""
    protected, body = url64(json.dumps(headers).encode()), url64(target())
    signed = key_of(who).sign(f"{protected}.{body}".encode())
    raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signed))
    value = {
        "payload": body,
        "protected": protected,
        "header": {"x5c": [b64(each) for each in who.chain.to_der()]},
        "signature": url64(raw),
        **members,
    }
    return json.dumps(value).encode()


def url64(content: bytes) -> str:
    return b64(content).rstrip("=").replace("+", "-").replace("/", "_")


HEADERS: dict[str, Any] = {
    "alg": "ES256",
    "cty": "application/vnd.cncf.notary.payload.v1+json",
    "crit": ["io.cncf.notary.signingScheme"],
    "io.cncf.notary.signingScheme": "notary.x509",
    "io.cncf.notary.signingTime": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
}


def test_sg_07_the_certified_key_decides_about_the_algorithm() -> None:
    who = person()
    assert Place().envelope(raw_envelope(who, HEADERS)).verify(NOTATION).accepted
    for name in ("none", "HS256", "RS256", "ES384", "es256", ""):
        made = Place().envelope(raw_envelope(who, {**HEADERS, "alg": name}))
        assert refused(made.verify(NOTATION)) is Reason.UNSUPPORTED, name


@pytest.mark.parametrize(
    "change",
    [
        {"crit": []},
        {"crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.verificationPlugin"]},
        {"crit": ["io.cncf.notary.signingScheme"] * 2},
        {"crit": [["io.cncf.notary.signingScheme"]]},
        {"crit": "io.cncf.notary.signingScheme"},
        {"io.cncf.notary.expiry": "2020-01-01T00:00:00Z"},  # present, and not marked critical
        {"io.cncf.notary.signingScheme": "notary.x509.signingAuthority"},
        {"io.cncf.notary.signingTime": "yesterday"},
        {"io.cncf.notary.signingTime": None},
        {"cty": "text/plain"},
        {"b64": False},
        {"jwk": {}},
        {"alg": 7},
    ],
)
def test_sg_08_protected_headers(change: dict[str, Any]) -> None:
    """Genuinely signed, and refused: what is critical and not understood, missing, or of another kind."""
    made = Place().envelope(raw_envelope(person(), {**HEADERS, **change}))
    assert refused(made.verify(NOTATION)) in {Reason.UNSUPPORTED, Reason.MALFORMED, Reason.WRONG_TYPE}


@pytest.mark.parametrize(
    "members",
    [
        {"signature": ""},
        {"signature": "AAAA"},
        {"signature": b64(hashlib.sha512(b"").digest())},  # padded, and of the other alphabet
        {"header": {}},
        {"header": {"x5c": []}},
        {"header": {"x5c": ["x"]}},
        {"header": {"x5c": [7]}},
        {"header": []},
        {"payload": "e30"},
        {"more": 1},
    ],
)
def test_sg_08_envelopes(members: dict[str, Any]) -> None:
    made = Place().envelope(raw_envelope(person(), HEADERS, **members))
    assert refused(made.verify(NOTATION)) in {Reason.MALFORMED, Reason.BAD_SIGNATURE}
