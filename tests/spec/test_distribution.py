"""What registries answer, as values."""

from __future__ import annotations

import json

import pytest

from ociworks import spec
from ociworks.errors import InvalidSpec
from ociworks.spec import distribution


def test_error_bodies() -> None:
    """Codes for programs; detail is any JSON; unknown codes and members are kept."""
    document = {
        "errors": [
            {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": "x"}},
            {"code": "OWN_CODE", "trace": 1},
        ]
    }
    value = spec.parse(distribution.ErrorBody, json.dumps(document).encode())
    assert value.codes == ("MANIFEST_UNKNOWN", "OWN_CODE")
    assert value.errors[0].detail == {"Tag": "x"}
    assert json.loads(spec.to_json(value)) == document
    assert spec.validate(value) == []
    assert set(value.codes) & distribution.ERROR_CODES.keys() == {"MANIFEST_UNKNOWN"}


def test_codes_are_upper_case_words() -> None:
    """distribution-spec, Error Codes."""
    value = spec.parse(distribution.ErrorBody, b'{"errors": [{"code": "not found\\n"}]}')
    assert [problem.path for problem in spec.validate(value)] == ["$.errors[0].code"]


def test_tag_lists() -> None:
    """Registries answer null when there are none."""
    value = spec.parse(distribution.TagList, b'{"name": "a/b", "tags": ["1.0", "latest"]}')
    assert value.tags == ("1.0", "latest")
    assert spec.validate(value) == []
    assert spec.parse(distribution.TagList, b'{"name": "a", "tags": null}').tags == ()
    hostile = spec.parse(distribution.TagList, b'{"name": "../a", "tags": ["x\\n", "../y", "ok"]}')
    assert [problem.path for problem in spec.validate(hostile)] == ["$.name", "$.tags[0]", "$.tags[1]"]


@pytest.mark.parametrize("raw", [b'{"errors": {}}', b'{"errors": [{"code": 1}]}', b"{}", b"[]"])
def test_sp_04_shapes(raw: bytes) -> None:
    """Nothing is coerced."""
    with pytest.raises(InvalidSpec):
        spec.parse(distribution.ErrorBody, raw)
