"""Packs: the compiled modules of a process that lives for milliseconds, in one file.

To find a module, read it and see whether it is up to date takes a dozen system calls and a search written in Python;
together that is as long as it takes to run what is in it. A command that loads ninety modules to work for ten
milliseconds finds them in one file instead, in the ``__pycache__`` of this package, and so does the helper process.

A module of a pack counts only while its source is as it was then (time and size, as for other compiled modules); what
has changed, or is not in it, is imported as ever. Nobody has to know of packs: they are written, after the work was
done, by whoever may write compiled modules there and does not forbid it (``PYTHONDONTWRITEBYTECODE``).
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Final

    Entry = tuple[str, int, int, int, int]
    """Source, its time in nanoseconds and its size, then where its code begins and ends."""

__all__ = ["Pack", "is_current", "renew", "use"]

_PACKAGE: Final = os.path.dirname(os.path.abspath(__file__))
_ORIGIN: Final = (MAGIC_NUMBER, _PACKAGE)
"""A pack of another interpreter, or of a package that was moved, is none."""
_LENGTH: Final = 8
_LARGEST: Final = 1 << 20


class Pack:
    """One pack, as a finder of modules; empty when there is none that counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = _path(name)
        self._index: Mapping[str, Entry] = {}
        self._body = memoryview(b"")
        self._before = frozenset(sys.modules)
        try:
            with open(self._path, "rb", buffering=0) as stream:
                index, length = _read_index(stream)
                body = memoryview(stream.readall())
            if len(body) == length:
                self._index, self._body = index, body
        except (OSError, ValueError, EOFError, TypeError):
            return

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What ``import`` asks each finder."""
        entry = self._index.get(name)
        if entry is None or not _is_same(entry):
            return None
        source, _, _, start, end = entry
        spec = ModuleSpec(name, _Loader(name, source, self._body[start:end]), origin=source)
        spec.has_location = True
        spec.cached = self._path
        if source.endswith("/__init__.py"):
            spec.submodule_search_locations = [source[: -len("/__init__.py")]]
        return spec

    def keep(self) -> None:
        """Write the pack again if it lacked modules of ours that were imported since it was opened."""
        missing = {}
        for name in sys.modules.keys() - self._before:
            loader = getattr(sys.modules[name], "__loader__", None)
            if type(loader) is SourceFileLoader and name.startswith("ociworks."):
                missing[name] = loader.path
        if missing:
            renew(self.name, missing)


class _Loader(SourceFileLoader):
    """Loads a module that is in a pack; for all that may be asked of a module later, one from its source."""

    def __init__(self, name: str, source: str, code: memoryview) -> None:
        super().__init__(name, source)
        self._code: memoryview | None = code

    def get_code(self, fullname: str) -> CodeType | None:
        """The code, which is not kept: the pack shall go when all is loaded."""
        packed, self._code = self._code, None
        if packed is None:
            return super().get_code(fullname)
        code: CodeType = loads(packed)  # noqa: S302 - as the interpreter reads its compiled modules
        return code


def use(name: str) -> Pack:
    """Import from a pack, from now on, what is in it."""
    pack = Pack(name)
    sys.meta_path.insert(0, pack)
    return pack


def is_current(name: str) -> bool:
    """Whether a pack is there and nothing in it has changed; also where none is written anyway."""
    if not _may_write():
        return True
    index = _stored(name)
    return bool(index) and all(_is_same(entry) for entry in index.values())


def renew(name: str, sources: Mapping[str, str]) -> None:
    """Write a pack of these modules, given by name and source file, and what it had besides that has not changed.

    That it cannot be written is no error.
    """
    if not _may_write():
        return
    known = {module: entry[0] for module, entry in _stored(name).items() if _is_same(entry)}
    try:
        _write(_path(name), {**known, **sources})
    except (OSError, SyntaxError, ImportError):
        return


def _may_write() -> bool:
    return not sys.dont_write_bytecode and sys.pycache_prefix is None


def _stored(name: str) -> Mapping[str, Entry]:
    try:
        with open(_path(name), "rb", buffering=0) as stream:
            return _read_index(stream)[0]
    except (OSError, ValueError, EOFError, TypeError):
        return {}


def _path(name: str) -> str:
    return f"{_PACKAGE}/__pycache__/{name}.{sys.implementation.cache_tag}.pack"


def _read_index(stream: io.FileIO) -> tuple[Mapping[str, Entry], int]:
    """What is in a pack, and how long the code is; believed as every compiled module.

    ValueError, EOFError or TypeError when it is none.
    """
    size = int.from_bytes(stream.read(_LENGTH), "little")
    origin, index, length = loads(stream.read(min(size, _LARGEST)))  # noqa: S302 - as above
    return (index, length) if origin == _ORIGIN else ({}, 0)


def _is_same(entry: Entry) -> bool:
    try:
        info = os.stat(entry[0])
    except OSError:
        return False
    return info.st_mtime_ns == entry[1] and info.st_size == entry[2]


def _write(path: str, sources: Mapping[str, str]) -> None:
    """Under another name first: a pack is there as a whole or not at all."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(_encode(sources))
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _encode(sources: Mapping[str, str]) -> bytes:
    index: dict[str, Entry] = {}
    body = bytearray()
    for module, source in sources.items():
        info = os.stat(source)  # before it is read: if it changes meanwhile, what was read does not count
        code = dumps(SourceFileLoader(module, source).get_code(module))
        index[module] = (source, info.st_mtime_ns, info.st_size, len(body), len(body) + len(code))
        body += code
    head = dumps((_ORIGIN, index, len(body)))
    return len(head).to_bytes(_LENGTH, "little") + head + body
