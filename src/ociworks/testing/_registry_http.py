"""The HTTP side of the in-memory registry: one request, routed, answered, with a fault if one was asked for.

======================================  ============================  ================================
path                                    methods                       handler
======================================  ============================  ================================
/v2/                                    GET                           api
/v2/<name>/blobs/<digest>               GET HEAD DELETE               blob (with ranges)
/v2/<name>/blobs/uploads/               POST                          start (mount, or all in one)
/v2/<name>/blobs/uploads/<id>           GET PATCH PUT DELETE          upload
/v2/<name>/manifests/<tag or digest>    GET HEAD PUT DELETE           manifest
/v2/<name>/tags/list                    GET                           tags (n, last, Link)
/v2/<name>/referrers/<digest>           GET                           referrers (artifactType)
/token                                  GET POST                      token
======================================  ============================  ================================
"""

from __future__ import annotations

import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ociworks.errors import SpecError
from ociworks.spec import Digest
from ociworks.spec.image import mediatypes
from ociworks.spec.numbers import parse_uint
from ociworks.testing._registry_store import Refused, RegistryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ociworks.testing.registry import Fault, Registry

__all__ = ["Handler"]

_NAME = r"/v2/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_ROUTES: Final = {
    "api": re.compile(r"/v2/?"),
    "token": re.compile(r"/token"),
    "start": re.compile(_NAME + r"/blobs/uploads/?"),
    "upload": re.compile(_NAME + r"/blobs/uploads/(?P<target>[0-9a-f]{32})"),
    "blob": re.compile(_NAME + r"/blobs/(?P<target>[a-z0-9]+:[a-z0-9]+)"),
    "manifest": re.compile(_NAME + r"/manifests/(?P<target>[A-Za-z0-9_.:-]+)"),
    "tags": re.compile(_NAME + r"/tags/list"),
    "referrers": re.compile(_NAME + r"/referrers/(?P<target>[a-z0-9]+:[a-z0-9]+)"),
}
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CHUNK_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")
_MAX_BODY: Final = 2**40
_PIECE: Final = 256 * 1024


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ociworks-testing"
    timeout = 60
    disable_nagle_algorithm = True
    registry: Registry

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read :attr:`Registry.requests`."""

    def do_any(self) -> None:
        """Answer one request of whatever method."""
        self.fault: Fault | None = self.registry.note(self.command, self.path, self.headers.items())
        self._consumed = False
        if self.fault is not None and self.fault.status is not None:
            self._drain()
            self._send(self.fault.status, dict(self.fault.headers), self.fault.body)
            return
        try:
            self._route()
        except Refused as refusal:
            self._refuse(refusal)
        except SpecError:
            self._refuse(Refused("DIGEST_INVALID"))

    # Routing

    def _route(self) -> None:
        split = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        path = unquote(split.path)
        for route, pattern in _ROUTES.items():
            if match := pattern.fullmatch(path):
                self.parts: Mapping[str, str] = match.groupdict()
                if route != "token":
                    self._authorize()
                handler: Callable[[], None] = getattr(self, f"_{route}")
                handler()
                return
        raise Refused("UNSUPPORTED")

    def _authorize(self) -> None:
        write = self.command not in {"GET", "HEAD"}
        if not self.registry.allows(self.headers.get("Authorization"), self.parts.get("name"), write=write):
            raise Refused("UNAUTHORIZED")

    @property
    def store(self) -> RegistryStore:
        """The registry's content."""
        return self.registry.store

    def _api(self) -> None:
        self._send(200, {"Content-Type": "application/json"}, b"{}")

    def _token(self) -> None:
        form = parse_qs(self._body().decode()) if self.command == "POST" else {}
        query = self.query | {name: values[0] for name, values in form.items()}
        token = self.registry.issue(self.headers.get("Authorization"), query)
        if token is None:
            raise Refused("UNAUTHORIZED")
        answer = json.dumps({"token": token, "access_token": token, "expires_in": 300}).encode()
        self._send(200, {"Content-Type": "application/json"}, answer)

    # Blobs

    def _blob(self) -> None:
        digest = Digest.parse(self.parts["target"])
        content = self.store.blob(self.parts["name"], digest)
        if self.command == "DELETE":
            with self.store.lock:
                del self.store.repository(self.parts["name"]).blobs[digest]
            self._send(202, {}, b"")
            return
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": str(digest),
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes",
        }
        if self.registry.options.redirect_blobs_to and not self.headers.get("X-Redirected"):
            self._send(
                307, {"Location": f"{self.registry.options.redirect_blobs_to}{self.path}?sig=secret"}, b""
            )
            return
        self._send_range(headers, content)

    def _send_range(self, headers: dict[str, str], content: bytes) -> None:
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None:
            self._send(200, headers, content)
            return
        size = len(content)
        first = int(match[1])  # trusted: digits by the pattern
        last = min(int(match[2]) if match[2] else size - 1, size - 1)  # trusted: digits by the pattern
        if first > last:
            self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._send(206, headers, memoryview(content)[first : last + 1])

    def _start(self) -> None:
        name = self.parts["name"]
        mount, digest = self.query.get("mount"), self.query.get("digest")
        if mount and self.store.mount(name, Digest.parse(mount), self.query.get("from", "")):
            self._created(Digest.parse(mount))
            return
        body = self._body()
        if digest:
            self.store.add_blob(name, Digest.parse(digest), body)
            self._created(Digest.parse(digest))
            return
        self._accepted(self.store.start_upload(), 0)

    def _upload(self) -> None:
        identifier = self.parts["target"]
        content = self.store.upload(identifier)
        if self.command == "DELETE":
            self.store.drop_upload(identifier)
            self._send(204, {}, b"")
        elif self.command == "GET":
            self._accepted(identifier, len(content), status=204)
        else:
            self._append(content)
            if self.command == "PATCH":
                self._accepted(identifier, len(content))
                return
            digest = Digest.parse(self.query.get("digest", ""))
            self.store.drop_upload(identifier)
            self.store.add_blob(self.parts["name"], digest, bytes(content))
            self._created(digest)

    def _append(self, content: bytearray) -> None:
        match = _CHUNK_RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if match and int(match[1]) != len(content):  # trusted: digits by the pattern
            self._drain()
            self._send(416, {"Range": f"0-{max(len(content) - 1, 0)}"}, b"")
            return
        content += self._body()

    def _accepted(self, identifier: str, size: int, status: int = 202) -> None:
        location = f"/v2/{self.parts['name']}/blobs/uploads/{identifier}"
        headers = {"Location": location, "Docker-Upload-UUID": identifier, "Range": f"0-{max(size - 1, 0)}"}
        self._send(status, headers, b"")

    def _created(self, digest: Digest) -> None:
        location = f"/v2/{self.parts['name']}/blobs/{digest}"
        self._send(201, {"Location": location, "Docker-Content-Digest": str(digest)}, b"")

    # Manifests

    def _manifest(self) -> None:
        name, target = self.parts["name"], self.parts["target"]
        if self.command == "PUT":
            kind = self.headers.get("Content-Type", "")
            digest, found = self.store.add_manifest(name, target, self._body(), kind)
            headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": str(digest)}
            if found.value.subject is not None:
                headers["OCI-Subject"] = str(found.value.subject.digest)
            self._send(201, headers, b"")
        elif self.command == "DELETE":
            self.store.delete_manifest(name, target)
            self._send(202, {}, b"")
        else:
            digest, found = self.store.manifest(name, target)
            headers = {"Content-Type": found.media_type, "Docker-Content-Digest": str(digest)}
            self._send(200, headers, found.raw)

    def _tags(self) -> None:
        name = self.parts["name"]
        tags = [tag for tag in sorted(self.store.repository(name).tags) if tag > self.query.get("last", "")]
        headers = {"Content-Type": "application/json"}
        count = parse_uint(self.query["n"], 10_000, "n") if "n" in self.query else len(tags)
        if 0 < count < len(tags):
            headers["Link"] = f'</v2/{name}/tags/list?n={count}&last={tags[count - 1]}>; rel="next"'
        self._send(200, headers, json.dumps({"name": name, "tags": tags[:count]}).encode())

    def _referrers(self) -> None:
        kind = self.query.get("artifactType")
        body = self.store.referrers(self.parts["name"], Digest.parse(self.parts["target"]), kind)
        headers = {"Content-Type": mediatypes.OCI_INDEX}
        if kind:
            headers["OCI-Filters-Applied"] = "artifactType"
        self._send(200, headers, body)

    # Messages

    def _body(self) -> bytes:
        self._consumed = True
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(
            parse_uint(self.headers.get("Content-Length", "0"), _MAX_BODY, "Content-Length")
        )

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(64).split(b";")[0], 16)  # trusted: tests only
        data = self.rfile.read(size)
        self.rfile.readline(64)
        return data

    def _drain(self) -> None:
        if not self._consumed and self.command in {"POST", "PUT", "PATCH"}:
            self._body()

    def _refuse(self, refusal: Refused) -> None:
        self._drain()
        headers = {"Content-Type": "application/json"}
        if refusal.code == "UNAUTHORIZED":
            headers["WWW-Authenticate"] = self.registry.challenge(self.parts.get("name"), self.command)
        self._send(refusal.status, headers, json.dumps({"errors": [{"code": refusal.code}]}).encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes | memoryview) -> None:
        fault = self.fault
        sent = {"Content-Length": str(len(body)), **headers}
        if fault is not None and fault.status is None:
            sent |= dict(fault.headers)
        self.send_response(status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self._write(body, fault)

    def _write(self, body: bytes | memoryview, fault: Fault | None) -> None:
        if fault is None:
            self.wfile.write(body)
            return
        changed = bytearray(body)
        if fault.flip_at is not None and fault.flip_at < len(changed):
            changed[fault.flip_at] ^= 0xFF
        if fault.cut_after is not None and fault.cut_after < len(changed):
            del changed[fault.cut_after :]
            self.close_connection = True
        if not fault.pause:
            self.wfile.write(changed)
            return
        for start in range(0, len(changed), _PIECE):
            self.wfile.write(changed[start : start + _PIECE])
            time.sleep(fault.pause)


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler.do_any)  # the names that http.server looks for
