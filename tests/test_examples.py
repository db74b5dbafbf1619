"""The examples do what they say, against registries in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import minimal, mirror, rebase_all
from ociworks import api
from ociworks.image import Image, Layer, artifact, mutate, remote, sign
from ociworks.testing import Registry, image_from_files
from tests.source_tree import CHECKOUT


@pytest.fixture
def client() -> Iterator[remote.Client]:
    with remote.Client() as made:
        yield made


def base(version: str, architecture: str) -> Image:
    return image_from_files({"etc/version": version.encode()}, platform=f"linux/{architecture}")


def app(below: Image) -> Image:
    return mutate.append(below, Layer.from_files({"app": b"app"}))


def test_every_example_is_in_the_list() -> None:
    """What lies here is described, or is used by what is."""
    listed = (CHECKOUT / "examples/README.md").read_text("utf-8")
    found = {path.name for path in (CHECKOUT / "examples").iterdir() if path.suffix in {".py", ".ipynb"}}
    assert {name for name in found if name not in listed} == {"programs.py"}


def test_mirror(client: remote.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Tags, platforms, signatures and SBOMs arrive; the second time nothing but questions is asked."""
    with Registry() as here, Registry() as there:
        index = mutate.index(base("1", each) for each in ("amd64", "arm64"))
        client.push(index, f"{here.host}/app:1")
        client.push(index, f"{here.host}/app:2")
        key = sign.PrivateKey.generate()
        sign.sign(client, f"{here.host}/app:1", key)
        note = artifact.artifact("text/x-note", subject=index.descriptor)
        client.push(note, f"{here.host}/app@{note.digest}")

        mirror.main(f"{here.host}/app", f"{there.host}/copy")
        assert capsys.readouterr().out == "".join(f"{tag}: copied, with 2 referrers\n" for tag in "12")
        assert client.index(f"{there.host}/copy:2").digest == index.digest
        options = sign.VerifyOptions(identity=sign.ExactRepository(f"{here.host}/app"))
        sign.verify(client, f"{there.host}/copy:1", key.public, options=options).raise_if_failed()

        before = len(there.requests)
        assert dict(mirror.mirror(f"{here.host}/app", f"{there.host}/copy", client)) == {"1": 2, "2": 2}
        assert not [seen for seen in there.requests[before:] if seen.method in {"POST", "PATCH"}]


def test_rebase_all(client: remote.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Indexes and images are lifted, what sits on something else is left alone, and no layer travels."""
    with Registry() as registry:
        name = f"{registry.host}/app"
        for version in "12":
            both = mutate.index(base(version, each) for each in ("amd64", "arm64"))
            client.push(both, f"{registry.host}/base:{version}")
        client.push(mutate.index(app(base("1", each)) for each in ("amd64", "arm64")), f"{name}:index")
        client.push(app(base("1", "arm64")), f"{name}:image")
        client.push(app(base("0", "arm64")), f"{name}:other")

        before = len(registry.requests)
        rebase_all.main(name, f"{registry.host}/base:1", f"{registry.host}/base:2", "-new")
        asked = registry.requests[before:]
        assert sorted(capsys.readouterr().out.split()) == [f"{name}:image-new", f"{name}:index-new"]

        found = [client.image(f"{name}:{tag}", "linux/arm64") for tag in ("image-new", "index-new")]
        layers = {str(layer.digest) for img in found for layer in img.layers}
        assert not [seen for seen in asked if seen.method == "GET" and seen.path.rpartition("/")[2] in layers]
        tree = found[1].files()
        assert (tree.read_text("/etc/version"), tree.read_text("/app")) == ("2", "app")


def test_minimal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same program, the same digest; and it is what runs."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    minimal.main(str(program), f"oci:{tmp_path}/a:1", f"oci-archive:{tmp_path}/b.tar:1")
    first, second = (line.split()[0] for line in capsys.readouterr().out.splitlines())
    assert first == second
    with api.opened(f"oci:{tmp_path}/a:1") as image:
        assert image.config.config is not None
        assert image.config.config.entrypoint == ("/app",)
        assert image.files().entry("/app").mode == 0o755
