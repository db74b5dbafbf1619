"""The same bundle run by Debian's runc and by ociworks: what the program sees must be the same.

Two differences are meant: ``without_primary`` and ``compare_mounts`` say why.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import subprocess
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import CPU, Memory, Mount, Pids, Resources, Rlimit, User
from tests.interop.peers import peer
from tests.runtime.boxes import box, changed, with_linux, with_process

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: runc as its users run it"),
]

LOOKS = {
    "identity": "id; umask; pwd; hostname",
    "status": "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Sig(Blk|Ign|Cgt))' /proc/self/status",
    "limits": "cat /proc/self/limits",
    "environment": "env | grep -vE '^(PWD|SHLVL|_|HOME)=' | sort",
    "control groups": "cut -d: -f2,3 /proc/self/cgroup | sort",
    "devices": "for name in /dev/*; do stat -c '%n %F %t:%T %a' $name; done | sort",
    "links": "for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done",
    "network": "ip -o link | cut -d' ' -f2-3; ip route",
    "processes": "ls /proc | grep -E '^[0-9]+$' | head -n 1; cut -d' ' -f4-6 /proc/1/stat",
    "masked": "for name in /proc/keys /proc/timer_list; do wc -c < $name; done; ls /sys/firmware | wc -l",
    "writable": "for name in /proc/sys/vm/swappiness /proc/sysrq-trigger /sys/x /sys/fs/cgroup/memory/x /etc/x /tmp/x;"
    " do touch $name 2>/dev/null && echo $name; done",
    "mounts": "cut -d' ' -f2-4 /proc/mounts",
    "descriptors": "ls /proc/self/fd",
}


def by_runc(bundle: spec.Bundle, folder: Path) -> str:
    """The output of runc run."""
    name = f"same-{secrets.token_hex(4)}"
    command = [peer("runc"), "--root", str(folder), "run", "--bundle", str(bundle.path), name]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_primary(text: str) -> str:
    """``id`` and status without the primary group among the supplementary ones.

    We put it there, runc does not: a process that could shed it would slip past permissions that deny it (SP-10).
    """
    gid = re.search(r"gid=([0-9]+)|Gid:\t([0-9]+)", text)
    assert gid is not None
    number = gid[1] or gid[2]
    text = re.sub(rf"( groups=|,){number}$", "", text, flags=re.MULTILINE)
    return re.sub(rf"(Groups:\t.*?)\b{number} $", r"\1", text, flags=re.MULTILINE).replace(
        "Groups:\t \n", "Groups:\t\n"
    )


def mount_table(text: str) -> dict[str, tuple[str, set[str]]]:
    """Mount point → type and the attributes that protect; the order and the sizes are the kernel's."""
    table = {}
    for line in text.splitlines():
        place, kind, options = line.split()
        table[place] = (kind, {"ro", "nosuid", "nodev", "noexec"} & set(options.split(",")))
    return table


def compare_mounts(ours: str, theirs: str) -> None:
    """The same places; what covers a file comes from another /dev/null; we protect at least as much.

    A hybrid machine's unified hierarchy is shown by us and left out by this old runc.
    """
    mine, other = mount_table(ours), mount_table(theirs)
    assert mine.keys() - {"/sys/fs/cgroup/unified"} == other.keys()
    for place, (kind, attributes) in other.items():
        if kind == "tmpfs" and mine[place][0] == "devtmpfs":
            assert place.startswith("/proc/")
            continue
        assert mine[place][0] == kind
        assert mine[place][1] >= attributes, place


@pytest.fixture
def configured(tmp_path: Path) -> spec.Bundle:
    """The default profile with a bit of everything that both can do."""
    bundle = box(tmp_path / "bundle")
    linux = bundle.spec.linux
    assert linux is not None
    assert linux.resources is not None
    (tmp_path / "bound").mkdir()
    mounts = (
        *bundle.spec.mounts,
        Mount(destination="/tmp", type="tmpfs", source="tmp", options=("nosuid", "nodev", "mode=1777")),
        Mount(destination="/bound", type="bind", source=str(tmp_path / "bound"), options=("rbind", "ro")),
    )
    resources = Resources(
        devices=linux.resources.devices,
        memory=Memory(limit=64 << 20),
        pids=Pids(limit=30),
        cpu=CPU(shares=512),
    )
    bundle = with_linux(changed(bundle, hostname="same", mounts=mounts), resources=resources)
    return with_process(
        bundle,
        user=User(uid=1000, gid=1000, additional_gids=(7, 9), umask=0o027),
        env=("PATH=/bin", "ONE=1"),
        cwd="/home/user",
    )


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("uid", [0, 1000])
def test_what_the_program_sees(configured: spec.Bundle, tmp_path: Path, look: str, uid: int) -> None:
    """One question after the other, as root and as a user."""
    process = configured.spec.process
    assert process is not None
    user = process.user if uid else User(uid=0, gid=0)
    bundle = with_process(configured, args=("sh", "-c", LOOKS[look]), user=user)
    bundle.save()
    with Runtime(tmp_path / "root") as runtime:
        done = runtime.run(bundle, capture_output=True, timeout=60)
    theirs = by_runc(bundle, tmp_path / "runc")
    ours = done.stdout.decode()
    if look == "mounts":
        compare_mounts(ours, theirs)
    elif look in ("identity", "status"):
        assert without_primary(ours) == without_primary(theirs)
    else:
        assert ours == theirs


