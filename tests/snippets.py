"""Code blocks of documents, run as a reader would: from the top, each on what the ones before it left.

=====================  ===========================================================================================
block                  is
=====================  ===========================================================================================
``python``             executed, all of a document in one namespace; a ``text`` block behind it is what it prints
``console``            lines behind ``$`` are commands (``>`` goes on with one), the others what they print;
                       ``echo $?`` is the last status, and a command may only fail when that is asked; one with ``&``
                       at its end runs until the document ends
=====================  ===========================================================================================

``…`` in what is printed stands for anything. Names of registries are replaced by those that are here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from ociworks.cli import main

__all__ = ["Block", "Reader", "blocks"]

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$\n*(?:^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"[|<>$;&*`]")
_OWN_OUTPUT = {"run"}
"""Commands whose output is that of another process."""


@frozen
class Block:
    """One block, with the line on which its code begins."""

    line: int
    language: str
    code: str
    output: str | None


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a document that are run."""
    for match in _FENCED.finditer(text):
        if match[1] in {"python", "console"}:
            yield Block(text[: match.start()].count("\n") + 2, match[1], match[2], match[3])


@frozen
class Done:
    """What a command printed, and its status."""

    status: int
    out: str
    err: str


class Reader:
    """Somebody who types a document. The working directory and the environment are those of the process."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._namespace: dict[str, object] = {"__name__": "__main__"}
        self._started = contextlib.ExitStack()

    def read(self, path: Path) -> None:
        """Do what a document says."""
        self.run(path, blocks(path.read_text("utf-8")))

    def run(self, path: Path, chosen: Iterable[Block]) -> None:
        """Do what these blocks of a document say."""
        with self._started:
            for block in chosen:
                if block.language == "python":
                    self._python(path, block)
                else:
                    self._console(path, block)

    def _python(self, path: Path, block: Block) -> None:
        printed = io.StringIO()
        code = "\n" * (block.line - 1) + self._here(block.code)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), self._namespace)
        if block.output is not None:
            self._compare(printed.getvalue(), block.output, f"{path.name}:{block.line}")

    def _console(self, path: Path, block: Block) -> None:
        last = Done(0, "", "")
        asked = True
        for line, command, expected in _commands(block):
            where = f"{path.name}:{line}: {command}"
            if command == "echo $?":
                self._compare(f"{last.status}\n", expected, where)
                asked = True
                continue
            assert asked or last.status == 0, f"before {where}: status {last.status}: {last.err}"
            if command.endswith(" &"):
                self._compare(self._start(self._here(command[:-2]), expected), expected, where)
                continue
            last, asked = self._command(self._here(command)), False
            self._compare(last.out + (last.err if last.status else ""), expected, where)
        assert asked or last.status == 0, f"{path.name}:{block.line}: status {last.status}: {last.err}"

    def _command(self, command: str) -> Done:
        """Plain commands of ours in this process, because starting one takes longer than most of them do."""
        words = shlex.split(command)
        if words[0] == "ociworks" and words[1] not in _OWN_OUTPUT and not _SHELL.search(command):
            return _ociworks(words[1:])
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _start(self, command: str, expected: str) -> str:
        """Start what goes on in the background; as much of its output as is expected."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._started.callback(process.communicate, timeout=60)
        self._started.callback(process.terminate)
        assert process.stdout is not None
        return "".join(process.stdout.readline() for _ in expected.splitlines())

    def _here(self, text: str) -> str:
        for name, real in self._names.items():
            text = text.replace(name, real)
        return text

    def _compare(self, found: str, expected: str, where: str) -> None:
        for name, real in self._names.items():
            found = found.replace(real, name)
        pattern = re.escape(expected.rstrip("\n")).replace("…", ".*?")
        assert re.fullmatch(pattern, found.rstrip("\n"), re.DOTALL), (
            f"{where}\nexpected:\n{expected}\nfound:\n{found}"
        )


def _commands(block: Block) -> Iterator[tuple[int, str, str]]:
    """Line, command and expected output of each command."""
    starts = [match.start() for match in re.finditer(r"^\$ ", block.code, re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(block.code)], strict=True):
        lines = block.code[start:end].splitlines()
        more = next(
            (number for number, line in enumerate(lines[1:], 1) if line[:2] not in {">", "> "}), len(lines)
        )
        command = "\n".join(line[2:] for line in lines[:more])
        output = "".join(f"{line}\n" for line in lines[more:])
        yield block.line + block.code[:start].count("\n"), command.replace("\\\n", ""), output


def _environment() -> dict[str, str]:
    """With the command ``ociworks`` of this interpreter."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _ociworks(arguments: list[str]) -> Done:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
    return Done(status, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()
