"""SV-07 for pods: a server killed at any step leaves a pod that the next one can take away, and nothing else."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks._linux import process
from tests.cri.sandboxes import pods_below, traces

pytestmark = pytest.mark.root

KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.nodes import pod_config
from tests.cri.sandboxes import group_of, pods_below

place, module, name, moment, kind, act = Path(sys.argv[1]), *sys.argv[2:]
owner = importlib.import_module(f"ociworks.cri.{module}")
*inner, name = name.split(".")
for part in inner:
    owner = getattr(owner, part)
real = getattr(owner, name)

def last(*args, **options):
    if moment == "after":
        real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

maps = [api.IDMapping(container_id=0, host_id=200000, length=65536)]
users = api.UserNamespace(uids=maps, gids=maps) if kind == "mapped" else None
config = pod_config(place)
config.linux.cgroup_parent = group_of(place) + "/pod"
config.linux.security_context.namespace_options.CopyFrom(api.NamespaceOption(pid=api.POD, userns_options=users))
with pods_below(place) as pods:
    if act == "run":
        setattr(owner, name, last)
    made = pods.sandboxes.run(config, "")
    setattr(owner, name, last)
    pods.sandboxes.remove(made)
"""

MAKING = [
    ("store", "Table.add", "plain"),
    ("sandbox.logs", "make_log_directory", "plain"),
    ("sandbox.files", "make_directory", "plain"),
    ("sandbox.files", "write_file", "plain"),
    ("sandbox.groups", "_make", "plain"),
    ("sandbox.groups", "make_groups", "plain"),
    ("sandbox.namespaces", "pin", "plain"),
    ("sandbox.namespaces", "pin", "mapped"),
    ("sandbox.namespaces", "enter_and_furnish", "mapped"),
    ("sandbox.pause", "Holder.spawn", "plain"),
    ("sandbox.pause", "Holder.keep", "plain"),
    ("sandbox.pause", "Holder.keep", "mapped"),
    ("sandbox.files", "make_shm", "plain"),
    ("store", "Table.update", "plain"),
]
UNMAKING = [
    ("sandbox.pause", "end", "plain"),
    ("sandbox.namespaces", "unpin", "plain"),
    ("sandbox.groups", "remove_groups", "plain"),
    ("sandbox.files", "remove_directory", "plain"),
    ("store", "Table.update", "plain"),
    ("store", "Table.remove", "plain"),
]
CASES = [("run", *step) for step in MAKING] + [("remove", *step) for step in UNMAKING]


@pytest.fixture(autouse=True)
def orphans() -> Iterator[None]:
    """What a killed server leaves becomes ours, and must have ended by itself, or with its pod."""
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    before = children()
    try:
        yield
        for child in children() - before:
            pidfd = os.pidfd_open(child)
            try:
                assert select.select([pidfd], [], [], 20)[0], Path(f"/proc/{child}/stat").read_text()
            finally:
                os.close(pidfd)
            os.waitpid(child, 0)
    finally:
        process.prctl(process.PR_SET_CHILD_SUBREAPER, 0)


def children() -> set[int]:
    """Our children now."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("act", "module", "name", "kind"), CASES, ids=["-".join(case) for case in CASES])
def test_sv_07_a_server_killed_at_any_step(
    tmp_path: Path, moment: str, act: str, module: str, name: str, kind: str
) -> None:
    """The next server removes what is recorded, twice; then the host is as it was."""
    place = tmp_path
    before = traces(place)
    command = [sys.executable, "-c", KILLED, str(place), module, name, moment, kind, act]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with pods_below(place) as pods:
        for record in pods.store.sandboxes.all():
            pods.sandboxes.remove(record.id)
            pods.sandboxes.remove(record.id)
        assert pods.store.sandboxes.all() == ()
    assert traces(place) == before
    assert list((place / "state").glob("sandboxes/*")) == []
