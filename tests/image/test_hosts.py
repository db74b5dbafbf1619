"""Host configuration as a value: what files say, which place is asked first, what a short name means."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import (
    HostsConfigError,
    InvalidReference,
    NotSupported,
    RegistryBlocked,
    ShortNameError,
    SpecError,
)
from ociworks.image.auth import Basic, Secret
from ociworks.image.hosts import (
    NO_HOSTS,
    Bypass,
    ClientCertificate,
    Endpoint,
    HostsConfig,
    Proxies,
    Proxy,
    RegistriesConf,
    Tls,
    _registries_files,
    hosts_toml,
)
from ociworks.image.origin import Origin, Url
from ociworks.image.reference import Reference
from ociworks.spec import FrozenDict

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "@sha256:" + "a" * 64


def conf(text: str) -> HostsConfig:
    return HostsConfig(registries=_registries_files.parse("registries.conf", text.encode()))


def places(hosts: HostsConfig, name: str) -> list[str]:
    return [f"{each.registry}/{each.repository}" for each in hosts.pull_endpoints(Reference.parse(name))]


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


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


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


# hosts.toml

HOSTS = """
server = "https://registry-1.docker.io"
[host."https://public-mirror.example/prefix"]
  capabilities = ["pull"]
[host."http://internal.example:5000"]
  capabilities = ["pull", "resolve"]
  ca = "ca.pem"
  client = [["c.cert", "/abs/c.key"], ["both.pem", ""]]
  skip_verify = true
  dial_timeout = "1500ms"
  override_path = true
  [host."http://internal.example:5000".header]
    X-Custom = ["a", "b"]
    authorization = "Bearer hunter2"
[host."https://push-only.example"]
  capabilities = ["push"]
