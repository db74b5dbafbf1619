"""Bytes to JSON: duplicates, bombs and encodings are refused (SP-01, SP-02, SP-03)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.errors import InvalidJSON
from ociworks.spec import _json
from tests.spec.models import CLASSES, minimal, values

MANIFEST = json.dumps(minimal(spec.image.Manifest)).encode()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inside: (
        st.lists(inside) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inside)
    ),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"config": 1, "config": 2}', "config"),
        (b'{"layers": [], "\\u006cayers": []}', "layers"),
        (b'{"a": {"annotations": {"k": "1", "k": "1"}}}', "k"),
        (b'[{"": 1, "": 1}]', ""),
    ],
)
def test_sp_01_duplicate_members(raw: bytes, name: str) -> None:
    """At any depth, after unescaping, naming the member."""
    with pytest.raises(InvalidJSON, match=f"member '{name}' occurs more than once"):
        _json.loads(raw)


@given(data=st.data())
def test_sp_01_every_document_with_an_injected_duplicate(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(CLASSES))
    raw = spec.to_json(data.draw(values(cls)))
    places = [match for match in range(len(raw)) if raw[match : match + 1] == b"{"]
    outside = [place for place in places if _outside_strings(raw, place)]
    place = data.draw(st.sampled_from(outside))
    comma = b"" if raw[place + 1 : place + 2] == b"}" else b","
    hostile = raw[: place + 1] + b'"\\u0064up":1,"dup":2' + comma + raw[place + 1 :]
    with pytest.raises(InvalidJSON, match="'dup' occurs more than once"):
        spec.parse(cls, hostile)


def _outside_strings(raw: bytes, place: int) -> bool:
    before = raw[:place].replace(b"\\\\", b"").replace(b'\\"', b"")
    return before.count(b'"') % 2 == 0


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b'"Layers": []', r"\$\.Layers: differs from 'layers' only by case"),
        (b'"LAYERS": []', r"\$\.LAYERS: differs from 'layers' only by case"),
        (b'"manifests": []', r"\$\.manifests: does not belong in a Manifest"),
        (b'"fsLayers": []', r"\$\.fsLayers: does not belong in a Manifest"),
    ],
)
def test_sp_01_documents_that_others_read_as_something_else(member: bytes, message: str) -> None:
    with pytest.raises(spec.InvalidSpec, match=message):
        spec.parse(spec.image.Manifest, MANIFEST[:-1] + b"," + member + b"}")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" * 100_000, id="open arrays"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="arrays"),
        pytest.param(b'{"a":' * 100_000, id="objects"),
        pytest.param(b"[" * 65 + b"]" * 65, id="one too deep"),
        pytest.param(b'["]]]", "\\"[", ' + b"[" * 64 + b"]" * 65, id="brackets in strings do not count"),
        pytest.param(b"9" * 5000, id="digits"),
        pytest.param(b"18446744073709551616", id="2**64"),
        pytest.param(b"-9223372036854775809", id="-2**63-1"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[-Infinity]", id="-Infinity"),
        pytest.param(b"1e400", id="1e400"),
        pytest.param(b"-1e400", id="-1e400"),
        pytest.param(b"{}{}", id="two documents"),
        pytest.param(b'{"a": 1} x', id="junk"),
        pytest.param(b"[" + b"{}," * 200_001 + b"1]", id="items"),
        pytest.param(b"{" + b",".join(b'"%d":1' % n for n in range(200_001)) + b"}", id="members"),
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="space"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b"[1,]", id="trailing comma"),
        pytest.param(b"[01]", id="leading zero"),
        pytest.param(b"[+1]", id="plus"),
        pytest.param(b'["a\nb"]', id="control character"),
        pytest.param(b"\x0c1", id="form feed"),
    ],
)
def test_sp_02_bombs_and_what_is_not_json(raw: bytes) -> None:
    with pytest.raises(InvalidJSON):
        _json.loads(raw)


def test_sp_02_the_byte_limit_comes_first() -> None:
    """Not a byte is decoded of what is too long; the limit is a parameter."""
    with pytest.raises(InvalidJSON, match="17 bytes, more than the 16 allowed"):
        _json.loads(b"\xff" * 17, max_size=16)
    with pytest.raises(InvalidJSON, match="more than the 16777216 allowed"):
        spec.parse(spec.runtime.Spec, b'"' + b"a" * 16 * 1024 * 1024 + b'"')


def test_sp_02_depth_is_counted_exactly() -> None:
    """64 levels are read, whatever is in the strings."""
    raw = b"[" * 63 + b'["\\\\", "\\\\\\"]]]]", "{{{{"]' + b"]" * 63
    assert _json.loads(raw) == json.loads(raw)


def test_sp_02_members_are_counted_exactly() -> None:
    """Colons and commas in strings are none."""
    raw = json.dumps(["," * 150_000 + ":" * 150_000]).encode()
    assert _json.loads(raw) == json.loads(raw)


def test_sp_02_bounded() -> None:
    """In 256 MiB of address space each bomb is an error, not a MemoryError or a crash."""
    code = """
