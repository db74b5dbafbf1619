"""Blobs and uploads, endpoint by endpoint (distribution-spec, Endpoints: end-1, 2, 4, 5, 6, 10, 11, 13, 14)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.spec import Digest
from tests.testing.http import ask, push_blob, start_upload

CONTENT = bytes(range(256)) * 1000
DIGEST = Digest.of(CONTENT)
SHA512 = Digest.of(CONTENT, "sha512")


def test_end_1_support(registry: testing.Registry) -> None:
    answer = ask(registry, "GET", "/v2/")
    assert answer.status == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert ask(registry, "HEAD", "/v2/").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_end_2_a_blob(registry: testing.Registry, method: str) -> None:
    push_blob(registry, CONTENT)
    answer = ask(registry, method, f"/v2/app/blobs/{DIGEST}")
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["docker-content-digest"] == str(DIGEST)
    assert answer.body == (CONTENT if method == "GET" else b"")


@pytest.mark.parametrize(
    ("name", "reference", "code"),
    [
        ("app", f"sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        ("other", str(DIGEST), "BLOB_UNKNOWN"),
        ("app", "sha256:short", "DIGEST_INVALID"),
        ("app", "sha256:" + "G" * 64, "DIGEST_INVALID"),
        ("app", "nonsense", "DIGEST_INVALID"),
        ("UPPER", str(DIGEST), "NAME_INVALID"),
        ("a" * 256, str(DIGEST), "NAME_INVALID"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_end_2_nothing_there(
    registry: testing.Registry, method: str, name: str, reference: str, code: str
) -> None:
    push_blob(registry, CONTENT)
    answer = ask(registry, method, f"/v2/{name}/blobs/{reference}")
    assert (answer.status, answer.codes) == (404, [code])
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=10-99", 206, 10, 99),
        ("bytes=255000-", 206, 255_000, 255_999),
        ("bytes=255000-999999999", 206, 255_000, 255_999),
        ("bytes=-5", 206, 255_995, 255_999),
        ("bytes=-999999999", 206, 0, 255_999),
        ("bytes=0-1,5-6", 200, 0, 255_999),
        ("bytes=9-3", 200, 0, 255_999),
        ("bytes=-", 200, 0, 255_999),
        ("lines=1-2", 200, 0, 255_999),
        ("bytes=+1-2", 200, 0, 255_999),
        ("bytes=256000-", 416, 0, -1),
        ("bytes=-0", 416, 0, -1),
    ],
)
def test_end_2_ranges(registry: testing.Registry, asked: str, status: int, first: int, last: int) -> None:
    push_blob(registry, CONTENT)
    answer = ask(registry, "GET", f"/v2/app/blobs/{DIGEST}", headers={"Range": asked})
    assert answer.status == status
    assert answer.body == CONTENT[first : last + 1]
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {first}-{last}/256000"
    if status == 416:
        assert answer.headers["content-range"] == "bytes */256000"


def test_end_2_conditions(registry: testing.Registry) -> None:
    push_blob(registry, CONTENT)
    path = f"/v2/app/blobs/{DIGEST}"
    etag = ask(registry, "HEAD", path).headers["etag"]
    unchanged = ask(registry, "GET", path, headers={"If-None-Match": etag})
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert ask(registry, "GET", path, headers={"If-None-Match": '"other"'}).status == 200
    changed = ask(registry, "GET", path, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (changed.status, changed.body) == (200, CONTENT)
    same = ask(registry, "GET", path, headers={"Range": "bytes=0-1", "If-Range": etag})
    assert (same.status, same.body) == (206, CONTENT[:2])


@pytest.mark.parametrize("digest", [DIGEST, SHA512], ids=["sha256", "sha512"])
@pytest.mark.parametrize("chunked", [False, True])
def test_end_4a_and_6_post_then_put(registry: testing.Registry, digest: Digest, chunked: bool) -> None:
    location = start_upload(registry, "team/app")
    body = [CONTENT[:7], CONTENT[7:]] if chunked else CONTENT
    answer = ask(registry, "PUT", f"{location}?digest={digest}", body)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == str(digest)
    assert ask(registry, "GET", answer.headers["location"]).body == CONTENT
    assert ask(registry, "PUT", f"{location}?digest={digest}", CONTENT).codes == ["BLOB_UPLOAD_UNKNOWN"]


def test_end_4b_a_single_post(registry: testing.Registry) -> None:
    answer = ask(registry, "POST", f"/v2/app/blobs/uploads/?digest={SHA512}", CONTENT)
    assert answer.status == 201
    assert ask(registry, "GET", answer.headers["location"]).body == CONTENT
    assert ask(registry, "POST", "/v2/app/blobs/uploads?digest=" + str(Digest.of(b"")), b"").status == 201


def test_end_4c_an_algorithm(registry: testing.Registry) -> None:
    location = start_upload(registry, query="?digest-algorithm=sha512")
    assert ask(registry, "PATCH", location, CONTENT).status == 202
    assert ask(registry, "PUT", f"{location}?digest={SHA512}", b"").status == 201
    answer = ask(registry, "POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", b"")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("last", ["PATCH", "PUT"])
@pytest.mark.parametrize("digest", [DIGEST, SHA512], ids=["sha256", "sha512"])
def test_end_5_chunks(registry: testing.Registry, last: str, digest: Digest) -> None:
    location = start_upload(registry)
    for start, end in [(0, 1000), (1000, 200_000)]:
        headers = {"Content-Range": f"{start}-{end - 1}"}
        answer = ask(registry, "PATCH", location, CONTENT[start:end], headers)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{end - 1}")
        location = answer.headers["location"]
    rest, headers = CONTENT[200_000:], {"Content-Range": f"200000-{len(CONTENT) - 1}"}
    if last == "PATCH":
        assert ask(registry, "PATCH", location, rest, headers).status == 202
        rest, headers = b"", {}
    answer = ask(registry, "PUT", f"{location}?digest={digest}", rest, headers)
    assert answer.status == 201
    assert ask(registry, "GET", answer.headers["location"]).body == CONTENT


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("start", [0, 9, 11, 500])
def test_end_5_out_of_order(registry: testing.Registry, method: str, start: int) -> None:
    location = start_upload(registry)
    assert ask(registry, "PATCH", location, CONTENT[:10]).status == 202
    headers = {"Content-Range": f"{start}-{start + 9}"}
    answer = ask(registry, method, f"{location}?digest={DIGEST}", CONTENT[start : start + 10], headers)
    assert (answer.status, answer.headers["range"]) == (416, "0-9")
    now = ask(registry, "GET", answer.headers["location"])
    assert (now.status, now.headers["range"]) == (204, "0-9")
    assert ask(registry, "PUT", f"{location}?digest={DIGEST}", CONTENT[10:]).status == 201


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("0-100", "SIZE_INVALID"),
        ("0-8", "SIZE_INVALID"),
        ("x", "BLOB_UPLOAD_INVALID"),
        ("0-", "BLOB_UPLOAD_INVALID"),
    ],
)
def test_end_5_ranges_that_lie(registry: testing.Registry, said: str, code: str) -> None:
    location = start_upload(registry)
    answer = ask(registry, "PATCH", location, CONTENT[:10], {"Content-Range": said})
    assert (answer.status, answer.codes) == (400, [code])
    assert ask(registry, "PUT", f"{location}?digest={DIGEST}", CONTENT).status == 201


@pytest.mark.parametrize(
    "digest", ["", "sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e", str(Digest.of(b"other"))]
)
def test_end_6_wrong_digests(registry: testing.Registry, digest: str) -> None:
    location = start_upload(registry)
    answer = ask(registry, "PUT", f"{location}?digest={digest}", CONTENT)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    single = ask(registry, "POST", f"/v2/app/blobs/uploads/?digest={digest}", CONTENT)
    assert (single.status, single.codes) == (400, ["DIGEST_INVALID"])
    assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").status == 404


def test_end_10_deleting(registry: testing.Registry) -> None:
    push_blob(registry, CONTENT)
    push_blob(registry, CONTENT, "other")
    assert ask(registry, "DELETE", f"/v2/app/blobs/{DIGEST}").status == 202
    assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").status == 404
    assert ask(registry, "DELETE", f"/v2/app/blobs/{DIGEST}").status == 404
    assert ask(registry, "GET", f"/v2/other/blobs/{DIGEST}").body == CONTENT
    push_blob(registry, CONTENT)
    assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").body == CONTENT


@pytest.mark.parametrize("source", ["&from=one", ""], ids=["named", "anonymous"])
def test_end_11_mounts(registry: testing.Registry, source: str) -> None:
    push_blob(registry, CONTENT, "one")
    answer = ask(registry, "POST", f"/v2/two/blobs/uploads/?mount={DIGEST}{source}", b"")
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, str(DIGEST))
    assert ask(registry, "GET", answer.headers["location"]).body == CONTENT
    assert ask(registry, "DELETE", f"/v2/one/blobs/{DIGEST}").status == 202
    assert ask(registry, "GET", answer.headers["location"]).body == CONTENT


@pytest.mark.parametrize("source", ["&from=one", "&from=nothing", ""])
def test_end_11_a_mount_that_fails_is_an_upload(registry: testing.Registry, source: str) -> None:
    answer = ask(registry, "POST", f"/v2/two/blobs/uploads/?mount={DIGEST}{source}", b"")
    assert answer.status == 202
    assert ask(registry, "PUT", f"{answer.headers['location']}?digest={DIGEST}", CONTENT).status == 201


def test_end_13_and_14_status_and_cancel(registry: testing.Registry) -> None:
    location = start_upload(registry)
    assert ask(registry, "GET", location).headers["range"] == "0-0"
    assert ask(registry, "DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert ask(registry, method, location, b"x").codes == ["BLOB_UPLOAD_UNKNOWN"]


def test_an_upload_belongs_to_its_repository(registry: testing.Registry) -> None:
    location = start_upload(registry, "mine")
    answer = ask(registry, "GET", location.replace("/mine/", "/yours/"))
    assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert ask(registry, "GET", location).status == 204


def test_one_blob_from_many_at_once(registry: testing.Registry) -> None:
    """Whoever comes first: all get 201 and the blob is whole."""
    content = CONTENT * 20
    digest = Digest.of(content)
    gate = threading.Barrier(6)

    def push(_: int) -> tuple[int, bool]:
        location = start_upload(registry)
        gate.wait(60)
        pushed = ask(registry, "PUT", f"{location}?digest={digest}", content)
        return pushed.status, ask(registry, "GET", pushed.headers["location"]).body == content

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(push, range(6))) == [(201, True)] * 6


def test_limits_of_blobs_and_uploads(options: testing.RegistryOptions) -> None:
    limits = testing.RegistryLimits(blob=1000, uploads=2)
    with testing.Registry(evolve(options, limits=limits)) as registry:
        location = start_upload(registry)
        assert ask(registry, "PATCH", location, bytes(600)).status == 202
        for body in (bytes(500), iter([bytes(250)] * 4)):
            answer = ask(registry, "PATCH", location, body)
            assert (answer.status, answer.codes) in [(413, ["SIZE_INVALID"]), (404, ["BLOB_UPLOAD_UNKNOWN"])]
        for _ in range(2):
            start_upload(registry)
        answer = ask(registry, "POST", "/v2/app/blobs/uploads/", b"")
        assert (answer.status, answer.codes) == (429, ["TOOMANYREQUESTS"])


def test_old_uploads_are_forgotten(options: testing.RegistryOptions) -> None:
    limits = testing.RegistryLimits(upload_age=0)
    with testing.Registry(evolve(options, limits=limits)) as registry:
        first = start_upload(registry)
        start_upload(registry)
        assert ask(registry, "GET", first).codes == ["BLOB_UPLOAD_UNKNOWN"]
