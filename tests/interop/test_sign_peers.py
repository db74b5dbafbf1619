"""Signatures and policies with skopeo, in both directions.

Debian builds skopeo without the signatures of sigstore; where that is so, what makes or verifies them is skipped. The
path of another skopeo is taken from ``OCIWORKS_SKOPEO``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.image import remote, sign
from ociworks.image.auth import ANONYMOUS
from ociworks.image.sign.keys import KeyKind
from tests.image.certificates import Wishes, authority, issue
from tests.interop.peers import docker_registry, peer

pytestmark = pytest.mark.interop

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
IMAGE = testing.random_image(1)


class Skopeo:
    """skopeo with a registry, a policy, and keys."""

    def __init__(self, host: str, folder: Path) -> None:
        self.host, self.folder = host, folder
        (folder / "registries.d").mkdir()
        (folder / "registries.d" / "all.yaml").write_text(
            "default-docker: {use-sigstore-attachments: true}\n"
        )
        (folder / "password").write_text("secret")
        self.count = 0

    @property
    def policy(self) -> Path:
        return self.folder / "policy.json"

    def say(self, default: Any, **transports: Any) -> sign.Policy:
        """Write a policy for both."""
        self.policy.write_text(json.dumps({"default": default, "transports": transports}))
        self.policy.chmod(0o644)
        return sign.Policy.load(self.policy)

    def key(self, key: sign.PrivateKey) -> dict[str, Any]:
        """A key as a policy names it."""
        path = self.folder / f"{key.public.fingerprint.encoded}.pub"
        path.write_bytes(key.public.to_pem())
        return {"type": "sigstoreSigned", "keyPath": str(path)}

    def copy(self, source: str, destination: str | None = None, *options: str, obey: bool = True) -> bool:
        """Whether it copied; what it cannot do at all skips the test."""
        program = os.environ.get("OCIWORKS_SKOPEO") or peer("skopeo")
        self.count += 1
        to = f"docker://{destination}" if destination else f"dir:{self.folder}/copy-{self.count}"
        command = [program, *(["--policy", str(self.policy)] if obey else ["--insecure-policy"])]
        command += ["--registries.d", str(self.folder / "registries.d"), "copy", "--src-tls-verify=false"]
        command += ["--dest-tls-verify=false", "--preserve-digests", *options, f"docker://{source}", to]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if "sigstore disabled" in done.stderr:
            pytest.skip("this skopeo was built without sigstore's signatures")
        assert done.returncode == 0 or "rejected" in done.stderr, done.stderr
        return done.returncode == 0

    def sign(self, name: str, key: sign.PrivateKey) -> None:
        """Sign with a key in cosign's encrypted format."""
        path = self.folder / "private.key"
        path.write_bytes(key.to_cosign_pem("secret"))
        password = str(self.folder / "password")
        options = ("--sign-by-sigstore-private-key", str(path), "--sign-passphrase-file", password)
        assert self.copy(name, name, *options, obey=False)


@pytest.fixture
def client() -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS) as made:
        yield made


@pytest.fixture
def skopeo(tmp_path: Path, client: remote.Client) -> Iterator[Skopeo]:
    with docker_registry(tmp_path) as host:
        client.push(IMAGE, f"{host}/team/app:1")
        yield Skopeo(host, tmp_path)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048", "ed25519"])
def test_skopeo_accepts_our_signatures(skopeo: Skopeo, client: remote.Client, kind: KeyKind) -> None:
    """And no others: not before it is signed, not with another key, not under another name."""
    key, name = sign.PrivateKey.generate(kind), f"{skopeo.host}/team/app:1"
    policy = skopeo.say(REJECT, docker={skopeo.host: [skopeo.key(key)]})
    assert not skopeo.copy(name)
    sign.sign(client, name, sign.PrivateKey.generate())
    assert not skopeo.copy(name)
    sign.sign(client, name, key, options=sign.SignOptions(annotations={"build": "7"}))
    assert skopeo.copy(name)
    assert policy.check(client, name).accepted
    client.push(IMAGE, f"{skopeo.host}/team/app:2")
    assert not skopeo.copy(f"{skopeo.host}/team/app:2")
    assert not policy.check(client, f"{skopeo.host}/team/app:2").accepted


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048"])
def test_we_accept_the_signatures_of_skopeo(skopeo: Skopeo, client: remote.Client, kind: KeyKind) -> None:
    """Beside ours, which it keeps."""
    mine, theirs, name = (
        sign.PrivateKey.generate(),
        sign.PrivateKey.generate(kind),
        f"{skopeo.host}/team/app:1",
    )
    sign.sign(client, name, mine)
    skopeo.sign(name, theirs)
    both = sign.VerifyOptions(require_all=True, identity=sign.MatchExact())
    found = sign.verify(client, name, mine.public, theirs.public, options=both).raise_if_failed()
    assert {signed.identity for signed in found.valid} == {name}
    third = sign.PrivateKey.generate()
    sign.sign(client, name, third)
    skopeo.say(REJECT, docker={skopeo.host: [skopeo.key(mine), skopeo.key(theirs), skopeo.key(third)]})
    assert skopeo.copy(name)


