"""Keys: files that are read, files that are refused, and an independent program that verifies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ociworks.errors import InvalidKey, InvalidSignature, MissingDependency
from ociworks.image import sign
from ociworks.image.auth import Secret
from ociworks.image.sign.keys import HashName, KeyKind, PaddingName
from tests.interop.peers import peer

KINDS: list[KeyKind] = ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "ed25519"]
MESSAGE = b"what is signed"


@pytest.fixture(scope="module", params=KINDS)
def key(request: pytest.FixtureRequest) -> sign.PrivateKey:
    return sign.PrivateKey.generate(request.param)


def test_a_signature_holds_for_its_message_only(key: sign.PrivateKey) -> None:
    signature = key.sign(MESSAGE)
    key.public.verify(signature, MESSAGE)
    for wrong, message in ((signature, MESSAGE + b"."), (signature[:-1], MESSAGE), (b"", MESSAGE)):
        with pytest.raises(InvalidSignature) as caught:
            key.public.verify(wrong, message)
        assert caught.value.reason is sign.Reason.BAD_SIGNATURE


def test_keys_travel_through_files(key: sign.PrivateKey, tmp_path: Path) -> None:
    """PEM, DER, encrypted PEM and cosign's format give the same key back."""
    (tmp_path / "key.pub").write_bytes(key.public.to_pem())
    assert sign.PublicKey.from_pem(tmp_path / "key.pub") == key.public
    assert sign.PublicKey.from_pem(str(tmp_path / "key.pub")) == key.public
    assert sign.PublicKey.from_der(key.public.to_der()) == key.public
    (tmp_path / "key.pem").write_bytes(key.to_pem("secret"))
    assert sign.PrivateKey.from_pem(tmp_path / "key.pem", password=Secret("secret")).public == key.public
    assert sign.PrivateKey.from_pem(key.to_pem()).public == key.public
    (tmp_path / "cosign.key").write_bytes(key.to_cosign_pem("secret"))
    assert sign.PrivateKey.from_pem(tmp_path / "cosign.key", password=b"secret").public == key.public


def test_traditional_private_keys_are_read() -> None:
    """SEC 1 and PKCS #1, as openssl used to write them."""
    for made in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        assert sign.PrivateKey.from_pem(pem).public == sign.PublicKey(made.public_key())


@pytest.mark.parametrize("password", [None, "wrong", ""])
def test_a_wrong_password_is_one_clear_error(password: str | None) -> None:
    """Without repeating the password or any part of the key."""
    key = sign.PrivateKey.generate()
    for pem in (key.to_pem("secret"), key.to_cosign_pem("secret")):
        with pytest.raises(InvalidKey, match="cannot be opened"):
            sign.PrivateKey.from_pem(pem, password=password)


def test_a_password_for_a_key_without_one_is_said() -> None:
    with pytest.raises(InvalidKey, match="leave the password out"):
        sign.PrivateKey.from_pem(sign.PrivateKey.generate().to_pem(), password="x")


def test_private_keys_do_not_show_themselves() -> None:
    key = sign.PrivateKey.generate()
    secret = key.to_pem().decode().splitlines()[1]
    assert secret not in repr(key) + str(key) + f"{key}"
    assert copy.deepcopy(key) is key
    assert copy.copy(key) is key
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


def test_cosign_keys_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyNaCl, keys in cosign's encrypted format are refused with what to do."""
    pem = sign.PrivateKey.generate().to_cosign_pem("x")
    monkeypatch.setitem(sys.modules, "nacl.secret", None)
    with pytest.raises(MissingDependency, match=r"ociworks\[cosign\]"):
        sign.PrivateKey.from_pem(pem, password="x")


def test_the_owner_says_which_hash() -> None:
    """Old cosign signed with SHA-256 whatever the curve: that is configured, never taken from a signature."""
    key = sign.PrivateKey.generate("ecdsa-p384")
    old = sign.PrivateKey.from_pem(key.to_pem(), hash="sha256")
    signature = old.sign(MESSAGE)
    sign.PublicKey.from_pem(key.public.to_pem(), hash="sha256").verify(signature, MESSAGE)
    with pytest.raises(InvalidSignature):
        key.public.verify(signature, MESSAGE)
    assert old.public != key.public
    assert old.public.fingerprint == key.public.fingerprint


