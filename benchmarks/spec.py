"""Parsing and writing spec documents against the standard library's json, which checks and types nothing."""

from __future__ import annotations

import hashlib
import json

from benchmarks._measure import Comparison, compare, report
from ociworks import spec
from ociworks.spec._model import Model

AIM = 8.0


def manifest() -> dict[str, object]:
    """An image of 50 layers."""

    def descriptor(number: int, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": 1_000_003 * (number + 1)}

    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(50, "config.v1+json"),
        "layers": [descriptor(number, "layer.v1.tar+gzip") for number in range(50)],
    }


def config() -> dict[str, object]:
    """A container with the mounts, namespaces, limits and filter that engines write."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    capabilities = [
        f"CAP_{name}" for name in "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID".split()
    ]
    masked = [
        f"/proc/{name}" for name in "acpi asound kcore keys latency_stats timer_list sched_debug scsi".split()
    ]
    calls = [f"system_call_{number}" for number in range(320)]
    clone = {"index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0, "additionalGids": list(range(10))},
            "args": ["sh", "-c", "exec sleep infinity"],
            "env": [f"VARIABLE_{number}=value {number}" for number in range(20)],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": [
            {
                "destination": f"/mount/{number}",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "noexec", "nodev", "mode=755", "size=65536k"],
            }
            for number in range(12)
        ],
        "annotations": {f"org.example.annotation.{number}": "value" for number in range(10)},
        "linux": {
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}]
                + [
                    {"allow": True, "type": "c", "major": 1, "minor": number, "access": "rwm"}
                    for number in range(10)
                ],
                "memory": {"limit": 536_870_912, "swap": 536_870_912},
                "cpu": {"shares": 1024, "quota": 100_000, "period": 100_000},
                "pids": {"limit": 1000},
            },
            "cgroupsPath": "/bench",
            "namespaces": [{"type": kind} for kind in kinds],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [{"names": calls, "action": "SCMP_ACT_ALLOW"}]
                + [{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [clone]} for _ in range(15)],
            },
            "maskedPaths": masked,
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def compared(name: str, cls: type[Model], document: dict[str, object]) -> list[Comparison]:
    """Reading and writing of one document, both sides from and to bytes."""
    raw = json.dumps(document).encode()
    value = spec.parse(cls, raw)
    return [
        compare(
            f"parse {name}",
            lambda: spec.parse(cls, raw),
            "json.loads",
            lambda: json.loads(raw),
            pairs=25,
            number=50,
            aim=AIM,
        ),
        compare(
            f"write {name}",
            lambda: spec.to_json(value),
            "json.dumps",
            lambda: json.dumps(document).encode(),
            pairs=25,
            number=50,
            aim=AIM,
        ),
    ]


def main() -> None:
    """Print the ratios."""
    report(
        "spec",
        [
            *compared("a manifest of 50 layers", spec.image.Manifest, manifest()),
            *compared("a full config.json", spec.runtime.Spec, config()),
        ],
    )


if __name__ == "__main__":
    main()
