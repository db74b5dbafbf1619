"""`Bundle`: a directory with a config.json and a root filesystem (runtime-spec bundle.md)."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from ociworks._values import evolve, frozen
from ociworks.errors import SpecError
from ociworks.spec._config import CONFIG, load
from ociworks.spec._io import to_json
from ociworks.spec.runtime import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["CONFIG", "Bundle"]


@frozen
class Bundle:
    """A filesystem bundle: where it is, and what its config.json says.

    A bundle is a value: ``spec`` is what was read or given, and `save` writes it.
    """

    path: Path
    """The bundle's directory, absolute."""
    spec: Spec

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read the bundle at ``path``.

        Raises `SpecError` (`InvalidJSON`, `InvalidSpec`) for a config.json that is no regular file, too large or not
        valid, and ``OSError`` when there is none or it cannot be read.
        """
        directory = Path(path).absolute()
        return cls(directory, load(os.fspath(directory)).spec)

    @classmethod
    def create(cls, path: str | os.PathLike[str], spec: Spec) -> Self:
        """Make the directory ``path`` (mode 0700) unless it is there, and write config.json into it.

        Raises ``FileExistsError`` when there is a config.json already.
        """
        directory = Path(path).absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        bundle = cls(directory, spec)
        bundle._write(replace=False)
        return bundle

    @property
    def config_path(self) -> Path:
        """The path of config.json."""
        return self.path / CONFIG

    @property
    def rootfs(self) -> Path:
        """The root filesystem as an absolute path (runtime-spec config.md, Root); it need not exist.

        Raises `SpecError` when the configuration has no root, as for Hyper-V.
        """
        if self.spec.root is None or not self.spec.root.path:
            raise SpecError(f"{self.config_path}: expected root.path, found none; set Spec.root")
        return self.path / self.spec.root.path

    def replace(self, spec: Spec) -> Self:
        """The same directory with another configuration; nothing is written until `save`."""
        return evolve(self, spec=spec)

    def save(self) -> None:
        """Write config.json, replacing it in one step: readers see the old file or the new one, mode 0600."""
        self._write(replace=True)

    def _write(self, *, replace: bool) -> None:
        raw = to_json(self.spec, indent=2) + b"\n"
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _write_atomically(directory, raw, replace=replace)
        finally:
            os.close(directory)


def _write_atomically(directory: int, raw: bytes, *, replace: bool) -> None:
    name = f".{CONFIG}.{secrets.token_hex(8)}"
    fd = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
    )
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(fd)
        if replace:
            os.rename(name, CONFIG, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            os.link(name, CONFIG, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    os.fsync(directory)
