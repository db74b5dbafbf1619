"""Run and exec: output, input, time limits, status, environment – with the words of subprocess.run."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import CompletedContainer, Runtime
from tests.runtime.boxes import nothing_left

Call = Callable[..., CompletedContainer]


def process_of(bundle: spec.Bundle) -> spec.runtime.Process:
    assert bundle.spec.process is not None
    return bundle.spec.process


@pytest.fixture(params=["run", "exec"])
def call(request: pytest.FixtureRequest, runtime: Runtime, bundle: spec.Bundle) -> Iterator[Call]:
    """``runtime.run`` and ``container.exec``: what holds for one holds for the other."""
    if request.param == "run":

        def run(args: list[str], **keywords: Any) -> CompletedContainer:
            return runtime.run(bundle, args, **{"capture_output": True, "timeout": 60, **keywords})

        yield run
        return
    with runtime.create("long", bundle, ["sleep", "1000"]) as container:
        container.start()

        def execute(args: list[str], **keywords: Any) -> CompletedContainer:
            return container.exec(args, **{"timeout": 60, **keywords})

        yield execute


def test_captured(call: Call) -> None:
    """Both streams apart, byte by byte, and the status."""
    done = call(["sh", "-c", "printf 'out\\0\\377'; echo err >&2; exit 5"])
    assert (done.stdout, done.stderr, done.returncode) == (b"out\0\xff", b"err\n", 5)
    assert done.args == ("sh", "-c", "printf 'out\\0\\377'; echo err >&2; exit 5")
    assert done.container_id
    with pytest.raises(errors.CommandFailed) as caught:
        done.check()
    assert "5" in str(caught.value)


def test_check(call: Call) -> None:
    """With check a status other than 0 is an error that has the result."""
    with pytest.raises(errors.CommandFailed) as caught:
        call(["sh", "-c", "echo partial; exit 9"], check=True)
    assert caught.value.completed.stdout == b"partial\n"
    assert call(["true"], check=True).returncode == 0


def test_killed_by_a_signal(call: Call) -> None:
    """A negative status is the number of the signal, as subprocess has it."""
    assert call(["sh", "-c", "(exit 137)"]).returncode == 137
    assert call(["sh", "-c", "ulimit -c 0; ulimit -t 1; while :; do :; done"]).returncode < 0


def test_input_and_output_larger_than_any_pipe(call: Call) -> None:
    """Ten megabytes through, both ways at once, nothing lost."""
    data = os.urandom(1 << 20) * 10
    done = call(["cat"], input=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_input_that_nobody_reads(call: Call) -> None:
    """A program that ends without reading is not an error, whatever is left of the input."""
    assert call(["true"], input=bytes(10 << 20)).returncode == 0
    assert call(["sh", "-c", "exec <&-; echo done"], input=bytes(10 << 20)).stdout == b"done\n"


def test_empty_input(call: Call) -> None:
    """Empty input is an end of file, not a terminal or ours."""
    assert call(["cat"], input=b"").stdout == b""


def test_no_input(call: Call) -> None:
    """Given /dev/null the program reads nothing."""
    assert call(["cat"], stdin=subprocess.DEVNULL).stdout == b""


def test_timeout(call: Call) -> None:
    """The program is killed, and the error has what it wrote until then."""
    with pytest.raises(errors.ContainerTimeout) as caught:
        call(["sh", "-c", "echo early; exec sleep 1000"], timeout=1)
    assert caught.value.stdout in (b"early\n", b"")
    assert caught.value.timeout == 1


def test_output_held_open_by_a_grandchild(call: Call) -> None:
    """The end of the program is the end, whoever else holds its output open."""
    done = call(["sh", "-c", "sleep 1000 & echo parent"])
    assert (done.stdout, done.returncode) == (b"parent\n", 0)


def test_many_arguments(call: Call) -> None:
    """Arguments arrive as they are: empty, with spaces, newlines and other scripts."""
    args = ["", " ", "a b", "line\nbreak", "ünïcode", "--", "'\"$HOME`"] + [str(n) for n in range(2000)]
    done = call(["sh", "-c", 'printf "%s\\0" "$@"', "sh", *args])
    assert done.stdout.decode().split("\0")[:-1] == args


def test_from_threads(call: Call) -> None:
    """Any thread may run something; each gets its own answer."""
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        answers[number] = call(["echo", str(number)]).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == {number: b"%d\n" % number for number in range(16)}


def test_environment(runtime: Runtime, bundle: spec.Bundle) -> None:
    """``env`` adds to the configuration's and takes the place of a variable of the same name."""
    done = runtime.run(bundle, ["env"], env={"A": "b=c", "PATH": "/bin"}, capture_output=True, timeout=60)
    assert sorted(done.stdout.decode().split()) == ["A=b=c", "PATH=/bin"]


