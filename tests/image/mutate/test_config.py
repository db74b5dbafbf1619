"""The configuration: whole, in part, and nothing that nobody asked for."""

from __future__ import annotations

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.errors import ImageConfigError, InvalidSpec, SpecError
from ociworks.image import mutate, validate
from ociworks.image.mutate import Changes
from ociworks.image.types import Image
from ociworks.spec import Digest, FrozenDict, Platform
from ociworks.spec.image import Config, Healthcheck, History, RootFS
from tests.image.mutate.images import with_config

GIVEN = Config(
    env=("PATH=/bin", "LANG=C", "A=1=2"),
    entrypoint=("/app",),
    cmd=("--serve",),
    labels={"team": "core", "tier": "1"},
    user="1000:1000",
    extra=FrozenDict({"OnBuild": ("RUN true",)}),
)


def image() -> Image:
    return testing.image_from_files({"app": b"#!"}, config=GIVEN)


def changed(changes: Changes) -> Config:
    img = mutate.config(image(), changes)
    validate.image(img).raise_if_failed()
    assert img.config.config is not None
    return img.config.config


def test_run_parameters_as_a_whole() -> None:
    img = mutate.config(image(), Config(cmd=("true",)))
    assert img.config.config == Config(cmd=("true",))
    assert img.layers == image().layers
    validate.image(img).raise_if_failed()


def test_everything_as_a_whole() -> None:
    img = image()
    wanted = evolve(img.config, author="me", created="2026-01-01T00:00:00Z")
    assert mutate.config(img, wanted).config == wanted


def test_the_diff_ids_are_those_of_the_layers() -> None:
    other = evolve(image().config, rootfs=RootFS(diff_ids=(Digest.of(b"other"),)))
    with pytest.raises(ImageConfigError, match="diff IDs"):
        mutate.config(image(), other)


def test_no_change_keeps_every_byte() -> None:
    img = image()
    assert mutate.config(img, Changes()) is img
    assert mutate.config(img, GIVEN) is img
    bare = with_config(testing.random_image(), lambda config: evolve(config, config=None))
    assert mutate.config(bare, Changes()) is bare


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (Changes(cmd=["x"]), {"cmd": ("x",)}),
        (Changes(cmd=()), {"cmd": ()}),
        (Changes(entrypoint=["/other"]), {"entrypoint": ("/other",), "cmd": ()}),
        (Changes(entrypoint=["/o"], cmd=["y"]), {"entrypoint": ("/o",), "cmd": ("y",)}),
        (Changes(env={"LANG": "de", "NEW": ""}), {"env": ("PATH=/bin", "LANG=de", "A=1=2", "NEW=")}),
        (Changes(env={"A": None, "NOPE": None}), {"env": ("PATH=/bin", "LANG=C")}),
        (Changes(labels={"tier": None, "x": "y"}), {"labels": {"team": "core", "x": "y"}}),
        (Changes(user="root"), {"user": "root"}),
        (Changes(user=""), {"user": None}),
        (Changes(working_dir="/srv"), {"working_dir": "/srv"}),
        (Changes(exposed_ports=["80/tcp", "53/udp"]), {"exposed_ports": ("80/tcp", "53/udp")}),
        (Changes(volumes=["/data"]), {"volumes": ("/data",)}),
        (Changes(stop_signal="SIGINT"), {"stop_signal": "SIGINT"}),
        (Changes(healthcheck=Healthcheck(test=("NONE",))), {"healthcheck": Healthcheck(test=("NONE",))}),
    ],
)
def test_single_fields(changes: Changes, expected: dict[str, object]) -> None:
    """What is named changes, everything else (members that no specification names too) is as before."""
    assert changed(changes) == evolve(GIVEN, **expected)  # type: ignore[arg-type]


def test_fields_beside_the_run_parameters() -> None:
    img = mutate.config(
        image(), Changes(author="me", created="2026-01-01T00:00:00Z", platform="linux/arm64/v8")
    )
    assert (img.config.author, img.config.created) == ("me", "2026-01-01T00:00:00Z")
    assert img.config.platform == Platform.parse("linux/arm64/v8")
    assert img.descriptor.platform == Platform.parse("linux/arm64/v8")


def test_a_step_can_be_written_down() -> None:
    img = mutate.config(image(), Changes(user="7", history=History(created_by="USER 7")))
    assert img.config.history[-1] == History(created_by="USER 7", empty_layer=True)
    validate.image(img).raise_if_failed()


@pytest.mark.parametrize(
    "changes",
    [
        Changes(user="a:b:c"),
        Changes(user="99999999999"),
        Changes(user="x\ny"),
        Changes(working_dir="srv"),
        Changes(exposed_ports=["http"]),
        Changes(volumes=["data"]),
        Changes(stop_signal="SIGNOPE"),
        Changes(created="yesterday"),
        Changes(env={"A": "x\0y"}),
        Changes(labels={"": "x"}),
        Changes(labels={"x": 7}),  # type: ignore[dict-item]
        Changes(cmd=[7]),  # type: ignore[list-item]
    ],
    ids=repr,
)
def test_what_the_specification_forbids_is_refused(changes: Changes) -> None:
    with pytest.raises(InvalidSpec, match="the new configuration"):
        mutate.config(image(), changes)


@pytest.mark.parametrize("changes", [Changes(env={"": "x"}), Changes(env={"A=B": "x"}), Changes(cmd="ls -l")])
def test_what_cannot_have_been_meant_is_refused(changes: Changes) -> None:
    with pytest.raises(SpecError):
        mutate.config(image(), changes)


def test_old_problems_are_not_the_callers() -> None:
    """An image with a relative working directory can still get a label."""
    odd = with_config(testing.random_image(), lambda config: evolve(config, config=Config(working_dir="srv")))
    img = mutate.config(odd, Changes(labels={"a": "b"}))
    assert img.config.config is not None
    assert img.config.config.working_dir == "srv"


def test_the_descriptor_of_the_configuration_follows() -> None:
    """Embedded data and addresses would otherwise be those of the old bytes."""
    from ociworks.image import partial
    from ociworks.spec import to_json
    from tests.image.mutate.images import LayerBlobs

    base = image()
    embedded = evolve(base.manifest.config, data=base.raw_config, urls=("https://host.example/config",))
    odd = partial.image(to_json(evolve(base.manifest, config=embedded)), base.raw_config, LayerBlobs(base))
    img = mutate.config(odd, Changes(user="7"))
    assert img.manifest.config.data == img.raw_config
    assert img.manifest.config.urls == ()
    validate.image(img).raise_if_failed()
