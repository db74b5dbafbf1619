"""Manifests and lists, endpoint by endpoint (distribution-spec, Endpoints: end-3, 7, 8, 9, 12)."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.spec import Digest
from ociworks.spec.image import mediatypes
from tests.testing.http import MANIFEST, Answer, ask, manifest_of, push_blob

TYPE = {"Content-Type": MANIFEST}


def put(
    registry: testing.Registry, reference: str, raw: bytes, name: str = "app", kind: str = MANIFEST
) -> Answer:
    return ask(registry, "PUT", f"/v2/{name}/manifests/{reference}", raw, {"Content-Type": kind})


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_end_3_and_7_by_digest(registry: testing.Registry, algorithm: str) -> None:
    raw = manifest_of(registry) + b"\n \n"
    digest = Digest.of(raw, algorithm)
    answer = put(registry, str(digest), raw)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, str(digest))
    found = ask(registry, "GET", answer.headers["location"])
    assert (found.status, found.body) == (200, raw)
    assert found.headers["content-type"] == MANIFEST
    head = ask(registry, "HEAD", answer.headers["location"])
    assert (head.headers["content-length"], head.body) == (str(len(raw)), b"")
    assert head.headers["docker-content-digest"] == str(digest)
    same = ask(registry, "GET", answer.headers["location"], headers={"If-None-Match": head.headers["etag"]})
    assert same.status == 304


def test_end_7_by_tag(registry: testing.Registry) -> None:
    one, two = manifest_of(registry, seed=b"1"), manifest_of(registry, seed=b"2")
    for raw in (one, two):
        assert put(registry, "latest", raw).headers["docker-content-digest"] == str(Digest.of(raw))
        assert ask(registry, "GET", "/v2/app/manifests/latest").body == raw
    assert ask(registry, "GET", f"/v2/app/manifests/{Digest.of(one)}").body == one


def test_end_7_a_tag_with_its_digest(registry: testing.Registry) -> None:
    raw = manifest_of(registry)
    digest = Digest.of(raw, "sha512")
    answer = put(registry, f"latest?digest={digest}", raw)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, str(digest))
    assert ask(registry, "HEAD", "/v2/app/manifests/latest").headers["docker-content-digest"] == str(digest)
    assert put(registry, f"other?digest={Digest.of(b'')}", raw).codes == ["DIGEST_INVALID"]


def test_end_7b_tags_as_parameters(registry: testing.Registry) -> None:
    raw = manifest_of(registry)
    answer = put(registry, f"{Digest.of(raw)}?tag=1.2.3&tag=1.2&tag=latest", raw)
    assert (answer.status, answer.headers["oci-tag"]) == (201, "1.2.3, 1.2, latest")
    assert ask(registry, "GET", "/v2/app/tags/list").json()["tags"] == ["1.2", "1.2.3", "latest"]
    assert put(registry, f"{Digest.of(raw)}?tag=-bad", raw).status == 400
    many = "&".join(f"tag=t{number}" for number in range(101))
    assert put(registry, f"{Digest.of(raw)}?{many}", raw).status == 414


@pytest.mark.parametrize("kind", [mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST])
def test_end_7_indexes_and_dockers_types(registry: testing.Registry, kind: str) -> None:
    child_type = MANIFEST if kind == mediatypes.OCI_INDEX else mediatypes.DOCKER_MANIFEST
    child = manifest_of(registry, mediaType=child_type)
    entry = {"mediaType": child_type, "digest": str(Digest.of(child)), "size": len(child)}
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    assert put(registry, "multi", index, kind=kind).codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert put(registry, str(Digest.of(child)), child, kind=child_type).status == 201
    assert put(registry, "multi", index, kind=f"{kind}; charset=utf-8").status == 201
    assert ask(registry, "GET", "/v2/app/manifests/multi").headers["content-type"] == kind


def test_end_7_what_is_missing(options: testing.RegistryOptions) -> None:
    layer = {"mediaType": mediatypes.OCI_LAYER, "digest": f"sha256:{'1' * 64}", "size": 3}
    foreign = layer | {"mediaType": mediatypes.OCI_NONDISTRIBUTABLE_LAYER}
    with testing.Registry(options) as registry:
        sparse = manifest_of(registry, layers=[layer])
        answer = put(registry, "1", sparse)
        assert (answer.status, answer.codes) == (404, ["MANIFEST_BLOB_UNKNOWN"])
        assert ask(registry, "GET", "/v2/app/manifests/1").status == 404
        assert put(registry, "2", manifest_of(registry, layers=[foreign])).status == 201
        elsewhere = layer | {"urls": ["https://a.example/"]}
        assert put(registry, "3", manifest_of(registry, layers=[elsewhere])).status == 201
    with testing.Registry(evolve(options, check_references=False)) as registry:
        assert put(registry, "1", sparse).status == 201


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", MANIFEST), (b"{", MANIFEST), (b"[]", MANIFEST), (b'{"schemaVersion":2}', MANIFEST),
        (b'{"schemaVersion":1,"fsLayers":[]}', mediatypes.DOCKER_SCHEMA1), (b"{}", "text/plain"), (b"{}", "\xe9"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', mediatypes.OCI_INDEX), (b"[" * 100_000, MANIFEST),
    ],
)  # fmt: skip
def test_end_7_no_manifest(registry: testing.Registry, raw: bytes, kind: str) -> None:
    answer = put(registry, "1", raw, kind=kind)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_end_7_another_digest(registry: testing.Registry) -> None:
    raw = manifest_of(registry)
    for digest in (str(Digest.of(b"other")), "sha256:1", f"md5:{'0' * 32}"):
        answer = put(registry, digest, raw)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_end_7_too_large(options: testing.RegistryOptions) -> None:
    with testing.Registry(evolve(options, limits=testing.RegistryLimits(manifest=2000))) as registry:
        raw = manifest_of(registry)
        for body in (raw + b" " * 2000, iter([raw, b" " * 2000])):
            answer = ask(registry, "PUT", "/v2/app/manifests/1", body, TYPE)
            assert (answer.status, answer.codes) == (413, ["MANIFEST_INVALID"])
        assert put(registry, "1", raw).status == 201


def test_end_7_four_megabytes(registry: testing.Registry) -> None:
    """Both sides should be able to do that (Pushing Manifests)."""
    raw = manifest_of(registry, big="x" * 4_000_000)
    assert put(registry, "1", raw).status == 201
    assert ask(registry, "GET", "/v2/app/manifests/1").body == raw


@pytest.mark.parametrize(
    ("reference", "code"),
    [("nothing", "MANIFEST_UNKNOWN"), (f"sha256:{'0' * 64}", "MANIFEST_UNKNOWN"), ("sha256:1", "DIGEST_INVALID"),
     (".INVALID", "MANIFEST_UNKNOWN"), ("x" * 129, "MANIFEST_UNKNOWN"), ("a%2fb", "UNSUPPORTED")],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_end_3_and_9_nothing_there(
    registry: testing.Registry, method: str, reference: str, code: str
) -> None:
    push_blob(registry, b"x")
    answer = ask(registry, method, f"/v2/app/manifests/{reference}")
    assert (answer.status, answer.codes) == (404, [code])


def test_end_3_no_such_repository(registry: testing.Registry) -> None:
    for path in ("manifests/latest", f"manifests/sha256:{'0' * 64}", "tags/list"):
        answer = ask(registry, "GET", f"/v2/nothing/{path}")
        assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


def test_end_8_tags(registry: testing.Registry) -> None:
    raw = manifest_of(registry)
    assert ask(registry, "GET", "/v2/app/tags/list").json() == {"name": "app", "tags": []}
    names = ["b", "a", "B", "_", "1.0", "10", "2", "z" * 128]
    for name in names:
        assert put(registry, name, raw).status == 201
    answer = ask(registry, "GET", "/v2/app/tags/list")
    assert answer.json() == {"name": "app", "tags": sorted(names)}
    assert "link" not in answer.headers
    assert ask(registry, "GET", "/v2/app/tags/list?n=0").json()["tags"] == []
    assert ask(registry, "GET", "/v2/app/tags/list?n=8").json()["tags"] == sorted(names)
    assert ask(registry, "GET", "/v2/app/tags/list?last=B").json()["tags"] == ["_", "a", "b", "z" * 128]
    assert ask(registry, "GET", "/v2/app/tags/list?last=missing&n=9").json()["tags"] == ["z" * 128]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_end_8_pages(options: testing.RegistryOptions, size: int) -> None:
    """Following ``Link`` gives every tag once, whether the client or the registry chose the page."""
    with testing.Registry(evolve(options, limits=testing.RegistryLimits(page=4))) as registry:
        raw = manifest_of(registry)
        names = sorted(f"tag-{number}" for number in range(10))
        assert (
            put(registry, f"{Digest.of(raw)}?" + "&".join(f"tag={name}" for name in names), raw).status == 201
        )
        found, target = list[str](), f"/v2/app/tags/list?n={size}"
        while True:
            answer = ask(registry, "GET", target)
            page = answer.json()["tags"]
            assert isinstance(page, list)
            assert len(page) <= min(size, 4)
            found += page
            if "link" not in answer.headers:
                break
            target = answer.next
        assert found == names


@pytest.mark.parametrize("count", ["-1", "x", "", "1_0", "٣", "9" * 30])
def test_end_8_wrong_counts(registry: testing.Registry, count: str) -> None:
    push_blob(registry, b"x")
    target = f"/v2/app/tags/list?n={count}".encode().decode("latin-1").replace("\xd9\xa3", "%D9%A3")
    assert ask(registry, "GET", target).status == 400


def test_end_9_deleting_a_tag_leaves_the_manifest(registry: testing.Registry) -> None:
    raw = manifest_of(registry)
    for tag in ("1", "2"):
        put(registry, tag, raw)
    assert ask(registry, "DELETE", "/v2/app/manifests/1").status == 202
    assert ask(registry, "GET", "/v2/app/manifests/1").status == 404
    assert ask(registry, "GET", "/v2/app/tags/list").json()["tags"] == ["2"]
    assert ask(registry, "GET", f"/v2/app/manifests/{Digest.of(raw)}").body == raw


def test_end_9_deleting_a_manifest_takes_its_tags(registry: testing.Registry) -> None:
    raw, other = manifest_of(registry, seed=b"1"), manifest_of(registry, seed=b"2")
    for tag in ("1", "2"):
        put(registry, tag, raw)
    put(registry, "3", other)
    path = f"/v2/app/manifests/{Digest.of(raw)}"
    assert ask(registry, "DELETE", path).status == 202
    assert ask(registry, "DELETE", path).codes == ["MANIFEST_UNKNOWN"]
    for gone in (path, "/v2/app/manifests/1"):
        assert ask(registry, "GET", gone).status == 404
    assert ask(registry, "GET", "/v2/app/tags/list").json()["tags"] == ["3"]


def referring(registry: testing.Registry, subject: Digest, seed: bytes, **members: object) -> Digest:
    entry = {"mediaType": MANIFEST, "digest": str(subject), "size": 3}
    raw = manifest_of(registry, "app", seed, subject=entry, **members)
    answer = put(registry, str(Digest.of(raw)), raw)
    assert (answer.status, answer.headers["oci-subject"]) == (201, str(subject))
    return Digest.of(raw)


def test_end_12_referrers(registry: testing.Registry) -> None:
    subject = Digest.of(b"a manifest that was never pushed")
    assert ask(registry, "GET", f"/v2/app/referrers/{subject}").json()["manifests"] == []
    plain = referring(registry, subject, b"1")
    typed = referring(registry, subject, b"2", artifactType="application/vnd.x")
    referring(registry, Digest.of(b"another"), b"3")
    answer = ask(registry, "GET", f"/v2/app/referrers/{subject}")
    assert answer.headers["content-type"] == mediatypes.OCI_INDEX
    assert "oci-filters-applied" not in answer.headers
    entries = answer.json()["manifests"]
    assert isinstance(entries, list)
    found = {entry["digest"]: entry for entry in entries}
    assert set(found) == {str(plain), str(typed)}
    assert found[str(plain)]["artifactType"] == mediatypes.OCI_CONFIG
    assert found[str(typed)]["artifactType"] == "application/vnd.x"
    assert found[str(typed)]["annotations"] == {"seed": b"2".hex()}
    filtered = ask(registry, "GET", f"/v2/app/referrers/{subject}?artifactType=application/vnd.x")
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert [entry["digest"] for entry in filtered.json()["manifests"]] == [str(typed)]  # type: ignore[attr-defined]
    assert ask(registry, "DELETE", f"/v2/app/manifests/{typed}").status == 202
    left = ask(registry, "GET", f"/v2/app/referrers/{subject}").json()["manifests"]
    assert [entry["digest"] for entry in left] == [str(plain)]  # type: ignore[attr-defined]


def test_end_12_pages(options: testing.RegistryOptions) -> None:
    subject = Digest.of(b"x", "sha512")
    with testing.Registry(evolve(options, limits=testing.RegistryLimits(page=2))) as registry:
        pushed = {
            str(referring(registry, subject, bytes([number]), artifactType="a/b+c")) for number in range(5)
        }
        target, found, pages = f"/v2/app/referrers/{subject}?artifactType=a%2Fb%2Bc", list[str](), 0
        while target:
            answer = ask(registry, "GET", target)
            assert answer.headers["oci-filters-applied"] == "artifactType"
            found += [entry["digest"] for entry in answer.json()["manifests"]]  # type: ignore[attr-defined]
            pages += 1
            target = answer.next if "link" in answer.headers else ""
        assert (sorted(found), pages) == (sorted(pushed), 3)


def test_end_12_large_annotations_make_smaller_pages(registry: testing.Registry) -> None:
    subject = Digest.of(b"x")
    for number in range(3):
        referring(registry, subject, bytes([number]), annotations={"large": str(number) * 1_500_000})
    answer = ask(registry, "GET", f"/v2/app/referrers/{subject}")
    assert len(answer.json()["manifests"]) == 1  # type: ignore[arg-type]
    assert "link" in answer.headers


@pytest.mark.parametrize("digest", ["nonsense", "sha256:1", f"md5:{'0' * 32}"])
def test_end_12_no_digest(registry: testing.Registry, digest: str) -> None:
    answer = ask(registry, "GET", f"/v2/app/referrers/{digest}")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_the_catalog(registry: testing.Registry) -> None:
    for name in ("b", "a/b/c", "a", "a.b"):
        push_blob(registry, b"x", name)
    assert ask(registry, "GET", "/v2/_catalog").json() == {"repositories": ["a", "a.b", "a/b/c", "b"]}
    answer = ask(registry, "GET", "/v2/_catalog?n=3")
    assert ask(registry, "GET", answer.next).json() == {"repositories": ["b"]}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", f"/v2/app/blobs/sha256:{'0' * 64}", "GET, HEAD, DELETE"),
        ("GET", "/v2/app/blobs/uploads/", "POST"),
        ("PATCH", "/v2/app/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/v2/app/tags/list", "GET, HEAD"),
        ("OPTIONS", "/v2/_catalog", "GET, HEAD"),
        ("BREW", "/v2/app/tags/list", "GET, HEAD"),
    ],
)
def test_methods_that_a_path_does_not_have(
    registry: testing.Registry, method: str, path: str, allowed: str
) -> None:
    answer = ask(registry, method, path, b"")
    assert (answer.status, answer.codes, answer.headers["allow"]) == (405, ["UNSUPPORTED"], allowed)


@pytest.mark.parametrize(
    "path", ["/", "/v1/", "/v2/app", "/v2/app/manifests/", "/v2//tags/list", "/v2/a/b/c/d"]
)
def test_paths_that_are_none(registry: testing.Registry, path: str) -> None:
    assert ask(registry, "GET", path).status == 404
