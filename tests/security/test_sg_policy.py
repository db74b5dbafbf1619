"""SG-10 and RG-13 for signatures: what was verified is what is used; policy files and the choice of a scope."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ociworks
from ociworks import testing
from ociworks.errors import ContentError, ImageNotFound, NotSupported, PolicyError, VerificationFailed
from ociworks.image import ImageIndex, Reference, layout, partial, remote, sign
from ociworks.image.auth import ANONYMOUS
from ociworks.image.memory import MemoryBlobs
from ociworks.spec import to_json
from ociworks.spec.image import Index, mediatypes
from tests.image.certificates import authority
from tests.image.signatures import b64

KEY = sign.PrivateKey.generate()
OTHER = sign.PrivateKey.generate()
ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


@pytest.fixture
def client() -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS) as made:
        yield made


def policy(default: Any = REJECT, **transports: Any) -> sign.Policy:
    return sign.Policy.parse(json.dumps({"default": default, "transports": transports}).encode())


def signed_by(key: sign.PrivateKey = KEY, **members: Any) -> list[dict[str, Any]]:
    return [{"type": "sigstoreSigned", "keyData": b64(key.public.to_pem()), **members}]


# --- what is used is what was verified ------------------------------------------------------------------


def test_sg_10_a_tag_that_moves(registry: testing.Registry, client: remote.Client) -> None:
    """After the check the tag points elsewhere: the result still names, and holds, what was verified."""
    name = f"{registry.host}/app:1"
    good, evil = testing.random_image(1), testing.random_image(1, seed=1)
    client.push(good, name)
    sign.sign(client, name, KEY)
    found = sign.verify(client, name, KEY.public).raise_if_failed()
    client.push(evil, name)
    assert client.image(name).digest == evil.digest
    assert found.select().digest == good.digest
    assert found.reference is not None
    assert client.image(found.reference).digest == good.digest
    assert not sign.verify(client, name, KEY.public).accepted


def test_sg_10_children_come_by_the_digests_of_the_verified_index(
    registry: testing.Registry, client: remote.Client
) -> None:
    """A registry that serves another child under the listed digest is found out."""
    name = f"{registry.host}/multi:1"
    index = testing.random_index()
    client.push(index, name)
    sign.sign(client, name, KEY)
    found = sign.verify(client, name, KEY.public).raise_if_failed()
    child = next(entry for entry in index.index.manifests if str(entry.platform) == "linux/arm64")
    evil = testing.random_image(1, seed=5, platform="linux/arm64")
    served = (("Content-Type", mediatypes.OCI_MANIFEST),)
    registry.inject(
        testing.Fault(path=str(child.digest), status=200, body=evil.raw_manifest, headers=served, times=-1)
    )
    with pytest.raises(ContentError):
        found.select("linux/arm64")


def test_rg_13_the_policy_is_about_the_chosen_child(
    registry: testing.Registry, client: remote.Client
) -> None:
    """Signed itself or listed by the signed index; neither by another index, nor with another image of the index."""
    name = f"{registry.host}/multi:1"
    index = testing.random_index()
    client.push(index, name)
    arm, amd = index.image("linux/arm64"), index.image("linux/amd64")
    rules = policy(docker={registry.host: signed_by(signedIdentity={"type": "matchRepository"})})
    assert not rules.check(client, name, arm, within=index).accepted
    sign.sign(client, Reference.parse(name).at(amd.digest), KEY)
    assert rules.check(client, name, amd).accepted
    assert not rules.check(client, name, arm, within=index).accepted
    sign.sign(client, name, KEY)
    assert rules.check(client, name, arm, within=index).accepted
    assert not rules.check(client, name, arm).accepted
    stranger = testing.random_image(1, seed=7)
    client.push(stranger, f"{registry.host}/multi:2")
    assert not rules.check(client, name, stranger, within=index).accepted


def test_rg_13_nested_indexes(registry: testing.Registry, client: remote.Client) -> None:
    """What an index lists through another is listed too."""
    inner = testing.random_index()
    blobs = MemoryBlobs()
    for each in partial.walk(inner):
        raw = each.raw_index if isinstance(each, ImageIndex) else each.raw_manifest
        blobs.add(raw, each.descriptor.media_type)
        if not isinstance(each, ImageIndex):
            blobs.add(each.raw_config, each.manifest.config.media_type)
            for layer in each.layers:
                with layer.open() as stream:
                    blobs.add(stream.read(), layer.media_type)
    outer = partial.index(
        to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(inner.descriptor,))), blobs
    )
    name = f"{registry.host}/nested:1"
    client.push(outer, name)
    sign.sign(client, name, KEY)
    rules = policy(docker={registry.host: signed_by(signedIdentity={"type": "matchRepository"})})
    assert rules.check(client, name, outer.image("linux/arm64"), within=outer).accepted


def test_sg_10_pull_continues_with_what_was_decided_about(
    registry: testing.Registry, client: remote.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored before the policy accepts, and a tag that moves meanwhile moves nothing here."""
    name = f"{registry.host}/multi:1"
    index, store = testing.random_index(), tmp_path / "store"
    client.push(index, name)
    rules = policy(docker={registry.host: signed_by()})
    with pytest.raises(VerificationFailed):
        ociworks.pull(name, platform="linux/arm64", store=store, client=client, policy=rules)
    assert ociworks.api.stored(name, platform="linux/arm64", store=store) is None
    assert not any(
        "/blobs/" in seen.path and seen.method == "GET" for seen in layer_requests(registry, index)
    )
    sign.sign(client, name, KEY)
    check = sign.Policy.check

    def moves(*args: Any, **options: Any) -> sign.Decision:
        decision = check(*args, **options)
        client.push(testing.random_index(seed=8), name)
        return decision

    monkeypatch.setattr(sign.Policy, "check", moves)
    pulled = ociworks.pull(name, platform="linux/arm64", store=store, client=client, policy=rules)
    assert pulled.digest == index.image("linux/arm64").digest
    with pytest.raises(VerificationFailed):
        ociworks.pull(name, platform="linux/arm64", store=store, client=client, policy=rules)


