"""A tree to change, and what is packed of it."""

from __future__ import annotations

from pathlib import Path

from ociworks.image import Layer
from tests.image.archives import apply, directory, file, hardlink, layer, symlink

__all__ = ["BASE", "again", "archive", "shown"]

BASE = layer(
    directory(b"etc"),
    file(b"etc/passwd", b"root"),
    file(b"etc/hosts", b"localhost"),
    directory(b"usr"),
    directory(b"usr/bin"),
    file(b"usr/bin/a", b"program a", mode=0o755),
    hardlink(b"usr/bin/b", b"usr/bin/a"),
    symlink(b"bin", b"usr/bin"),
    directory(b"data"),
    file(b"data/one", b"1"),
    file(b"data/deep/er/two", b"2"),
    file(b"empty"),
)


def archive(made: Layer) -> bytes:
    """The bytes of a layer's archive."""
    with made.uncompressed() as stream:
        return stream.read()


def shown(made: Layer) -> list[str]:
    """What is in a layer: the first letter of its type, and the path."""
    return [f"{found.type[0]} {found.path.decode()}" for found in made.entries()]


def again(tmp_path: Path, *layers: bytes) -> Path:
    """A new tree made of layers."""
    target = tmp_path / "again"
    target.mkdir(0o755)
    apply(target, *layers)
    return target
