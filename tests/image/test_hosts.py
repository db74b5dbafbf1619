"""Host configuration as a value: what files say, which place is asked first, what a short name means."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import HostsConfigError, InvalidReference, RegistryBlocked, ShortNameError
from ociworks.image.hosts import NO_HOSTS, HostsConfig, RegistriesConf, Tls, _registries_files
from ociworks.image.origin import Url
from ociworks.image.reference import Reference
from ociworks.spec import FrozenDict
from tests.image.hosts import places, write

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "@sha256:" + "a" * 64


def conf(text: str) -> HostsConfig:
    return HostsConfig(registries=_registries_files.parse("registries.conf", text.encode()))


# registries.conf

EXAMPLE = """
unqualified-search-registries = ["example.com"]
[[registry]]
prefix = "example.com/foo"
location = "internal.example:5000/bar"
[[registry.mirror]]
location = "mirror-0.local/mirror-for-foo"
[[registry.mirror]]
location = "mirror-1.local/mirrors/foo"
insecure = true
[[registry]]
location = "registry.com"
[[registry.mirror]]
location = "mirror.registry.com"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.registry.com"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "*.wild.example"
insecure = true
[[registry.mirror]]
location = "wild.local/all"
[[registry]]
prefix = "closed.example"
location = "closed.example"
blocked = true
[[registry]]
prefix = "closed.example/but/this"
location = "open.example"
[[registry]]
prefix = "docker.io/library"
location = "docker.io/library"
mirror-by-digest-only = true
[[registry.mirror]]
location = "hub.local/library"
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com/foo/image", ["mirror-0.local/mirror-for-foo/image", "mirror-1.local/mirrors/foo/image",
                                   "internal.example:5000/bar/image"]),
        ("example.com/foo",
         ["mirror-0.local/mirror-for-foo", "mirror-1.local/mirrors/foo", "internal.example:5000/bar"]),
        ("example.com/food/image", ["example.com/food/image"]),
        ("example.com:5000/foo/image", ["example.com:5000/foo/image"]),
        ("registry.com/a/b:1", ["tags.registry.com/a/b", "registry.com/a/b"]),
        ("registry.com/a/b:1" + DIGEST, ["mirror.registry.com/a/b", "registry.com/a/b"]),
        ("a.b.wild.example/x", ["wild.local/all/x", "a.b.wild.example/x"]),
        ("a.wild.example:444/x", ["wild.local/all/x", "a.wild.example:444/x"]),
        ("wild.example/x", ["wild.example/x"]),
        ("notwild.example/x", ["notwild.example/x"]),
        ("closed.example/but/this/app", ["open.example/app"]),
        ("alpine", ["docker.io/library/alpine"]),
        ("alpine" + DIGEST, ["hub.local/library/alpine", "docker.io/library/alpine"]),
        ("elsewhere.example/x", ["elsewhere.example/x"]),
    ],
)  # fmt: skip
def test_the_longest_prefix_decides(name: str, expected: list[str]) -> None:
    assert places(conf(EXAMPLE), name) == expected


def test_insecure_is_a_matter_of_one_place() -> None:
    hosts = conf(EXAMPLE)
    foo = hosts.pull_endpoints(Reference.parse("example.com/foo/x"))
    assert [each.insecure for each in foo] == [False, True, False]
    assert hosts.push_endpoint(Reference.parse("b.wild.example/x")).insecure
    assert not hosts.push_endpoint(Reference.parse("example.com/foo/x")).insecure
    assert hosts.insecure_registries() == {"mirror-1.local"}


def test_blocked_registries_are_an_error_for_reading_and_writing() -> None:
    hosts = conf(EXAMPLE)
    for ask in (hosts.pull_endpoints, hosts.push_endpoint):
        with pytest.raises(RegistryBlocked, match=r"closed\.example/butter.*blocked") as caught:
            ask(Reference.parse("closed.example/butter"))
        assert caught.value.rule == "closed.example"


