"""Attacks on the rights of a container's process: capabilities, identities, filters (RT-24 to RT-26)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import RunOptions, Runtime
from ociworks.runtime.plan import ops
from ociworks.spec.runtime import Capabilities, Rlimit, Seccomp, Syscall, SyscallArg, User
from tests.runtime.boxes import shell, with_linux, with_process
from tests.security.programs import script


def status_of(runtime: Runtime, bundle: spec.Bundle, options: RunOptions | None = None) -> dict[str, str]:
    lines = shell(runtime, bundle, "cat /proc/self/status", options).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    "names", [("ALL",), ("cap_kill",), ("CAP_KILL", "CAP_NOPE"), ("KILL",), ("CAP_63",), ("",)], ids=str
)
def test_rt_24_names_of_capabilities(runtime: Runtime, bundle: spec.Bundle, names: tuple[str, ...]) -> None:
    """Only the kernel's names, and those that it knows."""
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.plan(with_process(bundle, capabilities=Capabilities(bounding=names)))


def test_rt_24_sets_that_contradict(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Effective beyond permitted is an error, and no program; ambient beyond inheritable is not raised."""
    kill = ("CAP_KILL",)
    beyond = with_process(bundle, capabilities=Capabilities(bounding=kill, effective=kill))
    loose = Capabilities(bounding=kill, permitted=kill, effective=kill, ambient=kill)
    with runtime:
        with pytest.raises(errors.OciworksError):
            runtime.run(beyond, ["touch", "/tmp/ran"], timeout=60)
        found = status_of(runtime, with_process(bundle, capabilities=loose))
    assert not (bundle.rootfs / "tmp/ran").exists()
    assert found["CapAmb"] == found["CapInh"] == "0" * 16


def test_rt_24_an_exec_has_no_more(runtime: Runtime, bundle: spec.Bundle) -> None:
    """As much as the container, in each of the five sets; generated ones have two empty."""
    few = Capabilities(bounding=("CAP_KILL",), effective=("CAP_KILL",), permitted=("CAP_KILL",))
    with (
        runtime,
        runtime.create("few", with_process(bundle, capabilities=few), ["sleep", "1000"]) as container,
    ):
        container.start()
        own = [
            line for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if "Cap" in line
        ]
        found = container.exec(["grep", "Cap", "/proc/self/status"], timeout=60).stdout.decode().splitlines()
        assert found == own
        sets = {line.split(":")[0]: int(line.split()[1], 16) for line in found}
    assert sets == {"CapInh": 0, "CapPrm": 0x20, "CapEff": 0x20, "CapBnd": 0x20, "CapAmb": 0}


CALLER = """
import os, resource, signal, sys, threading
from ociworks import spec
from ociworks.runtime import Runtime
os.umask(0)
os.setsid()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.geteuid() == 0:
    os.setgroups([4, 20, 27])
os.nice(3)
with Runtime(sys.argv[1]) as runtime:
    bundle = spec.Bundle.load(sys.argv[2])
    look = "umask; cat /proc/self/status; cat /proc/self/personality; cut -d' ' -f5,6 /proc/1/stat"
    done = runtime.run(bundle, ["sh", "-c", look], capture_output=True, timeout=60)
    sys.stdout.buffer.write(done.stdout)
"""


def test_rt_25_state_of_the_caller(root: Path, bundle: spec.Bundle) -> None:
    """A configuration that is silent gives the usual values, whatever the caller had made of its own."""
    bundle.save()
    lines = script(CALLER, root, bundle.path).splitlines()
    found = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert lines[0] == "0022"
    for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd"):
        assert found[name] == "0" * 16, name
    assert set(found["Groups"].split()) <= {"0"}
    assert lines[-2:] == ["00000000", "1 1"]


def test_rt_25_the_order_of_a_plan(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The documented one, with a filter before the rights are given up only where it needs them."""
    order = (
        "keyring session pin_root join_cgroups pivot rlimit no_new_privileges close_descriptors change_directory "
        "bounding identity capability_sets umask seccomp execute"
    ).split()
    limited = with_process(
        bundle, rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=9, hard=99),), no_new_privileges=True
    )
    with runtime:
        names = [op.name for op in runtime.plan(limited).operations]
        places = [names.index(name) for name in order]
        assert places == sorted(places)
        early = [op.name for op in runtime.plan(with_process(limited, no_new_privileges=False)).operations]
    assert early.index("close_descriptors") < early.index("seccomp") < early.index("bounding")