def layer_requests(registry: testing.Registry, index: ImageIndex) -> list[testing.registry.SeenRequest]:
    digests = {
        str(layer.digest) for name in ("amd64", "arm64") for layer in index.image(f"linux/{name}").layers
    }
    return [
        seen
        for seen in registry.requests
        if seen.method == "GET" and any(one in seen.path for one in digests)
    ]


def test_sg_10_copies_obey_too(registry: testing.Registry, client: remote.Client, tmp_path: Path) -> None:
    """One platform, several and all; from registries, layouts and archives."""
    name = f"{registry.host}/multi:1"
    platforms = ("linux/amd64", "linux/arm64", "linux/riscv64")
    client.push(testing.random_index(platforms), name)
    options = ociworks.CopyOptions(policy=policy(docker={registry.host: signed_by()}))
    choices: list[Any] = ["linux/arm64", ("linux/arm64", "linux/amd64"), ociworks.ALL]
    for number, chosen in enumerate(choices):
        with pytest.raises(VerificationFailed):
            ociworks.copy(
                name, f"oci:{tmp_path}/{number}:app", platforms=chosen, client=client, options=options
            )
    sign.sign(client, name, KEY)
    for number, chosen in enumerate(choices):
        ociworks.copy(
            name,
            f"oci:{tmp_path}/{number}:app",
            platforms=chosen,
            referrers=True,
            client=client,
            options=options,
        )
    exact = {"type": "exactReference", "dockerReference": name}
    signed = ociworks.CopyOptions(policy=policy(signed_by(signedIdentity=exact)))
    ociworks.copy(
        f"oci:{tmp_path}/2:app", f"oci-archive:{tmp_path}/a.tar:app", platforms=ociworks.ALL, referrers=True
    )
    ociworks.copy(f"oci:{tmp_path}/2:app", f"oci:{tmp_path}/b:app", platforms="linux/arm64", options=signed)
    ociworks.copy(
        f"oci-archive:{tmp_path}/a.tar:app", f"oci:{tmp_path}/c:app", platforms="linux/arm64", options=signed
    )
    ociworks.copy(
        f"oci:{tmp_path}/2:app", f"docker-archive:{tmp_path}/d.tar:reg.example/app:1", platforms="linux/arm64"
    )
    for source in (f"oci:{tmp_path}/0:app", f"docker-archive:{tmp_path}/d.tar"):
        with pytest.raises(VerificationFailed):
            ociworks.copy(source, f"oci:{tmp_path}/e:app", platforms="linux/arm64", options=signed)
    with pytest.raises(NotSupported, match="at hand"):
        ociworks.copy(testing.random_image(1), f"oci:{tmp_path}/f:app", options=signed)


