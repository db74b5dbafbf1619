"""Every code block of the guides to images runs, and prints what is written there; registries are in this process."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ociworks.cli._arguments import parser
from ociworks.cri.config import load
from ociworks.image import Image, Layer, mutate, remote, sign, unpack
from ociworks.spec.image import Config
from ociworks.testing import File, Registry, RegistryOptions, image_from_files
from tests.image.certificates import Wishes, authority, issue
from tests.interop.peers import busybox
from tests.snippets import Block, Reader, blocks
from tests.source_tree import CHECKOUT

GUIDES = CHECKOUT / "docs" / "guide"
RUN = ("changing-images", "images", "moving-images", "registries", "signatures", "snapshots")
"""The guides that are run everywhere; those to containers need more of a machine."""


MENTIONED = re.findall(r"`(ociworks [^`]+)`", (GUIDES / "coming-from.md").read_text("utf-8"))


TOML = re.findall(r"^```toml\n(.*?)^```$", (GUIDES / "cri.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Registries with what the guides begin with, in an empty home and an own directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "home/store"))
    for name in (
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "COSIGN_PASSWORD",
        "SOURCE_DATE_EPOCH",
    ):
        monkeypatch.delenv(name, raising=False)
    tmp_path.joinpath("site").mkdir()
    tmp_path.joinpath("site/index.html").write_text("<h1>hello</h1>\n")
    certified(tmp_path)
    tmp_path.joinpath("app.spdx.json").write_text('{"spdxVersion": "SPDX-2.3"}\n')
    with (
        Registry() as plain,
        Registry() as other,
        Registry(RegistryOptions(auth="bearer")) as private,
        remote.Client() as client,
    ):
        old = {arch: base("1", arch) for arch in ("amd64", "arm64")}
        client.push(mutate.index(old.values()), f"{plain.host}/base:1")
        client.push(mutate.index(base("2", arch) for arch in old), f"{plain.host}/base:2")
        client.push(mutate.index(map(app, old.values())), f"{plain.host}/app:1.4")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        yield {
            "127.0.0.1:5000": f"127.0.0.1:{port}",
            "registry.example": plain.host,
            "other.example": other.host,
            "private.example": private.host,
        }


def certified(folder: Path) -> None:
    """A builder whom an authority has certified."""
    root = authority()
    builder = issue(Wishes(), root)
    for name, found in (("acme", (root.certificate,)), ("builder", builder.chain.items)):
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in found)
        folder.joinpath(f"{name}.pem").write_bytes(pem)
    folder.joinpath("builder.key").write_bytes(sign.PrivateKey(builder.key).to_pem())


def base(version: str, architecture: str) -> Image:
    """Something like a distribution."""
    files: dict[str, bytes | File] = {
        "etc/os-release": f"ID=tiny\nVERSION_ID={version}\n".encode(),
        "bin/su": File(b"\x7fELF", 0o4755),
        "usr/lib/libc.so": b"c" * 100 * int(version),
    }
    return image_from_files(files, config=Config(env=("PATH=/bin",)), platform=f"linux/{architecture}")


def app(below: Image) -> Image:
    """Something built on it."""
    layer = Layer.from_files({"srv/app/main.py": b"print('hello')\n", "etc/motd": b"welcome\n"})
    return mutate.config(
        mutate.append(below, layer),
        mutate.Changes(entrypoint=("/bin/app",), labels={"team": "web"}),
    )


@pytest.mark.parametrize("guide", RUN)
def test_the_guide_runs(guide: str, names: dict[str, str]) -> None:
    """From the top to the end."""
    Reader(names).read(GUIDES / f"{guide}.md")


FREEZES = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups"),
]


@pytest.mark.userns
@pytest.mark.parametrize(
    "guide",
    [
        pytest.param("containers", marks=FREEZES),
        "first-road",
        pytest.param("runtimes", marks=FREEZES),
        pytest.param("cri", marks=FREEZES),
    ],
)
def test_the_guide_to_containers_runs(guide: str, names: dict[str, str]) -> None:
    """The same, with a busybox in a registry and in a bundle."""
    applets = ("cat", "id", "ps", "sh", "sleep", "uname", "wc")
    image = image_from_files(
        {
            "bin/busybox": File(busybox().read_bytes(), 0o755),
            **{f"bin/{name}": File(link="busybox") for name in applets},
            **dict.fromkeys(("dev/", "proc/", "sys/", "tmp/"), b""),
        },
        config=Config(env=("PATH=/bin",), cmd=("sh",)),
    )
    unpack(image, "bundle")
    with remote.Client() as client:
        client.push(image, f"{names['registry.example']}/busybox:1.36")
    Reader(names).read(GUIDES / f"{guide}.md")


@pytest.mark.parametrize("text", TOML)
def test_configurations_of_a_server(text: str, tmp_path: Path) -> None:
    """They can be loaded."""
    tmp_path.joinpath("cri.toml").write_text(text)
    load(tmp_path / "cri.toml")


def test_every_guide_is_run() -> None:
    """A new page must be run, or say here why not."""
    read = {"clients", "containers", "cri", "first-road", "coming-from", "contributing", "runtimes"}
    assert {path.stem for path in GUIDES.glob("*.md")} == {*RUN, *read}


@pytest.mark.parametrize("line", MENTIONED)
def test_commands_that_are_only_mentioned(line: str) -> None:
    """They have the words that the program has."""
    arguments = shlex.split(line)[1:]
    assert parser(arguments).parse_args(arguments).command == arguments[0]


def test_blocks_are_found() -> None:
    """A text block is the output of the Python block in front of it."""
    text = "a\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n```console\n$ true\n```\n\n```json\n{}\n```\n"
    assert list(blocks(text)) == [
        Block(4, "python", "print(1)\n", "1\n"),
        Block(12, "console", "$ true\n", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 / 0\n```",
        "```python\nprint(1)\n```\n```text\n2\n```",
        "```console\n$ echo 1\n2\n```",
        "```console\n$ echo 1 &\n2\n```",
        "```console\n$ false\n```",
        "```console\n$ false\n$ true\n```",
        "```console\n$ false\n$ echo $?\n0\n```",
        "```console\n$ ociworks digest oci:missing\n```",
    ],
)
def test_a_wrong_snippet_fails(text: str, tmp_path: Path) -> None:
    """What a document says must happen."""
    document = tmp_path / "document.md"
    document.write_text(text + "\n")
    with pytest.raises((AssertionError, ZeroDivisionError)):
        Reader({}).read(document)


def test_a_right_snippet_passes(tmp_path: Path) -> None:
    """Output may have gaps, failures may be shown, lines may be joined."""
    document = tmp_path / "document.md"
    joined = "$ echo a \\\n>    b | cat\na b\n"
    more = "$ cat <<END\n> x\n>\n> y\n> END\nx\n…\n"
    started = "$ echo 1 &\n1\n"
    failed = "$ ociworks digest oci:missing\nociworks: …missing…\n$ echo $?\n1\n"
    document.write_text(f"```console\n{joined}{more}{started}{failed}```\n")
    Reader({}).read(document)


def test_every_block_has_a_language() -> None:
    """A block without one would be run by nobody."""
    for path in GUIDES.glob("*.md"):
        fences = re.findall(r"^```(\w*)$", path.read_text("utf-8"), re.MULTILINE)
        assert all(fences[::2]), path.name
