"""House rules that no ready-made linter knows. Each failure says where, what and what to do instead.

A line that is right although it looks wrong says so: ``# trusted: why`` at its end.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.source_tree import CHECKOUT, PACKAGE, imports, modules, syntax, text_files

Finding = tuple[int, str]
Rule = Callable[[ast.AST], Iterator[Finding]]

MARK = "# trusted: "

# Written in pieces, so that this file does not match itself.
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:" + "|".join(["wo" + "rk", "fa" + "rm", "opt/py" + "pi"]) + r")(?:/[a-z.]|\b(?= ))"
)
HOSTS = re.compile(
    "|".join(
        [
            "py" + r"pi\.(?:org|io)",
            "python" + "hosted",
            "deb\\.deb" + "ian",
            "npm" + r"js\.",
            "proxy\\.go" + "lang",
        ]
    )
)
UNNUMBERED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|HA" + r"CK)\b(?!\(#\d+\))")


# --- text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (MACHINE_PATHS, "a path of somebody's machine: use a relative or temporary one"),
        (HOSTS, "a package registry's host: pip and apt know theirs"),
        (UNNUMBERED, "a debt without an issue: write TO" + "DO(#number)"),
    ],
    ids=["machine-paths", "registry-hosts", "debts"],
)
def test_text(pattern: re.Pattern[str], instead: str) -> None:
    """No machine paths, no package registry hosts, no debt without an issue number, in any file."""
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:120]}"
        for path in text_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, instead + "\n" + "\n".join(found)


# --- code ---------------------------------------------------------------------------------------------


def bare_int(node: ast.AST) -> Iterator[Finding]:
    """Text that ``int`` takes: a sign, blanks, underscores, Arabic digits (SP-07)."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "int" and node.args):
        return
    if not _numeric(node.args[0]):
        yield node.lineno, "int() on what may be text: use ociworks.spec.numbers.parse_uint"


def _numeric(node: ast.expr) -> bool:
    """Arithmetic, constants and calls that give numbers; names and attributes may hold text."""
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str | bytes)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in {"time.time", "time.monotonic", "round", "len", "max", "min", "bool"}
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp)


REGEX_CALLS = {"compile", "match", "search", "fullmatch", "sub", "subn", "split", "finditer", "findall"}


def lenient_pattern(node: ast.AST) -> Iterator[Finding]:
    """A dollar matches before a final newline, and d and w escapes match all of Unicode (SP-07)."""
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REGEX_CALLS
    ):
        return
    if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args):
        return
    text = "".join(
        part.value if isinstance(part.value, str) else part.value.decode("latin-1")
        for part in ast.walk(node.args[0])
        if isinstance(part, ast.Constant) and isinstance(part.value, str | bytes)
    )
    is_bytes = any(
        isinstance(part, ast.Constant) and isinstance(part.value, bytes) for part in ast.walk(node.args[0])
    )
    flags = ast.unparse(node)
    if re.search(r"(?<!\\)\$", re.sub(r"\[[^\]]*\]", "", text)):
        yield node.lineno, "$ matches before a final newline: use re.fullmatch or \\Z"
    if re.search(r"\\[dDwWsSbB]", text) and not is_bytes and "ASCII" not in flags and "re.A" not in flags:
        yield node.lineno, "\\d, \\w, \\s and \\b mean Unicode here: add re.ASCII"


def opened_for_truncation(node: ast.AST) -> Iterator[Finding]:
    """Files are created exclusively or renamed into place, never truncated (design rule 2)."""
    if not isinstance(node, ast.Call):
        return
    name = ast.unparse(node.func)
    if name.endswith((".write_text", ".write_bytes")):
        yield (
            node.lineno,
            "Path.write_* follows links and truncates: use O_EXCL or a temporary file and a rename",
        )
    if name in {"open", "io.open"} and any(mode in _mode(node) for mode in "wa+"):
        yield (
            node.lineno,
            "open for writing follows links and truncates: use mode 'x', or os.open with O_EXCL",
        )
    if name == "os.open" and "O_TRUNC" in ast.unparse(node):
        yield node.lineno, "O_TRUNC destroys before the new content is whole: write beside it and rename"


def _mode(call: ast.Call) -> str:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[1:2]
    return (
        given[0].value
        if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str)
        else "r"
    )


def switched_off(node: ast.AST) -> Iterator[Finding]:
    """Checks that vanish: ``assert`` under -O, attrs validators by ``set_disabled`` (SP-05)."""
    if isinstance(node, ast.Assert):
        yield node.lineno, "assert disappears under -O: raise a typed error"
    if isinstance(node, ast.keyword) and node.arg == "validator":
        yield (
            node.value.lineno,
            "attrs validators can be switched off: check in a converter or __attrs_post_init__",
        )


