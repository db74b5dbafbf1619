"""What a program in a container may do, and what it inherits: read from its own /proc/self/status."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import (
    Capabilities,
    IOPriority,
    Personality,
    Rlimit,
    Scheduler,
    Seccomp,
    Syscall,
    User,
)
from tests.runtime.boxes import changed, shell, with_linux, with_process

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users and priorities")
DEFAULT = "00000000a80425fb"
"""The fourteen capabilities of the default profile."""


def status(runtime: Runtime, bundle: spec.Bundle) -> dict[str, str]:
    """``/proc/self/status`` in a new container."""
    done = runtime.run(bundle, ["cat", "/proc/self/status"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {
        key: value.strip()
        for key, _, value in (line.partition(":") for line in done.stdout.decode().splitlines())
    }


def test_default_capabilities(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Three sets of fourteen, two empty (RT-24)."""
    found = status(runtime, bundle)
    assert [found[name] for name in ("CapBnd", "CapEff", "CapPrm")] == [DEFAULT] * 3
    assert [found[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2


@pytest.mark.parametrize("given", [None, Capabilities()])
def test_no_capabilities(runtime: Runtime, bundle: spec.Bundle, given: Capabilities | None) -> None:
    """None given are none had, not all."""
    found = status(runtime, with_process(bundle, capabilities=given))
    assert {found[name] for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}


def test_each_set_is_what_was_asked(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Bit by bit; ambient ones reach a program without capabilities of its own."""
    names = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW")
    given = Capabilities(
        bounding=names, permitted=names, effective=names[:1], inheritable=names[:2], ambient=names[1:2]
    )
    user = User(uid=1000, gid=1000) if os.geteuid() == 0 else User(uid=0, gid=0)
    found = status(runtime, with_process(bundle, capabilities=given, user=user))
    assert (found["CapBnd"], found["CapInh"], found["CapAmb"]) == (
        f"{0x2021:016x}",
        f"{0x21:016x}",
        f"{0x20:016x}",
    )
    if user.uid:
        assert found["CapPrm"] == found["CapEff"] == f"{0x20:016x}"


def test_unknown_capabilities(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A name that is none is an error before anything exists."""
    with pytest.raises(errors.OciworksError, match="CAP_NOPE"):
        runtime.create("caps", with_process(bundle, capabilities=Capabilities(bounding=("CAP_NOPE",))))


@pytest.mark.parametrize("asked", [True, False])
def test_no_new_privileges(runtime: Runtime, bundle: spec.Bundle, asked: bool) -> None:
    """As asked, and with a filter either way (RT-27)."""
    if not asked and os.geteuid() != 0:
        pytest.skip("a filter without no-new-privileges needs CAP_SYS_ADMIN, which the default profile drops")
    found = status(runtime, with_process(bundle, no_new_privileges=asked))
    assert (found["NoNewPrivs"], found["Seccomp"]) == (str(int(asked)), "2")


def test_limits(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Soft and hard, also infinite ones; one that the caller may not raise is an error."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limits = (
        Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200),
        Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
        Rlimit(type="RLIMIT_CPU", soft=77, hard=2**64 - 1),
    )
    text = shell(runtime, with_process(bundle, rlimits=limits), "cat /proc/self/limits")
    table = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
    assert table["Max open files"] == ["100", "200"]
    assert table["Max core file size"] == ["0", "0"]
    assert table["Max cpu time"] == ["77", "unlimited"]
    assert hard is not None
    with pytest.raises(errors.OciworksError, match="RLIMIT_NOPE"):
        runtime.create("limit", with_process(bundle, rlimits=(Rlimit(type="RLIMIT_NOPE", soft=1, hard=1),)))


def test_the_default_filter(runtime: Runtime, bundle: spec.Bundle) -> None:
    """What the profile does not allow fails, and the rest goes on (RT-26)."""
    script = (
        "mount -t tmpfs none /tmp 2>/dev/null && echo mounted; unshare -n true 2>/dev/null && echo unshared;"
        "unshare -U true 2>/dev/null && echo user; echo end"
    )
    assert shell(runtime, bundle, script) == "end\n"


def test_a_filter_of_ones_own(runtime: Runtime, bundle: spec.Bundle) -> None:
    """An errno of choice, or the end of the process by SIGSYS."""
    for action, number in (("SCMP_ACT_ERRNO", errno.EDOM), ("SCMP_ACT_KILL_PROCESS", None)):
        rule = Syscall(names=("mkdir", "mkdirat"), action=action, errno_ret=number)
        filtered = with_linux(bundle, seccomp=Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,)))
        done = runtime.run(filtered, ["mkdir", "/tmp/new"], capture_output=True, timeout=60)
        if number is None:
            assert done.returncode == -signal.SIGSYS
        else:
            assert b"out of" in done.stderr.lower() or b"domain" in done.stderr
            assert done.returncode == 1
    assert not (bundle.rootfs / "tmp/new").exists()


def test_no_filter(runtime: Runtime, bundle: spec.Bundle) -> None:
    """None asked, none there."""
    assert status(runtime, with_linux(bundle, seccomp=None))["Seccomp"] == "0"


