"""The commands that make one image of another, compare, unpack, sign and verify."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ociworks import api
from ociworks.image import Layer, layout, mutate
from ociworks.image.copy import ALL
from ociworks.image.sign import PrivateKey
from ociworks.testing import Registry, image_from_files, image_from_layers
from tests.cli.places import Command, command_in, example, lay_out

PLATFORMS = ["linux/amd64", "linux/arm64"]


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    return command_in(tmp_path / "store", capfd)


def test_append(cli: Command, tmp_path: Path) -> None:
    """Directories and archives become layers, in the order of the options; equal input, equal digest."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("hello")
    cli("export", lay_out(tmp_path), "-o", str(tmp_path / "all.tar"))
    digests = {
        cli(
            "append",
            "-q",
            "--tar",
            f"{tmp_path}/all.tar",
            "--dir",
            f"{site}:/srv",
            "--owner",
            "7:8",
            place,
            new,
        )
        for place in (lay_out(tmp_path),)
        for new in (f"oci:{tmp_path}/l:1", f"oci:{tmp_path}/l:2")
    }
    assert len(digests) == 1
    with layout.open(tmp_path / "l") as images:
        made = images.image("1")
        assert len(made.layers) == 4
    assert cli("cat", f"oci:{tmp_path}/l:1", "/srv/index.html") == "hello"
    assert " 7     8          5 " in cli("ls", "-l", f"oci:{tmp_path}/l:1", "/srv")


def test_every_image_of_an_index(cli: Command, tmp_path: Path) -> None:
    """``--all`` changes them all, each on the base for its platform; without it one is chosen."""
    bases = [mutate.index(image_from_files({"v": v}, platform=p) for p in PLATFORMS) for v in (b"1", b"2")]
    for number, base in enumerate(bases):
        api.copy(base, f"oci:{tmp_path}/l:base{number}", platforms=ALL)
    app = mutate.each(bases[0], lambda img: mutate.append(img, Layer.from_files({"a": b"a"})))
    api.copy(app, f"oci:{tmp_path}/l:app", platforms=ALL)
    place = f"oci:{tmp_path}/l"
    cli(
        "rebase", "-q", "--all", "--old-base", f"{place}:base0", "--new-base", f"{place}:base1",
        f"{place}:app", f"{place}:new",
    )  # fmt: skip
    assert [line.split()[1] for line in cli("inspect", "--index", f"{place}:new").splitlines()] == PLATFORMS
    for platform in PLATFORMS:
        assert cli("cat", "--platform", platform, f"{place}:new", "/v", "/a") == "2a"
    cli("config", "-q", "--platform", PLATFORMS[1], "-u", "7", f"{place}:new", f"{place}:one")
    assert "platform    linux/arm64" in cli("inspect", "--platform", PLATFORMS[1], f"{place}:one")
    with pytest.raises(SystemExit):
        cli("config", "--all", "--platform", PLATFORMS[1], f"{place}:new", f"{place}:one")


def test_append_to_nothing(cli: Command, tmp_path: Path) -> None:
    """``scratch`` is no repository but the image without layers, for the platform that is asked for."""
    (tmp_path / "site").mkdir()
    new = f"oci:{tmp_path}/l:1"
    cli("append", "-q", "--platform", "linux/arm64", "--dir", f"{tmp_path}/site:/srv", "scratch", new)
    found = json.loads(cli("inspect", "--json", "--platform", "linux/arm64", new))
    assert (found["platform"], len(found["layers"])) == ("linux/arm64", 1)


@pytest.mark.parametrize("owner", ["7", "a:b", "-1:0", "4294967295:0", "1:2:3"])
def test_append_owner(owner: str, cli: Command) -> None:
    """An owner is two numbers, or what each file has."""
    with pytest.raises(SystemExit) as ended:
        cli("append", "--owner", owner, "oci:a", "oci:b")
    assert ended.value.code == 2


