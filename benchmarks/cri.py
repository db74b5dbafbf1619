"""The Container Runtime Interface through one gRPC client: ours, and Debian's containerd with runc.

Pods have a network by CNI (Debian's bridge, host-local and portmap plugins) and a sleeping container with the default
seccomp profile, on both sides. Debian's containerd 1.6 has no ListPodSandboxMetrics: its ListContainerStats, which
counts less, stands in. Its pause image is the same busybox, sleeping. ``BENCH_PAIRS`` says how often each is done.
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

    def metrics() -> None:
        found = ours.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
        if len(found) != PODS:
            raise SystemExit(f"metrics of {len(found)} pods")

    def stats() -> None:
        peer.runtime.ListContainerStats(api.ListContainerStatsRequest())

    def our_stats() -> None:
        ours.runtime.ListContainerStats(api.ListContainerStatsRequest())

    report(
        "cri",
        [
            compare("metrics of 20 pods", metrics, "containerd, ListContainerStats", stats, number=3),
            compare("ListContainerStats of 20", our_stats, "containerd", stats, number=3),
        ],
    )
    print("## memory of a pod with a sleeping container: PSS of all that it adds\n")
    for name, megabytes in memory.items():
        aim = " (aim: 2.5 MiB)" if name == ours.name else ""
        print(f"  {name}: {megabytes:.2f} MiB{aim}")
    print("again: scripts/bench cri\n", flush=True)


def _remove_groups() -> None:
    """The groups of pods, which nobody else made."""
    for top in Path("/sys/fs/cgroup").glob(f"**/ociworks-bench-{os.getpid()}"):
        for directory, _, _ in sorted(os.walk(top), reverse=True):
            os.rmdir(directory)


if __name__ == "__main__":
    main()
