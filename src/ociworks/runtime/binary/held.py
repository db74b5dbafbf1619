"""Containers of another program that outlive us: each is held by a shim (``shim.foreign``), as ours are.

Beside the program's state root, in ``<root>@shims``, each has a directory: the shim's socket and files, and the
configuration, if that is another than the bundle's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import Any, Final, NamedTuple

from ociworks.errors import (
    ContainerError,
    ContainerExists,
    ContainerNotFound,
    ContainerTimeout,
    CreateFailed,
    LauncherError,
    quote,
)
from ociworks.runtime import cgroups, detach, state
from ociworks.runtime._root import check_root
from ociworks.runtime._shim import Shim, let_go, until_kept
from ociworks.runtime.binary.command import Failed, Program, error_for, last_error
from ociworks.runtime.detach import Detach, Saved
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.shim.debris import discard, sweep_debris
from ociworks.runtime.shim.foreign import LOG, PROGRAM
from ociworks.spec import Bundle, to_json
from ociworks.spec.runtime import Spec

__all__ = ["Verb", "create_held", "remove_held", "shim_of", "shims_root"]

_REPORT: Final = 30.0
"""Seconds more than the program has, for the shim to say that it took too long."""


class Verb(NamedTuple):
    """How the program makes a container: ``create`` or ``restore`` with its flags, and the seconds that it has."""

    words: tuple[str, ...]
    patience: float


def shims_root(program: Program) -> str:
    """The directory that holds one directory for each shim."""
    return f"{program.root}@shims"


def shim_of(program: Program, container_id: str) -> Shim | None:
    """The shim of a container, wherever it was made; None of one that has none."""
    root = shims_root(program)
    return Shim(root, container_id) if state.has(root, container_id, detach.FILE) else None


def remove_held(program: Program, container_id: str, shim: Shim) -> None:
    """Have a shim end and remove its directory; again is harmless."""
    root = shims_root(program)
    with contextlib.suppress(ContainerNotFound), state.Lock(root, container_id):
        shim.leave()
        discard(f"{root}/{container_id}")


def create_held(
    program: Program, container_id: str, bundle: Bundle, spec: Spec, options: Detach, verb: Verb
) -> None:
    """Have a shim made that has the program make a container. ``spec`` is written when the bundle says another.

    Raises ContainerExists, CreateFailed, CommandNotFound, LauncherError, and for a restore CheckpointFailed and
    ContainerTimeout; nothing is left behind then.
    """
    place = _place(program)
    directory = os.open(os.path.dirname(options.log) or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    request = _request(program, f"{place}/{container_id}", bundle, spec, options, verb)
    try:
        fds = (directory,) if options.log else ()
        spawned = program.reaper().hold(request, fds, verb.patience + _REPORT)
    except CreateFailed as error:
        raise _explained(program, container_id, error, verb) from error
    except LauncherError:
        _sweep(program, container_id, request["shim"]["token"])
        raise
    finally:
        os.close(directory)
    try:
        groups = "\0".join(_groups(spawned.pid))
        until_kept(spawned, container_id, options.start_timeout, os.fsencode(groups))
    except BaseException:
        _undo(program, container_id, request["shim"]["token"], spawned, options)
        raise
    finally:
        spawned.close()


def _place(program: Program) -> str:
    """The directory of the shims, made when it is missing, without what was never complete."""
    root = shims_root(program)
    os.makedirs(root, mode=0o700, exist_ok=True)
    check_root(root)
    sweep_debris(root)
    return root


def _request(
    program: Program, claim: str, bundle: Bundle, spec: Spec, options: Detach, verb: Verb
) -> dict[str, Any]:
    container_id = claim.rpartition("/")[2]
    given = os.fspath(bundle.path)
    rewritten = spec is not bundle.spec
    saved = Saved(
        token=secrets.token_hex(16),
        log=options.log,
        log_format=options.log_format,
        log_files=options.log_files,
        terminal=spec.process is not None and bool(spec.process.terminal),
        bundle=given if rewritten else "",
    )
    files = [(detach.FILE, saved.encode()), *([("config.json", to_json(spec))] if rewritten else ())]
    log = f"{claim}/{LOG}" if program.options.json_logs else ""
    return {
        "claim": claim,
        "gate": "",
        "cgroup": None,
        "groups": (),
        "planned": _planned(program, spec),
        "state": f"{program.root}/{container_id}",
        "env": dict(os.environ),
        "argv": (
            program.argv(*verb.words, log=log),
            ("--bundle", claim if rewritten else given, container_id),
        ),
        "delete": program.argv("delete", "--force", container_id),
        "kill": () if _is_first(spec) else program.argv("kill", "--all", container_id, "KILL"),
        "shim": {
            "files": tuple(files),
            "log": (os.path.basename(options.log), options.log_format, options.log_size, options.log_files),
            "stdin": options.stdin,
            "stdin_once": options.stdin_once,
            "terminal": saved.terminal,
            "token": saved.token,
            "patience": verb.patience,
        },
    }


def _is_first(spec: Spec) -> bool:
    """Whether the container has a PID namespace of its own, with which everything in it ends."""
    namespaces = spec.linux.namespaces if spec.linux is not None else ()
    return any(space.type == "pid" and not space.path for space in namespaces or ())


def _planned(program: Program, spec: Spec) -> tuple[str, ...]:
    """The control groups that the program is told to make, where we know: by an absolute path, and without systemd."""
    path = spec.linux.cgroups_path if spec.linux is not None else None
    if not path or not path.startswith("/") or "--systemd-cgroup" in program.options.flags:
        return ()
    return cgroups.plan(cgroups.detect(), path, "", None, devices=False).directories


def _groups(pid: int) -> tuple[str, ...]:
    """The control groups that the program put a process into, for the shim to count what was killed in them."""
    with contextlib.suppress(OSError, ContainerError):
        return cgroups.groups_of(pid)
    return ()


def _explained(program: Program, container_id: str, error: CreateFailed, verb: Verb) -> ContainerError:
    name = verb.words[0]
    if error.errno == errno.EEXIST and error.path:
        return ContainerExists(f"container {container_id} exists already in {program.root}")
    if error.errno == errno.ETIMEDOUT and name == "restore":
        why = f"{program.path} {name} did not end within {verb.patience:g} seconds and was killed"
        return ContainerTimeout(why, timeout=verb.patience)
    if error.path != PROGRAM:
        return error
    text = str(error).removeprefix("create: ").removesuffix(f": {PROGRAM}")
    said = last_error(text.encode()) or (quote(text, 2000) if text else f"ended with status {error.errno}")
    return error_for(name, container_id, Failed(error.errno, said))


def _undo(program: Program, container_id: str, token: str, spawned: Spawned, options: Detach) -> None:
    """Have the shim remove everything; one that does not answer is killed, and we do it."""
    if let_go(spawned.monitor, options.start_timeout + _REPORT):
        return
    with contextlib.suppress(LauncherError):
        program.reaper().forsake(token)
    with contextlib.suppress(Failed):
        program.ask("delete", "--force", container_id)
    _sweep(program, container_id, token)


def _sweep(program: Program, container_id: str, token: str) -> None:
    """Remove the directory of a shim that was killed; only ours."""
    root = shims_root(program)
    sweep_debris(root)
    saved = detach.load(root, container_id)
    if saved is not None and saved.token == token:
        discard(f"{root}/{container_id}")