def test_the_configuration_own_command(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Without arguments it is what config.json says."""
    process = attrs.evolve(process_of(bundle), args=("echo", "own"))
    own = bundle.replace(attrs.evolve(bundle.spec, process=process))
    assert runtime.run(own, capture_output=True, timeout=60).stdout == b"own\n"


def test_without_capture_output_is_ours(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Not captured, output goes where ours goes, and descriptors of ours do not go along."""
    script = (
        "import os, sys\n"
        "from ociworks import spec\n"
        "from ociworks.runtime import Runtime\n"
        "for _ in range(20): os.set_inheritable(os.dup(0), True)\n"
        "with Runtime(sys.argv[1]) as runtime:\n"
        "    bundle = spec.Bundle.load(sys.argv[2])\n"
        "    done = runtime.run(bundle, ['sh', '-c', 'echo here; ls /proc/self/fd; echo there >&2; exit 4'])\n"
        "    sys.exit(done.returncode)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "root"), str(bundle.path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (4, "there\n")
    assert done.stdout.split() == ["here", "0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_exec_as_somebody_else(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A whole Process says user, directory and environment of an exec."""
    with runtime.create("users", bundle, ["sleep", "1000"]) as container:
        container.start()
        base = process_of(bundle)
        uid = 1000 if os.geteuid() == 0 else 0
        other = attrs.evolve(
            base,
            args=("sh", "-c", "id -u; pwd; env"),
            cwd="/tmp",
            env=("ONLY=this", "PATH=/bin"),
            user=attrs.evolve(base.user, uid=uid),
        )
        lines = container.exec(other, timeout=60).stdout.decode().splitlines()
        assert lines[:2] == [str(uid), "/tmp"]
        assert {"ONLY=this", "PATH=/bin"} <= set(lines[2:])


def test_exec_lives_in_the_container(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Same namespaces, same groups, same root; it goes when the container goes."""
    with runtime.create("inside", bundle, ["sleep", "1000"]) as container:
        container.start()
        for name in ("pid", "mnt", "net", "ipc", "uts", "cgroup"):
            found = container.exec(["readlink", f"/proc/self/ns/{name}"], timeout=60).stdout.decode().strip()
            assert found == os.readlink(f"/proc/{container.pid}/ns/{name}")
        assert container.exec(["cat", "/proc/self/cgroup"], timeout=60).stdout == (
            container.exec(["cat", "/proc/1/cgroup"], timeout=60).stdout
        )


def test_exec_ends_with_the_container(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The PID namespace takes its programs with it; then there is nothing to exec in."""
    os.mkfifo(bundle.rootfs / "up")
    result: list[int] = []
    with runtime.create("inside", bundle, ["sleep", "1000"]) as container:
        container.start()

        def long() -> None:
            done = container.exec(["sh", "-c", "echo > /up; exec sleep 1000"], timeout=60)
            result.append(done.returncode)

        thread = threading.Thread(target=long)
        thread.start()
        assert (bundle.rootfs / "up").read_bytes() == b"\n"
        container.kill("KILL")
        thread.join(timeout=60)
        assert result == [-signal.SIGKILL]
        container.wait(timeout=60)
        with pytest.raises(errors.IllegalTransition, match="it is stopped"):
            container.exec(["true"])


def test_failed_run_leaves_nothing(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Success, failure, timeout, a program that is not there: the same traces as before."""
    runtime.run(bundle, ["true"], timeout=60)
    with nothing_left(tmp_path / "root"):
        runtime.run(bundle, ["false"], timeout=60)
        for args, timeout, error in (
            (["/no/such"], 60.0, errors.CommandNotFound),
            (["sleep", "1000"], 0.2, errors.ContainerTimeout),
            (["sh", "-c", "sleep 1000 & sleep 1000 & wait"], 0.2, errors.ContainerTimeout),
        ):
            with pytest.raises(error):
                runtime.run(bundle, args, timeout=timeout, capture_output=True)
