"""Rebase: the base changes, what was built on it stays; a wrong base is refused."""

from __future__ import annotations

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.errors import NotBasedOn
from ociworks.image import mutate, validate
from ociworks.image.mutate import Changes
from ociworks.image.types import Image
from ociworks.spec.image import Config, History, mediatypes
from ociworks.spec.image.annotations import BASE_DIGEST, BASE_NAME
from tests.image.mutate.images import docker, with_config


def base(version: int, *, layers: int = 2, platform: str = "linux/amd64") -> Image:
    img = testing.image_from_layers(
        [{f"base{version}-{number}": b"x"} for number in range(layers)],
        config=Config(
            env=("PATH=/bin", f"VERSION={version}"), cmd=(f"sh{version}",), labels={"v": str(version)}
        ),
        platform=platform,
    )
    return mutate.config(img, Changes(history=History(created_by=f"CMD sh{version}")))


def app(on: Image) -> Image:
    img = mutate.config(on, Changes(history=History(created_by="ENV A=b"), env={"A": "b"}, user="7"))
    layer = testing.image_from_files({"app": b"1"}).layers[0]
    return mutate.append(img, layer, history=History(created_by="COPY app"))


def test_the_layers_move_to_the_new_base() -> None:
    old, new = base(1), base(2, layers=3)
    img = mutate.rebase(app(old), old_base=old, new_base=new)
    assert [layer.digest for layer in img.layers[:3]] == [layer.digest for layer in new.layers]
    assert img.layers[3].digest == app(old).layers[2].digest
    assert [step.created_by for step in img.config.history] == [
        *(step.created_by for step in new.config.history),
        "ENV A=b",
        "COPY app",
    ]
    validate.image(img).raise_if_failed()


def test_run_parameters_are_merged_three_ways() -> None:
    """Inherited ones follow the base, own ones stay."""
    old, new = base(1), base(2)
    img = mutate.rebase(app(old), old_base=old, new_base=new)
    assert img.config.config == Config(
        env=("PATH=/bin", "VERSION=2", "A=b"), cmd=("sh2",), labels={"v": "2"}, user="7"
    )


def test_what_the_image_took_away_stays_away() -> None:
    old, new = base(1), base(2)
    img = mutate.config(app(old), Changes(env={"VERSION": None}, labels={"v": None}, cmd=()))
    moved = mutate.rebase(img, old_base=old, new_base=new)
    assert moved.config.config == Config(env=("PATH=/bin", "A=b"), user="7")


def test_arguments_stay_with_their_program() -> None:
    """An image with its own entrypoint does not get the command of a base as arguments."""
    old, new = base(1), base(2)
    img = mutate.config(app(old), Changes(entrypoint=("/app",), cmd=("sh1",)))
    moved = mutate.rebase(img, old_base=old, new_base=new).config.config
    assert moved is not None
    assert (moved.entrypoint, moved.cmd) == (("/app",), ("sh1",))


def test_there_and_back_again() -> None:
    old, new = base(1), base(2, layers=4)
    img = app(old)
    there = mutate.rebase(img, old_base=old, new_base=new)
    back = mutate.rebase(there, old_base=new, new_base=old)
    assert back.raw_config == img.raw_config
    assert back.manifest.layers == img.manifest.layers


def test_the_same_base_changes_only_the_annotation() -> None:
    old = base(1)
    img = mutate.annotate(app(old), {BASE_DIGEST: str(old.digest)})
    assert mutate.rebase(img, old_base=old, new_base=old) is img


def test_annotations_name_the_new_base() -> None:
    old, new = base(1), base(2)
    img = mutate.annotate(app(old), {BASE_NAME: "host.example/base:1", "keep": "me"})
    moved = mutate.rebase(img, old_base=old, new_base=new)
    assert moved.manifest.annotations == {"keep": "me", BASE_DIGEST: str(new.digest)}
    named = mutate.rebase(img, old_base=old, new_base=new, base_name="host.example/base:2")
    assert named.manifest.annotations[BASE_NAME] == "host.example/base:2"


def test_a_base_of_the_other_family() -> None:
    """A Docker image gets the OCI layers of its new base under Docker's names."""
    old, new = base(1), base(2)
    img = mutate.rebase(docker(app(old)), old_base=old, new_base=new)
    assert {layer.media_type for layer in img.layers} == {mediatypes.DOCKER_LAYER_GZIP}
    assert img.manifest.annotations == {}
    validate.image(img).raise_if_failed()


def test_a_base_that_was_compressed_anew_is_the_same_base() -> None:
    files = [{"base": b"x"}, {"other": b"y"}]
    old = testing.image_from_layers(files, compression="gzip")
    again = testing.image_from_layers(files, compression="zstd")
    img = mutate.rebase(app(old), old_base=again, new_base=testing.random_image())
    validate.image(img).raise_if_failed()


def test_an_image_without_history() -> None:
    old, new = base(1), base(2)
    bare = with_config(app(old), lambda config: evolve(config, history=()))
    img = mutate.rebase(bare, old_base=old, new_base=new)
    assert img.config.history == (*new.config.history, History())
    validate.image(img).raise_if_failed()


def test_another_base_is_refused() -> None:
    with pytest.raises(NotBasedOn, match="layer 1: expected diff ID"):
        mutate.rebase(app(base(1)), old_base=base(3), new_base=base(2))


def test_a_base_with_more_layers_is_refused() -> None:
    with pytest.raises(NotBasedOn, match="no such layer"):
        mutate.rebase(base(1), old_base=app(base(1)), new_base=base(2))


def test_a_base_for_another_platform_is_refused() -> None:
    with pytest.raises(NotBasedOn, match="linux/arm64"):
        mutate.rebase(app(base(1)), old_base=base(1), new_base=base(2, platform="linux/arm64"))
