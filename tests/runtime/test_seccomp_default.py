"""The default profile: its size and holes are pinned, and it is installed in a real process."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from ociworks.errors import NotSupported
from ociworks.runtime import seccomp as filters
from ociworks.runtime.seccomp.names import ACTIONS
from ociworks.spec.defaults_seccomp import default_seccomp
from ociworks.spec.runtime import Seccomp
from tests.runtime.bpf import I386, X86_64, verdict

ALLOW, EPERM, ENOSYS = (
    ACTIONS["SCMP_ACT_ALLOW"],
    ACTIONS["SCMP_ACT_ERRNO"] | 1,
    ACTIONS["SCMP_ACT_ERRNO"] | 38,
)
CAPABILITIES = ("CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE")
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")

# Weakening the profile means editing these lists (SP-14).
NEVER = """
    add_key keyctl request_key userfaultfd io_uring_setup io_uring_enter io_uring_register nfsservctl pivot_root
    swapon swapoff uselib ustat vm86 vm86old create_module get_kernel_syms query_module init_module kexec_load
    kexec_file_load finit_module delete_module mount umount2 unshare setns bpf perf_event_open open_by_handle_at
    fanotify_init acct reboot iopl ioperm settimeofday clock_settime quotactl syslog sethostname setdomainname
    fsopen fsmount move_mount open_tree mount_setattr chroot lookup_dcookie _sysctl sysfs vhangup mbind move_pages
"""
ALLOWED = """
    read write openat close execve exit_group mmap brk fork vfork wait4 futex epoll_wait getrandom rseq statx
    clock_gettime kill prctl seccomp ptrace process_vm_readv setuid setgroups chown mknod bind connect accept4
    sendmsg recvmsg landlock_create_ruleset memfd_create pidfd_open close_range openat2 faccessat2 membarrier