# --- scopes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "name", "applied"),
    [
        (
            ("reg.example/app", "reg.example/application"),
            "reg.example/application:1",
            "reg.example/application",
        ),
        (("reg.example/app",), "reg.example/application:1", None),
        (("reg.example/app",), "reg.example/app/sub:1", "reg.example/app"),
        (("reg.example/app", "reg.example/app:1", "reg.example"), "reg.example/app:1", "reg.example/app:1"),
        (("reg.example/app:1", "reg.example/app"), "reg.example/app:10", "reg.example/app"),
        (("reg.example/app:latest",), "reg.example/app", "reg.example/app:latest"),
        (("reg.example",), "reg.example:5000/app:1", None),
        (("reg.example:5000",), "reg.example:5000/app:1", "reg.example:5000"),
        (("*.example",), "reg.example:5000/app:1", "*.example"),
        (("*.example", "*.reg.example"), "a.reg.example/app:1", "*.reg.example"),
        (("*.example",), "example/app:1", None),
        (("*.example",), "reg.example.evil/app:1", None),
        (("docker.io/library/alpine",), "alpine:3", "docker.io/library/alpine"),
        (("",), "reg.example/app:1", ""),
    ],
)
def test_sg_10_the_most_specific_scope_wins(scopes: tuple[str, ...], name: str, applied: str | None) -> None:
    """Scopes end where components end."""
    rules = policy(docker=dict.fromkeys(scopes, ACCEPT))
    decision = rules.check(sign.MemoryAttachments(), name, testing.random_image(1))
    assert decision.scope == ("default" if applied is None else f"docker:{applied}")
    assert decision.accepted is (applied is not None)


def test_sg_10_a_weaker_scope_does_not_help() -> None:
    rules = policy(ACCEPT, docker={"reg.example/prod": REJECT, "reg.example": ACCEPT, "": ACCEPT})
    place, image = sign.MemoryAttachments(), testing.random_image(1)
    assert not rules.check(place, "reg.example/prod/app:1", image).accepted
    assert rules.check(place, "reg.example/test/app:1", image).accepted
    digest = f"reg.example/prod/app@{image.digest}"
    assert not rules.check(place, digest, image).accepted


def test_sg_10_all_requirements_of_a_scope_hold() -> None:
    place, image = sign.MemoryAttachments(), testing.random_image(1)
    sign.sign_image(place, image, KEY, reference="reg.example/app:1")
    both = policy(signed_by(KEY) + signed_by(OTHER))
    decision = both.check(place, "reg.example/app:1", image)
    assert [outcome.accepted for outcome in decision.outcomes] == [True, False]
    with pytest.raises(VerificationFailed, match="rejected by the policy for default") as caught:
        decision.raise_if_failed()
    assert caught.value.result is decision
    sign.sign_image(place, image, OTHER, reference="reg.example/app:1")
    assert both.check(place, "reg.example/app:1", image).accepted
    assert not policy(ACCEPT + REJECT).check(place, "reg.example/app:1", image).accepted
    assert not sign.Decision(image=image, reference=None, scope="default").accepted


