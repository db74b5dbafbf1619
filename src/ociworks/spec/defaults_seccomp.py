"""The default system call filter: what an ordinary program needs, and nothing that reaches into the kernel.

Everything is denied with EPERM unless it is here; ``clone3`` with ENOSYS, because its flags are behind a pointer
where no filter can look, and C libraries then use ``clone``. Calls that one capability guards are allowed to the
containers that hold it: the kernel would refuse them otherwise, but with more of its code exposed first.

The lists are sorted by what the calls are about. Calls of other architectures and of newer kernels are named too;
a filter skips those that its libseccomp does not know.
"""

from __future__ import annotations

from ociworks.errors import NotSupported, quote
from ociworks.spec.runtime.seccomp import Seccomp, Syscall, SyscallArg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

__all__ = ["default_seccomp"]

_ALLOW, _ERRNO, _MASKED = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_CMP_MASKED_EQ"
_EPERM, _ENOSYS = 1, 38

_FILES: Final = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
    fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents
    getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat newfstatat
    open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink
    readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx
    symlink symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask
    unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev cachestat statmount listmount
    file_getattr name_to_handle_at
"""

_ATTRIBUTES: Final = """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""

_WATCHING: Final = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch poll ppoll ppoll_time64 pselect6
    pselect6_time64 select _newselect signalfd signalfd4 io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit
"""

_MEMORY: Final = """
    brk madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap
    mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
    membarrier rseq
"""

_PROCESSES: Final = """
    execve execveat exit exit_group fork vfork getpgid getpgrp getpid getppid getpriority getrlimit ugetrlimit
    getrusage getsid gettid prlimit64 setpgid setpriority setrlimit setsid times wait4 waitid waitpid prctl
    arch_prctl pidfd_open pidfd_send_signal set_robust_list get_robust_list set_thread_area
    get_thread_area set_tid_address getcpu sysinfo uname getrandom seccomp restart_syscall ioprio_get ioprio_set
    uretprobe landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""

_IDENTITY: Final = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""

_SIGNALS: Final = """
    alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signal sigaction sigpending sigprocmask
    sigreturn sigsuspend tgkill tkill
"""

_TIME: Final = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64
"""

_SCHEDULING: Final = """
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield
"""

_LOCKING: Final = """
    futex futex_time64 futex_requeue futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""

_NETWORK: Final = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""

_COMMON: Final = (
    _FILES,
    _ATTRIBUTES,
    _WATCHING,
    _MEMORY,
    _PROCESSES,
    _IDENTITY,
    _SIGNALS,
    _TIME,
    _SCHEDULING,
    _LOCKING,
    _NETWORK,
)

# Reading and tracing other processes: the kernel's own checks suffice since 4.8, when tracers stopped being able
# to change a call after the filter had seen it.
_TRACING: Final = "process_vm_readv process_vm_writev ptrace"

_CAPABILITIES: Final = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fanotify_mark fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
        move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns
        syslog umount umount2 unshare lsm_get_self_attr lsm_set_self_attr lsm_list_modules
    """,
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

_MACHINES: Final = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "arm": ("SCMP_ARCH_ARM",),
    "386": ("SCMP_ARCH_X86",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "loong64": ("SCMP_ARCH_LOONGARCH64",),
}
_ALIASES: Final = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armv6l": "arm",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}
_EXTRA: Final = {
    "x86_64": "modify_ldt",
    "386": "modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "arm": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "ppc64le": "sync_file_range2 swapcontext",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_FAMILIES: Final = (
    (0xFFFFFFE0, 0),  # 0 to 31
    (0xFFFFFFFC, 32),
    (0xFFFFFFFE, 36),  # to 37; AF_ALG is 38
    (0xFFFFFFFF, 39),  # AF_VSOCK is 40
    (0xFFFFFFFF, 41),
    (0xFFFFFFFE, 42),
    (0xFFFFFFFC, 44),  # to 47, more than there are
)
_PERSONALITIES: Final = (
    0x0,
    0x8,
    0x20000,
    0x20008,
    0xFFFFFFFF,
)  # Linux, 32 bit, uname 2.6, both, "which is it?"


def default_seccomp(capabilities: Collection[str], architecture: str) -> Seccomp:
    """The default filter for a container whose bounding set is ``capabilities``.

    ``architecture`` is ``uname -m``'s or an image's word for it. Raises NotSupported for one without a table: there
    is no default that would be right for every machine.
    """
    machine = _ALIASES.get(architecture, architecture)
    if machine not in _MACHINES:
        raise NotSupported(
            f"default seccomp profile: unknown architecture {quote(architecture)}; give a profile"
        )
    held = frozenset(capabilities)
    return Seccomp(
        default_action=_ERRNO,
        default_errno_ret=_EPERM,
        architectures=_MACHINES[machine],
        syscalls=(
            _allow(" ".join((*_COMMON, _TRACING, _EXTRA.get(machine, "")))),
            *_sockets(),
            *_personalities(),
            *_by_capability(held),
            *_cloning(held, machine),
        ),
    )


def _allow(names: str, *args: SyscallArg) -> Syscall:
    return Syscall(names=tuple(dict.fromkeys(names.split())), action=_ALLOW, args=args)


def _sockets() -> list[Syscall]:
    """Every family but two: AF_ALG is a large kernel interface with a bad record, AF_VSOCK reaches the hypervisor.

    The kernel looks at the low 32 bits alone while a comparison sees 64, so that "not 38" would let 2³² + 38 pass:
    families are allowed by masks of the low half instead, in the largest aligned blocks. 32-bit programs whose C
    library makes sockets through ``socketcall`` get none: no filter can see the family there.
    """
    return [
        _allow("socket", SyscallArg(index=0, op=_MASKED, value=mask, value_two=first))
        for mask, first in _FAMILIES
    ]


def _personalities() -> list[Syscall]:
    return [
        _allow("personality", SyscallArg(index=0, op="SCMP_CMP_EQ", value=value)) for value in _PERSONALITIES
    ]


def _by_capability(held: frozenset[str]) -> list[Syscall]:
    names = " ".join(calls for capability, calls in _CAPABILITIES.items() if capability in held)
    return [_allow(names)] if names.split() else []


def _cloning(held: frozenset[str], machine: str) -> list[Syscall]:
    """Without CAP_SYS_ADMIN, processes and threads but no namespaces."""
    if "CAP_SYS_ADMIN" in held:
        return []
    flags = 1 if machine == "s390x" else 0  # s390 has the stack first
    no_namespaces = SyscallArg(index=flags, op=_MASKED, value=_NAMESPACES, value_two=0)
    return [
        _allow("clone", no_namespaces),
        Syscall(names=("clone3",), action=_ERRNO, errno_ret=_ENOSYS),
    ]