"""


def names(seccomp: Seccomp) -> set[str]:
    return {name for rule in seccomp.syscalls for name in rule.names if rule.action == "SCMP_ACT_ALLOW"}


def test_sp_14_the_profile_is_pinned() -> None:
    seccomp = default_seccomp(CAPABILITIES, "x86_64")
    allowed = names(seccomp)
    assert (seccomp.default_action, seccomp.default_errno_ret) == ("SCMP_ACT_ERRNO", 1)
    assert not allowed & set(NEVER.split())
    assert set(ALLOWED.split()) <= allowed
    assert len(allowed) == 373


def test_every_name_is_known_to_libseccomp_or_newer_than_it() -> None:
    from ociworks.runtime.seccomp import compiler

    everything = default_seccomp(tuple(f"CAP_{name}" for name in HOLDERS), "x86_64")
    newer = """
        statmount listmount file_getattr getxattrat listxattrat removexattrat setxattrat mseal uretprobe
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules open_tree_attr riscv_hwprobe
        fchmodat2 cachestat map_shadow_stack futex_wait
        futex_wake futex_requeue
    """
    assert set(compiler._skipped(everything)) <= set(newer.split())


HOLDERS = {
    "SYS_ADMIN": "mount setns unshare bpf sethostname",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "init_module delete_module finit_module",
    "SYS_NICE": "mbind set_mempolicy",
    "SYS_PACCT": "acct",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday clock_settime",
    "SYS_TTY_CONFIG": "vhangup",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
}


@pytest.mark.parametrize("capability", HOLDERS)
def test_a_capability_opens_its_own_calls_only(capability: str) -> None:
    without, with_it = (names(default_seccomp(held, "x86_64")) for held in ((), (f"CAP_{capability}",)))
    assert set(HOLDERS[capability].split()) <= with_it
    assert without <= with_it
    others = {
        name
        for other, calls in HOLDERS.items()
        if other not in (capability, "SYS_ADMIN")
        for name in calls.split()
    }
    if capability != "SYS_ADMIN":
        assert not (with_it - without) & (others - set(HOLDERS[capability].split()))


@on_x86_64
def test_sp_14_no_way_to_af_alg_and_vsock() -> None:
    """Neither directly, nor with bits that the kernel cuts off, nor by 32-bit calls, nor by socketcall."""
    program = filters.compile(default_seccomp(CAPABILITIES, "x86_64")).program
    for family in range(64):
        expected = EPERM if family in (38, 40) or family >= 48 else ALLOW
        for value in (family, family + (1 << 32), family + (0xFFFFFFFF << 32)):
            assert verdict(program, 41, (value,)) == expected, value
        assert verdict(program, 359, (family,), I386) == expected
    assert verdict(program, 102, (1,), I386) == EPERM
    assert verdict(program, 102, (3,), I386) == ALLOW


@on_x86_64
@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_sp_14_clone_makes_no_namespace(flag: int) -> None:
    program = filters.compile(default_seccomp(CAPABILITIES, "x86_64")).program
    assert verdict(program, 56, (0x3D0F00,)) == ALLOW  # a thread
    for number, arch in ((56, X86_64), (120, I386)):
        assert verdict(program, number, (flag | 17,), arch) == EPERM
    assert verdict(program, 435) == ENOSYS
    privileged = filters.compile(default_seccomp(("CAP_SYS_ADMIN",), "x86_64")).program
    assert verdict(privileged, 56, (flag,)) == verdict(privileged, 435) == ALLOW


@on_x86_64
def test_personalities() -> None:
    program = filters.compile(default_seccomp(CAPABILITIES, "x86_64")).program
    assert verdict(program, 135, (0xFFFFFFFF,)) == ALLOW
    assert verdict(program, 135, (0x0040000,)) == EPERM  # ADDR_NO_RANDOMIZE


@pytest.mark.parametrize(
    "word", ["amd64", "arm64", "aarch64", "arm", "386", "ppc64le", "riscv64", "s390x", "loong64"]
)
def test_every_architecture_has_a_profile(word: str) -> None:
    assert default_seccomp((), word).architectures


def test_an_unknown_architecture_is_an_error() -> None:
    with pytest.raises(NotSupported, match="pdp11"):
        default_seccomp((), "pdp11")


def test_it_fits_the_kernel_with_room_for_others() -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("measured for x86-64 and arm64")
    assert filters.compile(default_seccomp((), platform.machine())).instructions < 2048


CHILD = """
import errno, json, os, socket, subprocess, sys
from ociworks._linux.libc import syscall
from ociworks._linux.process import install_seccomp, prctl

def attempt(function, *args):
    try:
        function(*args)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

numbers = {"add_key": 248, "keyctl": 250, "userfaultfd": 323, "mount": 165, "clone3": 435}
prctl(38, 1)
install_seccomp(bytes.fromhex(sys.stdin.read()), 0)
result = {name: attempt(lambda n=number: syscall(n, 0, 0, 0, 0, call="x")) for name, number in numbers.items()}
result["ptrace"] = attempt(lambda: syscall(101, 17, 0, 0, 0, call="ptrace"))
result["unshare"] = attempt(lambda: syscall(272, 0x10000000, call="unshare"))
result["alg"] = attempt(socket.socket, 38, socket.SOCK_SEQPACKET)
result["inet"] = attempt(lambda: socket.socket(socket.AF_INET).close())
result["true"] = subprocess.run(["/bin/true"]).returncode
result["open"] = attempt(lambda: open("/proc/self/status").close())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
result["mode"] = status["Seccomp"].strip()
print(json.dumps(result))
"""


@on_x86_64
def test_a_process_under_the_profile_lives_and_is_held() -> None:
    program = filters.compile(default_seccomp(CAPABILITIES, "x86_64")).program
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=program.hex(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {
        "add_key": "EPERM",
        "keyctl": "EPERM",
        "ptrace": "ESRCH",  # it reached the kernel, which found no process 0
        "userfaultfd": "EPERM",
        "mount": "EPERM",
        "clone3": "ENOSYS",
        "unshare": "EPERM",
        "alg": "EPERM",
        "inet": "ok",
        "true": 0,
        "open": "ok",
        "mode": "2",
    }
