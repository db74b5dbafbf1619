"""The network that is configured: the first file of a directory, by name (CNI SPEC.md, section 1).

``.conflist`` files hold a list of plugins, ``.conf`` and ``.json`` files one. The first one counts: when it cannot be
used there is no network, rather than another one. The directory is looked at each time that it matters, which costs a
few microseconds; a file is read again when it has changed.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import Final

from attrs import frozen

from ociworks import spec
from ociworks._values import evolve
from ociworks.errors import InvalidSpec, NetworkError, SpecError
from ociworks.spec import cni
from ociworks.spec.validate import validate

__all__ = ["MAX_FILE", "Configurations", "Found", "parse_list"]

MAX_FILE: Final = 1 << 20
"""Bytes of a configuration file."""
_MAX_PLUGINS: Final = 64
_ENDINGS: Final = (".conflist", ".conf", ".json")
_Stamp = tuple[tuple[str, int, int, int, int], ...]


@frozen(kw_only=True)
class Found:
    """A network configuration that can be used."""

    path: str
    raw: bytes
    """The list as JSON, as plugins' files were added to it."""
    configuration: cni.NetworkConfigList


class Configurations:
    """What ``directory`` configures. Safe for every thread."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._known: tuple[_Stamp, Found] | None = None

    def current(self) -> Found:
        """The configuration as it is now. NetworkError (which names the directory or the file) when there is none."""
        stamp = self._stamp()
        with self._lock:
            known = self._known
        if known is not None and known[0] == stamp:
            return known[1]
        found = self._read(stamp[0][0])
        with self._lock:
            self._known = (stamp, found)
        return found

    def first(self) -> str:
        """The name of the file that counts; empty when there is none. NetworkError when that cannot be told."""
        try:
            if os.stat(self.directory).st_mode & 0o002:
                raise NetworkError(f"{self.directory}: everybody may put networks there; chmod o-w it")
            names = [name for name in os.listdir(self.directory) if name.endswith(_ENDINGS)]
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise NetworkError(f"{self.directory}: {error.strerror}") from error
        return min(names, default="")

    def _stamp(self) -> _Stamp:
        """What tells whether anything has changed: the first file, and those of plugins beside it."""
        name = self.first()
        if not name:
            raise NetworkError(
                f"no network is configured: no .conflist, .conf or .json file in {self.directory}"
            )
        paths = [f"{self.directory}/{name}"]
        with self._lock:
            known = self._known
        if known is not None:
            paths += _plugin_files(self.directory, known[1].configuration)
        return tuple(_identity(path) for path in paths)

    def _read(self, path: str) -> Found:
        raw = _read_file(path)
        try:
            if not path.endswith(".conflist"):
                raw = _as_list(raw)
            configuration = parse_list(raw)
            for file in _plugin_files(self.directory, configuration):
                added = spec.parse(cni.PluginConf, _read_file(file))
                configuration = evolve(configuration, plugins=(*configuration.plugins, added))
                raw = spec.to_json(configuration)
            if not configuration.plugins or len(configuration.plugins) > _MAX_PLUGINS:
                raise NetworkError(f"{path}: expected 1 to {_MAX_PLUGINS} plugins")
            _check(configuration)
        except SpecError as error:
            raise NetworkError(f"{path}: {error}") from None
        return Found(path=path, raw=raw, configuration=configuration)


def parse_list(raw: bytes) -> cni.NetworkConfigList:
    """A configuration list that follows the rules. SpecError otherwise."""
    configuration = spec.parse(cni.NetworkConfigList, raw, max_size=2 * MAX_FILE)
    _check(configuration)
    return configuration


def _check(configuration: cni.NetworkConfigList) -> None:
    if problems := validate(configuration):
        raise InvalidSpec(problems)


def _as_list(raw: bytes) -> bytes:
    """A list of the one plugin in a file of the older kind."""
    conf = spec.parse(cni.PluginConf, raw, max_size=MAX_FILE)
    if conf.name is None or conf.cni_version is None:
        raise NetworkError("expected name and cniVersion")
    listed = cni.NetworkConfigList(cni_version=conf.cni_version, name=conf.name, plugins=(conf,))
    return spec.to_json(listed)


def _plugin_files(directory: str, configuration: cni.NetworkConfigList) -> list[str]:
    """Files of further plugins, in the directory that has the network's name."""
    if configuration.load_only_inlined_plugins:
        return []
    place = f"{directory}/{configuration.name}"
    try:
        return [f"{place}/{name}" for name in sorted(os.listdir(place)) if name.endswith(".conf")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _identity(path: str) -> tuple[str, int, int, int, int]:
    try:
        info = os.lstat(path)
    except OSError:
        return path, 0, 0, 0, 0
    return path, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size


def _read_file(path: str) -> bytes:
    """A regular file, no link, that only its owner (root, or this user) and root's group may write."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NetworkError(
            f"{path}: cannot be opened as a file, without following a link: {error.strerror}"
        ) from error
    with open(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise NetworkError(f"{path}: expected a regular file")
        others = 0o002 if info.st_gid == 0 else 0o022
        if info.st_mode & others or info.st_uid not in (0, os.geteuid()):
            raise NetworkError(f"{path}: expected a file that only root may write; chown and chmod it")
        raw = stream.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise NetworkError(f"{path}: expected at most {MAX_FILE} bytes")
    return raw
