"""Attacks on labels and on settings of the kernel (RT-27, RT-29)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import ExecOptions, Runtime
from ociworks.runtime._init import labels as label_operations
from ociworks.runtime._init.context import Context, StepError
from ociworks.runtime.plan import labels
from tests.runtime.boxes import changed, shell, with_linux, with_process


@pytest.mark.parametrize(
    "profile",
    ["unconfined\n", " unconfined", "a b", "x\0y", 'x"y', "x'y", "docker-default\nexec unconfined", "é"],
)
def test_rt_27_profiles_that_are_none(runtime: Runtime, bundle: spec.Bundle, profile: str) -> None:
    """Only the exact word means none."""
    with runtime, pytest.raises(errors.OciworksError):
        runtime.plan(with_process(bundle, apparmor_profile=profile))


@pytest.mark.parametrize("label", ["x", "a:b", "a:b:c\n", "a:b:c,d e", 'a:b:"c"', "a:b:c:s0\0", ":b:c"])
def test_rt_27_labels_that_are_none(
    runtime: Runtime, bundle: spec.Bundle, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They match a grammar, also where a kernel would take them."""
    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)
    with runtime:
        for hostile in (with_process(bundle, selinux_label=label), with_linux(bundle, mount_label=label)):
            with pytest.raises(errors.InvalidSpec):
                runtime.plan(hostile)


def test_rt_27_what_the_kernel_lacks(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No module, or no such profile: an error before anything exists, also for an exec; ``unconfined`` is none."""
    monkeypatch.setattr(labels, "apparmor_enabled", lambda: False)
    monkeypatch.setattr(labels, "selinux_enabled", lambda: False)
    context = "system_u:system_r:container_t:s0:c1,c2"
    refused = [
        with_process(bundle, apparmor_profile="docker-default"),
        with_process(bundle, selinux_label=context),
        with_linux(bundle, mount_label=context),
    ]
    with runtime:
        for hostile in refused:
            with pytest.raises(errors.NotSupported, match="in force"):
                runtime.create("refused", hostile)
        with runtime.create("plain", bundle, ["sleep", "1000"]) as container:
            container.start()
            for options in (
                ExecOptions(apparmor_profile="docker-default"),
                ExecOptions(selinux_label=context),
            ):
                with pytest.raises(errors.NotSupported, match="in force"):
                    container.exec(["true"], options=options)
        assert not runtime.plan(with_process(bundle, apparmor_profile="unconfined")).find("label")
        monkeypatch.setattr(labels, "apparmor_enabled", lambda: True)
        monkeypatch.setattr(labels, "_loaded_profiles", lambda: frozenset({"other"}))
        with pytest.raises(errors.NotSupported, match="not loaded"):
            runtime.plan(with_process(bundle, apparmor_profile="docker-default", cwd="/tmp"))


@pytest.mark.parametrize(
    ("kind", "asked", "answer", "fine"),
    [
        ("apparmor", "docker-default", b"docker-default (enforce)\n", True),
        ("apparmor", "docker-default", b"docker-default (complain)\0", True),
        ("apparmor", "docker-default", b"unconfined\n", False),
        ("apparmor", "docker-default", b"", False),
        ("apparmor", "docker-default", b"docker-default-other (enforce)\n", False),
        ("selinux", "a:b:c:s0", b"a:b:c:s0\0", True),
        ("selinux", "a:b:c:s0", b"a:b:c:s0:c1\0", False),
        ("selinux", "a:b:c:s0", b"", False),
    ],
)
def test_rt_27_labels_are_read_back(
    tmp_path: Path, kind: str, asked: str, answer: bytes, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel then says decides whether the program is run."""
    context = Context.__new__(Context)
    file = tmp_path / "exec"
    file.write_bytes(b"")
    context.labels = {kind: os.open(file, os.O_RDWR)}
    monkeypatch.setattr("os.pread", lambda *_: answer)
    if fine:
        label_operations.label(context, kind, asked)
    else:
        with pytest.raises(StepError, match="expected"):
            label_operations.label(context, kind, asked)
    assert file.read_bytes() == (f"exec {asked}" if kind == "apparmor" else asked).encode()
    assert not context.labels


def test_rt_27_labels_of_mounts(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every new file system that takes one gets the context; the kernel's own do not; an explicit one stays."""
    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    with runtime:
        planned = runtime.plan(with_linux(bundle, mount_label=label))
    shown = {op.args[2]: op.args[3] for op in planned.find("filesystem")}
    for place in ("/dev", "/dev/shm"):
        options = shown[place]
        assert isinstance(options, tuple)
        assert ("context", label) in options
    assert "context" not in str(shown["/proc"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.shmmax", "1\n2"),
        ("kernel.shmmax", "1\0"),
        ("kernel/../x", "1"),
        ("kernel.core_pattern", "|/bin/sh"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "x"),
        ("vm.swappiness", "1"),
        ("net", "1"),
        ("net.ipv4.conf.eth0/../../x", "1"),
        (".".join(["net"] * 50), "1"),
        ("kernel.shmmax", "9" * 5000),
        ("net.ipv4=1.x", "1"),
    ],
)
def test_rt_29_settings_that_are_refused(
    runtime: Runtime, bundle: spec.Bundle, name: str, value: str
) -> None:
    """One key, one value, of a namespace that is the container's own."""
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.plan(with_linux(bundle, sysctl={name: value}))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
        ("uts", "kernel.hostname"),
    ],
)
def test_rt_29_settings_of_shared_namespaces(
    runtime: Runtime, bundle: spec.Bundle, kind: str, name: str
) -> None:
    """Without the namespace it would be the host's: refused, and the host's value is what it was."""
    linux = bundle.spec.linux
    assert linux is not None
    shared = tuple(each for each in linux.namespaces if each.type != kind)
    file = Path("/proc/sys", *name.split("."))
    before = file.read_text() if file.exists() else ""
    hostile = with_linux(changed(bundle, hostname=None), namespaces=shared, sysctl={name: "1"})
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.run(hostile, ["true"], timeout=60)
    assert (file.read_text() if file.exists() else "") == before


@pytest.mark.root
def test_rt_29_settings_that_are_made(runtime: Runtime, bundle: spec.Bundle) -> None:
    """In the container's namespaces, with both separators; the host's stay."""
    host = {
        name: Path("/proc/sys", name).read_text() for name in ("net/ipv4/ip_default_ttl", "kernel/msgmax")
    }
    settings = {"net.ipv4.ip_default_ttl": "77", "kernel/msgmax": "9000", "kernel.hostname": "named"}
    with runtime:
        text = shell(
            runtime,
            with_linux(changed(bundle, hostname=None), sysctl=settings),
            "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; hostname",
        )
    assert text.split() == ["77", "9000", "named"]
    assert {name: Path("/proc/sys", name).read_text() for name in host} == host
