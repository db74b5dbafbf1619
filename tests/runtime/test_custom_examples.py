"""The examples of custom runtimes do what they say, on containers that run."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from examples.cdi import CDIRuntime, apply, main
from examples.handler import WASM, HandlerRuntime
from examples.trace import TracingRuntime
from ociworks import errors, spec
from ociworks.spec import cdi
from ociworks.spec.runtime import Resources
from tests.runtime.boxes import changed, nothing_left, with_linux

VENDOR = {
    "cdiVersion": "0.7.0",
    "kind": "vendor.example/thing",
    "containerEdits": {"env": ["VENDOR=yes"]},
    "devices": [
        {
            "name": "zero",
            "containerEdits": {
                "deviceNodes": [{"path": "/dev/thing0", "hostPath": "/dev/zero", "permissions": "rw"}],
                "mounts": [
                    {"hostPath": "{here}", "containerPath": "/opt/vendor", "options": ["rbind", "ro"]}
                ],
                "env": ["THING=0"],
                "additionalGids": [0, 4242],
            },
        },
        {"name": "more", "containerEdits": {"env": ["MORE=1"]}},
    ],
}


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    folder = tmp_path / "cdi"
    folder.mkdir()
    text = json.dumps(VENDOR).replace("{here}", str(tmp_path / "vendor"))
    (folder / "vendor.json").write_text(text)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/lib").write_text("library")
    return folder


def asking(bundle: spec.Bundle, *names: str) -> spec.Bundle:
    return changed(bundle, annotations={"cdi.k8s.io/test": ",".join(names), "other": "x"})


@pytest.mark.root
def test_a_device_by_its_name(bundle: spec.Bundle, vendor: Path, tmp_path: Path) -> None:
    """Node, mount, variables and groups are there; the file's own edits apply once; nothing without asking."""
    ask = asking(
        bundle, "vendor.example/thing=zero", "vendor.example/thing=more", "vendor.example/thing=zero"
    )
    script = "head -c 3 /dev/thing0 | wc -c; cat /opt/vendor/lib; echo; echo $VENDOR $THING $MORE; id -G"
    with nothing_left(tmp_path / "root"), CDIRuntime(tmp_path / "root", [vendor]) as runtime:
        done = runtime.run(ask, ["sh", "-c", script], capture_output=True, timeout=60)
        assert done.stdout.split() == b"3 library yes 0 1 0 4242".split(), done
        assert runtime.plan(ask).spec.process is not None
        assert str(runtime.plan(ask)).count("VENDOR=yes") <= 1
        plain = runtime.run(
            bundle, ["sh", "-c", "ls /dev/thing0; echo $VENDOR"], capture_output=True, timeout=60
        )
        assert plain.stdout == b"\n"


def test_a_name_that_nobody_knows(bundle: spec.Bundle, vendor: Path, tmp_path: Path) -> None:
    """Refused before anything exists, with the names that there are; so is a file that is wrong."""
    with CDIRuntime(tmp_path / "root", [vendor]) as runtime:
        with pytest.raises(errors.NotSupported, match="vendor.example/thing=zero"):
            runtime.plan(asking(bundle, "vendor.example/thing=none"))
        assert runtime.plan(changed(bundle, annotations={})).spec.annotations == {}
    (vendor / "wrong.json").write_text('{"cdiVersion": "0.7.0", "kind": "nonsense", "devices": []}')
    with pytest.raises(errors.InvalidSpec, match=r"wrong\.json"):
        CDIRuntime(tmp_path / "root", [vendor])


