"""Each rule of the runtime specification, broken once: where, what, and by which section."""

from __future__ import annotations

import json

import pytest

from ociworks import spec
from ociworks.spec import runtime
from ociworks.spec._model import Model
from tests.spec.runtime_documents import (
    FEATURES,
    FREEBSD,
    LINUX,
    SOLARIS,
    STATE,
    VM,
    WINDOWS,
    ZOS,
    Document,
    changed,
)

SPEC = runtime.Spec
NAMESPACES = [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")]


def without(kind: str) -> list[dict[str, str]]:
    return [namespace for namespace in NAMESPACES if namespace["type"] != kind]


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


Case = tuple[type[Model], Document, str, object, str]

BASICS: list[Case] = [
    (SPEC, LINUX, "ociVersion", "1.3", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "v1.3.0", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "01.3.0", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "1.3.0\n", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "1.3.0-01", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "1.٣.0", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "9" * 5000 + ".0.0", "$.ociVersion"),
    (SPEC, LINUX, "ociVersion", "2.0.0", "$.ociVersion"),
    (SPEC, LINUX, "root", ..., "$.root"),
    (SPEC, LINUX, "root/path", "", "$.root.path"),
    (SPEC, LINUX, "annotations", {"": "x"}, "$.annotations"),
    (SPEC, LINUX, "mounts/0/destination", "", "$.mounts[0].destination"),
    (SPEC, SOLARIS, "mounts/0/destination", "opt", "$.mounts[0].destination"),
    (SPEC, LINUX, "mounts/1/gidMappings", ..., "$.mounts[1].gidMappings"),
    (SPEC, LINUX, "mounts/1/uidMappings", ..., "$.mounts[1].uidMappings"),
    (SPEC, LINUX, "mounts/1/uidMappings", [mapping(0, 0, 0)], "$.mounts[1].uidMappings[0].size"),
    (SPEC, LINUX, "hooks/poststop/0/path", "hook", "$.hooks.poststop[0].path"),
    (SPEC, LINUX, "hooks/createRuntime/0/timeout", 0, "$.hooks.createRuntime[0].timeout"),
    (SPEC, LINUX, "hooks/prestart/0/timeout", -1, "$.hooks.prestart[0].timeout"),
    (SPEC, LINUX, "hooks/startContainer/0/env", ["A"], "$.hooks.startContainer[0].env[0]"),
]

PROCESS: list[Case] = [
    (SPEC, LINUX, "process/cwd", "root", "$.process.cwd"),
    (SPEC, LINUX, "process/cwd", "c:\\root", "$.process.cwd"),
    (runtime.Process, {"cwd": "", "args": ["sh"]}, "args", ["sh"], "$.cwd"),
    (SPEC, LINUX, "process/args", [], "$.process.args"),
    (SPEC, LINUX, "process/env/0", "PATH", "$.process.env[0]"),
    (SPEC, LINUX, "process/env/0", "=x", "$.process.env[0]"),
    (SPEC, LINUX, "process/user/umask", 0o1000, "$.process.user.umask"),
    (SPEC, LINUX, "process/user/uid", 2**32 - 1, "$.process.user.uid"),
    (SPEC, LINUX, "process/user/gid", 2**32 - 1, "$.process.user.gid"),
    (SPEC, LINUX, "process/user/additionalGids/1", 2**32 - 1, "$.process.user.additionalGids[1]"),
    (SPEC, LINUX, "process/capabilities/bounding/0", "KILL", "$.process.capabilities.bounding[0]"),
    (SPEC, LINUX, "process/capabilities/ambient/0", "CAP_KILL\n", "$.process.capabilities.ambient[0]"),
    (SPEC, LINUX, "process/capabilities/effective/0", "CAP_CHOWN", "$.process.capabilities.effective"),
    (SPEC, LINUX, "process/rlimits/0/type", "RLIMIT_ZONE", "$.process.rlimits[0].type"),
    (SPEC, LINUX, "process/rlimits/0/hard", 1023, "$.process.rlimits[0].soft"),
    (SPEC, LINUX, "process/oomScoreAdj", -1001, "$.process.oomScoreAdj"),
    (SPEC, LINUX, "process/oomScoreAdj", 1001, "$.process.oomScoreAdj"),
    (SPEC, LINUX, "process/scheduler/policy", "SCHED_FAST", "$.process.scheduler.policy"),
    (SPEC, LINUX, "process/scheduler/flags/0", "RESET", "$.process.scheduler.flags[0]"),
    (SPEC, LINUX, "process/scheduler/nice", 20, "$.process.scheduler.nice"),
    (SPEC, LINUX, "process/scheduler/priority", 1, "$.process.scheduler.priority"),
    (SPEC, LINUX, "process/scheduler/runtime", 30_000, "$.process.scheduler"),
    (SPEC, LINUX, "process/scheduler", {"policy": "SCHED_FIFO"}, "$.process.scheduler.priority"),
    (
        SPEC,
        LINUX,
        "process/scheduler",
        {"policy": "SCHED_RR", "priority": 100},
        "$.process.scheduler.priority",
    ),
    (SPEC, LINUX, "process/scheduler", {"policy": "SCHED_OTHER", "period": 1}, "$.process.scheduler.period"),
    (SPEC, LINUX, "process/ioPriority/class", "IOPRIO_CLASS_NONE", "$.process.ioPriority.class"),
    (SPEC, LINUX, "process/ioPriority/priority", 8, "$.process.ioPriority.priority"),
    (SPEC, LINUX, "process/ioPriority/priority", ..., "$.process.ioPriority.priority"),
    (SPEC, LINUX, "process/execCPUAffinity/initial", "0-", "$.process.execCPUAffinity.initial"),
    (SPEC, LINUX, "process/execCPUAffinity/final", "3-1", "$.process.execCPUAffinity.final"),
    (SPEC, LINUX, "process/execCPUAffinity/final", "1\n", "$.process.execCPUAffinity.final"),
    (SPEC, LINUX, "process/execCPUAffinity/final", "٣", "$.process.execCPUAffinity.final"),
]

LINUX_SECTION: list[Case] = [
    (SPEC, LINUX, "linux/namespaces", [*NAMESPACES, {"type": "pid"}], "$.linux.namespaces[8].type"),
    (SPEC, LINUX, "linux/namespaces", [*NAMESPACES, {"type": "net"}], "$.linux.namespaces[8].type"),
    (SPEC, LINUX, "linux/namespaces/0/path", "ns/pid", "$.linux.namespaces[0].path"),
    (SPEC, LINUX, "linux/namespaces", without("uts"), "$.hostname"),
    (SPEC, LINUX, "linux/namespaces", without("uts"), "$.domainname"),
    (SPEC, LINUX, "linux/namespaces", without("user"), "$.linux.uidMappings"),
    (SPEC, LINUX, "linux/namespaces", without("user"), "$.linux.gidMappings"),
    (SPEC, LINUX, "linux/namespaces", without("time"), "$.linux.timeOffsets"),
    (SPEC, LINUX, "linux/namespaces", without("network"), "$.linux.netDevices"),
    (SPEC, LINUX, "linux/namespaces", without("network"), "$.linux.sysctl['net.ipv4.ip_forward']"),
    (SPEC, LINUX, "linux/namespaces", without("ipc"), "$.linux.sysctl['kernel.shmmax']"),
    (SPEC, LINUX, "linux/sysctl", {"vm.swappiness": "1"}, "$.linux.sysctl['vm.swappiness']"),
    (SPEC, LINUX, "linux/sysctl", {"net/../vm/swappiness": "1"}, "$.linux.sysctl['net/../vm/swappiness']"),
    (SPEC, LINUX, "linux/sysctl", {"net.//.vm.swappiness": "1"}, "$.linux.sysctl['net.//.vm.swappiness']"),
    (SPEC, LINUX, "linux/sysctl", {"net": "1"}, "$.linux.sysctl.net"),
    (SPEC, LINUX, "linux/uidMappings/0/size", 0, "$.linux.uidMappings[0].size"),
    (
        SPEC,
        LINUX,
        "linux/gidMappings",
        [mapping(1, 0, 2**32 - 1), mapping(2**32 - 1, 2**32 - 1, 2)],
        "$.linux.gidMappings[1].hostID",
    ),
    (
        SPEC,
        LINUX,
        "linux/uidMappings",
        [mapping(0, 0, 10), mapping(9, 100, 1)],
        "$.linux.uidMappings[1].containerID",
    ),
    (
        SPEC,
        LINUX,
        "linux/uidMappings",
        [mapping(0, 50, 10), mapping(10, 45, 6)],
        "$.linux.uidMappings[0].hostID",
    ),
    (SPEC, LINUX, "linux/timeOffsets/monotonic/nanosecs", 10**9, "$.linux.timeOffsets.monotonic.nanosecs"),
    (SPEC, LINUX, "linux/devices/0/type", "d", "$.linux.devices[0].type"),
    (SPEC, LINUX, "linux/devices/0/path", "fuse", "$.linux.devices[0].path"),
    (SPEC, LINUX, "linux/devices/0/major", ..., "$.linux.devices[0].major"),
    (SPEC, LINUX, "linux/devices/0/minor", -1, "$.linux.devices[0].minor"),
    (SPEC, LINUX, "linux/devices/0/fileMode", 0o1777, "$.linux.devices[0].fileMode"),
    (SPEC, LINUX, "linux/devices/1/path", "/dev/fuse", "$.linux.devices[1].path"),
    (SPEC, LINUX, "linux/netDevices", {"eth0": {"name": "a/b"}}, "$.linux.netDevices.eth0"),
    (SPEC, LINUX, "linux/netDevices", {"x" * 16: {}}, f"$.linux.netDevices.{'x' * 16}"),
    (SPEC, LINUX, "linux/netDevices", {"a": {"name": "c"}, "b": {"name": "c"}}, "$.linux.netDevices.b"),
    (SPEC, LINUX, "linux/rootfsPropagation", "public", "$.linux.rootfsPropagation"),
    (SPEC, LINUX, "linux/maskedPaths/0", "proc", "$.linux.maskedPaths[0]"),
    (SPEC, LINUX, "linux/readonlyPaths/0", "", "$.linux.readonlyPaths[0]"),
    (SPEC, LINUX, "linux/intelRdt/closID", "a/b", "$.linux.intelRdt.closID"),
    (SPEC, LINUX, "linux/intelRdt/closID", "..", "$.linux.intelRdt.closID"),
    (SPEC, LINUX, "linux/intelRdt/memBwSchema", "0=20", "$.linux.intelRdt.memBwSchema"),
    (SPEC, LINUX, "linux/intelRdt/memBwSchema", "MB:0=20\nL3:0=1", "$.linux.intelRdt.memBwSchema"),
    (SPEC, LINUX, "linux/intelRdt/schemata/0", "a\nb", "$.linux.intelRdt.schemata[0]"),
    (SPEC, LINUX, "linux/memoryPolicy/mode", "MPOL_BEST", "$.linux.memoryPolicy.mode"),
    (SPEC, LINUX, "linux/memoryPolicy/mode", ..., "$.linux.memoryPolicy.mode"),
    (SPEC, LINUX, "linux/memoryPolicy/mode", "MPOL_LOCAL", "$.linux.memoryPolicy.nodes"),
    (SPEC, LINUX, "linux/memoryPolicy/nodes", "", "$.linux.memoryPolicy.nodes"),
    (SPEC, LINUX, "linux/memoryPolicy/nodes", "a", "$.linux.memoryPolicy.nodes"),
    (SPEC, LINUX, "linux/memoryPolicy/flags/0", "STATIC", "$.linux.memoryPolicy.flags[0]"),
    (
        SPEC,
        LINUX,
        "linux/memoryPolicy/flags",
        ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
        "$.linux.memoryPolicy.flags",
    ),
    (SPEC, LINUX, "linux/personality/domain", "BSD", "$.linux.personality.domain"),
    (SPEC, LINUX, "linux/personality", {}, "$.linux.personality.domain"),
    (SPEC, LINUX, "linux/personality/flags", ["X"], "$.linux.personality.flags"),
]

SECCOMP: list[Case] = [
    (SPEC, LINUX, "linux/seccomp/defaultAction", "SCMP_ACT_DENY", "$.linux.seccomp.defaultAction"),
    (SPEC, LINUX, "linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY", "$.linux.seccomp.defaultAction"),
    (SPEC, LINUX, "linux/seccomp/defaultAction", "SCMP_ACT_ALLOW", "$.linux.seccomp.defaultErrnoRet"),
    (SPEC, LINUX, "linux/seccomp/defaultErrnoRet", 4096, "$.linux.seccomp.defaultErrnoRet"),
    (SPEC, LINUX, "linux/seccomp/architectures/0", "x86_64", "$.linux.seccomp.architectures[0]"),
    (SPEC, LINUX, "linux/seccomp/flags/0", "LOG", "$.linux.seccomp.flags[0]"),
    (SPEC, LINUX, "linux/seccomp/listenerPath", ..., "$.linux.seccomp.listenerPath"),
    (SPEC, LINUX, "linux/seccomp/listenerPath", ..., "$.linux.seccomp.listenerMetadata"),
    (SPEC, LINUX, "linux/seccomp/syscalls/0/names", [], "$.linux.seccomp.syscalls[0].names"),
    (SPEC, LINUX, "linux/seccomp/syscalls/0/names/0", "", "$.linux.seccomp.syscalls[0].names[0]"),
    (SPEC, LINUX, "linux/seccomp/syscalls/0/action", "ALLOW", "$.linux.seccomp.syscalls[0].action"),
    (SPEC, LINUX, "linux/seccomp/syscalls/0/errnoRet", 1, "$.linux.seccomp.syscalls[0].errnoRet"),
    (SPEC, LINUX, "linux/seccomp/syscalls/1/args/0/index", 6, "$.linux.seccomp.syscalls[1].args[0].index"),
    (SPEC, LINUX, "linux/seccomp/syscalls/1/args/0/op", "EQ", "$.linux.seccomp.syscalls[1].args[0].op"),
]

RESOURCES: list[Case] = [
    (SPEC, LINUX, f"linux/resources/{path}", value, f"$.linux.resources.{where}")
    for path, value, where in [
        ("unified", {"../x": "1"}, "unified['../x']"),
        ("unified", {"memory": "1"}, "unified.memory"),
        ("unified", {"memory.high\n": "1"}, "unified['memory.high\\n']"),
        ("devices/0/type", "p", "devices[0].type"),
        ("devices/0/access", "rx", "devices[0].access"),
        ("devices/0/access", "rr", "devices[0].access"),
        ("devices/0/major", -2, "devices[0].major"),
        ("memory/limit", -2, "memory.limit"),
        ("memory/reservation", 536_870_913, "memory.reservation"),
        ("memory/swap", 1, "memory.swap"),
        ("memory/swappiness", 101, "memory.swappiness"),
        ("cpu/burst", 1_000_001, "cpu.burst"),
        ("cpu/cpus", "a", "cpu.cpus"),
        ("cpu/mems", "0,,1", "cpu.mems"),
        ("cpu/idle", 2, "cpu.idle"),
        ("cpu/realtimeRuntime", 1_000_001, "cpu.realtimeRuntime"),
        ("pids/limit", -2, "pids.limit"),
        ("blockIO/weight", 9, "blockIO.weight"),
        ("blockIO/leafWeight", 1001, "blockIO.leafWeight"),
        ("blockIO/weightDevice/0", {"major": 8, "minor": 0}, "blockIO.weightDevice[0]"),
        (
            "blockIO/throttleReadBpsDevice/0",
            {"major": 8, "minor": 0},
            "blockIO.throttleReadBpsDevice[0].rate",
        ),
        ("blockIO/throttleWriteIOPSDevice/0/major", -1, "blockIO.throttleWriteIOPSDevice[0].major"),
        ("hugepageLimits/0/pageSize", "2mb", "hugepageLimits[0].pageSize"),
        ("hugepageLimits/0/pageSize", "2MB\n", "hugepageLimits[0].pageSize"),
        ("hugepageLimits", [{"pageSize": "2MB", "limit": 1}] * 2, "hugepageLimits[1].pageSize"),
        ("network/priorities/0/name", "a b", "network.priorities[0].name"),
        ("rdma", {"mlx5_1": {}}, "rdma.mlx5_1"),
    ]
]

PLATFORMS: list[Case] = [
    (SPEC, WINDOWS, "windows/layerFolders", [], "$.windows.layerFolders"),
    (SPEC, WINDOWS, "windows/devices/0/idType", "name", "$.windows.devices[0].idType"),
    (SPEC, WINDOWS, "windows/resources/cpu/shares", 10_001, "$.windows.resources.cpu.shares"),
    (SPEC, WINDOWS, "windows/resources/cpu/maximum", 10_001, "$.windows.resources.cpu.maximum"),
    (SPEC, WINDOWS, "windows/resources/cpu/affinity/0/mask", ..., "$.windows.resources.cpu.affinity[0].mask"),
    (SPEC, WINDOWS, "windows/network/networkNamespace", "x", "$.windows.network.networkNamespace"),
    (SPEC, WINDOWS, "windows/hyperv", {}, "$.root"),
    (SPEC, WINDOWS, "root", ..., "$.root"),
    (SPEC, WINDOWS, "root/readonly", True, "$.root.readonly"),
    (SPEC, WINDOWS, "mounts/0/destination", "data", "$.mounts[0].destination"),
    (SPEC, WINDOWS, "process/cwd", "foo", "$.process.cwd"),
    (SPEC, WINDOWS, "process/commandLine", ..., "$.process.args"),
    (SPEC, VM, "vm/hypervisor/path", "vmm", "$.vm.hypervisor.path"),
    (SPEC, VM, "vm/kernel/path", "kernel", "$.vm.kernel.path"),
    (SPEC, VM, "vm/kernel/initrd", "initrd", "$.vm.kernel.initrd"),
    (SPEC, VM, "vm/image/path", "vm.raw", "$.vm.image.path"),
    (SPEC, VM, "vm/image/format", "iso", "$.vm.image.format"),
    (SPEC, FREEBSD, "freebsd/devices/0/path", ..., "$.freebsd.devices[0].path"),
    (SPEC, FREEBSD, "freebsd/devices/0/mode", 512, "$.freebsd.devices[0].mode"),
    (SPEC, FREEBSD, "freebsd/jail/host", "disable", "$.freebsd.jail.host"),
    (SPEC, FREEBSD, "freebsd/jail/ip4", "none", "$.freebsd.jail.ip4"),
    (SPEC, FREEBSD, "freebsd/jail/ip6Addr/0", "fe80::1/64", "$.freebsd.jail.ip6Addr[0]"),
    (SPEC, FREEBSD, "freebsd/jail/enforceStatfs", 3, "$.freebsd.jail.enforceStatfs"),
    (SPEC, ZOS, "zos/namespaces/1/type", "user", "$.zos.namespaces[1].type"),
    (SPEC, ZOS, "zos/namespaces/1/type", "pid", "$.zos.namespaces[1].type"),
    (SPEC, ZOS, "zos/namespaces/0/path", "pid", "$.zos.namespaces[0].path"),
]

STATES: list[Case] = [
    (runtime.State, STATE, "ociVersion", "1", "$.ociVersion"),
    (runtime.State, STATE, "id", "", "$.id"),
    (runtime.State, STATE, "status", "", "$.status"),
    (runtime.State, STATE, "pid", ..., "$.pid"),
    (runtime.State, STATE, "pid", 0, "$.pid"),
    (runtime.State, STATE, "pid", -1, "$.pid"),
    (runtime.State, STATE, "bundle", "redis", "$.bundle"),
    (runtime.State, STATE, "annotations", {"": ""}, "$.annotations"),
    (runtime.ContainerProcessState, {"ociVersion": "1.0.0", "pid": 0, "state": STATE}, "fds", [], "$.pid"),
    (
        runtime.ContainerProcessState,
        {"ociVersion": "1.0.0", "pid": 1, "state": STATE},
        "ociVersion",
        "x",
        "$.ociVersion",
    ),
    (runtime.Features, FEATURES, "ociVersionMin", "1.3.1", "$.ociVersionMax"),
    (runtime.Features, FEATURES, "ociVersionMax", "1.0.0-rc.9", "$.ociVersionMax"),
    (runtime.Features, FEATURES, "ociVersionMin", "one", "$.ociVersionMin"),
    (runtime.Features, FEATURES, "annotations", {"": ""}, "$.annotations"),
]

CASES = BASICS + PROCESS + LINUX_SECTION + SECCOMP + RESOURCES + PLATFORMS + STATES


@pytest.mark.parametrize(
    ("cls", "document", "path", "value", "where"),
    CASES,
    ids=[f"{case[2]}={str(case[3])[:30]!r}" for case in CASES],
)
def test_a_broken_rule_is_a_problem(
    cls: type[Model], document: Document, path: str, value: object, where: str
) -> None:
    """At the right path, with the section that states the rule. Names are matched as a whole (SP-07)."""
    parsed = spec.parse(cls, json.dumps(changed(document, path, value)).encode())
    problems = spec.validate(parsed)
    assert where in [problem.path for problem in problems]
    assert all("-spec " in problem.section and problem.message for problem in problems)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ociVersion", "1.0.0-rc5-dev+build.1"),
        ("ociVersion", "1.99.0"),
        ("mounts/0/destination", "relative/is/deprecated"),
        ("process/rlimits", []),
        ("process/scheduler", {"policy": "SCHED_FIFO", "priority": 99}),
        ("process/scheduler", {"policy": "SCHED_BATCH", "nice": -20}),
        ("linux/rootfsPropagation", "rslave"),
        ("linux/rootfsPropagation", ""),
        ("linux/resources/devices/0", {"allow": False, "access": "rwm", "major": -1, "minor": -1}),
        ("linux/resources/blockIO/weight", 0),
        ("linux/resources/memory/swap", -1),
        ("linux/resources/pids/limit", 0),
        ("linux/sysctl", {"net/ipv4/conf/eth0.100/forwarding": "1"}),
        ("linux/sysctl", {"net.ipv4.conf.eth0/100.forwarding": "1"}),
        ("linux/netDevices", {"a": {"name": "eth%d"}, "b": {"name": "eth%d"}}),
        ("linux/uidMappings", [mapping(0, 10, 5), mapping(5, 0, 10), mapping(15, 15, 2**32 - 15)]),
        ("linux/uidMappings", []),
        ("linux/intelRdt/closID", "/"),
        ("process/env/0", "A=\nliteral \\n and = are fine"),
    ],
)
def test_what_the_specification_allows_is_no_problem(path: str, value: object) -> None:
    """Among it what other runtimes and engines write."""
    parsed = spec.parse(SPEC, json.dumps(changed(LINUX, path, value)).encode())
    assert spec.validate(parsed) == []