"""


def hub(tmp_path: Path, text: str, folder: str = "docker.io") -> HostsConfig:
    write(tmp_path / folder / "hosts.toml", text)
    return HostsConfig(containerd=(str(tmp_path / "none"), str(tmp_path)))


def test_hosts_of_containerd(tmp_path: Path) -> None:
    hosts = hub(tmp_path, HOSTS)
    public, internal, upstream = hosts.pull_endpoints(Reference.parse("alpine"))
    folder = str(tmp_path / "docker.io")
    assert public == Endpoint(
        registry="public-mirror.example", repository="library/alpine", scheme="https", root="/prefix/v2",
        namespace="docker.io", resolves=False,
    )  # fmt: skip
    assert internal.registry == "internal.example:5000"
    assert internal.root == ""
    assert internal.tls == Tls(
        authorities=(f"{folder}/ca.pem",),
        certificates=(ClientCertificate(f"{folder}/c.cert", "/abs/c.key"),
                      ClientCertificate(f"{folder}/both.pem", f"{folder}/both.pem")),
        verify=False,
    )  # fmt: skip
    assert internal.headers == (
        ("X-Custom", Secret("a")),
        ("X-Custom", Secret("b")),
        ("authorization", Secret("Bearer hunter2")),
    )
    assert "hunter2" not in repr(internal)
    assert internal.connect_timeout == 1.5
    assert (upstream.registry, upstream.namespace, upstream.scheme) == ("docker.io", None, "https")
    assert hosts.push_endpoint(Reference.parse("alpine")) == upstream
    assert hosts.pull_endpoints(Reference.parse("other.example/x"))[0].registry == "other.example"


@pytest.mark.parametrize("folder", ["r.example_5000_", "r.example:5000", "_default"])
def test_the_directories_of_a_registry_with_a_port(tmp_path: Path, folder: str) -> None:
    hosts = hub(tmp_path, '[host."https://m.example"]', folder)
    assert places(hosts, "r.example:5000/x") == ["m.example/x", "r.example:5000/x"]
    assert places(hosts, "r.example/x")[0] == ("m.example/x" if folder == "_default" else "r.example/x")


def test_a_directory_with_certificates_only(tmp_path: Path) -> None:
    write(tmp_path / "r.example/ca.crt", "")
    hosts = HostsConfig(containerd=(str(tmp_path),))
    (endpoint,) = hosts.pull_endpoints(Reference.parse("r.example/x"))
    assert endpoint.tls.authorities == (str(tmp_path / "r.example/ca.crt"),)


def test_a_rule_of_registries_conf_comes_before_hosts_toml(tmp_path: Path) -> None:
    """One family decides about a registry; they are never mixed."""
    both = HostsConfig(
        registries=_registries_files.parse(
            "r", b"[[registry]]\nlocation='docker.io'\n[[registry.mirror]]\nlocation='m.local'"
        ),
        containerd=hub(tmp_path, HOSTS).containerd,
    )
    assert places(both, "alpine") == ["m.local/library/alpine", "docker.io/library/alpine"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("server = 1", "server: expected a string"),
        ("server = 'ftp://a.b'", "server: expected http or https"),
        ("server = 'https://u:p@a.b'", "server: expected a URL without user"),
        ("server = 'https://a.b?x=y'", "server: expected a URL without a query"),
        ("[host.'https://a.b']\ncapabilities=['fetch']", r"host\.https://a\.b\.capabilities: expected some of"),
        ("[host.'https://a.b']\nca=1", r"ca: expected an array"),
        ("[host.'https://a.b']\nclient=[[]]", r"client: expected a path"),
        ("[host.'https://a.b']\nclient=[1]", r"client: expected a path"),
        ("[host.'https://a.b']\nclient=['']", r"client: expected the path"),
        ("[host.'https://a.b']\nskip_verify='no'", r"skip_verify: expected true or false"),
        ("[host.'https://a.b']\ndial_timeout='soon'", r"dial_timeout: expected a duration"),
        ("[header]\n'X\\nY'='a'", "expected"),
        ('[header]\n"X\\nY"="a"', "expected a header"),
        ('[header]\nX="a\\r\\nY: b"', "expected a value of visible ASCII"),
        ("[header]\nhost='a'", "about framing"),
        ("[header]\nX=1", "expected an array"),
        ("host = 'x'", "host: expected a table"),
        ("[host]\n'https://a.b' = 1", "expected a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_hosts_toml_is_named(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(HostsConfigError, match=rf"hosts\.toml.*{where}"):
        hub(tmp_path, text).pull_endpoints(Reference.parse("alpine"))


def test_verification_is_never_switched_off_for_all(tmp_path: Path) -> None:
    for text in ["skip_verify = true", "[host.'https://m.example']\nskip_verify = true"]:
        with pytest.raises(HostsConfigError, match="_default would switch it off for all"):
            hub(tmp_path, text, "_default").pull_endpoints(Reference.parse("alpine"))


@given(st.text(max_size=120) | st.text(alphabet="[]hostserv\n=\"'.:/client_ca", max_size=200))
def test_any_hosts_toml_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "hosts.toml")
        with open(path, "xb") as file:
            file.write(text.encode("utf-8", "surrogatepass"))
        try:
            assert hosts_toml.read(folder).hosts
        except HostsConfigError as error:
            named = error.file
        else:
            named = path
        assert named == path


# certs.d


def test_what_the_program_says_about_one_registry_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "r.example/ca.crt", "")
    mine = Tls(authorities=("/mine.pem",))
    hosts = HostsConfig(tls={"r.example": mine}, certs=(str(tmp_path),))
    assert hosts.pull_endpoints(Reference.parse("r.example/x"))[0].tls == mine
    assert HostsConfig(tls={"r.example:1": mine}, certs=(str(tmp_path),)).tls_of("r.example") != mine


def test_certificates_of_the_first_directory_that_has_some(tmp_path: Path) -> None:
    for name in ["ca.crt", "other.crt", "client.cert", "client.key", "readme"]:
        write(tmp_path / "one/r.example:5000" / name, "")
    write(tmp_path / "two/r.example:5000/ca.crt", "")
    write(tmp_path / "two/r.example/ca.crt", "")
    hosts = HostsConfig(certs=(str(tmp_path / "one"), str(tmp_path / "two")))
    folder = str(tmp_path / "one/r.example:5000")
    assert hosts.tls_of("r.example:5000") == Tls(
        authorities=(f"{folder}/ca.crt", f"{folder}/other.crt"),
        certificates=(ClientCertificate(f"{folder}/client.cert", f"{folder}/client.key"),),
    )
    assert hosts.tls_of("r.example").authorities == (str(tmp_path / "two/r.example/ca.crt"),)
    assert not hosts.tls_of("r.example:5001").configured


@pytest.mark.parametrize(("there", "missing"), [("client.cert", r"client\.key"), ("a.key", r"a\.cert")])
def test_half_a_pair_is_an_error(tmp_path: Path, there: str, missing: str) -> None:
    write(tmp_path / "r.example" / there, "")
    with pytest.raises(HostsConfigError, match=missing):
        HostsConfig(certs=(str(tmp_path),)).pull_endpoints(Reference.parse("r.example/x"))


# Proxies


@pytest.mark.parametrize(
    ("text", "url", "credential"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128/", None),
        ("proxy.example:3128/", "http://proxy.example:3128/", None),
        ("HTTP://[fd00::1]:8080", "http://[fd00::1]:8080/", None),
        ("http://me:p%40ss@proxy.example", "http://proxy.example/", Basic("me", Secret("p@ss"))),
    ],
)
def test_proxies_are_read(text: str, url: str, credential: Basic | None) -> None:
    assert Proxy.parse(text) == Proxy(Url.parse(url).origin, credential)


def test_proxies_of_other_kinds_are_refused_without_showing_the_password() -> None:
    for text in ["socks5://p.example:1", "https://p.example"]:
        with pytest.raises(NotSupported, match="in http"):
            Proxy.parse(text)
    for value in [
        "http://me:hunter2@p.example:99999",
        "http://me:hunter2@",
        "https://me:hunter2@x",
        "http://a.b/path",
    ]:
        found = Proxies.from_environment({"https_proxy": value, "no_proxy": "without.example"})
        # Only who would need it hears of it.
        assert found.of(Origin("https", "without.example", 443)) is None
        assert found.of(Origin("https", "localhost", 443)) is None
        assert found.of(Origin("http", "r.example", 80)) is None
        with pytest.raises(HostsConfigError, match="HTTPS_PROXY") as caught:
            found.of(Origin("https", "r.example", 443))
        assert "hunter2" not in str(caught.value) + repr(found)


ENVIRONMENT = {
    "HTTP_PROXY": "http://plain.example:1",
    "https_proxy": "http://secure.example:2",
    "NO_PROXY": "example.com, .sub.example,*.star.example 10.0.0.0/8,192.0.2.1,[fd00::1],port.example:8443,!!",
}


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://registry.example", "secure.example:2"), ("http://registry.example", "plain.example:1"),
        ("https://example.com", None), ("https://a.example.com", None), ("https://notexample.com", "secure.example:2"),
        ("https://sub.example", "secure.example:2"), ("https://a.sub.example", None), ("https://b.star.example", None),
        ("https://10.1.2.3:5000", None), ("https://11.1.2.3", "secure.example:2"), ("https://192.0.2.1", None),
        ("https://[fd00::1]", None), ("https://[fd00::2]", "secure.example:2"), ("https://port.example:8443", None),
        ("https://port.example", "secure.example:2"), ("https://localhost:5000", None), ("http://127.0.0.1:5000", None),
    ],
)  # fmt: skip
def test_no_proxy(origin: str, expected: str | None) -> None:
    found = Proxies.from_environment(ENVIRONMENT).of(Url.parse(origin).origin)
    assert (found and found.origin.authority) == expected


def test_everything_can_be_excepted_and_a_request_cannot_choose_the_proxy() -> None:
    origin = Origin("http", "r.example", 80)
    assert Proxies.from_environment({**ENVIRONMENT, "NO_PROXY": "*"}).of(origin) is None
    assert Proxies.from_environment({**ENVIRONMENT, "REQUEST_METHOD": "GET"}).of(origin) is None
    assert Proxies.from_environment({}) == Proxies()


@given(st.text(max_size=40) | st.text(alphabet="abc.:*[]/0123", max_size=30))
def test_any_exception_is_read_or_refused(text: str) -> None:
    try:
        found = Bypass.parse(text)
    except SpecError:
        return
    found.covers(Origin("https", "abc.example", 443))


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
