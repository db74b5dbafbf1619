"""RunOptions: a person's units become the specification's."""

from __future__ import annotations

import math

import pytest

from ociworks.api import RunOptions
from ociworks.errors import SpecError
from ociworks.image.bundle import RuntimeOptions, runtime_spec
from ociworks.spec.image import Config, ImageConfiguration, RootFS
from ociworks.spec.runtime import CPU, Memory, Pids, Resources

IMAGE = ImageConfiguration(
    architecture="amd64",
    os="linux",
    config=Config(cmd=("sh",), env=("PATH=/bin", "A=1", "ABC=2")),
    rootfs=RootFS(diff_ids=()),
)


def test_nothing_chosen_changes_nothing() -> None:
    """Options without a choice leave everything to the image and the default profile."""
    assert RunOptions().for_image(None, rootless=False) == RuntimeOptions()


def test_limits() -> None:
    """Swap cannot be used to get around the memory limit; processors become a quota of the kernel's period."""
    options = RunOptions(memory=1 << 26, pids=8, cpus=1.5).for_image(None, rootless=False)
    assert options.resources == Resources(
        memory=Memory(limit=1 << 26, swap=1 << 26), pids=Pids(limit=8), cpu=CPU(quota=150_000, period=100_000)
    )


def test_the_whole_way_into_a_configuration() -> None:
    """Each choice arrives where the specification has it."""
    chosen = RunOptions(
        pids=8, env={"A": "x=y"}, workdir="/tmp", user="7:8", hostname="box", read_only=True, terminal=True
    )
    spec = runtime_spec(IMAGE, chosen.for_image(("ls", "-l"), rootless=False))
    assert spec.hostname == "box"
    assert spec.root is not None
    assert spec.root.readonly is True
    process = spec.process
    assert process is not None
    assert process.args == ("ls", "-l")
    assert process.cwd == "/tmp"
    assert process.terminal is True
    assert (process.user.uid, process.user.gid) == (7, 8)
    assert "A=x=y" in process.env
    assert "A=1" not in process.env
    assert spec.linux is not None
    assert spec.linux.resources is not None
    assert spec.linux.resources.pids == Pids(limit=8)
    assert spec.linux.resources.devices, "limits do not replace the default device rules"


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_that_are_no_limits(number: int) -> None:
    """Zero and less mean "unlimited" to some interfaces and "nothing" to others; here they are refused."""
    with pytest.raises(SpecError, match="memory"):
        RunOptions(memory=number)
    with pytest.raises(SpecError, match="pids"):
        RunOptions(pids=number)


@pytest.mark.parametrize("share", [0.0, -1.0, 0.001, math.nan])
def test_shares_that_the_kernel_does_not_take(share: float) -> None:
    """Too small a share is refused here, with the smallest one, and not by the kernel with EINVAL."""
    with pytest.raises(SpecError, match=r"0\.01"):
        RunOptions(cpus=share)


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A": "\0"}, {"A\0": ""}])
def test_sp_08_variables_that_are_none(env: dict[str, str]) -> None:
    """A name that would become another variable, or a NUL, never reaches a process."""
    with pytest.raises(SpecError):
        RunOptions(env=env)


def test_sp_13_options_are_values() -> None:
    """Changing the mapping afterwards does not change the options."""
    env = {"A": "1"}
    options = RunOptions(env=env)
    env["A"] = "2"
    assert options.env["A"] == "1"
