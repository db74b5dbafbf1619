"""Operations that cover: masked and read-only paths (ATTACKS RT-15)."""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount
from ociworks.runtime._init import targets
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["mask", "read_only"]

_ST_RDONLY: Final = os.ST_RDONLY


def mask(context: Context, paths: tuple[str, ...], proved: tuple[str, ...]) -> None:
    """Cover files with the pinned null device and directories with one empty read-only tmpfs; skip what is missing."""
    empty = -1
    try:
        for name in paths:
            place = targets.existing(context, name)
            if place < 0:
                continue
            try:
                if stat.S_ISDIR(os.stat(place).st_mode):
                    if empty < 0:
                        empty = mount.make_filesystem(
                            "tmpfs",
                            (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "2")),
                            mount.ATTR_RDONLY,
                        )
                        mount.attach(empty, place)
                        continue
                    cover = mount.clone_tree(empty, "")
                else:
                    cover = mount.clone_tree(context.null, "")
                mount.attach(cover, place)
                os.close(cover)
            finally:
                os.close(place)
        for name in proved:
            _prove_masked(context, name, os.stat(empty) if empty >= 0 else None)
    finally:
        if empty >= 0:
            os.close(empty)


def read_only(context: Context, paths: tuple[str, ...], proved: tuple[str, ...]) -> None:
    """Bind each path over itself, read-only with everything below; skip what is missing."""
    for name in paths:
        place = targets.existing(context, name)
        if place < 0:
            continue
        try:
            made = mount.clone_tree(place, "", recursive=True)
            try:
                mount.set_attributes(made, set_=mount.ATTR_RDONLY, recursive=True)
                mount.attach(made, place)
            finally:
                os.close(made)
        finally:
            os.close(place)
    for name in proved:
        place = targets.existing(context, name)
        if place >= 0:
            try:
                if not os.statvfs(place).f_flag & _ST_RDONLY:
                    raise StepError("the path is not read-only", name, errno.EAGAIN)
            finally:
                os.close(place)


def _prove_masked(context: Context, name: str, empty: os.stat_result | None) -> None:
    """What is at a masked path now is the cover: it was not exchanged meanwhile."""
    place = targets.existing(context, name)
    if place < 0:
        return
    try:
        found = os.stat(place)
    finally:
        os.close(place)
    if stat.S_ISDIR(found.st_mode):
        hidden = empty is not None and found.st_dev == empty.st_dev
    else:
        hidden = found.st_rdev == os.stat(context.null).st_rdev and stat.S_ISCHR(found.st_mode)
    if not hidden:
        raise StepError("the path is not masked", name, errno.EAGAIN)
