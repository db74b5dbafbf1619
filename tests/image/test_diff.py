"""What two images differ in: fields by name, layers by diff ID; readable, and JSON for programs."""

from __future__ import annotations

import json

from attrs import evolve

from ociworks import testing
from ociworks.image import diff, mutate, partial
from ociworks.image.diff import FieldChange
from ociworks.image.mutate import Changes
from ociworks.image.types import Image
from ociworks.spec import FrozenDict, to_json
from ociworks.spec.image import EMPTY, Config, History, Manifest, mediatypes
from tests.image.mutate.images import LayerBlobs, NoBlobs, docker, with_config


def base() -> Image:
    return testing.image_from_layers(
        [{"a": b"1"}, {"b": b"2"}],
        config=Config(env=("PATH=/bin", "LANG=C"), cmd=("sh",), labels={"x": "1"}, exposed_ports=("80/tcp",)),
        platform="linux/amd64",
    )


def fields(old: Image, new: Image) -> list[tuple[str, str, object, object]]:
    return [(each.kind, each.path, each.old, each.new) for each in diff.images(old, new).fields]


def test_the_same_image() -> None:
    found = diff.images(base(), base())
    assert found.same
    assert found.fields == ()
    assert len(found.layers.shared) == 2
    assert str(found).endswith("the same image")


def test_fields_by_name() -> None:
    new = mutate.config(
        base(),
        Changes(
            env={"LANG": "de", "NEW": "1", "PATH": None},
            labels={"y": "2"},
            cmd=("bash", "-l"),
            exposed_ports=("80/tcp", "443/tcp"),
            user="7",
        ),
    )
    assert fields(base(), new) == [
        ("changed", "config.config.Cmd", ("sh",), ("bash", "-l")),
        ("changed", "config.config.Env.LANG", "C", "de"),
        ("added", "config.config.Env.NEW", None, "1"),
        ("removed", "config.config.Env.PATH", "/bin", None),
        ("added", "config.config.ExposedPorts['443/tcp']", None, {}),
        ("added", "config.config.Labels.y", None, "2"),
        ("added", "config.config.User", None, "7"),
    ]


def test_another_order_of_the_environment_is_a_difference() -> None:
    """The digests differ, so there must be something to see."""
    new = mutate.config(base(), Config(**{**base_config(), "env": ("LANG=C", "PATH=/bin")}))  # type: ignore[arg-type]
    assert fields(base(), new) == [
        ("changed", "config.config.Env", ("PATH=/bin", "LANG=C"), ("LANG=C", "PATH=/bin"))
    ]


def base_config() -> dict[str, object]:
    config = base().config.config
    assert config is not None
    return {name: value for name, value in config.__dict__.items() if name != "extra"}


def test_members_that_no_specification_names() -> None:
    new = with_config(base(), lambda config: evolve(config, extra=FrozenDict({"docker_version": "1.2"})))
    assert fields(base(), new) == [("added", "config.docker_version", None, "1.2")]


def test_an_empty_member_says_the_same_as_none() -> None:
    """Docker writes members that OCI's tools leave out; an empty label is a label all the same."""
    config = base().config.config
    assert config is not None
    new = mutate.config(base(), evolve(config, extra=FrozenDict({"Tty": False, "OnBuild": None})))
    assert new.digest != base().digest
    assert fields(base(), new) == []
    labelled = mutate.config(base(), Changes(labels={"empty": ""}, env={"EMPTY": ""}))
    assert [path for _, path, _, _ in fields(base(), labelled)] == [
        "config.config.Env.EMPTY",
        "config.config.Labels.empty",
    ]


def test_history_grows_at_its_end() -> None:
    new = mutate.config(base(), Changes(history=History(created_by="USER 7")))
    assert fields(base(), new) == [
        ("added", "config.history[2]", None, {"created_by": "USER 7", "empty_layer": True})
    ]


def test_annotations_and_media_types() -> None:
    new = mutate.annotate(docker(base()), {"a.b": "c"})
    assert fields(base(), new) == [
        ("added", "manifest.annotations['a.b']", None, "c"),
        ("changed", "manifest.config.mediaType", mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG),
        ("changed", "manifest.mediaType", mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST),
    ]


def test_layers_above_the_common_ones() -> None:
    layer = testing.image_from_files({"c": b"3"}).layers[0]
    other = testing.image_from_files({"d": b"4"}).layers[0]
    left = mutate.append(base(), layer, history=History(created_by="COPY c"))
    right = mutate.append(base(), other, layer)
    found = diff.images(left, right).layers
    assert [each.digest for each in found.shared] == [each.digest for each in base().layers]
    assert [(each.digest, each.created_by) for each in found.removed] == [(layer.digest, "COPY c")]
    assert [each.diff_id for each in found.added] == [other.diff_id, layer.diff_id]


def test_layers_that_were_compressed_anew_are_shared() -> None:
    files = [{"a": b"1"}, {"b": b"2"}]
    found = diff.images(
        testing.image_from_layers(files, compression="gzip"),
        testing.image_from_layers(files, compression="zstd"),
    )
    assert (found.layers.added, found.layers.removed) == ((), ())
    assert not found.same


def test_artifacts() -> None:
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST, artifact_type="application/x", config=EMPTY, layers=()
    )
    artifact = partial.image(to_json(manifest), b"{}", NoBlobs())
    found = diff.images(base(), artifact)
    assert ("added", "manifest.artifactType") in [(each.kind, each.path) for each in found.fields]
    assert "manifest.config.digest" in [each.path for each in found.fields]
    assert len(found.layers.removed) == 2


def test_text_escapes_what_images_say() -> None:
    """Nothing in an image can move the cursor or hide a line (CL-04)."""
    new = mutate.config(base(), Changes(labels={"\x1b[2J\u202e": "\x07\x7f\n+ fake"}))
    new = with_config(
        mutate.append(new, base().layers[0]),
        lambda config: evolve(config, history=(*config.history[:-1], History(created_by="\x1b]0;x\x07"))),
    )
    shown = str(diff.images(base(), new))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not any(line.strip().startswith("+ fake") for line in shown.split("\n"))
    assert "\\x1b" in shown


def test_text() -> None:
    new = mutate.append(mutate.config(base(), Changes(user="7")), base().layers[0])
    lines = str(diff.images(base(), new)).split("\n")
    assert '  + config.config.User: "7"' in lines
    assert any(line.startswith("  = 2 shared") for line in lines)
    assert any("ociworks append" in line for line in lines)


def test_json() -> None:
    new = mutate.append(mutate.config(base(), Changes(user="7")), base().layers[0])
    said = json.loads(diff.images(base(), new).to_json())
    assert said["new"]["digest"] == str(new.digest)
    assert said["fields"][0] == {"kind": "added", "path": "config.config.User", "old": None, "new": "7"}
    assert [len(said["layers"][part]) for part in ("shared", "removed", "added")] == [2, 0, 1]


def test_the_answer_is_a_value() -> None:
    old, new = base(), mutate.config(base(), Changes(user="7"))
    assert diff.images(old, new) == diff.images(old, new)
    assert hash(FieldChange(kind="added", path="x")) == hash(FieldChange(kind="added", path="x"))


def test_documents_only_reads_no_layer() -> None:
    img = partial.image(base().raw_manifest, base().raw_config, NoBlobs())
    same = partial.image(base().raw_manifest, base().raw_config, LayerBlobs(base()))
    assert diff.images(img, same).same
