"""Signatures and policies with peers: what carries them, and which scope of a policy applies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.image import remote, sign
from tests.image.certificates import Wishes, authority, issue
from tests.interop.peers import docker_registry
from tests.interop.skopeo import ACCEPT, REJECT, Skopeo

pytestmark = pytest.mark.interop

IMAGE = testing.random_image(1)


@pytest.fixture
def skopeo(tmp_path: Path, client: remote.Client) -> Iterator[Skopeo]:
    with docker_registry(tmp_path) as host:
        client.push(IMAGE, f"{host}/team/app:1")
        yield Skopeo(host, tmp_path, "{use-sigstore-attachments: true}")


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
