"""The directory store: what is on disk, what a restart finds, what a stranger in the directory cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.errors import LayoutError
from ociworks.spec import Digest
from tests.testing.http import ask, manifest_of, push_blob, start_upload

CONTENT = b"content" * 1000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[], testing.Registry]:
    options = testing.RegistryOptions(directory=tmp_path / "registry")
    return lambda: testing.Registry(options)


def files(folder: Path) -> list[str]:
    """Every file below, as a path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_restart_finds_everything(serve: Callable[[], testing.Registry]) -> None:
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(DIGEST), "size": 1}
    with serve() as registry:
        push_blob(registry, CONTENT)
        raw = manifest_of(registry, subject=subject)
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert ask(registry, "PUT", "/v2/app/manifests/1", raw, kind).status == 201
        before = [ask(registry, "GET", f"/v2/app/{path}") for path in PATHS]
    with serve() as registry:
        assert [ask(registry, "GET", f"/v2/app/{path}").body for path in PATHS] == [
            each.body for each in before
        ]
        assert all(each.status == 200 for each in before)


PATHS = [f"blobs/{DIGEST}", "manifests/1", "tags/list", f"referrers/{DIGEST}"]


def test_an_upload_goes_on_after_a_restart(serve: Callable[[], testing.Registry]) -> None:
    with serve() as registry:
        path = start_upload(registry)
        assert ask(registry, "PATCH", path, CONTENT[:3000]).status == 202
    with serve() as registry:
        assert ask(registry, "GET", path).headers["range"] == "0-2999"
        assert ask(registry, "PATCH", path, CONTENT[3000:4000], {"Content-Range": "3000-3999"}).status == 202
        assert ask(registry, "PUT", f"{path}?digest={DIGEST}", CONTENT[4000:]).status == 201
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").body == CONTENT


def test_content_is_kept_once_and_as_long_as_it_is_needed(
    serve: Callable[[], testing.Registry], tmp_path: Path
) -> None:
    blob = tmp_path / "registry/blobs/sha256" / DIGEST.encoded
    with serve() as registry:
        for name in ("one", "two", "three/four"):
            push_blob(registry, CONTENT, name)
        assert blob.stat().st_nlink == 4
        for name in ("one", "two"):
            assert ask(registry, "DELETE", f"/v2/{name}/blobs/{DIGEST}").status == 202
        assert blob.read_bytes() == CONTENT
        assert ask(registry, "DELETE", f"/v2/three/four/blobs/{DIGEST}").status == 202
        assert not blob.exists()
        assert files(tmp_path / "registry") == ["ociworks-registry"]


def test_failed_and_cancelled_uploads_leave_nothing(
    serve: Callable[[], testing.Registry], tmp_path: Path
) -> None:
    with serve() as registry:
        path = start_upload(registry)
        assert ask(registry, "PUT", f"{path}?digest={Digest.of(b'x')}", CONTENT).status == 400
        path = start_upload(registry)
        assert ask(registry, "DELETE", path).status == 204
        assert ask(registry, "POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", b"x").status == 400
        assert files(tmp_path / "registry") == ["ociworks-registry"]


def test_what_a_killed_server_left_is_removed(serve: Callable[[], testing.Registry], tmp_path: Path) -> None:
    with serve() as registry:
        push_blob(registry, CONTENT)
    orphan = tmp_path / "registry/blobs/sha256" / ("0" * 64)
    orphan.write_bytes(b"published, never linked")
    (tmp_path / "registry/uploads/.new-0123").touch()
    with serve() as registry:
        assert not orphan.exists()
        assert os.listdir(tmp_path / "registry/uploads") == []
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").body == CONTENT


def test_one_server_at_a_time(serve: Callable[[], testing.Registry]) -> None:
    with serve(), pytest.raises(LayoutError, match="another registry"):
        serve()
    serve().close()


@pytest.mark.parametrize("stranger", ["file", "oci-layout"])
def test_another_directory_is_not_taken(tmp_path: Path, stranger: str) -> None:
    (tmp_path / stranger).touch()
    with pytest.raises(LayoutError, match="expected a registry's directory"):
        testing.Registry(testing.RegistryOptions(directory=tmp_path))
    assert os.listdir(tmp_path) == [stranger]


def test_links_in_the_directory_are_not_followed(
    serve: Callable[[], testing.Registry], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"secret")
    with serve() as registry:
        push_blob(registry, CONTENT)
        home = tmp_path / "registry/repositories/app"
        (home / "_blobs/sha256" / DIGEST.encoded).unlink()
        (home / "_blobs/sha256" / DIGEST.encoded).symlink_to(secret / "file")
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").status == 404
        (tmp_path / "registry/repositories/linked").symlink_to(secret)
        answer = ask(registry, "POST", f"/v2/linked/blobs/uploads/?digest={DIGEST}", CONTENT)
        assert answer.status == 500
        assert str(tmp_path) not in answer.body.decode()
        assert os.listdir(secret) == ["file"]


def test_a_damaged_blob_is_replaced_by_a_push(serve: Callable[[], testing.Registry], tmp_path: Path) -> None:
    """Content of the wrong size does not keep its name."""
    blob = tmp_path / "registry/blobs/sha256" / DIGEST.encoded
    with serve() as registry:
        push_blob(registry, CONTENT)
        os.truncate(blob, 3)
        push_blob(registry, CONTENT, "other")
        assert ask(registry, "GET", f"/v2/other/blobs/{DIGEST}").body == CONTENT


MEMORY = """
import resource, sys, http.client
from ociworks import testing
from ociworks.spec.digest import Hasher
size, piece = 512 << 20, bytes(1 << 20)
hasher = Hasher()
for _ in range(size >> 20): hasher.update(piece)
with testing.Registry(testing.RegistryOptions(directory=sys.argv[1])) as registry:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    c = http.client.HTTPConnection(registry.host)
    target = f"/v2/app/blobs/uploads/?digest={hasher.digest()}"
    c.request("POST", target, (piece for _ in range(size >> 20)), {"Content-Length": str(size)})
    answer = c.getresponse(); answer.read()
    assert answer.status == 201, answer.status
    c.request("GET", f"/v2/app/blobs/{hasher.digest()}")
    answer, total, buffer = c.getresponse(), 0, bytearray(1 << 20)
    while count := answer.readinto(buffer): total += count
    assert total == size
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
def test_large_blobs_do_not_live_in_memory(tmp_path: Path) -> None:
    """512 MiB through the server and back adds less than 24 MiB to the process, client included."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "r")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 24
