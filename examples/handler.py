"""A runtime that runs programs which no kernel knows: WebAssembly modules, scripts, anything with a first few bytes.

    python -m examples.handler HANDLER BUNDLE PROGRAM [ARGUMENT...]

A handler is a static program on the host that takes the file to run and its arguments. The runtime looks at the first
bytes of the program in the bundle; when they are those of a handler, it mounts the handler read-only into the container
and executes it instead, for the first process and for every exec. The container's user, limits and filter stay as they
are: the handler is only another program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from ociworks import spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import Mount, Process, Spec

WASM = b"\0asm"
PLACE = "/.handlers"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HandlerRuntime(Runtime):
    """``handlers`` are host programs by the first bytes of the files that they run."""

    def __init__(self, handlers: Mapping[bytes, str | Path], root: str | Path | None = None) -> None:
        super().__init__(root)
        self.handlers = {magic: os.path.abspath(program) for magic, program in handlers.items()}

    def edit_spec(self, bundle: spec.Bundle, container_id: str) -> spec.Bundle:
        """With the handlers mounted, and the root filesystem's path made absolute for :meth:`edit_process`."""
        mounts = tuple(
            Mount(
                destination=f"{PLACE}/{number}",
                source=program,
                type="bind",
                options=("bind", "ro", "nosuid", "nodev"),
            )
            for number, program in enumerate(self.handlers.values())
        )
        root = bundle.spec.root
        root = attrs.evolve(root, path=str(bundle.rootfs)) if root is not None else None
        return bundle.replace(attrs.evolve(bundle.spec, root=root, mounts=(*bundle.spec.mounts, *mounts)))

    def edit_process(self, process: Process, spec: Spec) -> Process:
        """The handler with the program as its argument, when the program is not one that the kernel knows."""
        if spec.root is None or not process.args:
            return process
        path, start = find(Path(spec.root.path), process)
        for number, magic in enumerate(self.handlers):
            if start.startswith(magic):
                return attrs.evolve(process, args=(f"{PLACE}/{number}", path, *process.args[1:]))
        return process


def find(rootfs: Path, process: Process) -> tuple[str, bytes]:
    """The program's path inside the container and its first bytes; links are not followed out of the root."""
    name = process.args[0]
    search = next((entry[5:] for entry in reversed(process.env) if entry.startswith("PATH=")), DEFAULT_PATH)
    places = [process.cwd] if "/" in name else search.split(":")
    for place in places:
        inside = os.path.normpath(os.path.join("/", place, name))
        if start := first_bytes(rootfs, inside):
            return inside, start
    return name, b""


def first_bytes(rootfs: Path, inside: str) -> bytes:
    """The beginning of a regular file, empty when there is none; no link on the way is followed."""
    current = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        *parents, last = inside.strip("/").split("/")
        for part in parents:
            following = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = following
        fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=current)
        with os.fdopen(fd, "rb") as stream:
            return stream.read(16)
    except OSError:
        return b""
    finally:
        os.close(current)


def main(handler: str, directory: str, *args: str) -> int:
    """Run a WebAssembly program of the bundle; its status."""
    with HandlerRuntime({WASM: handler}) as runtime:
        return runtime.run(spec.Bundle.load(directory), args or None).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
