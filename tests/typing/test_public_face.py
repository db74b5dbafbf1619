"""What the public names are to a type checker. ``assert_type`` is checked by mypy; running this proves the imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, assert_type

if TYPE_CHECKING:
    import ociworks
    from ociworks import errors, spec
    from ociworks.api import prepare
    from ociworks.image import (
        File,
        Image,
        ImageIndex,
        Layer,
        Reference,
        archive,
        diff,
        layout,
        mutate,
        progress,
        remote,
        repack,
        sign,
        unpack,
        validate,
    )
    from ociworks.image.copy import Copied
    from ociworks.image.tar import TarEntry
    from ociworks.runtime import CompletedContainer, Container, Runtime
    from ociworks.spec.image import Manifest
    from ociworks.spec.runtime import Spec

    def porcelain() -> None:
        img = ociworks.pull("registry.example/app:1.4", platform="linux/amd64")
        assert_type(img, Image)
        assert_type(ociworks.verify(img), None)
        assert_type(ociworks.push(img, "registry.example/app:1.5"), Reference)
        done = ociworks.run(
            img, ["id"], capture_output=True, timeout=1.5, options=ociworks.RunOptions(memory=1 << 26)
        )
        assert_type(done, CompletedContainer)
        assert_type(done.stdout, bytes)
        assert_type(done.returncode, int)
        assert_type(ociworks.__version__, str)
        copied = ociworks.copy(
            "oci:dir:tag", "registry.example/app:1", platforms=ociworks.ALL, referrers=True
        )
        assert_type(copied, Copied)
        assert_type(copied.digest, spec.Digest)
        ociworks.copy(img, "docker-archive:app.tar:app:1", platforms=["linux/amd64", "linux/arm64"])

    def wrong() -> None:
        # Each of these must be an error: mypy reports an ignore that it does not need.
        ociworks.pull(7)  # type: ignore[arg-type]
        ociworks.copy("a", 7)  # type: ignore[arg-type]
        ociworks.copy("a", "b", platforms=7)  # type: ignore[arg-type]
        ociworks.run("x", "uname -a", timeout="1")  # type: ignore[arg-type]
        ociworks.RunOptions(memory="64m")  # type: ignore[arg-type]
        ociworks.RunOptions(memorx=1)  # type: ignore[call-arg]
        ociworks.no_such_name()  # type: ignore[attr-defined]

    def documents(raw: bytes) -> None:
        manifest = spec.parse(spec.image.Manifest, raw)
        assert_type(manifest, Manifest)
        assert_type(spec.to_json(manifest), bytes)
        assert_type(spec.validate(manifest), list[errors.Problem])
        assert_type(spec.Digest.parse("sha256:0"), spec.Digest)
        assert_type(spec.Bundle.load("b").spec, Spec)
        assert_type(spec.Document(raw, manifest).value, Manifest)

    def images(img: Image) -> None:
        assert_type(img.layers, tuple[Layer, ...])
        assert_type(img.digest, spec.Digest)
        with layout.open("store", create=True) as store:
            assert_type(store.put(img, tag="app:1.4"), Image)
            assert_type(store.gc().freed, int)
            with store.lease() as lease:
                lease.hold(img)
        with archive.open("app.tar") as images:
            assert_type(images.image("app:1.4"), Image)
        assert_type(unpack(img, "bundle"), spec.Bundle)
        assert_type(img.files().read_text("/etc/os-release"), str)
        assert_type(img.files().open("/etc/os-release"), BinaryIO)

    def making_layers(img: Image, bundle: spec.Bundle) -> None:
        assert_type(Layer.from_directory("site", at="/srv/www", owner=(0, 0)), Layer)
        assert_type(Layer.from_files({"/etc/motd": b"hi", "bin/sh": File(link="busybox")}), Layer)
        assert_type(Layer.from_tar("layer.tar.gz"), Layer)
        assert_type(Layer.from_overlay_upper("upper", compression="zstd"), Layer)
        assert_type(repack(img, bundle), Layer)
        assert_type(list(img.layers[0].entries()), list[TarEntry])
        Layer.from_directory("site", compression="xz")  # type: ignore[arg-type]
        Layer.from_files({"a": "text"})  # type: ignore[dict-item]

    def changes(img: Image, idx: ImageIndex, layer: Layer) -> None:
        changed = mutate.config(mutate.append(img, layer), mutate.Changes(env={"A": "b", "C": None}))
        assert_type(changed, Image)
        assert_type(mutate.annotate(img, {"a": "b"}), Image)
        assert_type(mutate.annotate(idx, {"a": None}), ImageIndex)
        assert_type(mutate.rebase(img, old_base=img, new_base=img), Image)
        assert_type(mutate.time(mutate.squash(mutate.flatten(img), last=2), 0, clamp=True), Image)
        assert_type(mutate.platforms(mutate.index([img, idx]), ["linux/arm64"]), ImageIndex)
        assert_type(mutate.media_types(idx, "docker"), ImageIndex)
        validate.image(img, fast=True).raise_if_failed()
        assert_type(validate.index(idx).problems, tuple[errors.Problem, ...])
        assert_type(diff.images(img, changed).files, tuple[diff.FileChange, ...] | None)
        with progress.bars() as show:
            ociworks.pull("app:1", progress=show)

    def signatures(registry: remote.Client, img: Image) -> None:
        key = sign.PrivateKey.from_pem("cosign.key", password="secret")
        assert_type(sign.sign(registry, "app:1", key), spec.Digest)
        found = sign.verify(registry, "app:1", sign.PublicKey.from_pem("cosign.pub"))
        assert_type(found, sign.Verification)
        assert_type(found.raise_if_failed().valid[0].key, sign.PublicKey)
        assert_type(found.select("linux/arm64"), Image)
        decision = sign.Policy.load().check(registry, "app:1", img)
        assert_type(decision.raise_if_failed(), sign.Decision)
        ociworks.pull("app:1", policy=sign.Policy.load())

    def containers(img: Image, bundle: spec.Bundle) -> None:
        with Runtime() as runtime, runtime.create("id", bundle) as container:
            assert_type(container, Container)
            container.start()
            assert_type(container.wait(1.0), int)
            assert_type(container.exec(["ps"]), CompletedContainer)
        with prepare(img, ["id"]) as (prepared_runtime, prepared):
            assert_type(prepared_runtime, Runtime)
            assert_type(prepared, spec.Bundle)


def test_names_exist_when_run() -> None:
    """The names that a type checker sees through lazy packages are there when the program runs."""
    import ociworks
    from ociworks import image, runtime, spec

    for package in (ociworks, image, runtime, spec):
        for name in package.__all__:
            assert getattr(package, name) is not None