def test_sg_10_layouts_go_by_their_directory(tmp_path: Path) -> None:
    image = testing.random_image(1)
    with layout.open(tmp_path / "a" / "store", create=True) as store:
        store.put(image, "app")
        assert policy(oci={str(tmp_path / "a"): ACCEPT}).check(store, "app").accepted
        assert not policy(oci={str(tmp_path / "b"): ACCEPT}).check(store, "app").accepted
        assert not policy(oci={str(tmp_path / "a/st"): ACCEPT}).check(store, "app").accepted
        assert not policy(docker={"": ACCEPT}).check(store, "app").accepted
        with pytest.raises(ImageNotFound):
            policy(ACCEPT).check(store, "other")
        sign.sign_image(store, image, KEY, reference="reg.example/app:1")
        exact = signed_by(signedIdentity={"type": "exactReference", "dockerReference": "reg.example/app:1"})
        assert policy(exact).check(store, "app").accepted
        assert not policy(signed_by()).check(store, "app").accepted  # there is no name to compare with


# --- requirements ---------------------------------------------------------------------------------------


def test_sg_10_gpg_signatures_are_refused_clearly() -> None:
    gpg = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/key"}]
    decision = policy(gpg).check(sign.MemoryAttachments(), "reg.example/app:1", testing.random_image(1))
    assert not decision.accepted
    assert "GPG signatures are not verified" in str(decision)


def test_sg_10_keys_of_a_policy(tmp_path: Path) -> None:
    """By path or content, one or several; a file that cannot be used is an error, not a pass."""
    place, image, name = sign.MemoryAttachments(), testing.random_image(1), "reg.example/app:1"
    sign.sign_image(place, image, KEY, reference=name)
    (tmp_path / "key.pub").write_bytes(KEY.public.to_pem())
    (tmp_path / "other.pub").write_bytes(OTHER.public.to_pem())
    mine, theirs = str(tmp_path / "key.pub"), str(tmp_path / "other.pub")
    for members, accepted in (
        ({"keyPath": mine}, True),
        ({"keyPath": theirs}, False),
        ({"keyPaths": [theirs, mine]}, True),
        ({"keyDatas": [b64(KEY.public.to_pem())]}, True),
        ({"keyPath": mine, "rekorPublicKeyPath": theirs}, False),
    ):
        rules = policy([{"type": "sigstoreSigned", **members}])
        assert rules.check(place, name, image).accepted is accepted, members
    for broken in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(PolicyError):
            policy([{"type": "sigstoreSigned", "keyPaths": [mine, broken]}]).check(place, name, image)


def test_sg_10_bundles_claim_no_name_and_satisfy_no_policy() -> None:
    place, image, name = sign.MemoryAttachments(), testing.random_image(1), "reg.example/app:1"
    sign.sign_image(place, image, KEY, reference=name, options=sign.SignOptions(form="bundle"))
    decision = policy(signed_by()).check(place, name, image)
    assert not decision.accepted
    assert "claims no name" in str(decision)


# --- files ----------------------------------------------------------------------------------------------


