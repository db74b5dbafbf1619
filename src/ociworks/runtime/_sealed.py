"""Starts the helper: a fresh interpreter from a memfd that nobody can write (RT-01), with nothing inherited.

The interpreter gets ``-I -S -B`` and an empty environment; the packages that it may import are named in its start-up
code, so that no ``site``, ``.pth`` file or variable has a say. It writes no compiled modules, and would compile all of
its own at each start where an installer did not (uv, a checkout): the caller sees to that once. This file loads little
itself: a command starts the helper first, and loads the rest of what it needs meanwhile.
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

_BOOT = """\
import sys
for name, path in {packages!r}:
    module = type(sys)(name)
    module.__path__ = [path]
    sys.modules[name] = module
from {module} import main
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
    boot = _BOOT.format(packages=[("ociworks", package), *inner], module=module, caller=os.getpid())
    interpreter = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    check_installation(interpreter, package)
    _compile(package)
    fill_standard()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        pid = _spawn(interpreter, boot, theirs.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours.detach()


def _compile(package: str) -> None:
    """Compile what the helper imports and nobody has compiled, if this process writes compiled modules at all."""
    if sys.dont_write_bytecode or sys.pycache_prefix is not None:
        return
    runtime = os.path.join(package, "runtime")
    sources = [os.path.join(runtime, f"{name}.py") for name in ("_cgroupbpf", "_cgroupfs", "_cgroupkill")]
    for place in (
        os.path.join(package, "_linux"),
        os.path.join(runtime, "shim"),
        os.path.join(runtime, "_init"),
    ):
        sources += [os.path.join(place, name) for name in os.listdir(place) if name.endswith(".py")]
    missing = [source for source in sources if not _is_compiled(source)]
    if missing:
        import compileall

        for source in missing:
            compileall.compile_file(source, quiet=2)


def _is_compiled(source: str) -> bool:
    folder, name = os.path.split(source)
    compiled = f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
    try:
        return os.stat(compiled).st_mtime_ns >= os.stat(source).st_mtime_ns
    except FileNotFoundError:
        return False


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
