"""Host configuration of containerd, ``hosts.toml``, as a value; and certificates."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import HostsConfigError
from ociworks.image.auth import Secret
from ociworks.image.hosts import ClientCertificate, Endpoint, HostsConfig, Tls, _registries_files, hosts_toml
from ociworks.image.reference import Reference
from tests.image.hosts import places, write

if TYPE_CHECKING:
    from pathlib import Path


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
