"""Plugins: found by their type in the configured directories, asked one command at a time (CNI SPEC.md, section 2).

Nothing that a configuration or a pod says chooses a path, an argument or a variable of the environment.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from ociworks import spec
from ociworks.cri.network import _process
from ociworks.errors import InvalidJSON, InvalidSpec, NetworkError, PluginFailed, SpecError, quote
from ociworks.spec import cni
from ociworks.spec.validate.cni import is_plugin_type

__all__ = ["Attaching", "Plugins"]

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where plugins find iptables and its like."""
_VERSION_TIMEOUT: Final = 10
"""Seconds for VERSION, which does nothing."""


@frozen(kw_only=True)
class Attaching:
    """What one command is about. The values are validated before (:mod:`ociworks.cri.network.pod`)."""

    id: str
    netns: str
    """The path of its network namespace; empty when there is none any more (DEL)."""
    ifname: str
    args: tuple[tuple[str, str], ...] = ()


class Plugins:
    """The programs in ``directories``, earlier ones first. Safe for every thread."""

    def __init__(self, directories: Sequence[str], timeout: float) -> None:
        self._directories = tuple(directories)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, int, int, int], tuple[str, ...]] = {}

    def find(self, type: str) -> str:
        """The absolute path of a plugin. NetworkError when there is none, or one that others could have written."""
        if not is_plugin_type(type):
            raise NetworkError(f"expected the type of a network plugin, a plain file name, got {quote(type)}")
        for directory in self._directories:
            path = f"{directory.rstrip('/')}/{type}"
            try:
                info, around = os.stat(path), os.stat(directory)
            except OSError:
                continue
            if not stat.S_ISREG(info.st_mode) or not info.st_mode & 0o111:
                continue
            if (info.st_mode | around.st_mode) & 0o002:
                raise NetworkError(
                    f"{path}: everybody may write or replace this network plugin; chmod o-w it"
                )
            return path
        raise NetworkError(
            f"no network plugin {quote(type)} in {', '.join(self._directories) or 'no directory'}"
        )

    def versions(self, type: str) -> tuple[str, ...]:
        """The versions of the specification that a plugin says it knows; it is asked once as long as its file stays."""
        path = self.find(type)
        info = os.stat(path)
        key = (path, info.st_ino, info.st_mtime_ns, info.st_size)
        with self._lock:
            found = self._versions.get(key)
        if found is None:
            found = self._ask_versions(type, path)
            with self._lock:
                self._versions = {k: v for k, v in self._versions.items() if k[0] != path} | {key: found}
        return found

    def ask(self, command: str, conf: cni.PluginConf, about: Attaching | None = None) -> bytes:
        """Have a plugin do something; its answer. PluginFailed when it does not, NetworkError when it is missing."""
        environment = {"CNI_COMMAND": command, "CNI_PATH": ":".join(self._directories), "PATH": _PATH}
        if about is not None:
            environment |= {
                "CNI_CONTAINERID": about.id,
                "CNI_NETNS": about.netns,
                "CNI_IFNAME": about.ifname,
                "CNI_ARGS": ";".join(f"{name}={value}" for name, value in about.args),
            }
        return self._run(command, conf.type, self.find(conf.type), environment, spec.to_json(conf))

    def _ask_versions(self, type: str, path: str) -> tuple[str, ...]:
        environment = {"CNI_COMMAND": "VERSION", "CNI_PATH": ":".join(self._directories), "PATH": _PATH}
        raw = self._run("VERSION", type, path, environment, b'{"cniVersion":"%s"}' % cni.VERSION.encode())
        try:
            return spec.parse(cni.VersionResult, raw, max_size=_process.MAX_OUTPUT).supported_versions
        except SpecError as error:
            raise PluginFailed(
                f"network plugin {type}: VERSION: {error}", plugin=type, command="VERSION"
            ) from None

    def _run(self, command: str, type: str, path: str, environment: dict[str, str], given: bytes) -> bytes:
        limit = min(self._timeout, _VERSION_TIMEOUT) if command == "VERSION" else self._timeout
        try:
            ended = _process.run(path, environment, given, limit)
        except (OSError, NetworkError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            message = f"network plugin {path}: {command}: {what}"
            raise PluginFailed(message, plugin=type, command=command) from error
        if ended.code:
            raise _failure(command, type, path, ended)
        return ended.output


def _failure(command: str, type: str, path: str, ended: _process.Ended) -> PluginFailed:
    how = f"exit code {ended.code}" if ended.code > 0 else f"killed by signal {-ended.code}"
    code = None
    try:
        said = spec.parse(cni.ErrorResult, ended.output, max_size=_process.MAX_OUTPUT)
    except (InvalidJSON, InvalidSpec):
        words = quote(ended.errors.strip() or ended.output.strip(), 500)
    else:
        code = said.code
        how = f"code {code}"
        words = quote(said.msg, 500) + (f" ({quote(said.details)})" if said.details else "")
    return PluginFailed(
        f"network plugin {path}: {command}: {how}: {words}", plugin=type, command=command, code=code
    )
