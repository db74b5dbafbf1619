"""The words by which scripts and test suites for runc know what happened, and what is left out with a warning."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.runtime import cgroups
from ociworks.runtime.plan import labels
from ociworks.spec.runtime import (
    Capabilities,
    DeviceRule,
    ExecCPUAffinity,
    Hook,
    Hooks,
    MemoryPolicy,
    Resources,
    Seccomp,
    Syscall,
    User,
)
from tests.runtime.boxes import changed, with_linux, with_process
from tests.runtime.commands import Command, written

FOREVER = ("sleep", "1000")


def warned(command: Command, *args: str | Path) -> tuple[str, list[str]]:
    """What a call printed, and the warnings in its log."""
    command.log.unlink(missing_ok=True)
    said = command("--log", command.log, "--log-format", "json", *args)
    records = [json.loads(line) for line in command.log.read_text().splitlines()]
    assert {record["level"] for record in records} <= {"warning"}
    return said, [record["msg"] for record in records]


def bits(status: str, name: str) -> int:
    """A set of capabilities as ``/proc/self/status`` has it."""
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)), 16)


def test_capabilities_that_there_are_not(command: Command, bundle: spec.Bundle) -> None:
    """runtime-spec config.md: a warning, and the others are there; in ``run`` and ``exec``."""
    sets = Capabilities(
        bounding=("CAP_KILL", "CAP_TELEPORT"),
        permitted=("CAP_KILL", "cap_chown"),
        effective=("CAP_KILL",),
        inheritable=("CAP_KILL",),
        ambient=("CAP_KILL", "CAP_CHOWN"),
    )
    own = written(with_process(bundle, args=("cat", "/proc/self/status"), capabilities=sets))
    said, warnings = warned(command, "run", "--bundle", own.path, "caps")
    assert warnings[0] == "ignoring unknown or unavailable capabilities: [CAP_TELEPORT cap_chown]"
    assert warnings[1].startswith("can't raise ambient capability CAP_CHOWN: ")
    kill = 1 << 5
    assert [bits(said, f"Cap{name}:") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [kill] * 5
    command.quiet("run", "--detach", "--bundle", written(with_process(own, args=FOREVER)).path, "kept")
    assert "ignoring unknown" in command.log.read_text()
    said, warnings = warned(command, "exec", "--cap", "CAP_NOT", "kept", "cat", "/proc/self/status")
    assert "CAP_NOT" in warnings[0]
    assert bits(said, "CapBnd:") == kill
    command("delete", "--force", "kept")


def test_create_refuses_names_that_nobody_knows(command: Command, bundle: spec.Bundle) -> None:
    """Programs call it: RT-24."""
    for name in ("CAP_TELEPORT", "cap_kill", "ALL"):
        written(with_process(bundle, args=FOREVER, capabilities=Capabilities(bounding=(name,))))
        said = command.fails("create", "--bundle", bundle.path, "strict")["msg"]
        assert f"expected a capability such as CAP_KILL, got '{name}'" in said


def test_labels_of_mounts_without_selinux(command: Command, bundle: spec.Bundle) -> None:
    """They confine nobody, so a kernel that has none goes on; what is no label is refused all the same."""
    if labels.selinux_enabled():
        pytest.skip("this kernel has SELinux")
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    labelled = written(with_linux(with_process(bundle, args=("true",)), mount_label=label))
    _, warnings = warned(command, "run", "--bundle", labelled.path, "labelled")
    assert warnings == [
        "ignoring $.linux.mountLabel: this kernel has no SELinux, so nobody would read the label"
    ]
    written(with_linux(labelled, mount_label="x"))
    assert "expected user:role:type" in command.fails("run", "--bundle", bundle.path, "labelled")["msg"]
    written(with_process(bundle, selinux_label=label))
    assert "would not be in force" in command.fails("run", "--bundle", bundle.path, "labelled")["msg"]


def test_steps_of_a_debug_log(command: Command, bundle: spec.Bundle) -> None:
    own = with_process(bundle, args=FOREVER)
    command.quiet("--debug", "run", "--detach", "--bundle", written(own).path, "told")
    said = command.log.read_text()
    for words in (
        "nsexec container setup",
        "child process in init()",
        "closing the pipe to signal completion",
    ):
        assert words in said
    said = command("--debug", "exec", "told", "true")
    for words in ("nsexec container setup", "child process in init()", "setns_init: about to exec"):
        assert words in said
    mask = sum(1 << cpu for cpu in os.sched_getaffinity(0))
    assert f"nsexec: affinity: {mask:#x}" in said
    command("delete", "--force", "told")


def test_the_affinity_of_a_debug_log(command: Command, bundle: spec.Bundle) -> None:
    cpu = min(os.sched_getaffinity(0))
    bound = with_process(bundle, args=FOREVER, exec_cpu_affinity=ExecCPUAffinity(initial=str(cpu)))
    with command.running("bound", bound):
        assert f"nsexec: affinity: {1 << cpu:#x}" in command("--debug", "exec", "bound", "true")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (MemoryPolicy(mode=""), "invalid memory policy mode"),
        (MemoryPolicy(mode="INTERLEAVE", nodes="0"), "invalid memory policy mode"),
        (MemoryPolicy(mode="MPOL_BIND", nodes="0", flags=("bad",)), "invalid memory policy flag"),
        (MemoryPolicy(mode="MPOL_BIND", nodes="0-9876543210"), "invalid memory policy node"),
        (MemoryPolicy(mode="MPOL_DEFAULT", nodes="0-7"), "mode requires 0 nodes but got 8"),
        (MemoryPolicy(mode="MPOL_LOCAL", nodes="x"), "mode requires 0 nodes but got many"),
    ],
)
def test_memory_policies(command: Command, bundle: spec.Bundle, policy: MemoryPolicy, words: str) -> None:
    written(with_linux(bundle, memory_policy=policy))
    assert words in command.fails("run", "--bundle", bundle.path, "policy")["msg"]


@pytest.mark.root
def test_control_groups(command: Command, bundle: spec.Bundle) -> None:
    """Those of somebody else, and paths that lead out of the container's."""
    own = with_process(bundle, args=FOREVER)
    with command.running("first", own):
        said = command.fails("exec", "--cgroup", "..", "first", "true", status=255)["msg"]
        assert "bad sub cgroup path" in said
        said = command.fails("exec", "--cgroup", "missing", "first", "true", status=255)["msg"]
        assert "adding pid to cgroup: " in said
        assert "No such file or directory" in said
        said = command.fails("exec", "--cgroup", "what:/", "first", "true", status=255)["msg"]
        assert "unknown controller 'what'" in said
    if cgroups.detect().mode == "v1":
        written(with_linux(own, resources=Resources(unified={"memory.min": "131072"})))
        assert "invalid configuration" in command.fails("run", "--bundle", own.path, "unified")["msg"]