def joined_to_a_root(node: ast.AST) -> Iterator[Finding]:
    """The password and group databases of the host say nothing about a container (SP-09)."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    for name in names:
        if name in {"pwd", "grp"}:
            yield (
                node.lineno if isinstance(node, ast.stmt) else 0,
                f"{name} is the host's: read the container's own files",
            )


RULES: list[Rule] = [bare_int, lenient_pattern, opened_for_truncation, switched_off, joined_to_a_root]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source(rule: Rule) -> None:
    """The package follows the rule everywhere, or says why a line may not."""
    found = [
        f"{path.relative_to(CHECKOUT)}:{line}: {message}"
        for path in modules()
        for line, message in findings(rule, syntax(path), path.read_text("utf-8"))
    ]
    assert not found, f"(or end the line with {MARK!r} and the reason)\n" + "\n".join(found)


def findings(rule: Rule, tree: ast.AST, text: str) -> Iterator[Finding]:
    """What a rule finds, less the lines that are marked."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        for line, message in rule(node):
            if MARK not in lines[line - 1]:
                yield line, message


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (bare_int, "int(text)"),
        (bare_int, "int(match[1], 8)"),
        (bare_int, "int(line.strip())"),
        (lenient_pattern, 're.compile(r"^[a-z]+$")'),
        (lenient_pattern, 're.match(r"\\d+", text)'),
        (opened_for_truncation, 'open(path, "w")'),
        (opened_for_truncation, 'open(path, mode="ab")'),
        (opened_for_truncation, "path.write_text(text)"),
        (opened_for_truncation, "os.open(path, os.O_WRONLY | os.O_TRUNC)"),
        (switched_off, "assert uid"),
        (switched_off, "attrs.field(validator=check)"),
        (joined_to_a_root, "import pwd"),
        (joined_to_a_root, "from grp import getgrnam"),
    ],
)
def test_the_rules_see(rule: Rule, bad: str) -> None:
    """Each rule finds what it is for, unless the line is marked."""
    assert list(findings(rule, ast.parse(bad), bad))
    marked = f"{bad}  {MARK}a test"
    assert not list(findings(rule, ast.parse(marked), marked))


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        (bare_int, "int(time.time())"),
        (bare_int, "int(2 * share)"),
        (lenient_pattern, 're.compile(r"[$a-z]+")'),
        (lenient_pattern, 're.fullmatch(r"\\d+", text, re.ASCII)'),
        (lenient_pattern, 're.compile(rb"\\d+")'),
        (opened_for_truncation, "open(path)"),
        (opened_for_truncation, 'open(path, "xb")'),
        (joined_to_a_root, "import os"),
    ],
)
def test_the_rules_let_pass(rule: Rule, good: str) -> None:
    """Each rule leaves the right way alone."""
    assert not list(findings(rule, ast.parse(good), good))


# --- tests and fragments ------------------------------------------------------------------------------


def test_tests_do_not_sleep() -> None:
    """A sleep is not a synchronisation: wait for the event."""
    found = [
        f"{path.relative_to(CHECKOUT)}:{node.lineno}"
        for path in sorted((CHECKOUT / "tests").rglob("*.py"))
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "sleep"}
        and MARK not in path.read_text("utf-8").splitlines()[node.lineno - 1]
    ]
    assert not found, f"wait for the event (or end the line with {MARK!r} and the reason): {found}"


CATALOGUE = {"sp": 14, "rg": 21, "sg": 10, "un": 23, "rt": 33, "cl": 6, "sv": 7, "cr": 16}
"""Groups of the regression catalogue that are covered: specifications, registries, signatures, unpacking,
running, command lines, supervisors, the Container Runtime Interface."""
ATTACKS = [f"{group}_{number:02}" for group, count in CATALOGUE.items() for number in range(1, count + 1)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_has_a_test(attack: str) -> None:
    """The entries of the catalogue are carried by the names of tests."""
    wanted = re.compile(rf"def test_{attack}(?:_\w+)?\(")
    assert any(wanted.search(path.read_text("utf-8")) for path in (CHECKOUT / "tests").rglob("test_*.py"))


FRAGMENT = re.compile(r"(?:[0-9]+|\+[A-Za-z0-9][A-Za-z0-9_-]*)\.(?:security|added|changed|fixed|removed)\.md")


@pytest.mark.parametrize("path", sorted((CHECKOUT / "changes").iterdir()), ids=lambda path: path.name)
def test_fragments(path: Path) -> None:
    """A changelog fragment is named ``+<words>.<kind>.md`` and holds a sentence or two."""
    if path.name == "README.md":
        return
    assert FRAGMENT.fullmatch(path.name), (
        "name it +<words>.<security|added|changed|fixed|removed>.md, or with the number of an issue as the slug"
    )
    text = path.read_text("utf-8").strip()
    assert text.endswith((".", "`", ")")), "end with a full stop"
    assert len(text) < 600, "a sentence or two"
    assert "\n\n" not in text, "one paragraph"


def test_the_changelog_can_be_built() -> None:
    """Towncrier reads every fragment."""
    draft = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0", "--date", "today"]
    done = subprocess.run(draft, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["demo", "test", "check", "bench"])
def test_the_scripts_are_programs(name: str) -> None:
    """The four scripts can be executed and are shell that parses."""
    script = CHECKOUT / "scripts" / name
    assert script.stat().st_mode & 0o111
    bash = shutil.which("bash")
    assert bash
    for file in (script, script.with_name("lib.sh")):
        assert subprocess.run([bash, "-n", file], check=False).returncode == 0


def test_the_package_says_that_it_is_typed() -> None:
    """``py.typed`` is there and empty (PEP 561)."""
    assert (PACKAGE / "py.typed").read_bytes() == b""


def test_dependencies_are_what_is_imported() -> None:
    """Every library that the package imports is declared, and none is declared that it does not import."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    base = {_distribution(line) for line in project["dependencies"]}
    extras = {_distribution(line) for lines in project["optional-dependencies"].values() for line in lines}
    imported = {
        name.partition(".")[0] for path in modules() for _, name in imports(path, type_checking=False)
    }
    foreign = {MODULES.get(name, name) for name in imported - sys.stdlib_module_names - {"ociworks"}}
    assert foreign <= base | extras, f"imported, not declared: {foreign - base - extras}"
    assert base <= foreign, f"declared, not imported: {base - foreign}"


MODULES = {"attr": "attrs", "google": "protobuf", "grpc": "grpcio", "nacl": "pynacl", "yaml": "pyyaml"}


def _distribution(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9-]+", requirement)
    assert found
    return found[0]