import resource, sys
from ociworks.errors import InvalidJSON
from ociworks.spec import _json
resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
for raw in (b"[" * (15 << 20), b'{"a":' * (3 << 20), b"[" + b"{}," * (5 << 20) + b"1]", b"9" * (15 << 20)):
    try:
        _json.loads(raw)
    except InvalidJSON:
        continue
    sys.exit("was read")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=os.environ)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(MANIFEST.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(MANIFEST.decode().encode("utf-16-le"), id="UTF-16-LE"),
        pytest.param(MANIFEST.decode().encode("utf-32"), id="UTF-32"),
        pytest.param(MANIFEST.decode().encode("utf-32-be"), id="UTF-32-BE"),
        pytest.param(b"\xef\xbb\xbf" + MANIFEST, id="BOM"),
        pytest.param(b'{"a": "\xed\xa0\x80"}', id="encoded surrogate"),
        pytest.param(b'{"a": "\xc0\x80"}', id="overlong NUL"),
        pytest.param(b'{"a": "\xff"}', id="Latin-1"),
        pytest.param(b'{"a": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"a": ["\\uDFFFx"]}', id="lone low surrogate"),
        pytest.param(b'{"\\ud800": 1}', id="surrogate in a name"),
        pytest.param(b'{"a": "x\\u0000y"}', id="NUL"),
        pytest.param(b'{"a\\u0000": 1}', id="NUL in a name"),
    ],
)
def test_sp_03_only_strict_utf_8(raw: bytes) -> None:
    with pytest.raises(InvalidJSON):
        spec.parse(spec.image.Manifest, raw)


def test_sp_03_escapes_that_are_fine() -> None:
    """A pair of surrogates is one character; an escaped backslash before u0000 is no NUL."""
    raw = b'["\\ud83d\\ude00", "\\\\u0000", "\\\\ud800"]'
    assert _json.loads(raw) == ["\N{GRINNING FACE}", "\\u0000", "\\ud800"]


def test_sp_03_the_digest_is_of_the_received_bytes() -> None:
    """Spaces and escapes that another writer would choose differently are part of the identity."""
    raw = MANIFEST.replace(b'"layers"', b'"\\u006cayers" ')
    document = spec.Document.load(spec.image.Manifest, raw)
    assert document.digest == spec.Digest.of(raw)
    assert document.raw == raw
    assert spec.to_json(document.value) != raw


@given(value=JSON)
@example(value={"\\": '"', '"': ["\\"]})
def test_agrees_with_the_standard_library(value: object) -> None:
    """On every document without NUL, whatever the writer escaped."""
    for ensure_ascii in (True, False):
        text = json.dumps(value, ensure_ascii=ensure_ascii)
        if "\\u0000" in text:
            continue
        assert _json.loads(text.encode()) == value
        assert _json.loads(_json.dumps(value)) == value


@given(raw=st.binary(max_size=40) | st.text('[]{}",:\\ u0d8a1', max_size=40).map(str.encode))
def test_any_bytes_are_json_or_a_typed_error(raw: bytes) -> None:
    try:
        value = _json.loads(raw)
    except InvalidJSON:
        return
    assert json.loads(raw) == value


def test_error_text_is_escaped_and_cut() -> None:
    name = "\x1b[31m" + "x" * 5000
    raw = json.dumps({"a": 1})[:-1] + f",{json.dumps(name)}:1,{json.dumps(name)}:1}}"
    with pytest.raises(InvalidJSON) as caught:
        _json.loads(raw.encode())
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400