def test_all_problems_are_listed() -> None:
    """Those of an object before those of the objects in it."""
    value = runtime.Spec(
        root=runtime.Root(path=""),
        process=runtime.Process(cwd="tmp", env=("x",)),
        hostname="h",
        linux=runtime.Linux(masked_paths=("a", "/b", "c")),
    )
    assert [str(problem) for problem in spec.validate(value)] == [
        "$.process.cwd: expected an absolute path, got 'tmp' (runtime-spec config.md, Process)",
        "$.hostname: is set but there is no private UTS namespace (runtime-spec config.md, Hostname)",
        "$.root.path: must not be empty (runtime-spec config.md, Root)",
        "$.process.args: expected at least one entry (runtime-spec config.md, Process)",
        "$.process.env[0]: expected NAME=value, got 'x' (runtime-spec config.md, Process)",
        "$.linux.maskedPaths[0]: expected an absolute path, got 'a' (runtime-spec config-linux.md, Masked Paths)",
        "$.linux.maskedPaths[2]: expected an absolute path, got 'c' (runtime-spec config-linux.md, Masked Paths)",
    ]


def test_a_value_that_was_built_is_checked_for_its_types_first() -> None:
    """Types were not proved by reading it; rules would stumble over them."""
    value = runtime.Process(cwd=None, args="sh", user=runtime.User(uid=-1))  # type: ignore[arg-type]
    assert [str(problem) for problem in spec.validate(value)] == [
        "$.user.uid: expected uint32, got -1",
        "$.args: expected array, got str",
        "$.cwd: required member is missing",
    ]
    broken = runtime.Process(cwd="/", args=(object(),))  # type: ignore[arg-type]
    assert [problem.path for problem in spec.validate(broken)] == ["$"]


def test_untrusted_text_is_escaped_in_problems() -> None:
    value = runtime.Linux(sysctl={"\x1b[2J": "1"}, masked_paths=("\x1b]0;x\x07",))
    assert "\x1b" not in "".join(map(str, spec.validate(value)))
