"""RG-16 and RG-17 of the regression catalogue: lists without end, and referrers that lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    LimitExceeded,
    MediaTypeMismatch,
    NotFound,
    RegistryProtocolError,
    RegistryResponseError,
)
from ociworks.image import partial
from ociworks.image.artifact import Blob, artifact
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import (
    BLOB,
    DESCRIPTOR,
    MISSING,
    Sleeper,
    anonymous,
    client_for,
    document,
    index_of,
    paths,
    push,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ociworks.image.remote import Client


# RG-16: next pages and upload locations

KIND = "application/vnd.example.sbom"
LISTS: dict[str, Callable[[Client, str], object]] = {
    "tags": lambda client, where: list(client.tags(where)),
    "referrers": lambda client, where: client.referrers(f"{where}@{DESCRIPTOR.digest}"),
}


@pytest.mark.parametrize(
    "link",
    ["<http://169.254.169.254/latest>", "<http://127.0.0.1:1/v2/app/tags/list>", "<https://{host}/v2/app/tags/list>",
     "<//evil.example/v2/app/tags/list>", "</v2/other/tags/list>", "</v2/app/../other/tags/list>", "</v2/app/%2e%2e/x>",
     "</token?scope=x>", "<http://u:p@{host}/v2/app/tags/list>", "<file:///etc/passwd>", "<>", "nonsense", "<unclosed"],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["tags", "referrers"])
def test_rg_16_the_next_page_is_where_the_list_is(link: str, verb: str) -> None:
    with RawServer(b"") as server:
        header = f'Link: {link.format(host=server.host)}; rel="next"'
        body = b'{"name":"app","tags":["a"]}' if verb == "tags" else index_of()
        kind = "application/json" if verb == "tags" else mediatypes.OCI_INDEX
        server._scripts = (document(body, kind, header),)
        with anonymous() as client, pytest.raises(RegistryProtocolError):
            LISTS[verb](client, f"{server.host}/app")
        assert len(server.heads) == 1


@pytest.mark.parametrize("link", ["</v2/app/tags/list>", "<?>", "</v2/app/tags/list?>"])
def test_rg_16_a_page_that_leads_to_itself(link: str) -> None:
    page = answer(b'{"name":"app","tags":["a"]}', f'Link: {link}; rel="next"')
    with RawServer(page) as server, anonymous() as client:
        with pytest.raises(RegistryProtocolError, match="was there before"):
            list(client.tags(f"{server.host}/app"))
        assert len(server.heads) <= 2


def endless_pages(body: bytes, *headers: str) -> RawServer:
    numbers = iter(range(10**9))

    def talk(head: bytes) -> list[bytes]:
        path = head.split(b" ")[1].partition(b"?")[0].decode()
        return [answer(body, f'Link: <{path}?last={next(numbers)}>; rel="next"', *headers)]

    return RawServer(talk)


def test_rg_16_a_million_pages() -> None:
    options = ClientOptions(limits=Limits(max_pages=20), sleep=Sleeper())
    with endless_pages(b'{"name":"app","tags":[]}') as server, anonymous(options) as client:
        with pytest.raises(LimitExceeded, match="max_pages"):
            list(client.tags(f"{server.host}/app"))
        assert len(server.heads) == 20
    assert Limits().max_pages == 1000


def test_rg_16_tags_are_counted() -> None:
    many = json.dumps({"name": "app", "tags": [f"t{number}" for number in range(400)]}).encode()
    options = ClientOptions(limits=Limits(max_items=1000), sleep=Sleeper())
    seen: list[str] = []
    with endless_pages(many) as server, anonymous(options) as client:
        with pytest.raises(LimitExceeded, match="max_items"):
            seen.extend(client.tags(f"{server.host}/app"))
        assert len(server.heads) == 3


@pytest.mark.parametrize(
    "link",
    ['</v2/app/tags/list?last=a>; rel="next"', "</v2/app/tags/list?last=a>; rel=next", "<?last=a>;rel=next",
     '<list?last=a>; title="a, <b>; rel=prev"; rel="next"', '</x>; rel="prev", </v2/app/tags/list?last=a>; rel="next"',
     '<http://{host}/v2/app/tags/list?last=a>; rel="next"'],
)  # fmt: skip
def test_next_pages_in_every_spelling(link: str) -> None:
    with RawServer(b"") as server:
        first = answer(b'{"name":"app","tags":["a"]}', f"Link: {link.format(host=server.host)}")
        server._scripts = (first, answer(b'{"name":"app","tags":["b"]}'))
        with anonymous() as client:
            assert list(client.tags(f"{server.host}/app")) == ["a", "b"]
        assert server.heads[1].startswith(b"GET /v2/app/tags/list?last=a ")


@pytest.mark.parametrize("piece", ['<x>; rel="a"', "<x>; a=b", '<x>;"', "<", "<x> ", "; ", ',"'])
def test_rg_16_a_long_link_ends_at_once(piece: str) -> None:
    """As long as a head may be: backtracking would run into the suite's time limit."""
    page = answer(b'{"name":"app","tags":[]}', f"Link: {(piece * 60_000)[:60_000]}")
    with RawServer(page) as server, anonymous() as client:
        try:
            assert list(client.tags(f"{server.host}/app")) == []
        except RegistryProtocolError:
            assert len(server.heads) == 1


