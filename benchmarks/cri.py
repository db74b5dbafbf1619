"""The Container Runtime Interface through one gRPC client: ours, and Debian's containerd with runc.

Pods have a network by CNI (Debian's bridge, host-local and portmap plugins) and a sleeping container with the default
seccomp profile, on both sides. Its pause image is the same busybox, sleeping. Debian's containerd 1.6 has no
ListPodSandboxMetrics: ``BENCH_CONTAINERD`` may name a containerd of version 2, with its shim beside it, which then has
as many pods of its own; without it containerd's ListContainerStats, which counts less, stands in.
``BENCH_PAIRS`` says how often each is done.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks import _nodes
from benchmarks._measure import Comparison, Work, compare, report
from benchmarks._nodes import Node
from ociworks import testing
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.image import remote
from ociworks.spec.image import Config
from ociworks.testing import File, image_from_files

PODS = 20
WORKERS = 4
_NUMBERS = itertools.count()


def main() -> None:
    """Print the table."""
    lacking = _nodes.missing()
    if lacking:
        print(f"## cri: left out, needs {lacking}\n")
        return
    _nodes.alone("benchmarks.cri")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ociworks-bench-")))
        place.chmod(0o755)
        registry = stack.enter_context(testing.Registry())
        image = _push(registry)
        for name in ("ours", "peer"):
            (place / name).mkdir()
        stack.callback(_remove_groups)
        ours = stack.enter_context(_nodes.ociworks(place / "ours", image, registry.host))
        peer = stack.enter_context(_nodes.containerd(place / "peer", image, registry.host))
        report("cri", [_start(ours, peer), _stop(ours, peer), _exec(ours, peer), _many(ours, peer)])
        _twenty(ours, peer)
        _metrics(ours, place, image, registry.host)


def _push(registry: testing.Registry) -> str:
    busybox = File(Path("/bin/busybox").read_bytes(), 0o755)
    links = {f"bin/{name}": File(link="busybox") for name in ("sh", "true", "sleep")}
    files: dict[str, bytes | File] = {"bin/busybox": busybox, **links}
    image = image_from_files(files, config=Config(entrypoint=("/bin/sleep", "1000000")))
    name = f"{registry.host}/busybox:1"
    with remote.Client() as client:
        client.push(image, name)
    return name


def _start(ours: Node, peer: Node) -> Comparison:
    made: list[tuple[Node, str]] = []

    def start(node: Node) -> Work:
        return lambda: made.append((node, node.run(next(_NUMBERS))[0]))

    def remove() -> None:
        while made:
            node, pod = made.pop()
            node.remove(pod)

    return compare("run pod and container", start(ours), "containerd", start(peer), aim=0.5, after=remove)


def _stop(ours: Node, peer: Node) -> Comparison:
    made: dict[str, str] = {}

    def run() -> None:
        for node in (ours, peer):
            if node.name not in made:
                made[node.name] = node.run(next(_NUMBERS))[0]

    def stop(node: Node) -> Work:
        return lambda: node.remove(made.pop(node.name))

    found = compare("stop and remove them", stop(ours), "containerd", stop(peer), aim=0.5, before=run)
    for node in (ours, peer):
        if node.name in made:
            node.remove(made[node.name])
    return found


def _exec(ours: Node, peer: Node) -> Comparison:
    containers = {node.name: node.run(next(_NUMBERS)) for node in (ours, peer)}

    def run(node: Node) -> Work:
        return lambda: node.exec(containers[node.name][1])

    found = compare("ExecSync true", run(ours), "containerd", run(peer), number=5, aim=0.25)
    for node in (ours, peer):
        node.remove(containers[node.name][0])
    return found


def _many(ours: Node, peer: Node) -> Comparison:
    """Whole lives of pods, four at a time."""

    def live(node: Node) -> Work:
        def one(number: int) -> None:
            node.remove(node.run(number)[0])

        def work() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(one, itertools.islice(_NUMBERS, 2 * WORKERS)))

        return work

    return compare("8 pods' lives, 4 workers", live(ours), "containerd", live(peer), pairs=5, aim=0.5)


def _twenty(ours: Node, peer: Node) -> None:
    """What twenty pods cost to count, and in memory."""
    memory = {}
    for node in (ours, peer):
        before = _nodes.pss_below_us()
        for _ in range(PODS):
            node.run(next(_NUMBERS))
        memory[node.name] = (_nodes.pss_below_us() - before) / PODS / 1024

    def stats(node: Node) -> Work:
        return lambda: node.runtime.ListContainerStats(api.ListContainerStatsRequest())

    instead = "containerd, ListContainerStats"
    report(
        "cri",
        [
            compare("metrics of 20 pods", _counting(ours), instead, stats(peer), number=3),
            compare("ListContainerStats of 20", stats(ours), "containerd", stats(peer), number=3),
        ],
    )
    print("## memory of a pod with a sleeping container: PSS of all that it adds\n")
    for name, megabytes in memory.items():
        aim = " (aim: 2.5 MiB)" if name == ours.name else ""
        print(f"  {name}: {megabytes:.2f} MiB{aim}")
    print("again: scripts/bench cri\n", flush=True)


def _counting(node: Node) -> Work:
    def metrics() -> None:
        found = node.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
        if len(found) != PODS:
            raise SystemExit(f"{node.name}: metrics of {len(found)} pods")

    return metrics


def _metrics(ours: Node, place: Path, image: str, registry: str) -> None:
    """The same call of a containerd that has it. That counts ten pods a second, whoever asks: a few pairs do."""
    program = os.environ.get("BENCH_CONTAINERD")
    if not program:
        print(
            "## cri: ListPodSandboxMetrics of containerd is left out: BENCH_CONTAINERD names no version 2\n"
        )
        return
    (place / "newer").mkdir()
    with _nodes.newer_containerd(program, place / "newer", image, registry) as newer:
        for _ in range(PODS):
            newer.run(next(_NUMBERS))
        work = "ListPodSandboxMetrics of 20"
        found = compare(work, _counting(ours), newer.name, _counting(newer), pairs=5, aim=0.02)
        report("cri", [found])


def _remove_groups() -> None:
    """The groups of pods, which nobody else made."""
    for top in Path("/sys/fs/cgroup").glob(f"**/ociworks-bench-{os.getpid()}"):
        for directory, _, _ in sorted(os.walk(top), reverse=True):
            os.rmdir(directory)


if __name__ == "__main__":
    main()
