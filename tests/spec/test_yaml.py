"""YAML: what JSON could say, and nothing that readers disagree about."""

from __future__ import annotations

import json
import re
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import InvalidSpec, MissingDependency, SpecError
from ociworks.spec import _json, _yaml, cdi, parse, parse_yaml

LOADERS = ["libyaml", "python"]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of PyYAML's two parsers."""
    if request.param == "python":
        monkeypatch.setattr(_yaml, "_loader", lambda module: module.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML is without libyaml")


def loads(text: str) -> object:
    return _yaml.loads(text.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("a: 1\nb: [x, 'y', \"z\\n\"]", {"a": 1, "b": ["x", "y", "z\n"]}),
        ("a:\n- b\n- c: d", {"a": ["b", {"c": "d"}]}),
        ("[null, ~, , true, FALSE, True]".replace(", ,", ", '',"), [None, None, "", True, False, True]),
        ("a:", {"a": None}),
        ("[0, -1, +2, 0644, 0o644, 0x1F, 08, 1_000]", [0, -1, 2, 420, 420, 31, "08", "1_000"]),
        ("[1.5, .5, 1., 2e3, 1.2.3, '1']", [1.5, 0.5, 1.0, 2000.0, "1.2.3", "1"]),
        ("[1:30, 2001-01-01, 0.6.0]", ["1:30", "2001-01-01", "0.6.0"]),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("a: 'no'\nb: \"on\"", {"a": "no", "b": "on"}),
        ("--- {a: b}\n...\n", {"a": "b"}),
        ("%YAML 1.1\n--- 1", 1),
        (f"{2**64 - 1}", 2**64 - 1),
    ],
)
@pytest.mark.usefixtures("loader")
def test_what_it_means(text: str, value: object) -> None:
    found = loads(text)
    assert found == value
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "&x [*x]",
        "a: *x",
        "a: !!str 1",
        "!!python/object/apply:os.system [id]",
        "! 1",
        "<<: {a: 1}",
        "a: 1\na: 2",
        "'a': 1\na: 2",
        "1: a",
        "null: a",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "--- a\n--- b",
        "a: yes",
        "a: N",
        "a: Off",
        "a: =",
        "a: .inf",
        "a: -.INF",
        "a: .nan",
        "a: 1e400".replace("1e", "1.0e"),
        f"a: {2**64}",
        f"a: {-(2**63) - 1}",
        f"a: {'9' * 5000}",
        f"a: 0x{'f' * 17}",
        f"a: 0{'7' * 5000}",
        '"\\0"',
        "a: [",
        "a: b: c",
        "\t- a",
        "\ufeffa: 1",
        "a: \x00",
        "a: \x1b",
        "[" * 66 + "]" * 66,
        "- " * 70,
        "{a: " * 70 + "}" * 70,
        "[" * 100_000,
        "- " * 20_000,
    ],
)
@pytest.mark.usefixtures("loader")
def test_sp_02_what_it_refuses(text: str) -> None:
    with pytest.raises(SpecError):
        loads(text)


def test_sp_02_bounds() -> None:
    """Bytes before anything is decoded, members while they are read; no more of an endless document is looked at."""
    with pytest.raises(SpecError, match="more than the 10 allowed"):
        _yaml.loads(b"a: 12345678", max_size=10)
    with pytest.raises(SpecError, match="members"):
        loads("[" + "a," * _json.MAX_MEMBERS + "]")


@pytest.mark.parametrize("raw", ["a: ä".encode("utf-16"), b"a: \xed\xa0\x80", b'"\\ud800"'])
def test_sp_03_encodings(raw: bytes) -> None:
    with pytest.raises(SpecError):
        _yaml.loads(raw)


BREAKS = "\u2028\u2029\ufeff\ufffe\uffff"
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=BREAKS), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<=~0", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_json_means_the_same(value: object) -> None:
    """JSON is YAML, as long as its keys are quoted, which they are."""
    assert loads(json.dumps(value, ensure_ascii=False)) == value


@given(plain.filter(lambda value: not re.search(r'"([yYnN]"|[-+.0-9])', json.dumps(value))))
def test_what_others_write_is_read_back(value: object) -> None:
    """PyYAML's own writer, which quotes what it would take for something else: not ``y``, nor ``1e5``."""
    assert loads(yaml.dump(value, Dumper=Unshared, allow_unicode=True)) == value


class Unshared(yaml.SafeDumper):
    """Without anchors for what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        loads(text)
    except (SpecError, UnicodeEncodeError):
        return


def test_values_of_a_class() -> None:
    """As from JSON, with every problem at once."""
    text = "cdiVersion: 0.6.0\nkind: a.example/b\ndevices: [{name: x, containerEdits: {env: [A=b]}}]"
    raw = json.dumps(loads(text)).encode()
    assert parse_yaml(cdi.Specification, text.encode()) == parse(cdi.Specification, raw)
    with pytest.raises(InvalidSpec, match="kind"):
        parse_yaml(cdi.Specification, b"cdiVersion: 0.6.0\nkind: 7\ndevices: []")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingDependency, match="PyYAML"):
        loads("a: b")