def test_sg_10_files_that_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, empty, unreadable, of another kind, or writable by everybody: an error, never an acceptance."""
    path = tmp_path / "policy.json"
    with pytest.raises(PolicyError, match="without a policy nothing is accepted"):
        sign.Policy.load(path)
    path.write_text("")
    with pytest.raises(PolicyError):
        sign.Policy.load(path)
    path.write_text(json.dumps({"default": ACCEPT}))
    path.chmod(0o644)
    assert sign.Policy.load(path).default
    path.chmod(0o646)
    with pytest.raises(PolicyError, match="others may write it"):
        sign.Policy.load(path)
    for kind in (tmp_path, Path("/dev/null")):
        with pytest.raises(PolicyError):
            sign.Policy.load(kind)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PolicyError, match="regular file"):
        sign.Policy.load(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(PolicyError, match="at most"):
        sign.Policy.load(tmp_path / "large")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config/containers").mkdir(parents=True)
    (tmp_path / ".config/containers/policy.json").write_text(json.dumps({"default": REJECT}))
    assert not sign.Policy.load().check(sign.MemoryAttachments(), "a/b", testing.random_image(1)).accepted


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"default": []},
        {"default": {}},
        {"default": None},
        {"default": ACCEPT, "more": 1},
        {"default": ACCEPT, "transports": []},
        {"default": ACCEPT, "transports": {"docker": []}},
        {"default": ACCEPT, "transports": {"docker": {"x": []}}},
        {"default": [{}]},
        {"default": [{"type": "insecureAcceptanything"}]},
        {"default": [{"type": "insecureAcceptAnything", "more": 1}]},
        {"default": [{"type": "reject", "more": 1}]},
        {"default": [{"type": "signedBy"}]},
        {"default": [{"type": "signedBy", "keyType": "GPGKeys"}]},
        {"default": [{"type": "signedBy", "keyType": "other", "keyPath": "/x"}]},
        {"default": [{"type": "sigstoreSigned"}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "relative"}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "../../x"}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": 7}]},
        {"default": [{"type": "sigstoreSigned", "keyPaths": []}]},
        {"default": [{"type": "sigstoreSigned", "keyData": "*"}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "/x", "keyData": "eA=="}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "/x", "pki": {}}]},
        {
            "default": [
                {"type": "sigstoreSigned", "keyPath": "/x", "fulcio": {"caPath": "/x", "oidcIssuer": "i"}}
            ]
        },
        {
            "default": [
                {"type": "sigstoreSigned", "fulcio": {"caPath": "/x", "oidcIssuer": "i", "subjectEmail": "s"}}
            ]
        },
        {"default": [{"type": "sigstoreSigned", "keyPath": "/x", "signedIdentity": {}}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "/x", "signedIdentity": {"type": "any"}}]},
        {
            "default": [
                {"type": "sigstoreSigned", "keyPath": "/x", "signedIdentity": {"type": "exactReference"}}
            ]
        },
        {
            "default": [
                {
                    "type": "sigstoreSigned",
                    "keyPath": "/x",
                    "signedIdentity": {"type": "exactReference", "dockerReference": "a/b"},
                }
            ]
        },
        {
            "default": [
                {
                    "type": "sigstoreSigned",
                    "keyPath": "/x",
                    "signedIdentity": {"type": "remapIdentity", "prefix": "a", "signedPrefix": "A:b"},
                }
            ]
        },
    ],
)
def test_sg_10_policies_that_are_wrong(document: object) -> None:
    with pytest.raises(PolicyError):
        sign.Policy.parse(json.dumps(document).encode())


def test_sg_10_a_member_twice() -> None:
    with pytest.raises(PolicyError, match="more than once"):
        sign.Policy.parse(
            b'{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}'
        )


def test_sg_10_a_person_in_a_policy() -> None:
    """The authority and the log may be given as content."""
    root = b64(sign.Certificates((authority().certificate,)).to_pem())
    who = {"caData": root, "oidcIssuer": "https://accounts.example", "subjectEmail": "dev@example.com"}
    rules = policy(
        [{"type": "sigstoreSigned", "fulcio": who, "rekorPublicKeyData": b64(OTHER.public.to_pem())}]
    )
    place, image = sign.MemoryAttachments(), testing.random_image(1)
    sign.sign_image(place, image, KEY, reference="reg.example/app:1")
    decision = rules.check(place, "reg.example/app:1", image)
    assert not decision.accepted
    assert "dev@example.com" in str(decision)


def test_sg_10_key_ids_are_never_file_names(tmp_path: Path) -> None:
    """The hint of a bundle is looked at by nobody."""
    from tests.image.signatures import Place, bundle, statement

    for hint in ("../../etc/passwd", str(tmp_path / "key.pub"), "", KEY.public.hint):
        (tmp_path / "key.pub").write_bytes(OTHER.public.to_pem())
        place = Place().refers(bundle(OTHER, statement(), material={"publicKey": {"hint": hint}}))
        assert not place.verify(KEY.public).accepted
        assert place.verify(OTHER.public).accepted
