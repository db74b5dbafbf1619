"""The command as a program: usage, version, start-up, and its own failures. The real work is tried in tests/interop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ociworks
from ociworks.cli import main
from ociworks.cli._arguments import parser
from ociworks.cli._run import exit_status


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` says which, and ends with 0."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"ociworks {ociworks.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["pull"],
        ["pull", "a", "b"],
        ["run"],
        ["run", "--memory", "0", "x"],
        ["run", "--memory", "lots", "x"],
        ["run", "--mem", "1", "x"],
        ["run", "--pids-limit", "-1", "x"],
        ["run", "--cpus", "nan", "x"],
        ["run", "-e", "A", "x"],
        ["run", "--timeout", "\x1b[2J", "x"],
    ],
)
def test_cl_05_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what is wrong, harmless to the terminal, and status 2; options are never abbreviated."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.rstrip("\n").isprintable()
    assert "--help" in message


def test_cl_05_what_follows_the_image_is_the_command() -> None:
    """Options of the command are not ours, wherever they stand."""
    arguments = parser().parse_args(["run", "-m", "1m", "x", "-m", "--", "--help", "-e"])
    assert arguments.memory == 1 << 20
    assert arguments.ref == "x"
    assert arguments.args == ["-m", "--", "--help", "-e"]


@pytest.mark.parametrize("ref", ["UPPER", "a b", "x\x1b]0;t\x07", "http://a/b", "x@sha256:1", "-"])
@pytest.mark.parametrize(("command", "status"), [("pull", 1), ("run", 125)])
def test_cl_04_a_wrong_reference(
    command: str, status: int, ref: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Our own failure: one escaped line, and the status that says it was ours."""
    assert main([command, "--store", str(tmp_path / "store"), ref]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ociworks: ")
    assert captured.err.rstrip("\n").isprintable()
    assert captured.err.count("\n") == 1


def test_a_store_that_cannot_be_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An OSError is a line too, with the path."""
    file = tmp_path / "file"
    file.touch()
    assert main(["pull", "--store", str(file / "store"), "127.0.0.1:1/a:1"]) == 1
    assert str(file) in capsys.readouterr().err


def test_python_m(tmp_path: Path) -> None:
    """``python -m ociworks`` is the same program, and needs no home directory to say what it is."""
    done = subprocess.run(
        [sys.executable, "-m", "ociworks", "--version"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ociworks {ociworks.__version__}\n", "")


def test_help_loads_nothing_heavy() -> None:
    """Asking for help does not load the libraries that a pull or a run needs."""
    code = (
        "import sys\nfrom ociworks.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    )
    code += "print(*sorted({'attrs', 'h11', 'rich', 'ssl', 'zstandard', 'pyseccomp'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (7, 7), (255, 255), (-9, 137), (-15, 143)])
def test_exit_status_of_signals(returncode: int, status: int) -> None:
    """A death by signal is reported as shells do it."""
    assert exit_status(returncode) == status
