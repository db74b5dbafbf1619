"""From a registry to a running container and back to nothing, one step after the other.

Run it by ``scripts/demo``, as root or as an ordinary user. It needs no network: the registry is in this process.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.programs import BUSYBOX, compile_tiny, is_static
from ociworks import testing
from ociworks.api import RunOptions, configure, pull, push, verify
from ociworks.errors import ContainerError, NotSupported
from ociworks.image import Image, Progress, unpack
from ociworks.runtime import Runtime
from ociworks.spec import Bundle
from ociworks.spec.image import Config
from ociworks.testing import File

LIMITS = RunOptions(memory=64 << 20, pids=32, hostname="demo")
LOOK_AROUND = ["sh", "-c", "uname -a; id; ps; cat /proc/self/cgroup"]
WAIT = ["sleep", "1000"]
APPLETS = ("cat", "id", "ls", "ps", "sh", "sleep", "true", "uname")


def main() -> int:
    """Go the road; 0 when every step did what it promises."""
    whom = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}, rootless"
    print(f"ociworks from a registry to a running container, as {whom}")
    folder = Path(tempfile.mkdtemp(prefix="ociworks-demo-"))
    try:
        return road(folder)
    finally:
        with step("remove everything"):
            shutil.rmtree(folder)


def road(folder: Path) -> int:
    """Every step, with what it gave."""
    with testing.Registry() as registry:
        with step("build an image"):
            made, look_around, wait = build(folder)
            say(f"{made.digest}, {len(made.layers)} layer, {sum(layer.size for layer in made.layers)} bytes")
        with step("push it to a registry in this process"):
            say(str(push(made, f"{registry.host}/demo/busybox:1")))
        with step("pull"):
            image = pull(f"{registry.host}/demo/busybox:1", store=folder / "store", progress=tell)
    with step("verify"):
        verify(image)
        say(f"manifest, configuration and {len(image.layers)} layer are what their digests promise")
    with step("unpack"):
        bundle = unpack(image, folder / "bundle")
        say(f"{sum(1 for _ in bundle.rootfs.rglob('*'))} files in {bundle.rootfs}")
    with Runtime(folder / "run") as runtime:
        with step("plan"):
            options = choose_limits(runtime, configure(bundle, image, look_around, LIMITS))
        with step("run"):
            bundle = configure(bundle, image, look_around, options)
            done = runtime.run(bundle, capture_output=True, timeout=60)
            say(done.stdout.decode("utf-8", "backslashreplace").rstrip())
            say(f"exit status {done.returncode}")
        statistics(runtime, configure(bundle, image, wait, options))
    return done.returncode


def build(folder: Path) -> tuple[Image, list[str], list[str]]:
    """An image of busybox, or of the tiny program; with the commands that look around and that wait."""
    if is_static(BUSYBOX):
        links = {f"bin/{name}": File(link="busybox") for name in APPLETS}
        return image_of({"bin/busybox": File(BUSYBOX.read_bytes(), 0o755), **links}), LOOK_AROUND, WAIT
    tiny = compile_tiny(folder)
    if tiny is None:
        sys.exit("demo: neither static busybox (apt-get install busybox-static) nor a C compiler is here")
    return image_of({"bin/tiny": File(tiny.read_bytes(), 0o755)}), ["/bin/tiny"], ["/bin/tiny", "wait"]


def image_of(programs: dict[str, File]) -> Image:
    """A small root filesystem around the programs."""
    files: dict[str, bytes | File] = {
        **programs,
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
        **dict.fromkeys(("dev/", "proc/", "sys/", "root/"), b""),
        "tmp/": File(mode=0o1777),
    }
    return testing.image_from_files(files, config=Config(env=("PATH=/bin",), cmd=("/bin/sh",)))


def choose_limits(runtime: Runtime, bundle: Bundle) -> RunOptions:
    """The limits where they can be enforced; an ordinary user often has no control group to do that in."""
    try:
        runtime.plan(bundle)
    except (ContainerError, NotSupported) as error:
        if os.geteuid() == 0:
            raise
        say(f"no memory and pids limits for this user: {error}")
        return RunOptions(hostname=LIMITS.hostname)
    say(f"at most {LIMITS.memory} bytes of memory and {LIMITS.pids} tasks")
    return LIMITS


def statistics(runtime: Runtime, bundle: Bundle) -> None:
    """What the control groups count of a container that is running."""
    with step("statistics of a running container"), runtime.create("demo", bundle) as container:
        container.start()
        stats = container.stats()
        if stats.cpu:
            say(f"processor: {stats.cpu.usage / 1e6:.1f} ms")
        if stats.memory:
            say(
                f"memory: {stats.memory.usage} bytes, at most {stats.memory.peak}, limit {stats.memory.limit}"
            )
        if stats.pids:
            say(f"tasks: {stats.pids.current}, limit {stats.pids.limit}")
        if not (stats.cpu or stats.memory or stats.pids):
            say("without control groups only the kernel's own of its process:")
            say(of_process(container.pid))
        container.kill("KILL")
        say(f"killed: status {container.wait(timeout=10)}")


def of_process(pid: int) -> str:
    """The kernel's account of one process."""
    wanted = ("VmHWM", "VmRSS", "Threads")
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(wanted))


def say(text: str) -> None:
    """Print what a step found, indented."""
    for line in text.splitlines():
        print(f"  {line}")


def tell(event: Progress) -> None:
    """Print what became of a blob."""
    if event.phase in {"done", "skip"}:
        say(f"{event.phase}: {event.digest}, {event.total} bytes")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print what is done, and how long it took."""
    print(f"\n{name}")
    start = time.perf_counter()
    yield
    print(f"  [{(time.perf_counter() - start) * 1000:.1f} ms]", flush=True)


if __name__ == "__main__":
    sys.exit(main())