def test_config(cli: Command, tmp_path: Path) -> None:
    """Fields are set, added to, and removed."""
    new = f"oci:{tmp_path}/l:new"
    cli(
        "config", "-q", "--entrypoint", '["/bin/sh", "-c"]', "--cmd", "id", "-e", "C=d", "--unset-env", "A",
        "-l", "k=v=w", "--unset-label", "note", "-u", "8:9", "-w", "/srv", "--port", "80/tcp", "--volume", "/data",
        "--stop-signal", "SIGINT", "--author", "me", "--created", "2020-01-01T00:00:00Z", lay_out(tmp_path), new,
    )  # fmt: skip
    document = json.loads(cli("inspect", "--config", new))
    assert document["author"] == "me"
    assert document["created"] == "2020-01-01T00:00:00Z"
    assert document["config"] == {
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["id"], "Env": ["C=d"], "Labels": {"k": "v=w"}, "User": "8:9",
        "WorkingDir": "/srv", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT",
    }  # fmt: skip
    cli("config", "-q", "--entrypoint", "", "--cmd", "", "--port", "", new, new)
    assert {"Entrypoint", "Cmd", "ExposedPorts"}.isdisjoint(
        json.loads(cli("inspect", "--config", new))["config"]
    )


@pytest.mark.parametrize("words", ['["a"', "[1]", '[["a"]]'])
def test_config_words(words: str, cli: Command) -> None:
    """A command is an array of strings."""
    with pytest.raises(SystemExit) as ended:
        cli("config", "--cmd", words, "oci:a", "oci:b")
    assert ended.value.code == 2


def test_annotate(cli: Command, tmp_path: Path) -> None:
    """Annotations come and go."""
    new = f"oci:{tmp_path}/l:new"
    cli("annotate", "-q", "-a", "org.example.a=1", "-a", "org.example.b=2", lay_out(tmp_path), new)
    cli("annotate", "-q", "--remove", "org.example.a", new, new)
    assert json.loads(cli("inspect", "--json", new))["annotations"] == {"org.example.b": "2"}


def test_rebase_and_diff(cli: Command, tmp_path: Path) -> None:
    """What was added to the old base is on the new one; diff says what that comes to."""
    place = f"oci:{tmp_path}/l"
    api.copy(image_from_layers([{"base": b"old"}]), f"{place}:old")
    api.copy(image_from_layers([{"base": b"new"}]), f"{place}:new")
    api.copy(image_from_layers([{"base": b"old"}, {"app": b"app"}]), f"{place}:app")
    bases = ("--old-base", f"{place}:old", "--new-base", f"{place}:new")
    cli("rebase", "-q", *bases, f"{place}:app", f"{place}:rebased")
    assert cli("cat", f"{place}:rebased", "/base", "/app") == "newapp"
    cli("rebase", "-q", *bases, f"{place}:new", f"{place}:no", status=1)
    found = json.loads(cli("diff", "--json", f"{place}:app", f"{place}:rebased"))
    assert [each["path"] for each in found["files"]] == ["/base"]
    assert "/base" in cli("diff", f"{place}:app", f"{place}:rebased")
    assert "/base" not in cli("diff", "--no-files", f"{place}:app", f"{place}:rebased")
    cli("diff", "--exit-code", f"{place}:app", f"{place}:rebased", status=1)
    cli("diff", "--exit-code", f"{place}:app", f"{place}:app")


def test_flatten_and_squash(cli: Command, tmp_path: Path) -> None:
    """Fewer layers, the same files."""
    where, flat, squashed = lay_out(tmp_path), f"oci:{tmp_path}/l:flat", f"oci:{tmp_path}/l:squashed"
    cli("flatten", "-q", "--compression", "zstd", where, flat)
    cli("squash", "-q", "--last", "2", where, squashed)
    for new in (flat, squashed):
        assert len(json.loads(cli("inspect", "--json", new))["layers"]) == 1
        assert cli("ls", "-lR", new) == cli("ls", "-lR", where)
    cli("squash", "-q", "--keep", "1", where, squashed)
    assert len(json.loads(cli("inspect", "--json", squashed))["layers"]) == 2
    cli("squash", "-q", "--last", "9", where, squashed, status=1)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="unpacking needs Linux")
