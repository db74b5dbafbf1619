"""Documents that umoci and skopeo write are read, follow the rules, and are written back as equal values."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.spec import Document, image
from ociworks.spec.image import mediatypes, read_manifest
from ociworks.spec.validate.image import pair

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not (shutil.which("umoci") and shutil.which("skopeo")), reason="needs umoci and skopeo"
    ),
]


def run(*argv: str) -> None:
    """Run a peer; its output is shown when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout by umoci: an image without layers, and one with a layer and every option of its configuration."""
    at = tmp_path_factory.mktemp("peers")
    (at / "file").write_text("hello")
    store = at / "layout"
    run("umoci", "init", "--layout", str(store))
    run("umoci", "new", "--image", f"{store}:empty")
    run("umoci", "new", "--image", f"{store}:full")
    run("umoci", "insert", "--image", f"{store}:full", str(at / "file"), "/file")
    options = {
        "config.user": "1000:1000",
        "config.exposedports": "80/tcp",
        "config.env": "A=b",
        "config.entrypoint": "/file",
        "config.cmd": "x",
        "config.volume": "/v",
        "config.label": "k=v",
        "config.stopsignal": "SIGTERM",
        "config.workingdir": "/",
        "author": "somebody",
        "architecture": "arm64",
        "manifest.annotation": "m=n",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    run("umoci", "config", "--image", f"{store}:full", *flags)
    return store


def check(kind: type[spec.Model], raw: bytes) -> None:
    """Read, judge, write back: the same value, and the same JSON."""
    document = Document.load(kind, raw)
    assert spec.validate(document.value) == []
    assert spec.parse(kind, spec.to_json(document.value)) == document.value
    assert json.loads(spec.to_json(document.value)) == json.loads(raw)


def blob(store: Path, descriptor: image.Descriptor) -> bytes:
    """A blob of a layout, verified."""
    content = (store / "blobs" / descriptor.digest.algorithm / descriptor.digest.encoded).read_bytes()
    descriptor.verify(content)
    return content


def images(store: Path) -> Iterator[tuple[image.Manifest, image.ImageConfiguration]]:
    """Every image of a layout, with all of its documents checked on the way."""
    check(image.Layout, (store / "oci-layout").read_bytes())
    raw = (store / "index.json").read_bytes()
    check(image.Index, raw)
    for entry in spec.parse(image.Index, raw).manifests:
        content = blob(store, entry)
        check(image.Manifest, content)
        found = read_manifest(content, descriptor=entry).value
        assert isinstance(found, image.Manifest)
        config = blob(store, found.config)
        check(image.ImageConfiguration, config)
        for layer in found.layers:
            blob(store, layer)
        yield found, spec.parse(image.ImageConfiguration, config)


def test_umoci(layout: Path) -> None:
    """Layout, index, manifests and configurations."""
    (_, empty), (manifest, full) = sorted(images(layout), key=lambda found: len(found[0].layers))
    assert empty.rootfs.diff_ids == ()
    assert pair(manifest, full) == []
    assert full.config is not None
    assert full.config.env == ("A=b",)
    assert full.config.volumes == ("/v",)
    assert full.config.exposed_ports == ("80/tcp",)
    assert len(full.history) == len([step for step in full.history if step.empty_layer]) + 1


def test_skopeo_docker_schema_2(layout: Path, tmp_path: Path) -> None:
    """A manifest of Docker, read by the type that it names."""
    run("skopeo", "copy", "--format", "v2s2", f"oci:{layout}:full", f"dir:{tmp_path / 'dir'}")
    raw = (tmp_path / "dir" / "manifest.json").read_bytes()
    check(image.Manifest, raw)
    found = read_manifest(raw, content_type=mediatypes.DOCKER_MANIFEST)
    assert isinstance(found.value, image.Manifest)
    config = (tmp_path / "dir" / found.value.config.digest.encoded).read_bytes()
    found.value.config.verify(config)
    check(image.ImageConfiguration, config)
    assert pair(found.value, spec.parse(image.ImageConfiguration, config)) == []


def test_skopeo_docker_archive(layout: Path, tmp_path: Path) -> None:
    """The configuration that a docker-archive holds, and the blobs that skopeo makes of it again."""
    archive = tmp_path / "image.tar"
    run("skopeo", "copy", f"oci:{layout}:full", f"docker-archive:{archive}:x/y:z")
    with tarfile.open(archive) as tar:
        listed = tar.extractfile("manifest.json")
        assert listed is not None
        (entry,) = json.load(listed)
        config = tar.extractfile(entry["Config"])
        assert isinstance(config, io.BufferedReader)
        check(image.ImageConfiguration, config.read())
    again = tmp_path / "again"
    run("skopeo", "copy", f"docker-archive:{archive}", f"oci:{again}:again")
    ((manifest, configuration),) = images(again)
    assert pair(manifest, configuration) == []


def test_skopeo_inspects_what_is_written(layout: Path, tmp_path: Path) -> None:
    """The other way round: a layout whose documents ociworks wrote is read by skopeo."""
    store = tmp_path / "ours"
    shutil.copytree(layout, store)
    manifest, configuration = max(images(layout), key=lambda found: len(found[0].layers))
    config_raw = spec.to_json(configuration, indent=2)
    described = image.Descriptor.of(config_raw, manifest.config.media_type)
    ours = image.Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        config=described,
        layers=manifest.layers,
        annotations=spec.FrozenDict({"org.example.ours": "yes"}),
    )
    ours_raw = spec.to_json(ours)
    entry = image.Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=spec.Digest.of(ours_raw),
        size=len(ours_raw),
        platform=configuration.platform,
        annotations=spec.FrozenDict({image.annotations.REF_NAME: "ours"}),
    )
    for content, descriptor in ((config_raw, described), (ours_raw, entry)):
        (store / "blobs" / "sha256" / descriptor.digest.encoded).write_bytes(content)
    (store / "index.json").write_bytes(spec.to_json(image.Index(manifests=(entry,))))
    assert len(list(images(store))) == 1
    shown = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci:{store}:ours"], capture_output=True, check=True
    ).stdout
    assert json.loads(shown)["config"] == json.loads(config_raw)["config"]
    run("skopeo", "copy", f"oci:{store}:ours", f"dir:{tmp_path / 'copied'}")