def test_every_edit(bundle: spec.Bundle) -> None:
    """Rules follow permissions; hooks and network devices arrive at their places."""
    node = cdi.DeviceNode(path="/dev/null", permissions="none")
    edits = cdi.ContainerEdits(
        device_nodes=(node, cdi.DeviceNode(path="/dev/full", host_path="/dev/full", file_mode=0o600)),
        hooks=(cdi.Hook(hook_name="createContainer", path="/bin/hook", args=("hook",), timeout=3),),
        net_devices=(cdi.NetDevice(host_interface_name="eth9", name="inside"),),
    )
    found = apply(with_linux(bundle, resources=Resources()).spec, edits)
    assert found.linux is not None
    assert found.linux.resources is not None
    assert [(rule.major, rule.minor) for rule in found.linux.resources.devices] == [(1, 7)]
    assert [(device.path, device.file_mode) for device in found.linux.devices][1] == ("/dev/full", 0o600)
    assert found.linux.net_devices["eth9"].name == "inside"
    assert found.hooks is not None
    assert found.hooks.create_container[0].path == "/bin/hook"
    wrong = cdi.ContainerEdits(hooks=(cdi.Hook(hook_name="sometime", path="/bin/hook"),))
    with pytest.raises(errors.InvalidSpec, match="sometime"):
        apply(bundle.spec, wrong)


def test_the_plan_of_the_command(bundle: spec.Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """The program prints a plan; without devices, that of the bundle."""
    main(str(bundle.path))
    assert "pivot" in capsys.readouterr().out


def test_a_trace(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Every step of a life has its line, in order."""
    output = io.StringIO()
    with nothing_left(tmp_path / "root"), TracingRuntime(tmp_path / "root", output) as runtime:
        with runtime.create("traced", bundle, ["sh", "-c", "exit 3"]) as container:
            container.start()
            container.wait(timeout=60)
        assert runtime.last == {}
    lines = output.getvalue().splitlines()
    steps = "planned spawned namespaces mounts created started exited deleted".split()
    assert [line.split()[3] for line in lines] == steps
    assert lines[6].endswith("exited 3")
    assert all(float(line.split()[0]) >= 0 for line in lines)


INTERPRETER = """
#include <stdio.h>
#include <string.h>
int main(int count, char **args) {
    FILE *file = fopen(args[1], "rb");
    char text[100] = {0};
    if (!file || fread(text, 1, 99, file) < 8 || memcmp(text, "\\0asm", 4)) return 99;
    printf("module of version %d says %s to %s\\n", text[4], text + 8, count > 2 ? args[2] : "nobody");
    return 7;
}
"""


def test_a_program_that_no_kernel_knows(bundle: spec.Bundle, tmp_path: Path) -> None:
    """A module runs through its handler, for run and exec, found by path or PATH; other programs run as ever."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for a handler")
    source, handler = tmp_path / "handler.c", tmp_path / "handler"
    source.write_text(INTERPRETER)
    subprocess.run([compiler, "-static", "-o", handler, source], check=True)
    module = bundle.rootfs / "bin/hello.wasm"
    module.write_bytes(WASM + b"\1\0\0\0hello\0")
    module.chmod(0o755)
    (bundle.rootfs / "bin/link").symlink_to(os.path.relpath("/etc/passwd", "/bin"))
    with nothing_left(tmp_path / "root"), HandlerRuntime({WASM: handler}, tmp_path / "root") as runtime:
        for name in ("/bin/hello.wasm", "hello.wasm"):
            done = runtime.run(bundle, [name, "you"], capture_output=True, timeout=60)
            assert (done.returncode, done.stdout) == (7, b"module of version 1 says hello to you\n"), done
        with runtime.create("wasm", bundle, ["sleep", "1000"]) as container:
            container.start()
            assert (
                container.exec(["hello.wasm"], timeout=60).stdout
                == b"module of version 1 says hello to nobody\n"
            )
            assert container.exec(["echo", "as ever"], timeout=60).stdout == b"as ever\n"
            assert container.exec(["cat", "/.handlers/0"], timeout=60).stdout == handler.read_bytes()
        with pytest.raises(errors.CommandNotFound):
            runtime.run(attrs.evolve(bundle), ["no-such.wasm"], timeout=60)
