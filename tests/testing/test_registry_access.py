"""Who may do what: basic, htpasswd, bearer tokens, read-only, without deletes, TLS."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
from pathlib import Path
from urllib.parse import urlencode

import bcrypt
import pytest
from attrs import evolve

from ociworks import testing
from ociworks.errors import AuthFileError
from ociworks.spec import Digest
from ociworks.testing.registry import ServedRequest
from tests.image.authority import self_signed, server_context
from tests.testing.http import Answer, ask, manifest_of, push_blob, raw, start_upload

CONTENT = b"content"
DIGEST = Digest.of(CONTENT)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def push(registry: testing.Registry, headers: dict[str, str], name: str = "app") -> Answer:
    return ask(registry, "POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", CONTENT, headers)


def test_basic() -> None:
    with testing.Registry(testing.RegistryOptions(auth="basic")) as registry:
        answer = ask(registry, "GET", "/v2/")
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert ask(registry, "GET", "/v2/", headers=basic("user", "password")).status == 200
        for wrong in (
            basic("user", "wrong"),
            basic("x", "password"),
            {"Authorization": "Basic ?"},
            {"Authorization": ""},
        ):
            assert ask(registry, "GET", "/v2/", headers=wrong).status == 401
        assert push(registry, {}).status == 401
        assert push(registry, basic("user", "password")).status == 201


def test_basic_with_anonymous_pull() -> None:
    options = testing.RegistryOptions(auth="basic", anonymous_pull=True)
    with testing.Registry(options) as registry:
        assert push(registry, basic("user", "password")).status == 201
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").body == CONTENT
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}", headers=basic("user", "wrong")).status == 401
        assert ask(registry, "GET", "/v2/").status == 401  # so that clients send credentials when they push
        assert push(registry, {}).status == 401
        assert ask(registry, "DELETE", f"/v2/app/blobs/{DIGEST}").status == 401


def htpasswd(path: Path, **users: str) -> Path:
    lines = [
        f"{user}:{bcrypt.hashpw(text.encode(), bcrypt.gensalt(4)).decode()}" for user, text in users.items()
    ]
    path.write_text("# users\n\n" + "\n".join(lines) + "\n")
    return path


def test_htpasswd(tmp_path: Path) -> None:
    file = htpasswd(tmp_path / "htpasswd", ada="lovelace", bob="x" * 72)
    with testing.Registry(testing.RegistryOptions(auth="basic", htpasswd=file)) as registry:
        for user, text, status in [
            ("ada", "lovelace", 200),
            ("ada", "lovelace", 200),
            ("ada", "Lovelace", 401),
            ("bob", "x" * 72, 200),
            ("bob", "x" * 73, 401),  # bcrypt itself looks at 72 bytes only
            ("eve", "", 401),
            ("user", "password", 401),
            ("", "", 401),
        ]:
            assert ask(registry, "GET", "/v2/", headers=basic(user, text)).status == status, user


@pytest.mark.parametrize(
    "line", ["ada", "ada:", ":x", "ada:plain", "ada:{SHA}x", "ada:$apr1$x$y", "ada:$2y$31$" + "a" * 53]
)
def test_a_line_that_is_no_bcrypt_hash_is_refused(tmp_path: Path, line: str) -> None:
    file = htpasswd(tmp_path / "htpasswd", bob="x")
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(AuthFileError, match="line 4: expected user:hash") as caught:
        testing.Registry(testing.RegistryOptions(auth="basic", htpasswd=file))
    assert "plain" not in str(caught.value)


def token(registry: testing.Registry, *scopes: str, headers: dict[str, str] | None = None) -> dict[str, str]:
    query = urlencode([("service", "testing"), *(("scope", scope) for scope in scopes)])
    answer = ask(registry, "GET", f"/token?{query}", headers=headers or basic("user", "password"))
    assert answer.status == 200
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def test_bearer_tokens_are_for_what_was_asked() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        challenge = ask(registry, "GET", "/v2/app/tags/list").headers["www-authenticate"]
        assert (
            challenge == f'Bearer realm="{registry.url}/token",service="testing",scope="repository:app:pull"'
        )
        assert "scope" not in ask(registry, "GET", "/v2/").headers["www-authenticate"]
        pull, both = token(registry, "repository:app:pull"), token(registry, "repository:app:pull,push")
        assert push(registry, pull).status == 401
        assert push(registry, both).status == 201
        assert push(registry, both, "other").status == 401
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}", headers=pull).body == CONTENT
        assert ask(registry, "GET", "/v2/", headers=pull).status == 200
        assert ask(registry, "GET", "/v2/", headers={"Authorization": "Bearer made-up"}).status == 401
        assert ask(registry, "GET", "/token?scope=repository:app:pull").status == 401


def test_a_mount_needs_the_right_to_read_its_source() -> None:
    """Knowing a digest is not enough to get a blob out of a repository that one may not read."""
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        assert push(registry, token(registry, "repository:private:push"), "private").status == 201
        mine = token(registry, "repository:mine:pull,push")
        for source in ("&from=private", ""):
            answer = ask(registry, "POST", f"/v2/mine/blobs/uploads/?mount={DIGEST}{source}", b"", mine)
            assert answer.status == 202
        both = token(registry, "repository:mine:pull,push", "repository:private:pull")
        answer = ask(registry, "POST", f"/v2/mine/blobs/uploads/?mount={DIGEST}&from=private", b"", both)
        assert answer.status == 201


def test_a_password_grant() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as bearer:
        form = {
            "grant_type": "password",
            "username": "user",
            "password": "password",
            "scope": "repository:app:push",
        }
        answer = ask(bearer, "POST", "/token", urlencode(form).encode())
        assert push(bearer, {"Authorization": f"Bearer {answer.json()['access_token']}"}).status == 201
        assert ask(bearer, "POST", "/token", urlencode(form | {"password": "x"}).encode()).status == 401
        assert ask(bearer, "POST", "/token", b"a&" * 1000 + b"=" * 100_000).status == 413


@pytest.mark.parametrize("name", ['a"b', "%c3%a4", "a%20b", "a,b"])
def test_a_challenge_cannot_be_forged_by_a_name(name: str) -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        answer = raw(
            registry, f"GET /v2/{name}/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 401 ")
        (line,) = [line for line in answer.split(b"\r\n") if line.startswith(b"WWW-Authenticate")]
        assert line.count(b'"') in {4, 6}


def test_read_only(tmp_path: Path) -> None:
    with testing.Registry(testing.RegistryOptions(directory=tmp_path / "r")) as registry:
        push_blob(registry, CONTENT)
        location, manifest = start_upload(registry), manifest_of(registry)
    with testing.Registry(testing.RegistryOptions(directory=tmp_path / "r", read_only=True)) as registry:
        assert ask(registry, "GET", f"/v2/app/blobs/{DIGEST}").body == CONTENT
        for method, path in [
            ("POST", "/v2/app/blobs/uploads/"),
            ("PATCH", location),
            ("DELETE", f"/v2/app/blobs/{DIGEST}"),
            ("PUT", "/v2/app/manifests/1"),
        ]:
            answer = ask(registry, method, path, manifest)
            assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])


def test_without_deletes(options: testing.RegistryOptions) -> None:
    with testing.Registry(evolve(options, delete=False)) as registry:
        push_blob(registry, CONTENT)
        assert ask(registry, "DELETE", f"/v2/app/blobs/{DIGEST}").status == 405
        assert ask(registry, "DELETE", "/v2/app/manifests/1").status == 405
        assert ask(registry, "DELETE", start_upload(registry)).status == 204  # nothing stored is lost


def test_a_client_that_stalls_its_handshake_stops_nobody(tmp_path: Path) -> None:
    context = server_context(self_signed(tmp_path, "127.0.0.1"))
    with testing.Registry(testing.RegistryOptions(tls=context)) as registry:
        host, _, port = registry.host.rpartition(":")
        stalled = socket.create_connection((host, int(port)), timeout=60)
        client = ssl.create_default_context(cafile=str(tmp_path / "127.0.0.1.pem.crt"))
        with (
            socket.create_connection((host, int(port)), timeout=60) as sock,
            client.wrap_socket(sock, server_hostname=host) as secure,
        ):
            secure.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert not raw(registry, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP")
    stalled.close()


def test_the_log_has_no_credentials() -> None:
    seen: list[ServedRequest] = []
    options = testing.RegistryOptions(auth="bearer", log=seen.append)
    with testing.Registry(options) as registry:
        ask(registry, "GET", "/token?refresh_token=hidden&scope=repository:a:pull")
        push(registry, token(registry, "repository:app:push"))
    assert [(each.method, each.path, each.status) for each in seen] == [
        ("GET", "/token", 401),
        ("GET", "/token", 200),
        ("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", 201),
    ]
    assert (seen[2].client, seen[2].received, seen[2].sent) == ("127.0.0.1", len(CONTENT), 0)


def test_a_failure_inside_is_500_and_the_next_request_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with testing.Registry(testing.RegistryOptions(directory=tmp_path / "r")) as registry:
        (tmp_path / "r/repositories").write_bytes(b"in the way")
        with caplog.at_level(logging.ERROR):
            answer = push(registry, {})
        assert (answer.status, answer.body) == (500, b"storage failed\n")
        assert ask(registry, "GET", "/v2/").status == 200
    assert "POST failed" in caplog.text


def test_only_the_latest_requests_are_remembered() -> None:
    with testing.Registry(testing.RegistryOptions(remember=2)) as registry:
        for path in ("/a", "/b", "/c"):
            ask(registry, "GET", path)
        assert [request.path for request in registry.requests] == ["/b", "/c"]


def test_faults_on_a_directory(tmp_path: Path) -> None:
    with testing.Registry(testing.RegistryOptions(directory=tmp_path / "r")) as registry:
        content = bytes(300_000)
        digest = push_blob(registry, content)
        registry.inject(testing.Fault(path="/blobs/", flip_at=299_999))
        assert ask(registry, "GET", f"/v2/app/blobs/{digest}").body == content[:-1] + b"\xff"
        registry.inject(testing.Fault(path="/blobs/", cut_after=270_000))
        answer = raw(registry, f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert len(answer.partition(b"\r\n\r\n")[2]) == 270_000
        registry.inject(testing.Fault(path="/tags/", status=429, headers=(("Retry-After", "1"),), body=b"{}"))
        answered = ask(registry, "GET", "/v2/app/tags/list")
        assert (answered.status, answered.headers["retry-after"], json.loads(answered.body)) == (429, "1", {})