def test_skopeo_carries_our_signatures(skopeo: Skopeo, client: remote.Client) -> None:
    """What it copies to another repository is still signed there, as what it was signed as."""
    key, name = sign.PrivateKey.generate(), f"{skopeo.host}/team/app:1"
    sign.sign(client, name, key)
    other = f"{skopeo.host}/other/app:1"
    assert skopeo.copy(name, other, obey=False)
    options = sign.VerifyOptions(identity=sign.ExactReference(name))
    assert sign.verify(client, other, key.public, options=options).accepted
    assert not sign.verify(client, other, key.public).accepted


def test_a_registry_without_a_list_of_referrers(tmp_path: Path, client: remote.Client) -> None:
    """Debian's docker-registry keeps no such list: bundles and envelopes are found by the tag schema."""
    key, who = sign.PrivateKey.generate(), issue(Wishes(), authority())
    with docker_registry(tmp_path) as host:
        name = f"{host}/team/app:1"
        client.push(IMAGE, name)
        sign.sign(client, name, key, options=sign.SignOptions(form="bundle"))
        sign.sign_notation(client, name, sign.PrivateKey(who.key), who.chain)
        sign.attest(client, name, key, "https://spdx.dev/Document", {"spdxVersion": "SPDX-2.3"})
        trust = sign.NotationTrust(sign.Certificates(who.above))
        options = sign.VerifyOptions(require_all=True)
        found = sign.verify(client, name, key.public, trust, options=options).raise_if_failed()
        assert {signed.form for signed in found.valid} == {"bundle", "notation"}
        asked = sign.VerifyOptions(predicate_type="https://spdx.dev/Document")
        assert sign.verify(client, name, key.public, options=asked).accepted


SCOPES = [
    "",
    "{host}",
    "{host}/team",
    "{host}/te",
    "{host}/team/app",
    "{host}/team/app:1",
    "{host}/team/app:2",
    "*.0.0.1",
]


@pytest.mark.parametrize("accepting", SCOPES)
def test_the_same_scope_applies(skopeo: Skopeo, client: remote.Client, accepting: str) -> None:
    """One policy, one verdict: with each scope as the only one that accepts, and as the only one that rejects."""
    name = f"{skopeo.host}/team/app:1"
    scopes = [scope.format(host=skopeo.host) for scope in SCOPES]
    chosen = accepting.format(host=skopeo.host)
    for one, others in ((ACCEPT, REJECT), (REJECT, ACCEPT)):
        for present in ([chosen], scopes):
            rules = {scope: one if scope == chosen else others for scope in present}
            policy = skopeo.say(others, docker=rules)
            for asked in (name, f"{skopeo.host}/team/app@{IMAGE.digest}"):
                assert policy.check(client, asked).accepted is skopeo.copy(asked), (rules, asked)


IDENTITIES: list[dict[str, str]] = [
    {"type": "matchExact"},
    {"type": "matchRepoDigestOrExact"},
    {"type": "matchRepository"},
    {"type": "exactReference", "dockerReference": "{host}/team/app:1"},
    {"type": "exactReference", "dockerReference": "{host}/team/app:2"},
    {"type": "exactRepository", "dockerRepository": "{host}/team/app"},
    {"type": "exactRepository", "dockerRepository": "{host}/team"},
    {"type": "remapIdentity", "prefix": "{host}/team", "signedPrefix": "registry.example/prod"},
    {"type": "remapIdentity", "prefix": "{host}", "signedPrefix": "registry.example"},
    {"type": "remapIdentity", "prefix": "{host}/tea", "signedPrefix": "registry.example"},
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda value: "-".join(value.values()).replace("/", "."))
def test_the_same_names_are_accepted(skopeo: Skopeo, client: remote.Client, identity: dict[str, str]) -> None:
    """For names that signatures may claim, and references that people may ask by."""
    key = sign.PrivateKey.generate()
    rule = {name: text.format(host=skopeo.host) for name, text in identity.items()}
    policy = skopeo.say(REJECT, docker={skopeo.host: [{**skopeo.key(key), "signedIdentity": rule}]})
    claims = [f"{skopeo.host}/team/app:1", f"{skopeo.host}/team/app:2", f"{skopeo.host}/team/app"]
    claims += ["registry.example/prod/app:1", "registry.example/team/app:1"]
    for number, claimed in enumerate(claims):
        image = testing.random_image(1, size=100, seed=number)
        for repository in ("team", "test"):
            name = f"{skopeo.host}/{repository}/app:1"
            client.push(image, name)
            sign.sign(client, name, key, options=sign.SignOptions(identity=claimed))
            for asked in (name, f"{skopeo.host}/{repository}/app@{image.digest}"):
                assert policy.check(client, asked).accepted is skopeo.copy(asked), (rule, claimed, asked)
