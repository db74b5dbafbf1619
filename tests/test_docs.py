"""The documents are true where that can be checked: links lead somewhere, Python parses, decisions are numbered."""

from __future__ import annotations

import ast
import re
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import CHECKOUT, text_files

DOCUMENTS = [path for path in text_files() if path.suffix == ".md"]
DECISIONS = sorted((CHECKOUT / "docs" / "adr").glob("*.md"))


def name_of(path: Path) -> str:
    """The path below the checkout."""
    return str(path.relative_to(CHECKOUT))


def fenced(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line and text of the code blocks of a language."""
    text = path.read_text("utf-8")
    for match in re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, textwrap.dedent(match[2])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_python_blocks_parse(path: Path) -> None:
    """Every block marked python is Python, and imports only names that are there."""
    for line, code in fenced(path, "python"):
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            pytest.fail(f"{name_of(path)}:{line + (error.lineno or 1) - 1}: {error.msg}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and "ociworks" in ast.unparse(node):
                exec(compile(ast.Module([node], []), name_of(path), "exec"), {})


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """A relative link names a file of this checkout, and its fragment a heading there."""
    prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        wanted = (path.parent / file).resolve() if file else path
        assert wanted.exists(), f"{name_of(path)}: {target}"
        assert wanted.is_relative_to(CHECKOUT), f"{name_of(path)}: {target} is outside"
        if fragment:
            assert fragment in anchors(wanted), f"{name_of(path)}: {target}"


def anchors(path: Path) -> set[str]:
    """The fragments of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_decisions_are_numbered() -> None:
    """Decision records count from 0001 without gaps."""
    assert [path.name[:5] for path in DECISIONS] == [
        f"{number:04}-" for number in range(1, len(DECISIONS) + 1)
    ]


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_decisions_have_their_parts(path: Path) -> None:
    """A record has a numbered title, a status, the context, the decision and what follows; about one page."""
    text = path.read_text("utf-8")
    assert re.match(rf"# {int(path.name[:4])}\. \S", text), "start with '# <number>. <title>'"
    assert re.search(r"^Status: (?:proposed|accepted|superseded by \d{4})", text, re.MULTILINE)
    for part in ("Context", "Decision", "Consequences"):
        assert re.search(rf"^## {part}$", text, re.MULTILINE), f"no '## {part}'"
    assert len(text.splitlines()) <= 90, "one page"


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_decisions_are_in_the_index(path: Path) -> None:
    """The index of the documents leads to every record."""
    assert f"adr/{path.name}" in (CHECKOUT / "docs" / "README.md").read_text("utf-8")


def test_text_is_composed() -> None:
    """One spelling per letter: documents are in normal form C."""
    for path in DOCUMENTS:
        assert unicodedata.is_normalized("NFC", path.read_text("utf-8")), name_of(path)


CLIENTS = (CHECKOUT / "docs" / "guide" / "clients.md").read_text("utf-8")
CLIENT_TESTS = {
    "podman": ("podman_runtime", "podman_checkpoint"),
    "containerd": ("containerd",),
    "conmon": ("conmon",),
    "buildah": ("buildah",),
}


@pytest.mark.parametrize("client", CLIENT_TESTS)
def test_what_is_said_of_clients_is_tested(client: str) -> None:
    """The tables of a client are its tests, in order: the first line of each, and its name."""
    rows = [row for name in CLIENT_TESTS[client] for row in rows_of(name)]
    section = CLIENTS.partition(f"\n## {client}\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")] == rows


def rows_of(name: str) -> Iterator[str]:
    """The table of one file of tests."""
    path = CHECKOUT / "tests" / "interop" / f"test_{name}.py"
    yield from (f"| what | test in `{path.name}` |", "|---|---|")
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            said = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
            yield f"| {said} | `{node.name}` |"
