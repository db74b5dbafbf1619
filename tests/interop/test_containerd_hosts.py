"""``hosts.toml`` beside the program whose file it is: containerd fetches what we pull, from the same places."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from ociworks import testing
from ociworks.errors import OciworksError
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.hosts import ClientCertificate, HostsConfig, Tls
from ociworks.image.remote import ClientOptions
from tests.image.authority import Authority
from tests.interop import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ociworks.image.types import Image

pytestmark = pytest.mark.interop

DEAD: Final = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def containerd() -> Iterator[str]:
    """A daemon of our own; gives its socket."""
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    peers.peer("ctr")
    with peers.containerd() as socket:
        yield socket


@pytest.fixture
def image() -> Image:
    """One of its own for each test: containerd keeps content for ever, and asks for it once."""
    return testing.random_image(2, seed=secrets.randbelow(2**32))


class Sides:
    """Both clients with one directory of hosts, and what each of them asked of a registry."""

    def __init__(self, socket: str, folder: Path) -> None:
        self._socket = socket
        self.folder = folder
        self.said = ""

    def configure(self, text: str, name: str = "upstream.invalid") -> None:
        path = self.folder / name / "hosts.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def theirs(self, reference: str) -> bool:
        done = subprocess.run(
            ["ctr", "--address", self._socket, "--namespace", os.urandom(6).hex(), "content", "fetch",
             "--hosts-dir", str(self.folder), reference],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        self.said = done.stderr.decode()
        return done.returncode == 0

    def ours(self, reference: str) -> bool:
        hosts = HostsConfig(containerd=(str(self.folder),))
        options = ClientOptions(sleep=lambda _: None)
        try:
            with remote.Client(keychain=ANONYMOUS, hosts=hosts, options=options) as client:
                found = client.image(reference)
                for layer in found.layers:
                    with layer.open() as stream:
                        stream.read()
        except OciworksError:
            return False
        return True

    def asked(self, reference: str, *registries: testing.Registry) -> list[list[set[str]]]:
        """What each registry was asked for, by containerd and by us; without the fallback forms of the requests."""
        seen = []
        for side in (self.theirs, self.ours):
            before = [len(registry.requests) for registry in registries]
            assert side(reference), f"{side.__name__} found nothing: {self.said}"
            seen.append(
                [
                    {request.path.replace("/v2/", "", 1) for request in registry.requests[start:]}
                    for registry, start in zip(registries, before, strict=True)
                ]
            )
        return seen


@pytest.fixture
def sides(containerd: str, tmp_path: Path) -> Sides:
    return Sides(containerd, tmp_path / "hosts")


@pytest.fixture
def registry(image: Image) -> Iterator[testing.Registry]:
    with testing.Registry() as opened:
        fill(opened, image)
        yield opened


def fill(registry: testing.Registry, image: Image, hosts: HostsConfig | None = None) -> None:
    with remote.Client(keychain=ANONYMOUS, hosts=hosts) as client:
        client.push(image, f"{registry.host}/team/app:1")


def tagged(paths: set[str]) -> set[str]:
    return {path for path in paths if "manifests/1" in path}


def blobs(paths: set[str]) -> set[str]:
    return {path for path in paths if "blobs/" in path}


def test_a_mirror_and_what_it_is_told(sides: Sides, registry: testing.Registry) -> None:
    sides.configure(f'server = "{DEAD}"\n[host."{registry.url}"]\n')
    theirs, ours = sides.asked("upstream.invalid/team/app:1", registry)
    assert tagged(theirs[0]) == tagged(ours[0]) == {"team/app/manifests/1?ns=upstream.invalid"}
    assert blobs(theirs[0]) == blobs(ours[0])


def test_a_mirror_that_does_not_have_it(sides: Sides, registry: testing.Registry) -> None:
    with testing.Registry() as empty:
        sides.configure(f'server = "{registry.url}"\n[host."{DEAD}"]\n[host."{empty.url}"]\n')
        theirs, ours = sides.asked("upstream.invalid/team/app:1", empty, registry)
    assert tagged(theirs[0]) == tagged(ours[0]) != set()
    assert blobs(theirs[1]) == blobs(ours[1]) != set()


def test_who_may_not_resolve_is_only_asked_for_content(
    sides: Sides, registry: testing.Registry, image: Image
) -> None:
    with testing.Registry() as mirror:
        fill(mirror, image)
        sides.configure(f'server = "{registry.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull"]\n')
        theirs, ours = sides.asked("upstream.invalid/team/app:1", mirror, registry)
    for mirrored, itself in (theirs, ours):
        assert tagged(mirrored) == set()
        assert tagged(itself) != set()
        assert blobs(itself) == set()
    assert blobs(theirs[0]) == blobs(ours[0]) != set()


def test_only_the_server_when_it_is_the_mirror(sides: Sides, registry: testing.Registry) -> None:
    sides.configure(f'server = "{registry.url}"\n[host."{DEAD}"]\n', "_default")
    theirs, ours = sides.asked("upstream.invalid/team/app:1", registry)
    assert tagged(theirs[0]) == tagged(ours[0]) == {"team/app/manifests/1?ns=upstream.invalid"}


def test_paths_and_headers(sides: Sides, registry: testing.Registry) -> None:
    sides.configure(
        f'server = "{DEAD}"\n[host."{registry.url}/v2/team"]\noverride_path = true\n'
        f'[host."{registry.url}/v2/team".header]\nX-Test = ["one", "two"]\n'
    )
    theirs, ours = sides.asked("upstream.invalid/app:1", registry)
    assert tagged(theirs[0]) == tagged(ours[0]) == {"team/app/manifests/1?ns=upstream.invalid"}
    values = [
        [value for name, value in request.headers if name.lower() == "x-test"]
        for request in registry.requests
    ]
    assert values.count(["one", "two"]) == len([value for value in values if value])
    assert values[-1] == ["one", "two"]


@pytest.mark.parametrize("form", ["{host}_{port}_", "{host}:{port}"])
def test_the_directory_of_a_registry_with_a_port(
    sides: Sides, registry: testing.Registry, image: Image, form: str
) -> None:
    host, _, port = registry.host.rpartition(":")
    with testing.Registry() as mirror:
        fill(mirror, image)
        sides.configure(
            f'server = "{registry.url}"\n[host."{mirror.url}"]\n', form.format(host=host, port=port)
        )
        theirs, ours = sides.asked(f"{registry.host}/team/app:1", mirror, registry)
    assert [tagged(seen) for seen in theirs] == [tagged(seen) for seen in ours]
    assert tagged(ours[0]) == {f"team/app/manifests/1?ns={host}%3A{port}"}


@pytest.mark.parametrize(
    ("settings", "works"),
    [
        ('ca = "ca.crt"\nclient = [["client.cert", "client.key"]]\n', True),
        ('ca = ["ca.crt"]\nclient = "both.pem"\n', True),
        ('skip_verify = true\nclient = ["both.pem"]\n', True),
        ('ca = "ca.crt"\n', False),
        ('client = "both.pem"\n', False),
    ],
)
def test_certificates(sides: Sides, tmp_path: Path, image: Image, settings: str, works: bool) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue()
    folder = sides.folder / "upstream.invalid"
    folder.mkdir(parents=True)
    for file in (authority.certificate, certificate, key):
        shutil.copy(file, folder / file.name)
    (folder / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    options = testing.RegistryOptions(tls=authority.server("127.0.0.1", clients=True))
    with testing.Registry(options) as registry:
        shown = ClientCertificate(str(certificate), str(key))
        tls = Tls(authorities=(str(authority.certificate),), certificates=(shown,))
        fill(registry, image, HostsConfig(tls={registry.host: tls}))
        sides.configure(f'server = "{DEAD}"\n[host."{registry.url}"]\n{settings}')
        for side in (sides.theirs, sides.ours):
            assert side("upstream.invalid/team/app:1") == works, sides.said


@pytest.mark.parametrize("text", ["server = 1", '[host."http://a.b"]\ncapabilities = ["fetch"]', "x = ["])
def test_a_broken_file_stops_us_where_containerd_goes_on(
    sides: Sides, registry: testing.Registry, text: str
) -> None:
    """On purpose: it passes such a file over, and asks the registry itself without what was meant."""
    sides.configure(text, registry.host)
    assert sides.theirs(f"{registry.host}/team/app:1")
    assert not sides.ours(f"{registry.host}/team/app:1")
