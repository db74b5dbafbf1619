"""AppArmor profiles, where a kernel has them: run as a whole in a virtual machine (``test_in_a_machine``)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import ExecOptions, Runtime
from ociworks.runtime.plan import labels, ops
from ociworks.spec.runtime import IDMapping, Namespace
from tests.runtime.boxes import with_linux, with_process

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not labels.apparmor_enabled(),
        reason="this kernel has no AppArmor; test_in_a_machine runs these in a machine that has it",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to load a profile"),
]

PROFILE = """
profile ociworks-test flags=(attach_disconnected) {
  file,
  capability,
  network,
  signal,
  deny /tmp/denied w,
}
"""
TRY = "cat /proc/self/attr/current; echo x > /tmp/denied || echo denied; echo x > /tmp/fine && echo fine"


@pytest.fixture(scope="module", autouse=True)
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A profile that is loaded."""
    if not Path("/sys/kernel/security/apparmor").exists():
        subprocess.run(["mount", "-t", "securityfs", "none", "/sys/kernel/security"], check=True)
    file = tmp_path_factory.mktemp("profile") / "ociworks-test"
    file.write_text(PROFILE)
    parser = ["apparmor_parser", "--skip-cache", "--base", str(file.parent)]
    subprocess.run([*parser, "--replace", str(file)], check=True)
    yield
    subprocess.run([*parser, "--remove", str(file)], check=True)


def test_rt_27_a_profile_is_in_force(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Of the program, an exec, and one in a user namespace; an exec may have another; nothing else is denied."""
    confined = with_process(bundle, apparmor_profile="ociworks-test")
    done = runtime.run(confined, ["sh", "-c", TRY], capture_output=True, timeout=120)
    assert done.stdout == b"ociworks-test (enforce)\ndenied\nfine\n", done.stderr
    with runtime.create("confined", confined, ["sleep", "1000"]) as container:
        container.start()
        assert container.exec(["sh", "-c", TRY], timeout=120).stdout == done.stdout
    with runtime.create("plain", bundle, ["sleep", "1000"]) as container:
        container.start()
        options = ExecOptions(apparmor_profile="ociworks-test")
        assert container.exec(["sh", "-c", TRY], options=options, timeout=120).stdout == done.stdout
        assert b"unconfined" in container.exec(["sh", "-c", TRY], timeout=120).stdout
        missing = ExecOptions(apparmor_profile="no-such-profile")
        with pytest.raises(errors.NotSupported, match="not loaded"):
            container.exec(["true"], options=missing, timeout=120)


def test_rt_27_a_profile_in_a_user_namespace(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It is in force there too, for an exec also."""
    linux = bundle.spec.linux
    assert linux is not None
    mapped = (IDMapping(container_id=0, host_id=0, size=4294967294),)
    inside = with_linux(
        with_process(bundle, apparmor_profile="ociworks-test"),
        namespaces=(*linux.namespaces, Namespace(type="user")),
        uid_mappings=mapped,
        gid_mappings=mapped,
    )
    with runtime.create("inside", inside, ["sleep", "1000"]) as container:
        container.start()
        told = Path(f"/proc/{container.pid}/attr/current").read_text()
        assert told == "ociworks-test (enforce)\n"
        assert container.exec(["cat", "/proc/self/attr/current"], timeout=120).stdout == told.encode()


def test_rt_27_a_profile_that_is_not_loaded(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nothing is made; and if the list of profiles does not say so, the kernel does, before the program runs."""
    lost = with_process(bundle, apparmor_profile="no-such-profile")
    with pytest.raises(errors.NotSupported, match="not loaded"):
        runtime.create("lost", lost, ["touch", "/tmp/ran"])
    planned = runtime.plan(with_process(bundle, apparmor_profile="ociworks-test"))
    place = planned.find("label")[0]
    other = planned.replace(place, ops.label("apparmor", "no-such-profile"))
    with pytest.raises(errors.CreateFailed, match="is not loaded"):
        runtime.create_from(other)
    assert not (bundle.rootfs / "tmp/ran").exists()
    unconfined = with_process(bundle, apparmor_profile="unconfined")
    done = runtime.run(unconfined, ["cat", "/proc/self/attr/current"], capture_output=True, timeout=120)
    assert done.stdout == b"unconfined\n"