@pytest.mark.parametrize("text", ["-1", "x", "1e3", "", "99999999999999999999", " 1"])
def test_rg_16_a_least_chunk_is_a_number(text: str) -> None:
    started = answer(
        b"", "Location: /v2/app/blobs/uploads/1", f"OCI-Chunk-Min-Length: {text}", status="202 Accepted"
    )
    with (
        serve(("POST", started), ("P", answer(b"", status="400 Bad Request"))) as server,
        anonymous() as client,
    ):
        with pytest.raises((RegistryProtocolError, RegistryResponseError)):
            client.push_blob(f"{server.host}/app", DESCRIPTOR, lambda: partial.stream_of(BLOB, DESCRIPTOR))
        assert not any(head.startswith(b"PATCH") for head in server.heads)


@pytest.mark.parametrize("step", ["PATCH", "GET"])
@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/x", "/elsewhere", "https://{host}/v2/x", "/v2/../x", "http://localhost:1/v2/x"],
)
def test_rg_16_a_later_location_stays_home_too(step: str, location: str) -> None:
    with RawServer(b"") as server:
        away = f"Location: {location.format(host=server.host)}"
        patch = answer(b"", away, status="202 Accepted") if step == "PATCH" else b""
        rules = {
            b"POST": answer(b"", "Location: /v2/app/blobs/uploads/1", status="202 Accepted"),
            b"PATC": patch,
            b"GET ": answer(b"", away, "Range: 0-999", status="204 No Content", length=None),
            b"DELE": MISSING,
        }
        server._scripts = (lambda head: [rules[head[:4]]],)
        options = ClientOptions(chunk_size=1000, sleep=Sleeper())
        with anonymous(options) as client, pytest.raises(RegistryProtocolError, match="upload"):
            client.push_blob(f"{server.host}/app", DESCRIPTOR, lambda: partial.stream_of(BLOB, DESCRIPTOR))
        assert not any(head.startswith(b"PUT") for head in server.heads)


def test_rg_16_a_trusted_place_gets_the_body_without_credentials(registry: testing.Registry) -> None:
    created = answer(b"", status="201 Created")
    refuse = answer(b"", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized")
    with serve(("PUT", created)) as store:
        started = answer(b"", f"Location: http://{store.host}/put?sig=x", status="202 Accepted")

        def talk(head: bytes) -> list[bytes]:
            return [started if b"authorization: basic" in head.lower() else refuse]

        with RawServer(talk) as server, client_for(server.host, trusted=(store.host,)) as client:
            client.push_blob(f"{server.host}/app", DESCRIPTOR, lambda: partial.stream_of(BLOB, DESCRIPTOR))
        assert store.heads[0].startswith(b"PUT /put?sig=x&digest=sha256%3A")
        assert b"authorization" not in store.heads[0].lower()


# RG-17: referrers


def listed(*entries: Descriptor) -> bytes:
    return document(index_of(*entries), mediatypes.OCI_INDEX)


def test_rg_17_a_referrer_of_something_else_is_found_out(registry: testing.Registry) -> None:
    image, other = push(registry), testing.random_image(1, seed=9)
    stray = artifact(KIND, [Blob.of(b"x")], subject=other.descriptor)
    bare = artifact(KIND, [Blob.of(b"y")])
    with anonymous() as client:
        where = f"{registry.host}/app"
        for each in (stray, bare):
            client.push(each, f"{where}@{each.digest}")
            with pytest.raises(RegistryProtocolError, match="expected the subject"):
                client.referrer(f"{where}@{image.digest}", each.descriptor)


def test_rg_17_an_artifact_type_is_what_the_manifest_says(registry: testing.Registry) -> None:
    image = push(registry)
    made = artifact(KIND, subject=image.descriptor)
    lie = Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=made.digest,
        size=len(made.raw_manifest),
        artifact_type="a/b",
    )
    with anonymous() as client:
        client.push(made, f"{registry.host}/app@{made.digest}")
        with pytest.raises(MediaTypeMismatch, match="artifact type"):
            client.referrer(f"{registry.host}/app:1", lie)


