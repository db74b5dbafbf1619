"""A client that is aborted while others wait for its registry."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ociworks.errors import RegistryError
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from ociworks.spec.image import mediatypes
from tests.image.rawserver import RawServer, answer

PATIENCE = 60.0


class Stopped(Exception):
    """What a pause between attempts raises when nobody wants more of them."""


@pytest.mark.parametrize("begun", [False, True], ids=["no answer", "half an answer"])
def test_whoever_waits_is_told(begun: bool) -> None:
    """At once, whether nothing came or half of it; and nothing is asked for afterwards."""
    waiting, over = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def talk(_head: bytes) -> Iterator[bytes]:
        if begun:
            yield answer(b"{", f"Content-Type: {mediatypes.OCI_MANIFEST}", length=1000)
        waiting.set()
        over.wait(PATIENCE)

    def no_more(_seconds: float) -> None:
        raise Stopped

    def read() -> None:
        try:
            client.image(f"{server.host}/app:1")
        except (RegistryError, Stopped) as error:
            failures.append(error)

    options = ClientOptions(sleep=no_more)
    with RawServer(talk) as server, remote.Client(keychain=ANONYMOUS, options=options) as client:
        reader = threading.Thread(target=read)
        reader.start()
        assert waiting.wait(PATIENCE)
        client.abort()
        reader.join()
        over.set()
        reader.join()
        assert len(failures) == 1
        assert len(server.heads) == 1
        with pytest.raises(RegistryError, match="closed"):
            client.image(f"{server.host}/app:1")