MIRROR = "[[registry]]\nlocation='a.b'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.b'\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[[registry]]\nprefix = 1", r"registry\[0\]\.prefix: expected a string, got an integer"),
        ("[[registry]]\n", r"registry\[0\]\.prefix: expected a prefix or a location"),
        ("[[registry]]\nprefix = 'a.b'", r"registry\[0\]\.location: expected host"),
        ("[[registry]]\nlocation = 'https://a.b'", r"registry\[0\]\.location"),
        ("[[registry]]\nlocation = 'a.b/c:1'", r"registry\[0\]\.location.*without tag"),
        ("[[registry]]\nlocation = 'mirror/x'", r"registry\[0\]\.location.*a dot or a port"),
        ("[[registry]]\nlocation = 'a.b/../c'", r"registry\[0\]\.location"),
        ("[[registry]]\nlocation = 'u@a.b/c'", r"registry\[0\]\.location"),
        ("[[registry]]\nlocation = 'a.b'\ninsecure = 'yes'", r"insecure: expected true or false, got a string"),
        ("[[registry]]\nlocation = 'a.b'\nblocked = 1", r"blocked: expected true or false"),
        ("[[registry]]\nprefix = '*.a.b/c'\nlocation = 'a.b'", r"prefix: expected a wildcard"),
        ("[[registry]]\nprefix = 'a.*.b'\nlocation = 'a.b'", r"prefix"),
        ("[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]", r"registry\[0\]\.mirror\[0\]\.location"),
        ("[[registry]]\nlocation = 'a.b'\npull-from-mirror='all'", r"pull-from-mirror: expected in \[\[registry\.mir"),
        ("[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='m.b'\npull-from-mirror='some'", r"expected all"),
        (MIRROR + "pull-from-mirror='all'", r"missing beside mirror-by-digest-only"),
        ("[[registry]]\nlocation='a.b'\ninsecure=true\n[[registry]]\nprefix='c.d'\nlocation='a.b'",
         r"registry\[1\]\.insecure: expected the same"),
        ("[[registry]]\nlocation='a.b'\nblocked=true\n[[registry]]\nprefix='c.d'\nlocation='a.b'", r"blocked"),
        ("registry = 'a'", r"registry: expected an array, got a string"),
        ("registry = ['a']", r"registry\[0\]: expected a table, got a string"),
        ("[registries.search]\nregistries = ['a']", r"registries: expected version 2"),
        ("unqualified-search-registries = 'a'", r"unqualified-search-registries: expected an array"),
        ("unqualified-search-registries = ['a.b', 'a.b/c']", r"registries\[1\]: expected host\[:port\] without a path"),
        ("short-name-mode = 'sometimes'", r"short-name-mode: expected enforcing"),
        ("[aliases]\n'a.b/c' = 'd.e/f'", r"aliases\.a\.b/c: expected a name without registry"),
        ("[aliases]\n'c:1' = 'd.e/f'", r"aliases\.c:1"),
        ("[aliases]\n'c' = 'f'", r"aliases\.c: expected registry/repository"),
        ("[aliases]\n'c' = 'd.e/f:1'", r"aliases\.c"),
        ("[aliases]\nc = 'a.b/x'\nc = 'a.b/y'", r"expected TOML"),
        ("a = \n", r"expected TOML.*line 1"),
        ("\x00", r"expected TOML"),
        ("a = " + "[" * 100_000, r"expected TOML"),
        ("a = " + "9" * 5000, r"expected TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(text: str, where: str) -> None:
    with pytest.raises(HostsConfigError, match=rf"(?s)registries\.conf.*{where}"):
        conf(text)


@given(st.text(max_size=200) | st.text(alphabet="[]registy\n=\"'.mo*/: ", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        hosts = conf(text)
    except HostsConfigError:
        return
    assert isinstance(hosts.registries, RegistriesConf)


def test_unknown_keys_are_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        conf("blockd = true\n[[registry]]\nlocation = 'a.b'\nsecure = false")
    assert "blockd" in caplog.text
    assert "registry[0].secure" in caplog.text


def test_files_are_found_where_the_others_find_them(tmp_path: Path) -> None:
    """The user's main file and its drop-ins, in the order of names; recorded aliases win over written ones."""
    own = tmp_path / ".config/containers"
    write(own / "registries.conf", "unqualified-search-registries=['a.example']\n[aliases]\nx='a.b/x'\ny='a.b/y'\n"
          "[[registry]]\nlocation='r.example'\nblocked=true")  # fmt: skip
    write(own / "registries.conf.d/20.conf", "unqualified-search-registries=['c.example']\n[aliases]\ny=''")
    write(own / "registries.conf.d/10.conf", "unqualified-search-registries=['b.c']\nshort-name-mode='enforcing'\n"
          "[[registry]]\nlocation='r.example'")  # fmt: skip
    write(own / "registries.conf.d/30.txt", "not read")
    write(own / "registries.conf.d/sub.conf/40.conf", "not read")
    write(tmp_path / "cache/containers/short-name-aliases.conf", "[aliases]\nx='recorded.example/x'")
    hosts = HostsConfig.from_environment({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert hosts.registries.search == ("c.example",)
    assert hosts.registries.mode == "enforcing"
    assert places(hosts, "r.example/x") == ["r.example/x"]
    assert str(hosts.resolve_short_name("y")[0]) == "c.example/y"
    if os.geteuid() != 0:
        assert str(hosts.resolve_short_name("x:1")[0]) == "recorded.example/x:1"
    chosen = write(tmp_path / "mine.conf", "unqualified-search-registries=['mine.example']")
    (own / "registries.conf.d/20.conf").unlink()
    (own / "registries.conf.d/10.conf").unlink()
    hosts = HostsConfig.from_environment({"HOME": str(tmp_path), "CONTAINERS_REGISTRIES_CONF": chosen})
    assert hosts.registries.search == ("mine.example",)
    with pytest.raises(HostsConfigError, match="CONTAINERS_REGISTRIES_CONF names it"):
        HostsConfig.from_environment({"HOME": str(tmp_path), "CONTAINERS_REGISTRIES_CONF": f"{chosen}.not"})


@pytest.mark.parametrize("kind", ["pipe", "directory", "large"])
def test_only_small_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.conf"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"#" * (512 * 1024 + 1))
    with pytest.raises(HostsConfigError, match=r"r\.conf"):
        HostsConfig.from_environment({"HOME": str(tmp_path), "CONTAINERS_REGISTRIES_CONF": str(path)})


# Short names

NAMES = "unqualified-search-registries = ['one.example', 'two.example:5000']\n"


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (NAMES, "app:1", ["one.example/app:1", "two.example:5000/app:1"]),
        (NAMES + "short-name-mode = 'disabled'", "team/app", ["one.example/team/app", "two.example:5000/team/app"]),
        (NAMES + "short-name-mode = 'enforcing'\n[aliases]\napp = 'docker.io/app'", "app:1" + DIGEST,
         ["docker.io/library/app:1" + DIGEST]),
        ("unqualified-search-registries = ['a.b']\nshort-name-mode = 'enforcing'", "app", ["a.b/app"]),
        (NAMES + "short-name-mode = 'enforcing'", "docker.io/app", ["docker.io/library/app"]),
        (NAMES + "short-name-mode = 'enforcing'", "localhost/app", ["localhost/app"]),
    ],
)  # fmt: skip
def test_short_names(text: str, name: str, expected: list[str]) -> None:
    assert [str(found) for found in conf(text).resolve_short_name(name)] == expected


def test_an_ambiguous_short_name_is_an_error_where_that_is_asked_for() -> None:
    with pytest.raises(ShortNameError, match="add an alias") as caught:
        conf(NAMES + "short-name-mode = 'enforcing'").resolve_short_name("app")
    assert caught.value.candidates == ("one.example/app", "two.example:5000/app")
    with pytest.raises(ShortNameError, match="no registry is searched"):
        conf("unqualified-search-registries = []").resolve_short_name("app")
    assert [str(found) for found in NO_HOSTS.resolve_short_name("alpine:3")] == ["docker.io/library/alpine:3"]
    for name in ["", "A", "a:b:c", "https://a/b", "a@b"]:
        with pytest.raises(InvalidReference):
            conf(NAMES).resolve_short_name(name)


# What the program says


def test_what_the_program_says_about_one_registry_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "r.example/ca.crt", "")
    mine = Tls(authorities=("/mine.pem",))
    hosts = HostsConfig(tls={"r.example": mine}, certs=(str(tmp_path),))
    assert hosts.pull_endpoints(Reference.parse("r.example/x"))[0].tls == mine
    assert HostsConfig(tls={"r.example:1": mine}, certs=(str(tmp_path),)).tls_of("r.example") != mine


def test_mirrors_of_the_program_come_first(tmp_path: Path) -> None:
    """Whatever the files say about the registry; a scheme is meant, and a path comes before the API's."""
    write(tmp_path / "docker.io/hosts.toml", '[host."https://file.example"]\n')
    mirrors = {
        "docker.io": (Url.parse("http://10.0.0.1:5000"), Url.parse("https://m.example/cache")),
        "quay.io": (Url.parse("http://10.0.0.1:5000"),),
    }
    hosts = HostsConfig(containerd=(str(tmp_path),), mirrors=FrozenDict(mirrors))
    found = hosts.pull_endpoints(Reference.parse("alpine"))
    assert [(each.scheme, each.registry, each.root, each.namespace) for each in found] == [
        ("http", "10.0.0.1:5000", "/v2", "docker.io"),
        ("https", "m.example", "/cache/v2", "docker.io"),
        ("https", "file.example", "/v2", "docker.io"),
        (None, "docker.io", "/v2", None),
    ]
    assert {each.repository for each in found} == {"library/alpine"}
    assert places(hosts, "quay.io/a/b") == ["10.0.0.1:5000/a/b", "quay.io/a/b"]
    assert hosts.push_endpoint(Reference.parse("quay.io/a/b")).registry == "quay.io"


def test_a_mirror_does_not_open_what_is_blocked() -> None:
    rules = _registries_files.parse("f", b'[[registry]]\nlocation = "bad.example"\nblocked = true\n')
    mirrors = FrozenDict({"bad.example": (Url.parse("http://10.0.0.1:5000"),)})
    with pytest.raises(RegistryBlocked):
        HostsConfig(registries=rules, mirrors=mirrors).pull_endpoints(Reference.parse("bad.example/a"))
