"""What GNU tar and ociworks make of the same archive is the same tree, in every respect that can be seen.

Type, mode, owner, size, content, targets, hard-link groups, times, attributes with capabilities, device numbers: over
generated trees, and over the files of real packages, in every format that GNU tar writes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.image.archives import apply, apply_overlay
from tests.image.trees import tree
from tests.interop.peers import peer, run

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: GNU tar keeps owners only then"),
]

FORMATS = ["gnu", "oldgnu", "pax", "ustar", "v7"]
ATTRIBUTES = ["--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"]
CAPABILITY = b"\x01\0\0\x02" + b"\0\x04\0\0" + bytes(12)


def compare(folder: Path, archive: Path) -> None:
    """The tree by GNU tar, and ours."""
    theirs, ours = folder / "theirs", folder / "ours"
    theirs.mkdir()
    ours.mkdir()
    options = ["--numeric-owner", "--same-owner", "--delay-directory-restore", *ATTRIBUTES]
    command = [peer("tar"), *options, "-xpf", str(archive), "-C", str(theirs)]
    done = subprocess.run(command, capture_output=True, check=False)  # it may say names that are no text
    assert done.returncode == 0, done.stderr
    data = archive.read_bytes()
    apply(ours, data, devices="create")
    expected, found = tree(theirs, top=True), tree(ours, top=True)
    assert not {
        name: (found.get(name), expected[name]) for name in expected if found.get(name) != expected[name]
    }
    assert found.keys() == expected.keys()
    for name in expected:
        if (theirs / name).is_file() and not (theirs / name).is_symlink():
            mine, other = ((root / name).stat().st_blocks for root in (ours, theirs))
            assert mine <= other + 8, f"{name}: holes were filled"


# --- generated ----------------------------------------------------------------------------------------


class Node(NamedTuple):
    name: bytes
    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    content: bytes
    device: tuple[int, int]


NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"dir", b"x" * 99, b"y" * 100, b"z" * 155, b"n" * 255, b"\xff\xfe", b"new\nline"]
    ),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: (
            b"/" not in name and b"\0" not in name and name not in (b".", b"..") and name[:4] != b".wh."
        )
    ),
)
KINDS = st.sampled_from(
    ["file", "file", "sparse", "dir", "dir", "symlink", "hardlink", "fifo", "char", "block"]
)
IDS = st.one_of(
    st.integers(0, 2**21 - 1), st.integers(0, 2**32 - 2)
)  # the second often needs base-256 or PAX
NODES = st.builds(
    Node,
    NAMES,
    KINDS,
    st.sampled_from([0o644, 0o600, 0, 0o755, 0o4755, 0o2711, 0o1777, 0o6555]),
    st.tuples(IDS, IDS),
    st.integers(-(2**31) * 10**9, 2**33 * 10**9 - 1),
    st.binary(max_size=700),
    st.tuples(st.integers(1, 4000), st.integers(0, 200_000)),
)


def make(root: bytes, nodes: list[Node], format: str) -> None:
    """The tree of the nodes: each goes into the directory that was made last, or into the root."""
    folder = root
    files: list[bytes] = []
    folders: list[tuple[bytes, Node]] = []
    for node in nodes:
        path = os.path.join(folder, node.name)
        if os.path.lexists(path) or len(path) - len(root) > 900:
            continue
        if not create(path, node, files, limited=format in ("ustar", "v7")):
            continue
        if node.kind == "dir":
            folder = path
            folders.append((path, node))
        elif node.kind != "hardlink":
            describe(path, node)
        if node.kind == "file":
            files.append(path)
    for path, node in reversed(folders):
        describe(path, node)


def create(path: bytes, node: Node, files: list[bytes], *, limited: bool) -> bool:
    if node.kind == "file":
        with open(path, "xb") as file:
            file.write(node.content)
    elif node.kind == "sparse":
        with open(path, "xb") as file:
            file.seek(300_000)
            file.write(node.content)
            file.truncate(700_000)
    elif node.kind == "dir":
        os.mkdir(path)
    elif node.kind == "symlink":
        os.symlink(node.content.replace(b"\0", b"").strip()[: 90 if limited else 700] or b"t", path)
    elif node.kind == "hardlink":
        if not files:
            return False
        os.link(files[-1], path)
    elif node.kind == "fifo":
        os.mkfifo(path)
    else:
        kind = stat.S_IFCHR if node.kind == "char" else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(*node.device))
    return True


def describe(path: bytes, node: Node) -> None:
    os.chown(path, *node.owner, follow_symlinks=False)
    if node.kind != "symlink":
        os.chmod(path, node.mode)
    if node.kind in ("file", "dir"):
        os.setxattr(path, "user.note", node.content[:100])
    if node.kind == "file" and node.mode & 0o111:
        os.setxattr(path, "security.capability", CAPABILITY)
    os.utime(path, ns=(node.mtime, node.mtime), follow_symlinks=False)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40)
@given(st.lists(NODES, min_size=1, max_size=14))
def test_generated_trees(format: str, nodes: list[Node]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, archive = folder / "source", folder / "layer.tar"
        source.mkdir()
        make(os.fsencode(source), nodes, format)
        attributes = ATTRIBUTES if format == "pax" else []
        options = [f"--format={format}", "--numeric-owner", *attributes]
        sparse = [] if format in ("ustar", "v7") else ["--sparse"]
        command = [peer("tar"), *options, *sparse, "-cf", str(archive), "-C", str(source), "."]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode and format in ("ustar", "v7", "oldgnu"):
            return  # the format cannot say this
        assert done.returncode == 0, done.stderr
        compare(folder, archive)


# --- real packages ------------------------------------------------------------------------------------

PACKAGES = ("coreutils", "bash", "libc6", "perl-base", "iputils-ping", "passwd", "login")


def files_of(*packages: str) -> list[str]:
    if shutil.which("dpkg-query") is None:
        pytest.skip("this is no Debian")
    done = subprocess.run(["dpkg-query", "-L", *packages], capture_output=True, text=True, check=False)
    names = {_place(line) for line in done.stdout.splitlines() if line.startswith("/") and line != "/."}
    names |= {str(above) for name in names for above in Path(name).parents}
    return [name.lstrip("/") or "." for name in sorted(names) if os.path.lexists(name)]


def _place(name: str) -> str:
    """Where a file is: packages name /bin/sh what is in /usr/bin."""
    above, last = os.path.split(name)
    return os.path.join(os.path.realpath(above), last)


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar"])
def test_the_files_of_packages(tmp_path: Path, format: str) -> None:
    names = files_of(*PACKAGES)
    if len(names) < 500:
        pytest.skip("too few files of Debian packages are installed")
    listed, archive = tmp_path / "names", tmp_path / "layer.tar"
    listed.write_text("\n".join(names))
    attributes = ATTRIBUTES if format == "pax" else []
    run(peer("tar"), f"--format={format}", "--numeric-owner", *attributes, "--no-recursion", "-cf", archive, "-C", "/",
        "-T", listed)  # fmt: skip
    compare(tmp_path, archive)


def test_packages_in_layers(tmp_path: Path) -> None:
    """Package upon package: merged, by GNU tar one after the other, and through an overlay of separate layers."""
    archives = []
    for number, package in enumerate(PACKAGES[:4]):
        names = files_of(package)
        if not names:
            pytest.skip(f"{package} is not installed")
        listed, archive = tmp_path / f"names{number}", tmp_path / f"{number}.tar"
        listed.write_text("\n".join(names))
        run(peer("tar"), "--format=pax", "--no-recursion", "-cf", archive, "-C", "/", "-T", listed)
        archives.append(archive)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    for archive in archives:
        # A directory that is described again is described anew, as the image specification has it.
        run(peer("tar"), "--numeric-owner", "--delay-directory-restore", "-xpf", archive, "-C", theirs)
    contents = [archive.read_bytes() for archive in archives]
    apply(ours, *contents)
    expected = tree(theirs)
    assert tree(ours) == expected
    (tmp_path / "layers").mkdir()
    places = apply_overlay(tmp_path / "layers", *contents)
    at = tmp_path / "at"
    at.mkdir()
    lower = ":".join(str(place) for place in reversed(places))
    done = subprocess.run(["mount", "-t", "overlay", "o", "-o", f"ro,lowerdir={lower}", str(at)], check=False)
    if done.returncode:
        pytest.skip("cannot mount an overlay")
    try:
        shown = tree(at, top=True, links=False)
    finally:
        subprocess.run(["umount", str(at)], check=True)
    assert shown == tree(theirs, top=True, links=False)
