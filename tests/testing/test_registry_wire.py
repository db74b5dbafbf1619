"""The wire of the registry server: any chunking gives the same body, and no bytes at all do harm."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ociworks import testing
from ociworks.spec import Digest
from ociworks.testing._registry.limits import RegistryLimits
from ociworks.testing._registry.wire import Disconnected, Malformed, RequestBody, Wire
from tests.testing.http import ask, manifest_of, push_blob, start_upload

LIMITS = RegistryLimits(idle_timeout=5, head_timeout=5)
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def served(data: bytes, buffer_size: int = 64) -> list[bytes]:
    """The bodies of all requests in ``data``, as the server reads them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=_send, args=(theirs, data))
        sender.start()
        try:
            return _bodies(Wire(ours, LIMITS), buffer_size)
        finally:
            ours.close()
            sender.join()


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _bodies(wire: Wire, buffer_size: int) -> list[bytes]:
    bodies = list[bytes]()
    while (head := wire.head()) is not None:
        body, buffer, read = RequestBody(wire, head), memoryview(bytearray(buffer_size)), b""
        while count := body.readinto(buffer):
            read += buffer[:count]
        assert not body.unread
        bodies.append(read)
    return bodies


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 400), st.sampled_from("xX"))
def test_any_chunking_is_the_same_body(pieces: list[bytes], buffer_size: int, form: str) -> None:
    chunks = b"".join(b"%s\r\n%s\r\n" % (format(len(piece), form).encode(), piece) for piece in pieces)
    one = HEAD + chunks + b"0\r\n\r\n"
    whole = b"".join(pieces)
    plain = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(whole), whole)
    assert served(one + plain + one, buffer_size) == [whole] * 3


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_a_request_or_refused(data: bytes, chunked: bool) -> None:
    try:
        served(HEAD + data if chunked else data)
    except (Malformed, Disconnected):
        return


@given(st.data())
def test_a_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    """One byte of a good request is changed: never a hang, never another kind of error."""
    good = HEAD + b"5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    try:
        served(damaged)
    except (Malformed, Disconnected):
        return


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_crowd_leaves_a_consistent_store(options: testing.RegistryOptions) -> None:
    """Eight clients push, mount, tag, read and delete the same few things; nothing fails inside, nothing leaks."""
    before, served_with = descriptors(), list[int]()
    blobs = [bytes([number]) * 70_000 for number in range(3)]
    log = testing.RegistryOptions(log=lambda request: served_with.append(request.status)).log
    with testing.Registry(evolve(options, log=log)) as registry:

        def client(seed: int) -> None:
            name = f"app{seed % 2}"
            kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
            for turn in range(6):
                blob = blobs[(seed + turn) % len(blobs)]
                digest = push_blob(registry, blob, name)
                got = ask(registry, "GET", f"/v2/{name}/blobs/{digest}")
                assert got.status == 404 or got.body == blob
                ask(registry, "POST", f"/v2/app{turn % 2}/blobs/uploads/?mount={digest}", b"")
                raw = manifest_of(registry, name, bytes([turn]))
                ask(registry, "PUT", f"/v2/{name}/manifests/{turn}", raw, kind)
                ask(registry, "GET", f"/v2/{name}/tags/list")
                ask(registry, "DELETE", f"/v2/{name}/manifests/{Digest.of(raw)}")
                ask(registry, "DELETE", f"/v2/{name}/blobs/{digest}")
                ask(registry, "PATCH", start_upload(registry, name), blob[:turn])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(client, range(8)))
        assert set(served_with) <= {200, 201, 202, 404}
        for name in ("app0", "app1"):
            for tag in ask(registry, "GET", f"/v2/{name}/tags/list").json()["tags"]:  # type: ignore[attr-defined]
                assert ask(registry, "GET", f"/v2/{name}/manifests/{tag}").status == 200
    assert descriptors() == before


def test_a_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = descriptors()
        for directory in (None, tmp_path / "r"):
            options = testing.RegistryOptions(listen=taken.getsockname(), directory=directory)
            with pytest.raises(OSError, match="in use"):
                testing.Registry(options)
        assert descriptors() == before
    testing.Registry(testing.RegistryOptions(directory=tmp_path / "r")).close()
