"""A program in the place of criu: speaks its protocol, and "restores" a process of the host's that a test describes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ociworks._linux import process
from ociworks.runtime._criu import rpc

__all__ = ["install"]

_CLONE_PARENT = 0x8000
_NOTIFY = 6
_HANGS = ("deaf", "unseen")


def install(
    directory: Path, does: str, procs: Sequence[str] = (), script: str = "", interrupts: int = 0
) -> str:
    """Write the program into a directory, for PATH; what it does, for :func:`main`."""
    directory.mkdir(exist_ok=True)
    told = json.dumps({"does": does, "procs": list(procs), "script": script, "interrupts": interrupts})
    checkout = Path(__file__).parents[2]
    program = directory / "criu"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(checkout)!r})\n"
        f"from tests.runtime.criu_stand_in import main\nmain({told!r})\n"
    )
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def main(told: str) -> None:
    """Restore a process, or do what goes wrong."""
    wanted: Mapping[str, object] = json.loads(told)
    with socket.socket(fileno=3) as channel:
        channel.recv(1 << 16)
        if wanted["does"] == "stop":
            _stop(wanted)
        if wanted["does"] == "fail":
            channel.send(rpc.message({1: rpc.RESTORE, 2: False}))
            sys.exit(1)
        pid = _process(wanted) if wanted["does"] in ("restore", "beside", *_HANGS) else 1
        Path(sys.argv[0] + ".pid").write_text(f"{os.getpid()} {pid}")  # before it can be killed
        if wanted["does"] in _HANGS:
            _hang(channel, wanted, pid)
        if not _notify(channel, "post-restore", pid):
            if wanted["does"] == "hang":
                signal.pause()
            os.kill(pid, signal.SIGKILL)
            sys.exit(1)
        _notify(channel, "pre-resume", 0)
        channel.send(rpc.message({1: rpc.RESTORE, 2: True, 4: rpc.message({1: pid})}))


def _stop(wanted: Mapping[str, object]) -> NoReturn:
    """Stop a container by its freezer, as one does that dumps it, and do nothing more."""
    for path in wanted["procs"]:  # type: ignore[attr-defined]
        for file, value in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
            if Path(path).with_name(file).exists():
                Path(path).with_name(file).write_text(value)
    Path(sys.argv[0] + ".pid").write_text(f"{os.getpid()} 1")
    _wait_in_vain(wanted)


def _hang(channel: socket.socket, wanted: Mapping[str, object], pid: int) -> NoReturn:
    """Say, or not, which process there is; neither do nor hear anything more."""
    if wanted["does"] == "deaf":
        _notify(channel, "setup-namespaces", pid)
    _wait_in_vain(wanted)


def _wait_in_vain(wanted: Mapping[str, object]) -> NoReturn:
    """Interrupt whoever waits for us, where that is wanted, and never end."""
    if interrupted := int(str(wanted["interrupts"])):
        os.kill(interrupted, signal.SIGINT)
    while True:
        signal.pause()


def _process(wanted: Mapping[str, object]) -> int:
    """A sibling of ours, that is in its control groups and executes its script."""
    runs, running = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone(_CLONE_PARENT)
    if pid == 0:
        if wanted["does"] != "beside":  # that stays where we are
            for path in wanted["procs"]:  # type: ignore[attr-defined]
                Path(path).write_text("0")
        os.setsid()
        environment = os.environ if wanted["does"] == "unseen" else {"PATH": os.environ["PATH"]}
        os.execve("/bin/sh", ["sh", "-c", str(wanted["script"])], environment)
    os.close(pidfd)
    os.close(running)
    os.read(runs, 1)
    return pid


def _notify(channel: socket.socket, script: str, pid: int) -> bool:
    channel.send(rpc.message({1: _NOTIFY, 2: True, 5: rpc.message({1: script, 2: pid})}))
    return bool(rpc.parse(channel.recv(1 << 16)).get(3))