@pytest.mark.root
@root_only
def test_users_and_groups(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Numbers as given, the supplementary groups and no others, and the mask for new files."""
    user = User(uid=1000, gid=100, additional_gids=(5, 6, 7), umask=0o077)
    text = shell(runtime, with_process(bundle, user=user), "id; umask; touch /tmp/f; stat -c %a /tmp/f")
    lines = text.splitlines()
    assert lines[0].startswith("uid=1000(user) gid=100 groups=")
    found = status(runtime, with_process(bundle, user=user))
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["100"] * 4
    assert {int(group) for group in found["Groups"].split()} == {5, 6, 7, 100}
    assert lines[1:] == ["0077", "600"]


def test_a_user_that_is_not_mapped(runtime: Runtime, bundle: spec.Bundle) -> None:
    """An identity that the user namespace does not have is an error, not somebody else."""
    kinds = ("user", "pid", "network", "ipc", "uts", "mount", "cgroup")
    alone = with_linux(
        bundle,
        namespaces=tuple(spec.runtime.Namespace(type=kind) for kind in kinds),
        uid_mappings=(spec.runtime.IDMapping(container_id=0, host_id=os.geteuid(), size=1),),
        gid_mappings=(spec.runtime.IDMapping(container_id=0, host_id=os.getegid(), size=1),),
    )
    mounts = tuple(
        mount for mount in bundle.spec.mounts if mount.type != "devpts"
    )  # its group 5 is not mapped either
    alone = changed(alone, mounts=mounts)
    with pytest.raises(errors.CreateFailed, match="identity"):
        runtime.run(with_process(alone, user=User(uid=1000, gid=0)), ["id"], timeout=60)


def test_the_environment(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Exactly what the configuration says: nothing of ours, nothing of the helper's (RT-03)."""
    process = with_process(bundle, env=("PATH=/bin", "A=1", "B=two words", "C=a=b", "EMPTY="))
    lines = sorted(shell(runtime, process, "env").splitlines())
    expected = ["A=1", "B=two words", "C=a=b", "EMPTY=", "PATH=/bin"]
    assert [
        line for line in lines if line.partition("=")[0] not in ("PWD", "SHLVL", "_", "OLDPWD")
    ] == expected
    with pytest.raises(errors.OciworksError, match=r"\$\.process\.env"):
        runtime.create("env", with_process(bundle, env=("NOVALUE",)))


def test_signals(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nothing blocked, nothing ignored, whatever the caller did."""
    before = (
        signal.signal(signal.SIGPIPE, signal.SIG_IGN),
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]),
    )
    try:
        found = status(runtime, bundle)
    finally:
        signal.signal(signal.SIGPIPE, before[0])
        signal.pthread_sigmask(signal.SIG_SETMASK, before[1])
    assert {found[name] for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd", "SigPnd")} == {"0" * 16}


def test_rt_07_no_descriptors_of_ours(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Inheritable descriptors of the caller, opened before and after the launcher started, stay outside."""
    script = (
        "import os, sys\n"
        "from ociworks import spec\n"
        "from ociworks.runtime import Runtime\n"
        "def leak(): [os.set_inheritable(os.open('/etc/passwd', os.O_RDONLY), True) for _ in range(9)]\n"
        "leak()\n"
        "with Runtime(sys.argv[1]) as runtime:\n"
        "    bundle = spec.Bundle.load(sys.argv[2])\n"
        "    runtime.run(bundle, ['true'], timeout=60)\n"
        "    leak()\n"
        "    done = runtime.run(bundle, ['ls', '/proc/self/fd'], capture_output=True, timeout=60)\n"
        "    with runtime.create('fds', bundle, ['sleep', '1000']) as container:\n"
        "        container.start()\n"
        "        print(done.stdout, container.exec(['ls', '/proc/self/fd'], timeout=60).stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "root"), str(bundle.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "b'0\\n1\\n2\\n3\\n' b'0\\n1\\n2\\n3\\n'\n"  # 3 is the directory that ls reads


def test_session_and_keyring(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A session of its own."""
    text = shell(runtime, bundle, "cut -d' ' -f4-6 /proc/self/stat; cut -d' ' -f1,5,6 /proc/1/stat")
    assert text.splitlines()[1] == "1 1 1"


def test_the_program_is_not_the_runtime(runtime: Runtime, bundle: spec.Bundle) -> None:
    """RT-01: /proc/self/exe is a file of the container, and nothing of the interpreter is mapped."""
    text = shell(runtime, bundle, "readlink /proc/1/exe; cat /proc/1/maps")
    assert text.splitlines()[0] == "/bin/busybox"
    assert "python" not in text
    assert "memfd" not in text


def test_out_of_memory_score(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Of the container's process and those that it starts."""
    scored = with_process(bundle, oom_score_adj=321)
    assert shell(runtime, scored, "cat /proc/self/oom_score_adj") == "321\n"
    with runtime.create("scored", scored, ["sleep", "1000"]) as container:
        container.start()
        assert container.exec(["cat", "/proc/self/oom_score_adj"], timeout=60).stdout == b"321\n"


@pytest.mark.root
@root_only
def test_scheduling(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Policy, niceness and I/O priority, as the host sees them."""
    tuned = with_process(
        bundle,
        scheduler=Scheduler(policy="SCHED_BATCH", nice=7),
        io_priority=IOPriority(class_="IOPRIO_CLASS_IDLE", priority=0),
    )
    with runtime.create("tuned", tuned, ["sleep", "1000"]) as container:
        container.start()
        assert os.sched_getscheduler(container.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, container.pid) == 7


def test_personality(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The execution domain that the configuration asks for, with a filter installed after it."""
    old = with_linux(bundle, personality=Personality(domain="LINUX32"))
    assert shell(runtime, old, "cat /proc/self/personality") == "00000008\n"
    assert shell(runtime, bundle, "cat /proc/self/personality") == "00000000\n"
