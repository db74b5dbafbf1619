"""Starts the helper: a fresh interpreter from a memfd that nobody can write (RT-01), with nothing inherited.

The interpreter gets ``-I -S -B`` and an empty environment; the packages that it may import are named in its start-up
code, so that no ``site``, ``.pth`` file or variable has a say. It writes no compiled modules: the caller packs what
helpers need (:mod:`ociworks._packs`), also where an installer compiled nothing (uv, a checkout). No garbage is looked
for while it loads: there is next to none, and looking takes an eighth of the time.

This file loads little itself: a command starts the helper first, and loads the rest of what it needs meanwhile.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import sys

from ociworks._linux.memfd import sealed_copy
from ociworks.runtime._installed import check_installation
from ociworks.runtime._standard import fill_standard

__all__ = ["start"]

_PACK = "helper"
_BOOT = """\
import gc
gc.disable()
import sys
for name, path in {packages!r}:
    module = type(sys)(name)
    module.__path__ = [path]
    sys.modules[name] = module
from ociworks._packs import use
use({pack!r})
from {module} import main
gc.freeze()
gc.enable()
main(3, {caller})
"""
_SIGNALS = [
    number for number in range(1, _signal.NSIG) if number not in (_signal.SIGKILL, _signal.SIGSTOP, 32, 33)
]


def start(module: str) -> tuple[int, int]:
    """Start a helper, ``main`` of a module of ours; returns its pid and our end of the control channel."""
    if sys.platform != "linux":
        from ociworks.errors import NotSupported

        raise NotSupported(f"containers need Linux, this is {sys.platform}")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inner = [(f"ociworks.{name}", os.path.join(package, name)) for name in ("runtime", "testing")]
    packages = [("ociworks", package), *inner]
    boot = _BOOT.format(packages=packages, pack=_PACK, module=module, caller=os.getpid())
    interpreter = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    check_installation(interpreter, package)
    fill_standard()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        pid = _spawn(interpreter, boot, theirs.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    _pack(package)
    return pid, ours.detach()


def _pack(package: str) -> None:
    """See that the next helper finds what it imports in one file; this one is on its way by now."""
    from ociworks import _packs

    try:
        if not _packs.is_current(_PACK):
            _packs.renew(_PACK, _modules(package))
    except OSError:
        return


def _modules(package: str) -> dict[str, str]:
    """All that helpers import from files, and the files."""
    library = os.path.dirname(os.__file__)
    found = {name: f"{library}/{name}.py" for name in ("struct", "types")}
    found |= {"ctypes": f"{library}/ctypes/__init__.py", "ctypes._endian": f"{library}/ctypes/_endian.py"}
    for name in ("_cgroupbpf", "_cgroupfs", "_cgroupkill"):
        found[f"ociworks.runtime.{name}"] = f"{package}/runtime/{name}.py"
    for inside in ("_linux", "runtime/shim", "runtime/_init"):
        parent = "ociworks." + inside.replace("/", ".")
        for name in os.listdir(f"{package}/{inside}"):
            if name == "__init__.py":
                found[parent] = f"{package}/{inside}/{name}"
            elif name.endswith(".py"):
                found[f"{parent}.{name[:-3]}"] = f"{package}/{inside}/{name}"
    return found


def _spawn(interpreter: str, boot: str, control: int) -> int:
    try:
        binary = sealed_copy(interpreter, "ociworks-launcher")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            from ociworks.errors import NotSupported

            raise NotSupported("this host forbids executable memfds (sysctl vm.memfd_noexec)") from error
        raise
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [
            *((os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)),
            (os.POSIX_SPAWN_DUP2, control, 3),
        ]
        return os.posix_spawn(
            f"/proc/self/fd/{binary}",
            [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", boot],
            {},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )
    except OSError as error:
        from ociworks.errors import LauncherError

        raise LauncherError(f"cannot start {interpreter} as the launcher: {error}") from error
    finally:
        os.close(null)
        os.close(binary)
