"""Whole documents that use every member of the runtime specification; the rules and the schemas accept them."""

from __future__ import annotations

import copy

__all__ = ["FEATURES", "FREEBSD", "LINUX", "SOLARIS", "STATE", "VM", "WINDOWS", "ZOS", "changed", "documents"]

Document = dict[str, object]

_MAPPING = {"containerID": 0, "hostID": 100_000, "size": 65_536}
_HOOK = {"path": "/usr/bin/hook", "args": ["hook", "--now"], "env": ["A=b"], "timeout": 5}
_THROTTLE = [{"major": 8, "minor": 0, "rate": 600}]

LINUX: Document = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/data",
            "type": "none",
            "source": "/volumes/data",
            "options": ["rbind", "idmap"],
            "uidMappings": [_MAPPING],
            "gidMappings": [_MAPPING],
        },
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 1, "umask": 63, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/root",
        "capabilities": {
            "bounding": ["CAP_KILL"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "permitted": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}],
        "noNewPrivileges": True,
        "apparmorProfile": "acme",
        "oomScoreAdj": -500,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 10_000,
            "deadline": 20_000,
            "period": 30_000,
        },
        "selinuxLabel": "system_u:system_r:container_t:s0",
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
    },
    "hostname": "mrsdalloway",
    "domainname": "example.test",
    "hooks": {
        "prestart": [_HOOK],
        "createRuntime": [_HOOK],
        "createContainer": [_HOOK],
        "startContainer": [_HOOK],
        "poststart": [_HOOK],
        "poststop": [_HOOK],
    },
    "annotations": {"com.example.key": "value", "com.example.empty": ""},
    "linux": {
        "devices": [
            {
                "type": "c",
                "path": "/dev/fuse",
                "major": 10,
                "minor": 229,
                "fileMode": 438,
                "uid": 0,
                "gid": 0,
            },
            {"type": "p", "path": "/dev/pipe"},
        ],
        "netDevices": {"eth0": {"name": "container_eth0"}, "ens4": {}},
        "uidMappings": [_MAPPING],
        "gidMappings": [_MAPPING],
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1024"},
        "resources": {
            "unified": {"memory.high": "1048576", "hugetlb.2MB.max": "1"},
            "devices": [
                {"allow": False},
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            ],
            "memory": {
                "limit": 536_870_912,
                "reservation": 268_435_456,
                "swap": 1_073_741_824,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 0,
                "disableOOMKiller": False,
                "useHierarchy": False,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 1_000_000,
                "burst": 1_000_000,
                "period": 500_000,
                "realtimeRuntime": 950_000,
                "realtimePeriod": 1_000_000,
                "cpus": "2-3",
                "mems": "0-7",
                "idle": 0,
            },
            "pids": {"limit": 32_771},
            "blockIO": {
                "weight": 10,
                "leafWeight": 1000,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": _THROTTLE,
                "throttleWriteBpsDevice": _THROTTLE,
                "throttleReadIOPSDevice": _THROTTLE,
                "throttleWriteIOPSDevice": _THROTTLE,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 209_715_200}],
            "network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}},
        },
        "cgroupsPath": "/myRuntime/myContainer",
        "namespaces": [
            {"type": "pid", "path": "/proc/1234/ns/pid"},
            *({"type": kind} for kind in ("network", "mount", "ipc", "uts", "user", "cgroup", "time")),
        ],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "opaque",
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_TRACE",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                },
                {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"},
            ],
        },
        "rootfsPropagation": "slave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:container_file_t:s0",
        "intelRdt": {
            "closID": "guaranteed",
            "schemata": ["L3:0=7f0;1=1f"],
            "l3CacheSchema": "L3:0=7f0;1=1f",
            "memBwSchema": "MB:0=20;1=70",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32"},
        "timeOffsets": {"monotonic": {"secs": 172_800, "nanosecs": 0}, "boottime": {"secs": -604_800}},
    },
}

WINDOWS: Document = {
    "ociVersion": "1.0.2-dev",
    "root": {"path": "\\\\?\\Volume{ec84d99e-3f02-11e7-ac6c-00155d7682cf}\\"},
    "mounts": [{"destination": "C:\\data", "source": "C:\\host", "options": ["ro"]}],
    "process": {
        "user": {"username": "containeradministrator"},
        "cwd": "c:\\foo",
        "commandLine": "some.exe /x",
    },
    "windows": {
        "layerFolders": ["C:\\layers\\top", "C:\\layers\\base"],
        "devices": [{"id": "24E552D7-6523-47F7-A647-D3465BF1F5CA", "idType": "class"}],
        "resources": {
            "memory": {"limit": 2_097_152},
            "cpu": {"count": 2, "shares": 500, "maximum": 5000, "affinity": [{"mask": 3, "group": 0}]},
            "storage": {"iops": 50, "bps": 20, "sandboxSize": 1024},
        },
        "network": {
            "endpointList": ["7a010682-17e0-4455-a838-02e5d9655fe6"],
            "allowUnqualifiedDNSQuery": True,
            "DNSSearchList": ["a.com"],
            "networkSharedContainerName": "other",
        },
        "credentialSpec": {"CmsPlugins": ["ActiveDirectory"], "Depth": {"a": [1, 2.5, None]}},
        "servicing": True,
        "ignoreFlushesDuringBoot": True,
    },
}