def test_unpack_and_repack(cli: Command, tmp_path: Path) -> None:
    """A change in the unpacked tree becomes a layer; without one the layer is empty."""
    where, new = lay_out(tmp_path), f"oci:{tmp_path}/l:new"
    bundle = tmp_path / "bundle"
    assert cli("unpack", "-q", where, str(bundle)) == f"{bundle}\n"
    assert (bundle / "config.json").exists()
    (bundle / "rootfs/etc/os-release").write_text("ID=changed\n")
    (bundle / "rootfs/bin/sh").unlink()
    cli("repack", "-q", str(bundle), where, new)
    assert cli("cat", new, "/etc/os-release") == "ID=changed\n"
    cli("ls", new, "/bin/sh", status=3)
    cli("unpack", "-q", where, str(bundle), status=1)


def test_verify_content(cli: Command, tmp_path: Path) -> None:
    """Every digest holds, or what does not is said and the status is 6."""
    where = lay_out(tmp_path)
    assert "2 layers, every digest holds" in cli("verify", where)
    layer = example().layers[1]
    blob = tmp_path / "layout" / "blobs" / "sha256" / layer.digest.encoded
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    cli("verify", where, status=6)
    assert json.loads(cli("verify", "--json", where, status=6))["problems"]


@pytest.mark.parametrize("form", ["cosign", "bundle"])
def test_sign_and_verify(form: str, cli: Command, tmp_path: Path) -> None:
    """Signed with a key, verified by it and by no other, with what was signed beside the digest."""
    mine, other = PrivateKey.generate(), PrivateKey.generate("ed25519")
    for name, key in (("mine", mine), ("other", other)):
        (tmp_path / f"{name}.pub").write_bytes(key.public.to_pem())
    (tmp_path / "mine.key").write_bytes(mine.to_pem())
    with Registry() as registry:
        ref = f"{registry.host}/app:1"
        cli("copy", "-q", lay_out(tmp_path), ref)
        cli("verify", "-k", f"{tmp_path}/mine.pub", ref, status=6)
        claims = () if form == "bundle" else ("-a", "build=7")
        signed = cli("sign", "-k", f"{tmp_path}/mine.key", "--form", form, *claims, ref)
        assert signed == f"{example().digest}\n"
        assert "signed by" in cli("verify", "-k", f"{tmp_path}/mine.pub", *claims, ref)
        both = ("-k", f"{tmp_path}/mine.pub", "-k", f"{tmp_path}/other.pub")
        cli("verify", *both, ref)
        cli("verify", *both, "--all-keys", ref, status=6)
        cli("verify", "-k", f"{tmp_path}/mine.pub", "-a", "build=8", ref, status=6)
        assert json.loads(cli("verify", "--json", "-k", f"{tmp_path}/other.pub", ref, status=6)) | {
            "message": ""
        } == {"accepted": False, "reference": f"{registry.host}/app:1@{example().digest}", "message": ""}


def test_by_policy(cli: Command, tmp_path: Path) -> None:
    """A policy decides by the name, also what is brought; where it cannot be read nothing is accepted."""
    policy = tmp_path / "policy.json"
    with Registry() as registry:
        cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/app:1")
        policy.write_text(
            json.dumps(
                {
                    "default": [{"type": "reject"}],
                    "transports": {"docker": {f"{registry.host}/app": [{"type": "insecureAcceptAnything"}]}},
                }
            )
        )
        policy.chmod(0o600)
        cli("verify", "--policy", str(policy), f"{registry.host}/app:1")
        cli("copy", "-q", lay_out(tmp_path), f"{registry.host}/other:1")
        cli("verify", "--policy", str(policy), f"{registry.host}/other:1", status=6)
        cli("verify", "--policy", f"{tmp_path}/none.json", f"{registry.host}/app:1", status=1)
        new = f"oci:{tmp_path}/new:1"
        for name, status in (("app", 0), ("other", 6)):
            cli("pull", "-q", "--policy", str(policy), f"{registry.host}/{name}:1", status=status)
            cli("copy", "-q", "--policy", str(policy), f"{registry.host}/{name}:1", new, status=status)
        cli("inspect", f"store:{registry.host}/other:1", status=3)
        cli("verify", "--policy", str(policy), lay_out(tmp_path), status=1)
