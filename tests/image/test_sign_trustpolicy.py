"""The configuration files of notation: which statement applies, and what its store holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.errors import NotSupported, PolicyError
from ociworks.image import layout, sign
from ociworks.image.sign import TrustPolicy
from tests.image.certificates import Holder, Wishes, authority, issue

ROOT, OTHER = authority(), authority()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A trust store with two named stores."""
    for name, holder in (("acme", ROOT), ("other", OTHER)):
        folder = tmp_path / "store" / "x509" / "ca" / name
        folder.mkdir(parents=True)
        (folder / "root.pem").write_bytes(sign.Certificates((holder.certificate,)).to_pem())
        (folder / "notes.txt").write_text("passed over")
        (folder / "sub-dir").mkdir()
    return tmp_path / "store"


def statement(**members: Any) -> dict[str, Any]:
    return {
        "name": "all",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["*"],
        **members,
    }


def policy(store: Path, *statements: Any, **members: Any) -> TrustPolicy:
    document = {"version": "1.0", "trustPolicies": list(statements), **members}
    return TrustPolicy.parse(json.dumps(document).encode(), store=store)


def test_who_is_trusted(store: Path, tmp_path: Path) -> None:
    """The certificates of the statement's stores, and the identities among what they certify."""
    who: Holder = issue(Wishes(), ROOT)
    name = "registry.example/app:1"
    with layout.open(tmp_path / "images", create=True) as images:
        images.put(testing.random_image(1), name)
        sign.sign_notation(images, name, sign.PrivateKey(who.key), who.chain)
        for change, accepted in (
            ({}, True),
            ({"trustStores": ["ca:other"]}, False),
            ({"trustStores": ["ca:other", "ca:acme"]}, True),
            ({"trustedIdentities": ["x509.subject: C=US, O=acme"]}, True),
            ({"trustedIdentities": ["x509.subject: O=nobody"]}, False),
            ({"trustStores": ["ca:other"], "signatureVerification": {"level": "audit"}}, True),
        ):
            trust = policy(store, statement(**change)).trust_for(name)
            assert sign.verify(images, name, trust).accepted is accepted, change


def test_which_statement_applies(store: Path) -> None:
    """The repository in full, else the one for all, else nothing is trusted."""
    special = statement(name="special", registryScopes=["registry.example/app", "docker.io/library/alpine"])
    both = policy(store, statement(), special)
    assert both.applies("registry.example/app:1").name == "special"
    assert both.applies("alpine").name == "special"
    assert both.applies("registry.example/application:1").name == "all"
    with pytest.raises(PolicyError, match="no statement applies"):
        policy(store, special).trust_for("registry.example/other")
    skipped = {
        "name": "skipped",
        "registryScopes": ["a.example/b"],
        "signatureVerification": {"level": "skip"},
    }
    assert policy(store, skipped).applies("a.example/b").level == "skip"
    with pytest.raises(NotSupported, match="skip"):
        policy(store, skipped).trust_for("a.example/b")


@pytest.mark.parametrize(
    "change",
    [
        {"registryScopes": []},
        {"registryScopes": ["*", "a.example/b"]},
        {"registryScopes": ["a.example/*"]},
        {"registryScopes": ["alpine"]},
        {"registryScopes": ["a.example/b:1"]},
        {"registryScopes": [7]},
        {"signatureVerification": {"level": "lax"}},
        {"signatureVerification": {"level": "skip"}},
        {"signatureVerification": {"level": "strict", "override": {"expiry": "log"}}},
        {"signatureVerification": None},
        {"trustStores": []},
        {"trustStores": ["tsa:acme"]},
        {"trustStores": ["ca:../../x"]},
        {"trustStores": ["ca:.."]},
        {"trustStores": ["ca:/etc"]},
        {"trustStores": ["acme"]},
        {"trustedIdentities": []},
        {"trustedIdentities": ["O=acme"]},
        {"trustedIdentities": ["x509.subject: *"]},
        {"name": None},
        {"more": 1},
    ],
)
def test_sg_10_statements_that_are_wrong(change: dict[str, Any], store: Path) -> None:
    with pytest.raises(PolicyError):
        policy(store, statement(**change))


def test_sg_10_policies_that_are_wrong(store: Path, tmp_path: Path) -> None:
    wrongs: list[Callable[[], TrustPolicy]] = [
        lambda: policy(store, statement(), version="2.0"),
        lambda: policy(store),
        lambda: policy(store, statement(), statement()),
        lambda: policy(store, statement(), trustPolicies={}),
        lambda: TrustPolicy.parse(b"{", store=store),
        lambda: TrustPolicy.load(tmp_path / "none", store=store),
    ]
    for wrong in wrongs:
        with pytest.raises(PolicyError):
            wrong()
    path = tmp_path / "trustpolicy.json"
    path.write_text(json.dumps({"version": "1.0", "trustPolicies": [statement()]}))
    path.chmod(0o600)
    assert TrustPolicy.load(path, store=store).trust_for("a.example/b").level == "strict"


def test_sg_10_stores_are_files_below_the_store(store: Path, tmp_path: Path) -> None:
    """Links, missing stores, stores without certificates and files that are none: errors, not fewer authorities."""
    below = store / "x509" / "ca"
    (below / "linked").symlink_to(below / "acme")
    (below / "empty").mkdir()
    (below / "file").mkdir()
    (below / "file" / "a.pem").symlink_to(below / "acme" / "root.pem")
    (below / "junk").mkdir()
    (below / "junk" / "a.crt").write_bytes(b"junk")
    (below / "folder" / "a.pem").mkdir(parents=True)
    for name in ("linked", "missing", "empty", "file", "junk", "folder"):
        with pytest.raises(PolicyError, match="trust store"):
            policy(store, statement(trustStores=[f"ca:{name}"])).trust_for("a.example/b")
    der = below / "der"
    der.mkdir()
    (der / "root.cer").write_bytes(sign.Certificates((ROOT.certificate,)).to_der()[0])
    trust = policy(store, statement(trustStores=["ca:der"])).trust_for("a.example/b")
    assert trust.authorities == sign.Certificates((ROOT.certificate,))
