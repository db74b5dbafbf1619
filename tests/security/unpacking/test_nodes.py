"""UN-06 … UN-10 and UN-21: owners, modes, devices, attributes, names and times of what is made."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from ociworks.errors import LimitExceeded, NotSupported, TarError
from tests.image.archives import apply, entry, file, hardlink, header, layer, listing, symlink


def test_un_06_metadata_of_links(root: Path) -> None:
    (root / "inside").write_bytes(b"inside")
    (root / "inside").chmod(0o640)
    records = {b"SCHILY.xattr.user.k": b"v"}
    for name, target in ((b"out", b"../canary/file"), (b"in", b"inside")):
        apply(root, layer(entry(name, b"2", link=target, mode=0o4777, mtime=7, records=records)))
    assert stat.S_IMODE((root / "inside").stat().st_mode) == 0o640
    assert os.listxattr(root / "inside") == []
    assert (root / "out").lstat().st_mtime_ns == 7 * 10**9


def test_un_06_implicit_parents(root: Path) -> None:
    old = os.umask(0o077)
    try:
        apply(root, layer(file(b"a/b/c")))
    finally:
        os.umask(old)
    for path in (root / "a", root / "a" / "b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(("kind", "number"), [(b"3", (1, 1)), (b"4", (8, 0))])
def test_un_07_device_policies(root: Path, kind: bytes, number: tuple[int, int]) -> None:
    archive = layer(entry(b"dev", kind, device=number), file(b"x"))
    [report] = apply(root, archive)
    assert [skipped.path for skipped in report.skipped] == [b"dev"]
    assert listing(root) == {"x": b""}
    with pytest.raises(TarError, match="policy"):
        apply(root, archive, devices="refuse")


def test_un_07_rootless_says_so(root: Path) -> None:
    with pytest.raises(NotSupported):
        apply(root, layer(entry(b"dev", b"3", device=(1, 3))), rootless=True, devices="create")
    assert listing(root) == {}


@pytest.mark.root
def test_un_07_devices_when_asked_for(root: Path) -> None:
    apply(
        root,
        layer(entry(b"null", b"3", device=(1, 3), mode=0o600), entry(b"pipe", b"6", mode=0o622)),
        devices="create",
    )
    info = (root / "null").lstat()
    assert stat.S_ISCHR(info.st_mode)
    assert info.st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE(info.st_mode) == 0o600
    assert stat.S_IMODE((root / "pipe").lstat().st_mode) == 0o622


@pytest.mark.parametrize("devices", ["skip", "refuse", "create"])
def test_un_07_overlay_whiteouts_in_disguise(root: Path, devices: str) -> None:
    archive = layer(entry(b"x", b"3", device=(0, 0)))
    with pytest.raises(TarError, match="0:0"):
        apply(
            root,
            archive,
            devices="skip" if devices == "skip" else "refuse" if devices == "refuse" else "create",
        )


def test_un_07_fifos_do_not_block(root: Path) -> None:
    apply(root, layer(entry(b"p", b"6", mode=0o644)), layer(file(b"p", b"file now")))
    assert listing(root) == {"p": b"file now"}


@pytest.mark.root
def test_un_09_owners_by_number(root: Path) -> None:
    apply(
        root, layer(header(b"a", uid=1000, gid=(4_000_000_000).to_bytes(8, "big").replace(b"\0", b"\x80", 1)))
    )
    assert ((root / "a").stat().st_uid, (root / "a").stat().st_gid) == (1000, 4_000_000_000)


@pytest.mark.root
def test_un_09_squashing_is_explicit(root: Path) -> None:
    apply(root, layer(header(b"a", uid=1000, gid=1000)), rootless=True)
    assert ((root / "a").stat().st_uid, (root / "a").stat().st_gid) == (0, 0)


@pytest.mark.root
def test_un_09_owners_come_before_set_id_bits(root: Path) -> None:
    apply(root, layer(header(b"a", uid=1000, gid=1000, mode=0o6755)))
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o6755


def with_xattr(name: bytes, value: bytes = b"v") -> bytes:
    return layer(entry(b"f", records={b"SCHILY.xattr." + name: value}), file(b"g"))


@pytest.mark.parametrize(
    "name",
    [b"trusted.overlay.redirect", b"trusted.overlay.opaque", b"user.overlay.metacopy", b"trusted.overlay.x"],
)
def test_un_10_overlay_names_are_refused(root: Path, name: bytes) -> None:
    with pytest.raises(TarError, match="overlay"):
        apply(root, with_xattr(name))
    assert listing(root) == {}


@pytest.mark.parametrize(
    "name",
    [b"security.selinux", b"security.evm", b"security.ima", b"system.posix_acl_access", b"trusted.x", b"odd"],
)
def test_un_10_other_names_are_left_out(root: Path, name: bytes) -> None:
    [report] = apply(root, with_xattr(name))
    assert [skipped.path for skipped in report.skipped] == [b"f"]
    assert name.decode() not in os.listxattr(root / "f")


def test_un_10_user_names_are_set(root: Path) -> None:
    [report] = apply(root, with_xattr(b"user.k", b"\0binary\xff"))
    if report.skipped:
        pytest.skip("the file system of the temporary directory has no user attributes")
    assert os.getxattr(root / "f", "user.k") == b"\0binary\xff"
    apply(root, layer(entry(b"d", b"5", records={b"SCHILY.xattr.user.a": b"1"})))
    apply(root, layer(entry(b"d", b"5", records={b"SCHILY.xattr.user.b": b"2"})))
    assert os.listxattr(root / "d") == ["user.b"]


@pytest.mark.parametrize(
    "value", [b"", b"short", b"\0" * 20, b"\x01\0\0\x02" + bytes(17), b"\x02\0\0\x02" + bytes(16)]
)
def test_un_10_malformed_capabilities(root: Path, value: bytes) -> None:
    with pytest.raises(TarError, match="capability"):
        apply(root, with_xattr(b"security.capability", value))
    assert listing(root) == {}


@pytest.mark.root
def test_un_10_capabilities_survive_the_owner(root: Path) -> None:
    value = b"\x01\0\0\x02" + b"\0\x04\0\0" + bytes(12)
    apply(
        root, layer(entry(b"f", uid=1000, mode=0o755, records={b"SCHILY.xattr.security.capability": value}))
    )
    assert os.getxattr(root / "f", "security.capability") == value
    [report] = apply(root, with_xattr(b"security.capability", value), rootless=True)
    assert len(report.skipped) == 1


def test_un_10_caps_and_names(root: Path) -> None:
    with pytest.raises(LimitExceeded):
        apply(root, with_xattr(b"user.k", bytes(64 * 1024 + 1)))
    records = {b"SCHILY.xattr.user.k%d" % number: b"" for number in range(200)}
    with pytest.raises(LimitExceeded):
        apply(root, layer(entry(b"f", records=records)))
    for name in (b"user.a\0b", b"", b"user." + b"k" * 255):
        with pytest.raises(TarError):
            apply(root, with_xattr(name))


def test_un_21_names_as_they_are(root: Path) -> None:
    names = [b"\xff\xfe", b"line\nfeed", b"\x1b[31m", b"x" * 255]
    apply(root, layer(*(file(name) for name in names)))
    assert sorted(os.listdir(os.fsencode(root))) == sorted(names)


@pytest.mark.parametrize("mtime", [b"-1.5", b"9223372036854775808", b"-99999999999999999999", b"0.000000001"])
def test_un_21_times_on_disk(root: Path, mtime: bytes) -> None:
    apply(root, layer(entry(b"f", records={b"mtime": mtime}), entry(b"d", b"5", records={b"mtime": mtime})))
    assert (root / "f").exists()


def test_sockets_are_not_left_behind(root: Path) -> None:
    """A socket that is in the way goes like a file."""
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)
        try:
            listener.bind("s")
        finally:
            os.chdir(here)
    apply(root, layer(file(b"s", b"file")))
    assert listing(root) == {"s": b"file"}


def test_un_06_a_mode_behind_a_link_to_a_symlink(root: Path) -> None:
    """The second entry of the name makes a file; neither the symlink nor what it shows is changed."""
    (root / "shown").write_bytes(b"shown")
    (root / "shown").chmod(0o640)
    apply(root, layer(symlink(b"s", b"shown"), hardlink(b"h", b"s"), file(b"h", b"new", mode=0o777)))
    assert listing(root) == {"shown": b"shown", "s": "-> shown", "h": b"new"}
    assert stat.S_IMODE((root / "shown").stat().st_mode) == 0o640


@pytest.mark.root
def test_un_09_names_of_owners_are_ignored(root: Path) -> None:
    block = bytearray(header(b"f", uid=1000, gid=1000))
    block[265:297] = b"root".ljust(32, b"\0")
    block[297:329] = b"root".ljust(32, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    apply(root, layer(bytes(block), entry(b"g", uid=5, records={b"uname": b"root", b"gname": b"root"})))
    assert [(root / name).stat().st_uid for name in ("f", "g")] == [1000, 5]
    assert [(root / name).stat().st_gid for name in ("f", "g")] == [1000, 5]


def test_un_10_without_attributes_it_is_said_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("ociworks.image._unpack.xattrs.os.setxattr", refuse)
    many = [entry(b"f%d" % number, records={b"SCHILY.xattr.user.k": b"v"}) for number in range(20)]
    [report] = apply(root, layer(*many))
    assert len(report.skipped) == 1
    assert len(listing(root)) == 20