def test_letters_of_device_rules(command: Command, bundle: spec.Bundle) -> None:
    """What means nothing allows nothing and denies everything; later commands read what was made of it."""
    rules = (
        DeviceRule(allow=False, access="rwm"),
        DeviceRule(allow=True, type="c", major=1, minor=7, access="rx"),
        DeviceRule(allow=False, type="c", major=1, minor=11, access="rwa"),
    )
    own = with_linux(with_process(bundle, args=FOREVER), resources=Resources(devices=rules))
    with command.running("rules", own):
        said = command.log.read_text()
        assert "access 'rx' of a device rule is not made of rwm; taken as 'r'" in said
        assert "access 'rwa' of a device rule is not made of rwm; taken as 'rwm'" in said
        command("update", "--pids-limit", "30", "rules")


def test_which_hook_failed(command: Command, bundle: spec.Bundle) -> None:
    """Counted from zero, as runc does."""
    fine, failing = Hook(path="/bin/true"), Hook(path="/bin/false")
    for point, name in (
        ("prestart", "prestart"),
        ("create_runtime", "createRuntime"),
        ("create_container", "createContainer"),
        ("start_container", "startContainer"),
        ("poststart", "poststart"),
    ):
        hooks = Hooks(**{point: (fine, failing)})  # type: ignore[arg-type]
        written(changed(with_process(bundle, args=("true",)), hooks=hooks))
        said = command.fails("run", "--bundle", bundle.path, "hooked")["msg"]
        assert f"error running {name} hook #1: " in said


