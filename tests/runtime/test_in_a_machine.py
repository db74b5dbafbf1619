"""What this kernel cannot show, in a virtual machine that can: the tests of a unified hierarchy, run there as a whole.

The machine is started by the program ``vmrun`` beside the checkout (or where ``OCIWORKS_VMRUN`` says). It sees these
files, the interpreter and the virtual environment, and has a unified hierarchy with controllers of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.source_tree import CHECKOUT

VMRUN = Path(os.environ.get("OCIWORKS_VMRUN") or CHECKOUT.parent / "shared" / "vm" / "vmrun")


def in_a_machine(*command: str, accel: str = "uml", options: Sequence[str] = (), timeout: int = 240) -> str:
    """Run a command in a machine as root; its failure is the test's. Gives its output."""
    if "VMRUN" in os.environ:
        pytest.skip("this is the machine")
    if not VMRUN.exists():
        pytest.skip(f"no {VMRUN.name} to start a virtual machine with")
    call = [sys.executable, str(VMRUN), "--accel", accel, *options, "--timeout", str(timeout), "--", *command]
    done = subprocess.run(
        call,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=timeout + 40,
        check=False,
    )
    if done.returncode == 125:
        pytest.skip(f"the virtual machine does not start: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_unified_hierarchy_with_controllers() -> None:
    """Version 2 limits, devices, freezing, statistics and clean-up hold on a machine that has nothing else."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-m", "cgroup2", "-p", "no:cacheprovider")
    output = in_a_machine(*pytest_there, "tests/runtime", "tests/security/test_rt_groups.py")
    ran = re.search(r"([0-9]+) passed", output)
    assert ran, output
    assert "skipped" not in output, output


@pytest.mark.slow
def test_scopes_of_systemd() -> None:
    """Containers in transient units: limits that survive a reload, updates, clean-up, and units of others."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
    output = in_a_machine(*pytest_there, "tests/runtime/test_systemd.py", options=["--systemd"])
    ran = re.search(r"([0-9]+) passed", output)
    assert ran, output
    assert "needs root and systemd" not in output, output


@pytest.mark.slow
def test_pods() -> None:
    """Pods on a unified hierarchy; and in slices of systemd, whose unit runs the server that serves them."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
    files = ("tests/cri/test_unified.py", "tests/cri/test_systemd_pods.py")
    output = in_a_machine(*pytest_there, *files, options=["--systemd"], timeout=480)
    assert "8 passed in" in output, output


def with_criu(passed: int, *tests: str, options: Sequence[str] = ()) -> None:
    """Run tests where criu works, which is in the emulated machine only: no more there than need it."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    output = in_a_machine(*pytest_there, accel="tcg", options=options, timeout=480)
    if "criu does not work" in output:
        pytest.skip(f"criu does not work in the machine: {output[-300:]}")
    assert f"{passed} passed" in output, output


@pytest.mark.slow
def test_checkpoint_and_restore() -> None:
    """Containers of ours and of runc go to disk and come back, also on another terminal."""
    with_criu(8, "tests/runtime/test_checkpoint.py", "-k", "disk or steps or terminal")


@pytest.mark.slow
def test_checkpoint_and_restore_in_a_scope() -> None:
    """In a transient unit of systemd, and in a user namespace."""
    with_criu(1, "tests/runtime/test_checkpoint.py", "-k", "scope", options=["--systemd"])


@pytest.mark.slow
@pytest.mark.timeout(540)
def test_checkpoint_and_restore_in_pods() -> None:
    """Containers that join a pod's namespaces, held by shims; and those of a server of the interface."""
    chosen = "held_in_a_pod or comes_back"
    with_criu(4, "tests/runtime/test_checkpoint.py", "tests/cri/test_checkpoints_served.py", "-k", chosen)


@pytest.mark.slow
def test_checkpoint_and_restore_by_podman() -> None:
    """The command, as podman and conmon call it; archives, too."""
    with_criu(2, "tests/interop/test_podman_checkpoint.py")


@pytest.mark.slow
def test_every_controller() -> None:
    """Also cpuset, hugetlb and pressure, which the faster machine lacks, of pods too: emulated, so this is short."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
    output = in_a_machine(
        *pytest_there,
        "tests/runtime/test_cgroups_full.py",
        "tests/cri/test_unified.py::test_limits_and_their_changes",
        "tests/cri/test_unified.py::test_what_is_counted",
        accel="tcg",
        options=["--disk", "16"],
        timeout=480,
    )
    ran = re.search(r"([0-9]+) passed", output)
    assert ran, output
    assert "skipped" not in output, output


@pytest.mark.slow
def test_profiles_of_apparmor() -> None:
    """Profiles are in force, in user namespaces, execs and pods too; one that is not loaded is refused (RT-27)."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
    output = in_a_machine(
        *pytest_there,
        "tests/runtime/test_apparmor.py",
        "tests/cri/test_apparmor_pods.py",
        accel="tcg",
        options=["--deb", "apparmor"],
        timeout=480,
    )
    assert re.search(r"5 passed", output), output


@pytest.mark.slow
def test_the_other_runtime() -> None:
    """Crun on a unified hierarchy goes through the same lifecycle as the others."""
    chosen = "crun and (life or limits or may_not or not_there)"
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen)
    output = in_a_machine(*pytest_there, "tests/runtime/test_both_kinds.py")
    assert "6 passed" in output, output


@pytest.mark.slow
def test_lists_of_calls() -> None:
    """First processes by lists of system calls, born in a unified hierarchy, on an older kernel."""
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "both_ways")
    output = in_a_machine(*pytest_there, "tests/runtime/test_listed.py")
    assert "8 passed" in output, output
