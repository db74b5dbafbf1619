"""Which names a signature may claim: the verdict of skopeo and ours, for the same rule.

Debian builds skopeo without the signatures of sigstore. The rules about names are the same for GPG's, so for each
claim skopeo is shown a GPG signature, and ociworks one of sigstore's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

from ociworks import testing
from ociworks.image import Image, remote, sign
from ociworks.image.auth import ANONYMOUS
from tests.interop.peers import docker_registry, peer
from tests.interop.skopeo import REJECT, Skopeo

pytestmark = pytest.mark.interop

REPOSITORIES = ("team", "test")
CLAIMS = (
    "{host}/team/app:1",
    "{host}/team/app:2",
    "{host}/team/app",
    "registry.example/prod/app:1",
    "registry.example/team/app:1",
)
RULES: list[dict[str, str]] = [
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


class Gpg:
    """A key of GPG, with a home of its own at a short path: its agent listens there."""

    def __init__(self, home: str) -> None:
        self._environment = {**os.environ, "GNUPGHOME": home}
        gpg = (peer("gpg"), "--batch", "--quiet", "--passphrase", "")
        self._run(*gpg, "--quick-generate-key", "tester", "ed25519", "sign", "never")
        self.public = self._run(*gpg, "--export")
        listed = self._run(*gpg, "--with-colons", "--list-keys").decode().splitlines()
        self._fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def sign(self, manifest: Path, claimed: str, signature: Path) -> None:
        """Let skopeo sign a manifest under a name."""
        self._run(peer("skopeo"), "standalone-sign", manifest, claimed, self._fingerprint, "-o", signature)

    def close(self) -> None:
        self._run(peer("gpgconf"), "--kill", "all")

    def _run(self, *command: str | Path) -> bytes:
        return subprocess.run(
            command, env=self._environment, capture_output=True, check=True, timeout=60
        ).stdout


@frozen
class Signed:
    """A registry whose images are signed twice, and who obeys policies about it."""

    skopeo: Skopeo
    client: remote.Client
    images: dict[str, Image]
    """By the name that their signatures claim."""

    def policy(self, identity: dict[str, str]) -> sign.Policy:
        """Write the same rule about names for both; ours to obey."""
        host, folder = self.skopeo.host, self.skopeo.folder
        gpg = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": f"{folder}/key.gpg"}
        self.skopeo.say(REJECT, docker={host: [{**gpg, "signedIdentity": identity}]})
        ours = {"type": "sigstoreSigned", "keyPath": f"{folder}/key.pub", "signedIdentity": identity}
        return sign.Policy.parse(
            json.dumps({"default": REJECT, "transports": {"docker": {host: [ours]}}}).encode()
        )


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("names")
    lookup = f"{{lookaside: 'file://{folder}/lookaside'}}"
    with docker_registry(folder) as host, remote.Client(keychain=ANONYMOUS) as client:
        made = Signed(Skopeo(host, folder, lookup), client, {})
        fill(made)
        yield made


def fill(signed: Signed) -> None:
    """Push an image for each claim, and sign it with both keys."""
    folder, key = signed.skopeo.folder, sign.PrivateKey.generate()
    (folder / "key.pub").write_bytes(key.public.to_pem())
    with tempfile.TemporaryDirectory(prefix="ow-", dir="/tmp") as home, closing(Gpg(home)) as gpg:
        (folder / "key.gpg").write_bytes(gpg.public)
        for number, template in enumerate(CLAIMS):
            claimed = template.format(host=signed.skopeo.host)
            image = signed.images[claimed] = testing.random_image(1, size=100, seed=number)
            (folder / "manifest").write_bytes(image.raw_manifest)
            gpg.sign(folder / "manifest", claimed, folder / "signature")
            for repository in REPOSITORIES:
                place(
                    folder / "signature",
                    folder / f"lookaside/{repository}/app@{image.digest}".replace(":", "="),
                )
                name = f"{signed.skopeo.host}/{repository}/app:1"
                signed.client.push(image, name)
                sign.sign(signed.client, name, key, options=sign.SignOptions(identity=claimed))


def place(signature: Path, folder: Path) -> None:
    """As containers-registries.d(5) has it."""
    folder.mkdir(parents=True)
    shutil.copy(signature, folder / "signature-1")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(rule.values()).replace("/", "."))
def test_the_same_names_are_accepted(signed: Signed, rule: dict[str, str]) -> None:
    """For names that signatures may claim, and references that people may ask by."""
    identity = {name: text.format(host=signed.skopeo.host) for name, text in rule.items()}
    policy = signed.policy(identity)
    for claimed, image in signed.images.items():
        for repository in REPOSITORIES:
            name = f"{signed.skopeo.host}/{repository}/app"
            signed.client.push(image, f"{name}:1")
            for asked in (f"{name}:1", f"{name}@{image.digest}"):
                assert policy.check(signed.client, asked).accepted is signed.skopeo.copy(asked), (
                    claimed,
                    asked,
                )