def bound(source: Path, *options: str) -> Mount:
    return Mount(destination="/asked", type="bind", source=str(source), options=options)


MOUNTS = {
    "copied up": (Mount(destination="/home", type="tmpfs", source="t", options=("tmpcopyup", "ro")),),
    "mode of the place": (
        Mount(destination="/home", type="tmpfs", source="t", options=("nosuid", "size=64k")),
    ),
    "sysfs": (
        Mount(destination="/other/sys", type="sysfs", source="sysfs", options=("ro", "nosuid", "nodev")),
    ),
    "proc": (Mount(destination="/other/proc", type="proc", source="proc", options=("hidepid=1", "noexec")),),
}
BINDS = [
    ("bind",),
    ("rbind", "rro"),
    ("rbind", "ro"),
    ("bind", "nosuid", "noexec", "strictatime"),
    ("bind", "dev", "exec", "suid", "ro"),
    ("rbind", "rnosuid", "rnodev", "rnoatime"),
    ("rbind", "rshared"),
    ("rbind", "rslave", "nodiratime"),
    ("rbind", "runbindable", "noatime"),
]
MOUNTINFO = (
    "cut -d' ' -f5- /proc/self/mountinfo | grep -E ' |asked|other' | grep -E '^/(asked|home|dev/mq|other)'"
)
ALSO = "stat -c '%n %a %u:%g' /home /home/* /asked 2>/dev/null; ls /home /asked"


def told(text: str) -> list[str]:
    """Lines without the numbers of propagation groups and the file system's own options.

    This runc sets a tmpfs's mode afterwards, and makes the file system of a read-only mount read-only as well.
    """
    lines = [re.sub(r"(shared|master):[0-9]+", r"\1", line) for line in text.splitlines()]
    return [re.sub(r" - (\w+ \w+) .*", r" \1", line) for line in lines]


@pytest.mark.parametrize("case", [*MOUNTS, *(",".join(options) for options in BINDS)])
def test_what_mounts_come_to(tmp_path: Path, case: str) -> None:
    """Options, modes and contents of further mounts, line by line."""
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    run = functools.partial(subprocess.run, check=True)
    run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev", "source", source])
    (source / "inner").mkdir()
    run(["mount", "-t", "tmpfs", "inner", source / "inner"])
    try:
        bundle = box(tmp_path / "bundle")
        (bundle.rootfs / "home/user/file").write_text("data")
        mounts = MOUNTS.get(case) or (bound(source, *case.split(",")),)
        bundle = changed(bundle, mounts=(*bundle.spec.mounts, *mounts))
        bundle = with_process(bundle, args=("sh", "-c", f"{MOUNTINFO}; {ALSO}; true"))
        bundle.save()
        with Runtime(tmp_path / "root") as runtime:
            done = runtime.run(bundle, capture_output=True, timeout=60)
        assert told(done.stdout.decode()) == told(by_runc(bundle, tmp_path / "runc"))
    finally:
        run(["umount", "-R", source])


PROCESS_LOOKS = {
    "oom score": "cat /proc/self/oom_score_adj",
    "limits": "cat /proc/self/limits",
    "personality": "cat /proc/self/personality",
    "names": "hostname; cat /proc/sys/kernel/domainname",
    "settings": "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax",
    "session": "cut -d' ' -f5,6 /proc/1/stat",
    "no new privileges": "grep -E '^(NoNewPrivs|Seccomp:|Cap)' /proc/self/status",
}


@pytest.mark.parametrize("look", PROCESS_LOOKS)
def test_what_a_process_is_given(configured: spec.Bundle, tmp_path: Path, look: str) -> None:
    """Limits, scores, settings of the kernel and names, beyond the defaults."""
    tuned = with_process(
        configured,
        args=("sh", "-c", PROCESS_LOOKS[look]),
        oom_score_adj=123,
        no_new_privileges=False,
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=77, hard=88), Rlimit(type="RLIMIT_CORE", soft=0, hard=0)),
    )
    tuned = with_linux(
        changed(tuned, domainname="domain"),
        sysctl={"net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "9000"},
        personality=None,
    )
    tuned.save()
    with Runtime(tmp_path / "root") as runtime:
        done = runtime.run(tuned, capture_output=True, timeout=60)
    theirs = by_runc(tuned, tmp_path / "runc")
    if look == "names":  # runc 1.1 knows no domain name
        assert done.stdout == b"same\ndomain\n"
        assert theirs.startswith("same\n")
    else:
        assert done.stdout.decode() == theirs
