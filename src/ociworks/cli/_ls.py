"""``ociworks ls``: the files of an image, without unpacking it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import json_option
from ociworks.cli._places import place, place_options, source_image
from ociworks.cli._text import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from ociworks.image.files import ImageFiles
    from ociworks.image.tar import TarEntry

__all__ = ["arguments", "main"]

_LETTERS: Final = {
    "file": "-",
    "hardlink": "-",
    "symlink": "l",
    "char": "c",
    "block": "b",
    "directory": "d",
    "fifo": "p",
}


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``ls``."""
    command.description = "List files of an image, as a container would see them."
    place_options(command)
    command.add_argument("-l", "--long", action="store_true", help="mode, owner, size and time too")
    command.add_argument("-R", "--recursive", action="store_true", help="everything below")
    json_option(command)
    place(command, "place", "where the image is: a PLACE")
    command.add_argument("path", metavar="PATH", nargs="?", default="/", help="default: /")


def main(arguments: Namespace) -> int:
    """List it; with ``--json`` one object a line."""
    from ociworks.image.files import files

    with source_image(arguments, arguments.place) as image:
        for name, entry in _found(files(image), arguments.path, recursive=arguments.recursive):
            if arguments.json:
                print(json.dumps(_facts(name, entry)))
            else:
                print(_long(name, entry) if arguments.long else printable(name))
    return 0


def _found(tree: ImageFiles, path: str, *, recursive: bool) -> Iterator[tuple[str, TarEntry]]:
    top = tree.entry(path)
    if top.type != "directory":
        yield path, top
    elif recursive:
        yield from tree.walk(path)
    else:
        for name in tree.listdir(path):
            yield name, tree.entry(f"{path}/{name}", follow=False)


def _facts(name: str, entry: TarEntry) -> dict[str, object]:
    facts: dict[str, object] = {
        "path": name,
        "type": entry.type,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": entry.mtime_ns / 1e9,
    }
    return facts | ({"target": os.fsdecode(entry.target)} if entry.target else {})


def _long(name: str, entry: TarEntry) -> str:
    shown = printable(name) + (
        f" -> {printable(os.fsdecode(entry.target))}" if entry.type == "symlink" else ""
    )
    return f"{_mode(entry)} {entry.uid:>5} {entry.gid:>5} {entry.size:>10} {_time(entry.mtime_ns)} {shown}"


def _mode(entry: TarEntry) -> str:
    import stat

    return _LETTERS[entry.type] + stat.filemode(entry.mode)[1:]


def _time(mtime_ns: int) -> str:
    """In UTC, as images are for every place."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(mtime_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):  # a year that the C library does not know
        return f"@{mtime_ns // 1_000_000_000}"