def test_choices_that_do_not_go_together_are_refused() -> None:
    elliptic = sign.PrivateKey.generate().public.to_pem()
    edwards = sign.PrivateKey.generate("ed25519").public.to_pem()
    modular = sign.PrivateKey.generate("rsa-2048").public.to_pem()
    for pem, options in (
        (elliptic, {"padding": "pss"}),
        (elliptic, {"hash": "sha512"}),
        (edwards, {"hash": "sha256"}),
        (modular, {"padding": "none"}),
        (modular, {"hash": "sha1"}),
    ):
        with pytest.raises(InvalidKey):
            sign.PublicKey.from_pem(pem, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidKey, match="expected one of"):
        sign.PrivateKey.generate("dsa")  # type: ignore[arg-type]


def test_paths_and_texts_are_not_confused(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="pass the text as bytes"):
        sign.PublicKey.from_pem(sign.PrivateKey.generate().public.to_pem().decode())
    with pytest.raises(FileNotFoundError):
        sign.PublicKey.from_pem(tmp_path / "none")
    with pytest.raises(InvalidKey, match="no regular file"):
        sign.PublicKey.from_pem("/dev/zero")


@pytest.mark.interop
@pytest.mark.parametrize(
    ("kind", "hash", "padding", "options"),
    [
        ("ecdsa-p256", None, None, ["-sha256"]),
        ("ecdsa-p384", None, None, ["-sha384"]),
        ("ecdsa-p521", None, None, ["-sha512"]),
        ("ecdsa-p521", "sha256", None, ["-sha256"]),
        ("rsa-2048", None, None, ["-sha256"]),
        (
            "rsa-2048",
            "sha384",
            "pss",
            ["-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"],
        ),
    ],
)
def test_openssl_verifies_and_signs(
    kind: KeyKind, hash: HashName | None, padding: PaddingName | None, options: list[str], tmp_path: Path
) -> None:
    """The same algorithms as another implementation, in both directions."""
    openssl = peer("openssl")
    plain = sign.PrivateKey.generate(kind)
    key = sign.PrivateKey.from_pem(plain.to_pem(), hash=hash, padding=padding)
    for name, content in {
        "pub": key.public.to_pem(),
        "key": plain.to_pem(),
        "message": MESSAGE,
        "signature": key.sign(MESSAGE),
    }.items():
        (tmp_path / name).write_bytes(content)
    check = [openssl, "dgst", *options, "-verify", "pub", "-signature", "signature", "message"]
    subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
    make = [openssl, "dgst", *options, "-sign", "key", "-out", "theirs", "message"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    key.public.verify((tmp_path / "theirs").read_bytes(), MESSAGE)


@pytest.mark.interop
def test_openssl_and_ed25519(tmp_path: Path) -> None:
    openssl = peer("openssl")
    key = sign.PrivateKey.generate("ed25519")
    for name, content in {
        "pub": key.public.to_pem(),
        "message": MESSAGE,
        "signature": key.sign(MESSAGE),
    }.items():
        (tmp_path / name).write_bytes(content)
    check = "pkeyutl -verify -pubin -inkey pub -rawin -in message -sigfile signature".split()
    subprocess.run([openssl, *check], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.interop
def test_keys_of_openssl_are_read(tmp_path: Path) -> None:
    """PKCS #8 encrypted by openssl, with its public half."""
    openssl = peer("openssl")
    make = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -aes-256-cbc -pass pass:secret -out key"
    subprocess.run([openssl, *make.split()], cwd=tmp_path, check=True, capture_output=True)
    public = "pkey -in key -passin pass:secret -pubout -out pub"
    subprocess.run([openssl, *public.split()], cwd=tmp_path, check=True, capture_output=True)
    key = sign.PrivateKey.from_pem(tmp_path / "key", password="secret")
    assert key.public == sign.PublicKey.from_pem(tmp_path / "pub")