def test_hooks_of_the_start_have_the_environment_of_the_program(
    command: Command, bundle: spec.Bundle
) -> None:
    """Also a ``HOME``; those that bring an environment have that alone."""
    inherits = Hook(path="/bin/sh", args=("sh", "-c", "echo $A,$HOME > /inherited"))
    brings = Hook(path="/bin/sh", args=("sh", "-c", "echo $A,$B,$HOME > /brought"), env=("B=2",))
    own = changed(
        with_process(bundle, args=("true",), env=("A=1", "PATH=/bin")),
        hooks=Hooks(start_container=(inherits, brings)),
    )
    command("run", "--bundle", written(own).path, "hooked")
    home = next((line.split(":")[5] for line in _users(bundle) if line.split(":")[2:3] == ["0"]), "/")
    assert (bundle.rootfs / "inherited").read_text() == f"1,{home}\n"
    assert (bundle.rootfs / "brought").read_text() == ",2,\n"


def _users(bundle: spec.Bundle) -> list[str]:
    users = bundle.rootfs / "etc/passwd"
    return users.read_text().splitlines() if users.exists() else []


def test_hooks_of_the_start_have_the_rights_of_the_program(command: Command, bundle: spec.Bundle) -> None:
    """They are files of the container, so its user, its capabilities and its filter are theirs too."""
    killed = Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(Syscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_KILL_PROCESS"),),
    )
    look = Hook(path="/bin/sh", args=("sh", "-c", "cat /proc/self/status > /tmp/status"))
    make = Hook(path="/bin/mkdir", args=("mkdir", "/tmp/made"))
    (bundle.rootfs / "tmp").mkdir(exist_ok=True)
    (bundle.rootfs / "tmp").chmod(0o777)
    own = with_process(bundle, args=("true",), user=User(uid=1000, gid=100), capabilities=Capabilities())
    own = changed(with_linux(own, seccomp=killed), hooks=Hooks(start_container=(look, make)))
    said = command.fails("run", "--bundle", written(own).path, "hooked")["msg"]
    assert "error running startContainer hook #1: hook was killed by signal 31, bad system call" in said
    status = (bundle.rootfs / "tmp/status").read_text()
    assert bits(status, "CapBnd:") == bits(status, "CapEff:") == 0
    assert "\nUid:\t1000\t1000\t1000\t1000\n" in status
    assert "\nSeccomp:\t2\n" in status
    assert not (bundle.rootfs / "tmp/made").exists()


def test_a_program_without_its_interpreter(command: Command, bundle: spec.Bundle) -> None:
    script = bundle.rootfs / "run.sh"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with command.running("script", with_process(bundle, args=FOREVER)):
        said = command.fails("exec", "script", "/run.sh", status=255)["msg"]
        assert "exec /run.sh: no such file or directory" in said
    written(with_process(bundle, args=("/run.sh",)))
    done = subprocess.run(
        command.arguments("run", "--bundle", bundle.path, "script"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (255, "exec /run.sh: no such file or directory\n")


def test_a_terminal_larger_than_any(command: Command, bundle: spec.Bundle) -> None:
    """Refused before anything is made: the kernel has sixteen bits for each side."""
    size = spec.runtime.Box(height=1, width=65536)
    written(with_process(bundle, args=("true",), terminal=True, console_size=size))
    done = subprocess.run(
        command.arguments("run", "--bundle", bundle.path, "large"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "$.process.consoleSize: expected at most 65535 each, got 65536 by 1" in done.stderr