def test_rg_17_filters_are_applied_again() -> None:
    """A registry that says it has filtered and has not; entries come in any order, some twice."""
    entries = [
        Descriptor(
            media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"%d" % n), size=1, artifact_type=kind
        )
        for n, kind in enumerate([KIND, "a/b", None, KIND, KIND])
    ]
    page = document(index_of(*entries, *entries), mediatypes.OCI_INDEX, "OCI-Filters-Applied: artifactType")
    with serve(("GET", page)) as server, anonymous() as client:
        found = client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}", KIND)
        assert [entry.digest for entry in found] == sorted(
            entry.digest for entry in entries if entry.artifact_type == KIND
        )
        assert b"?artifactType=application%2Fvnd.example.sbom " in server.heads[0]


def test_rg_17_an_ordinary_image_under_the_tag_is_no_list(registry: testing.Registry) -> None:
    image = push(registry)
    registry.inject(testing.Fault(path="/referrers/", status=404, times=-1))
    with anonymous() as client:
        client.tag(f"{registry.host}/app:1", f"sha256-{image.digest.encoded}")
        assert client.referrers(f"{registry.host}/app:1") == ()


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 500, 503])
def test_rg_17_only_404_means_that_there_is_no_api(registry: testing.Registry, status: int) -> None:
    image = push(registry)
    registry.inject(testing.Fault(path="/referrers/", status=status, times=-1))
    with anonymous() as client, pytest.raises(RegistryResponseError, match=f"status {status}"):
        client.referrers(f"{registry.host}/app@{image.digest}")
    assert not any("/manifests/sha256-" in path for path in paths(registry))


def test_rg_17_where_both_are_there_the_api_decides() -> None:
    api, tag = Descriptor.of(b"api", mediatypes.OCI_MANIFEST), Descriptor.of(b"tag", mediatypes.OCI_MANIFEST)
    rules = ("GET /v2/app/referrers/", listed(api)), ("GET /v2/app/manifests/", listed(tag))
    with serve(*rules) as server, anonymous() as client:
        assert client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}") == (api,)
        assert len(server.heads) == 1


def test_rg_17_a_second_page_that_is_gone_is_an_error() -> None:
    first = document(index_of(), mediatypes.OCI_INDEX, 'Link: <?page=2>; rel="next"')
    with RawServer(first, MISSING) as server, anonymous() as client:
        with pytest.raises(NotFound):
            client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}")
        assert len(server.heads) == 2


def test_rg_17_a_million_entries() -> None:
    entries = [Descriptor.of(b"%d" % n, mediatypes.OCI_MANIFEST) for n in range(400)]
    options = ClientOptions(limits=Limits(max_items=1000), sleep=Sleeper())
    with endless_pages(index_of(*entries), f"Content-Type: {mediatypes.OCI_INDEX}") as server:
        with anonymous(options) as client, pytest.raises(LimitExceeded, match="max_items"):
            client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}")
        assert len(server.heads) == 3


@pytest.mark.parametrize("kind", [mediatypes.OCI_MANIFEST, "text/html", mediatypes.DOCKER_MANIFEST_LIST])
def test_rg_17_a_list_is_an_index(kind: str) -> None:
    with (
        serve(("GET /v2/app/referrers/", document(index_of(), kind))) as server,
        anonymous() as client,
        pytest.raises(MediaTypeMismatch),
    ):
        client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}")
