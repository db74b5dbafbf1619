"""Archives made byte by byte, so that a test can say exactly what is wrong with one."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import zstandard
from attrs import field, frozen

from ociworks.image._unpack.layers import apply_layer
from ociworks.image._unpack.overlay import Namespace, OverlayForm
from ociworks.image._unpack.policy import DevicePolicy, LayerReport, UnpackOptions
from ociworks.image.tar import DEFAULT_LIMITS, Limits, TarEntry, TarReader

__all__ = [
    "END",
    "Outside",
    "apply",
    "apply_overlay",
    "directory",
    "entry",
    "file",
    "hardlink",
    "header",
    "layer",
    "listing",
    "pax",
    "read",
    "symlink",
    "zstd",
]

END = bytes(1024)


def header(  # noqa: PLR0913 - a header has that many fields
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes | None = None,
    gid: int | bytes | None = None,
    mtime: int | bytes = 1,
    link: bytes = b"",
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    checksum: bytes | None = None,
) -> bytes:
    """One header block. Numbers become octal; bytes go into the field as they are."""

    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    own = (os.geteuid(), os.getegid())
    fields = [
        name.ljust(100, b"\0"),
        number(mode, 8),
        number(own[0] if uid is None else uid, 8),
        number(own[1] if gid is None else gid, 8),
        number(size, 12),
        number(mtime, 12),
        b" " * 8,
        kind,
        link.ljust(100, b"\0"),
        magic,
        bytes(64),
        number(device[0], 8),
        number(device[1], 8),
        prefix.ljust(155, b"\0"),
        bytes(12),
    ]
    block = b"".join(fields)
    assert len(block) == 512, "a field is too long"
    wanted = b"%06o\0 " % sum(block) if checksum is None else checksum
    return block[:148] + wanted + block[156:]


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def entry(  # noqa: PLR0913 - the same
    name: bytes,
    kind: bytes = b"0",
    content: bytes = b"",
    *,
    records: Mapping[bytes, bytes] | None = None,
    mode: int = 0o644,
    uid: int | None = None,
    link: bytes = b"",
    mtime: int = 1,
    device: tuple[int | bytes, int | bytes] = (0, 0),
) -> bytes:
    """An entry with its content, behind a PAX header when there are records or the name is long."""
    records = dict(records or {})
    for key, value in ((b"path", name), (b"linkpath", link)):
        if len(value) > 100:
            records[key] = value
    block = header(
        name[:100],
        kind,
        size=len(content),
        mode=mode,
        uid=uid,
        gid=uid,
        link=link[:100],
        mtime=mtime,
        device=device,
    )
    return (pax(records) if records else b"") + block + _padded(content)


def file(name: bytes, content: bytes = b"", *, mode: int = 0o644) -> bytes:
    return entry(name, b"0", content, mode=mode)


def directory(name: bytes, *, mode: int = 0o755) -> bytes:
    return entry(name, b"5", mode=mode)


def symlink(name: bytes, target: bytes) -> bytes:
    return entry(name, b"2", link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    return entry(name, b"1", link=target)


def pax(records: Mapping[bytes, bytes] | bytes, kind: bytes = b"x") -> bytes:
    """An extended header; bytes are its payload as it is."""
    payload = records if isinstance(records, bytes) else b"".join(map(_record, records.items()))
    return header(b"pax", kind, size=len(payload)) + _padded(payload)


def _record(item: tuple[bytes, bytes]) -> bytes:
    body = b" %s=%s\n" % item
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


def layer(*entries: bytes) -> bytes:
    """A whole archive."""
    return b"".join(entries) + END


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def read(archive: bytes, limits: Limits = DEFAULT_LIMITS) -> list[tuple[TarEntry, bytes]]:
    """All entries with their content."""
    reader = TarReader(io.BytesIO(archive), limits)
    return [(found, b"".join(map(bytes, reader.content()))) for found in reader]


def apply(
    root: Path,
    *layers: bytes,
    rootless: bool | None = None,
    devices: DevicePolicy = "skip",
    limits: Limits = DEFAULT_LIMITS,
) -> list[LayerReport]:
    """Apply whole archives to ``root``, base first."""
    squash = os.geteuid() != 0 if rootless is None else rootless
    options = UnpackOptions(rootless=squash, devices=devices, limits=limits)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [apply_layer(io.BytesIO(archive), fd, options) for archive in layers]
    finally:
        os.close(fd)


def apply_overlay(
    folder: Path, *layers: bytes, attributes: Namespace = "trusted", rootless: bool | None = None
) -> list[Path]:
    """Apply whole archives in overlay form, each to a directory of its own in ``folder``, base first."""
    options = UnpackOptions(rootless=os.geteuid() != 0 if rootless is None else rootless)
    places: list[Path] = []
    fds: list[int] = []
    try:
        for number, archive in enumerate(layers):
            place = folder / str(number)
            place.mkdir(mode=0o755)
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            form = OverlayForm(below=tuple(fds), attributes=attributes)
            fds.append(fd)
            apply_layer(io.BytesIO(archive), fd, options, overlay=form)
            places.append(place)
    finally:
        for fd in fds:
            os.close(fd)
    return places


def listing(root: Path) -> dict[str, str | bytes]:
    """Path → content of files, ``-> target`` of links, ``dir``, or the kind of node."""
    found: dict[str, str | bytes] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(root))
        if stat.S_ISLNK(mode):
            found[name] = f"-> {os.readlink(path)}"
        elif stat.S_ISREG(mode):
            found[name] = path.read_bytes()
        else:
            found[name] = "dir" if stat.S_ISDIR(mode) else stat.filemode(mode)[0]
    return found


@frozen
class Outside:
    """The oracle "outside-untouched": a tree beside the root that must be the same afterwards."""

    root: Path
    canary: Path
    _before: dict[str, tuple[object, ...]] = field(factory=dict)

    @classmethod
    @contextmanager
    def watched(cls, folder: Path) -> Iterator[Outside]:
        canary = folder / "canary"
        (canary / "sub").mkdir(parents=True)
        (canary / "file").write_bytes(b"canary")
        (canary / "sub" / "other").write_bytes(b"other")
        (canary / "link").symlink_to("file")
        root = folder / "root"
        root.mkdir()
        before = cls._state(folder)
        yield cls(root, canary)
        assert cls._state(folder) == before

    @staticmethod
    def _state(folder: Path) -> dict[str, tuple[object, ...]]:
        outside: Iterable[Path] = [
            folder,
            *(path for path in folder.iterdir()),
            *(folder / "canary").rglob("*"),
        ]
        return {str(path): _identity(path) for path in outside if path.name != "root" and path != folder} | {
            "names": tuple(sorted(path.name for path in folder.iterdir()))
        }


def _identity(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
    attributes = os.listxattr(path, follow_symlinks=False)
    return (
        info.st_ino,
        info.st_mode,
        info.st_uid,
        info.st_gid,
        info.st_nlink,
        info.st_mtime_ns,
        content,
        attributes,
    )


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
