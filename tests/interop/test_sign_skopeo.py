"""Signatures of sigstore with skopeo, in both directions.

Debian builds skopeo without them: ``OCIWORKS_SKOPEO`` is the path of another one, and without it these tests are not
collected. What Debian's skopeo can show is in ``test_sign_peers`` and ``test_sign_names``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.image import remote, sign
from ociworks.image.sign.keys import KeyKind
from tests.interop.peers import docker_registry
from tests.interop.skopeo import REJECT, Skopeo

pytestmark = pytest.mark.interop

IMAGE = testing.random_image(1)


@pytest.fixture
def skopeo(tmp_path: Path, client: remote.Client) -> Iterator[Skopeo]:
    with docker_registry(tmp_path) as host:
        client.push(IMAGE, f"{host}/team/app:1")
        program = os.environ["OCIWORKS_SKOPEO"]
        yield Skopeo(host, tmp_path, "{use-sigstore-attachments: true}", program)


def signed_by(skopeo: Skopeo, key: sign.PrivateKey) -> dict[str, Any]:
    """The requirement of a policy."""
    path = skopeo.folder / f"{key.public.fingerprint.encoded}.pub"
    path.write_bytes(key.public.to_pem())
    return {"type": "sigstoreSigned", "keyPath": str(path)}


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048", "ed25519"])
def test_skopeo_accepts_our_signatures(skopeo: Skopeo, client: remote.Client, kind: KeyKind) -> None:
    """And no others: not before it is signed, not with another key, not under another name."""
    key, name = sign.PrivateKey.generate(kind), f"{skopeo.host}/team/app:1"
    policy = skopeo.say(REJECT, docker={skopeo.host: [signed_by(skopeo, key)]})
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
    mine, theirs, third = (
        sign.PrivateKey.generate(),
        sign.PrivateKey.generate(kind),
        sign.PrivateKey.generate(),
    )
    name = f"{skopeo.host}/team/app:1"
    sign.sign(client, name, mine)
    let_it_sign(skopeo, name, theirs)
    both = sign.VerifyOptions(require_all=True, identity=sign.MatchExact())
    found = sign.verify(client, name, mine.public, theirs.public, options=both).raise_if_failed()
    assert {signed.identity for signed in found.valid} == {name}
    sign.sign(client, name, third)
    skopeo.say(REJECT, docker={skopeo.host: [signed_by(skopeo, key) for key in (mine, theirs, third)]})
    assert skopeo.copy(name)


def let_it_sign(skopeo: Skopeo, name: str, key: sign.PrivateKey) -> None:
    """With a key in cosign's encrypted format."""
    path, password = skopeo.folder / "private.key", skopeo.folder / "password"
    path.write_bytes(key.to_cosign_pem("secret"))
    password.write_text("secret")
    options = ("--sign-by-sigstore-private-key", str(path), "--sign-passphrase-file", str(password))
    assert skopeo.copy(name, name, *options, obey=False)