VM: Document = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "vm": {
        "hypervisor": {"path": "/usr/bin/vmm", "parameters": ["--one"]},
        "kernel": {"path": "/boot/kernel", "parameters": ["quiet"], "initrd": "/boot/initrd"},
        "image": {"path": "/images/vm.raw", "format": "raw"},
        "hwConfig": {
            "deviceTree": "/boot/tree.dtb",
            "vcpus": 1,
            "memory": 4_194_304,
            "dtdevs": ["path/to/device"],
            "iomems": [{"firstGFN": 1, "firstMFN": 2, "nrMFNs": 3}],
            "irqs": [11, 22],
        },
    },
}

SOLARIS: Document = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/opt/local", "type": "lofs", "source": "/usr/local", "options": ["ro"]}],
    "solaris": {
        "milestone": "svc:/milestone/container:default",
        "limitpriv": "default",
        "maxShmMemory": "512m",
        "cappedCPU": {"ncpus": "8"},
        "cappedMemory": {"physical": "512m", "swap": "512m"},
        "anet": [
            {
                "linkname": "net0",
                "lowerLink": "net2",
                "allowedAddress": "172.17.0.2/16",
                "configureAllowedAddress": "true",
                "defrouter": "172.17.0.1",
                "macAddress": "02:42:f8:52:c7:16",
                "linkProtection": "mac-nospoof",
            }
        ],
    },
}

FREEBSD: Document = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "freebsd": {
        "devices": [{"path": "pf", "mode": 448}],
        "jail": {
            "parent": "outer",
            "host": "new",
            "ip4": "inherit",
            "ip4Addr": ["10.11.12.13"],
            "ip6": "disable",
            "ip6Addr": ["fd10::11:12:13"],
            "vnet": "new",
            "interface": "lo1",
            "vnetInterfaces": ["epair0b"],
            "sysvmsg": "new",
            "sysvsem": "new",
            "sysvshm": "inherit",
            "enforceStatfs": 1,
            "allow": {
                "setHostname": True,
                "rawSockets": True,
                "chflags": True,
                "mount": ["tmpfs"],
                "quotas": True,
                "socketAf": True,
                "mlock": True,
                "reservedPorts": False,
                "suser": False,
            },
        },
    },
}

ZOS: Document = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "zos": {"namespaces": [{"type": "pid", "path": "/proc/1234/ns/pid"}, {"type": "mount"}]},
}

STATE: Document = {
    "ociVersion": "1.3.0",
    "id": "oci-container1",
    "status": "running",
    "pid": 4422,
    "bundle": "/containers/redis",
    "annotations": {"myKey": "myValue"},
}

FEATURES: Document = {
    "ociVersionMin": "1.0.0",
    "ociVersionMax": "1.3.0",
    "hooks": ["prestart", "poststop"],
    "mountOptions": ["bind", "ro"],
    "linux": {
        "namespaces": ["cgroup", "user"],
        "capabilities": ["CAP_KILL"],
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": False},
        "seccomp": {
            "enabled": True,
            "actions": ["SCMP_ACT_ALLOW"],
            "operators": ["SCMP_CMP_EQ"],
            "archs": ["SCMP_ARCH_X86_64"],
            "knownFlags": ["SECCOMP_FILTER_FLAG_TSYNC"],
            "supportedFlags": [],
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": False},
        "memoryPolicy": {"modes": ["MPOL_BIND"], "flags": []},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": False},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    },
    "annotations": {"org.example.version": "1.1.0"},
    "potentiallyUnsafeConfigAnnotations": ["com.example.foo.bar"],
}


def documents() -> dict[str, Document]:
    """The configurations, by platform."""
    return {
        "linux": LINUX,
        "windows": WINDOWS,
        "vm": VM,
        "solaris": SOLARIS,
        "freebsd": FREEBSD,
        "zos": ZOS,
    }


def changed(document: Document, path: str, value: object) -> Document:
    """A copy with one member changed, added, or (value ``...``) removed; ``path`` is ``linux/devices/0/type``."""
    result = copy.deepcopy(document)
    *parents, last = path.split("/")
    target: object = result
    for step in parents:
        target = target[int(step)] if isinstance(target, list) else target[step]  # type: ignore[index]
    if value is ...:
        del target[last]  # type: ignore[attr-defined]
    elif isinstance(target, list):
        target[int(last) :] = [value]
    else:
        target[last] = value  # type: ignore[index]
    return result