@pytest.mark.root
def test_rt_25_root_cannot_come_back(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A user without capabilities, with no-new-privileges: a set-uid shell of root's gives nothing."""
    (bundle.rootfs / "suid").mkdir()
    (bundle.rootfs / "suid/busybox").write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
    (bundle.rootfs / "suid/busybox").chmod(0o4755)
    weak = with_process(
        bundle, user=User(uid=1000, gid=1000), no_new_privileges=True, capabilities=Capabilities(bounding=())
    )
    with runtime:
        found = status_of(runtime, weak)
        assert (found["Uid"], found["NoNewPrivs"], found["Seccomp"]) == ("1000\t1000\t1000\t1000", "1", "2")
        assert shell(runtime, weak, "/suid/busybox id -u").strip() == "1000"


FILTERS = {
    "no such action": Seccomp(default_action="SCMP_ACT_ALOW"),
    "no action": Seccomp(default_action=""),
    "no such architecture": Seccomp(default_action="SCMP_ACT_ERRNO", architectures=("SCMP_ARCH_Z80",)),
    "no such flag": Seccomp(default_action="SCMP_ACT_ERRNO", flags=("SECCOMP_FILTER_FLAG_NOPE",)),
    "a large errno": Seccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=99999),
    "an index": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(
            Syscall(
                names=("read",),
                action="SCMP_ACT_ERRNO",
                args=(SyscallArg(index=9, value=1, op="SCMP_CMP_EQ"),),
            ),
        ),
    ),
    "an operator": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(
            Syscall(names=("read",), action="SCMP_ACT_ERRNO", args=(SyscallArg(index=0, value=1, op="=="),)),
        ),
    ),
    "an unknown call that would be allowed": Seccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=("mkdirr",), action="SCMP_ACT_ERRNO"),)
    ),
    "nobody to ask": Seccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=("mkdir",), action="SCMP_ACT_NOTIFY"),)
    ),
    "asked about everything": Seccomp(default_action="SCMP_ACT_NOTIFY", listener_path="/l"),
    "asked about the question": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        listener_path="/l",
        syscalls=(Syscall(names=("sendmsg",), action="SCMP_ACT_NOTIFY"),),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_rt_26_filters_that_are_none(runtime: Runtime, bundle: spec.Bundle, name: str) -> None:
    """Each is an error before anything exists."""
    with runtime, pytest.raises(errors.InvalidSpec):
        runtime.plan(with_linux(bundle, seccomp=FILTERS[name]))


@pytest.mark.parametrize("architectures", [(), ("SCMP_ARCH_AARCH64",), ("SCMP_ARCH_X86",)], ids=str)
def test_rt_26_our_own_architecture_is_filtered(
    runtime: Runtime, bundle: spec.Bundle, architectures: tuple[str, ...]
) -> None:
    """Whatever the list says, calls of this machine are judged, and the filter is in force."""
    rule = Syscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_ERRNO", errno_ret=errno.EDOM)
    filtered = Seccomp(default_action="SCMP_ACT_ALLOW", architectures=architectures, syscalls=(rule,))
    with runtime:
        text = shell(
            runtime, with_linux(bundle, seccomp=filtered), "mkdir /tmp/x; grep Seccomp: /proc/self/status"
        )
    assert text.split() == ["Seccomp:", "2"]
    assert not (bundle.rootfs / "tmp/x").exists()


def test_rt_26_a_kernel_that_refuses_the_filter(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The program is not run."""
    with runtime:
        planned = runtime.plan(bundle)
        place = planned.find("seccomp")[0]
        broken = planned.replace(place, ops.seccomp(b"\xff" * 8, 0))
        with runtime.create_from(broken) as container, pytest.raises(errors.CreateFailed, match="seccomp"):
            container.start()
