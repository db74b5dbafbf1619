"""Nothing is coerced: every field of every class refuses every JSON type that is not its own (SP-04)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, get_args, get_origin

import pytest

from ociworks import spec
from ociworks.errors import InvalidSpec
from ociworks.spec._model import JSONValue, Model, Range, reading_options
from ociworks.spec._where import member
from ociworks.spec.digest import Digest
from tests.spec.models import CLASSES, field_type, fields, minimal

SAMPLES: dict[str, list[object]] = {
    "null": [None],
    "bool": [True, False],
    "int": [0, 1],
    "float": [1.0, 5.7],
    "str": ["", "7", "false"],
    "array": [[], ["a"]],
    "object": [{}, {"a": "b"}],
}


def _kind(tp: object) -> str:
    """The JSON type of a field."""
    if isinstance(tp, type) and issubclass(tp, Model):
        return "object"
    plain: dict[object, str] = {str: "str", bool: "bool", int: "int", float: "float", Digest: "str"}
    if tp in plain:
        return plain[tp]
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Annotated:
        return "int" if isinstance(arguments[1], Range) else "str" if arguments[1] == "base64" else "object"
    return "object" if origin is Mapping else "array"


def _wrong_for(tp: object, *, nullable: bool) -> Iterator[object]:
    right = _kind(tp)
    for kind, samples in SAMPLES.items():
        if kind == right or (kind == "int" and right == "float") or (kind == "null" and nullable):
            continue
        yield from samples


@pytest.mark.parametrize(
    "cls", CLASSES, ids=lambda cls: f"{cls.__module__.removeprefix('ociworks.')}.{cls.__name__}"
)
def test_sp_04_every_wrong_type_of_every_field(cls: type[Model]) -> None:
    """With the JSON path of the field, and no object escapes."""
    base = minimal(cls)
    assert isinstance(base, dict)
    for name, field in fields(cls).items():
        tp = field_type(cls, field)
        if tp == JSONValue:
            continue
        nullable = reading_options(cls).nulls and (not field.required or get_origin(tp) is tuple)
        for wrong in _wrong_for(tp, nullable=nullable):
            with pytest.raises(InvalidSpec) as caught:
                spec.parse(cls, json.dumps(base | {name: wrong}).encode())
            assert any(problem.path.startswith("$" + member(name)) for problem in caught.value.problems), name


@pytest.mark.parametrize(
    "cls", CLASSES, ids=lambda cls: f"{cls.__module__.removeprefix('ociworks.')}.{cls.__name__}"
)
def test_sp_04_every_wrong_item_of_every_list_and_map(cls: type[Model]) -> None:
    base = minimal(cls)
    assert isinstance(base, dict)
    for name, field in fields(cls).items():
        tp = field_type(cls, field)
        origin = get_origin(tp)
        if (
            origin not in (tuple, Mapping)
            or (item := get_args(tp)[-1 if origin is Mapping else 0]) == JSONValue
        ):
            continue
        for wrong in _wrong_for(item, nullable=False):
            document = base | {name: {"k": wrong} if origin is Mapping else [wrong]}
            with pytest.raises(InvalidSpec) as caught:
                spec.parse(cls, json.dumps(document).encode())
            where = "$" + member(name) + (".k" if origin is Mapping else "[0]")
            assert any(problem.path.startswith(where) for problem in caught.value.problems), name


@pytest.mark.parametrize(
    "cls", CLASSES, ids=lambda cls: f"{cls.__module__.removeprefix('ociworks.')}.{cls.__name__}"
)
def test_sp_04_integers_keep_their_width(cls: type[Model]) -> None:
    base = minimal(cls)
    assert isinstance(base, dict)
    for name, field in fields(cls).items():
        tp = field_type(cls, field)
        if get_origin(tp) is not Annotated or not isinstance(mark := get_args(tp)[1], Range):
            continue
        for wrong in (mark.minimum - 1, mark.maximum + 1):
            with pytest.raises(spec.SpecError):
                spec.parse(cls, json.dumps(base | {name: wrong}).encode())


@pytest.mark.parametrize(
    "cls", CLASSES, ids=lambda cls: f"{cls.__module__.removeprefix('ociworks.')}.{cls.__name__}"
)
def test_missing_members_are_all_named(cls: type[Model]) -> None:
    required = [name for name, field in fields(cls).items() if field.required]
    if not required:
        assert spec.parse(cls, b"{}") == cls()
        return
    with pytest.raises(InvalidSpec) as caught:
        spec.parse(cls, b"{}")
    assert [problem.path for problem in caught.value.problems] == ["$" + member(name) for name in required]


def test_sp_04_all_problems_at_once() -> None:
    """The catalogue's inputs, in one document."""
    raw = b"""{"process": {"args": ["sh", 1], "cwd": null, "noNewPrivileges": "false",
            "user": {"uid": 0.9, "gid": true}},
        "root": {"path": "rootfs", "readonly": "false"},
        "linux": {"resources": {"devices": [{"allow": "false"}]}, "sysctl": {"a b": 1}}}"""
    with pytest.raises(InvalidSpec) as caught:
        spec.parse(spec.runtime.Spec, raw)
    assert [str(problem) for problem in caught.value.problems] == [
        "$.process.args[1]: expected str, got int",
        "$.process.cwd: expected str, got null",
        "$.process.noNewPrivileges: expected bool, got str",
        "$.process.user.uid: expected int, got float",
        "$.process.user.gid: expected int, got bool",
        "$.root.readonly: expected bool, got str",
        "$.linux.resources.devices[0].allow: expected bool, got str",
        "$.linux.sysctl['a b']: expected str, got int",
        "$.ociVersion: required member is missing",
    ]
    assert str(caught.value).startswith("Spec: 9 problems\n  $.process.args[1]: expected str, got int\n")


@pytest.mark.parametrize("args", ['"sh"', '{"sh": 1}', "7", "true"])
def test_sp_04_arguments_are_a_list(args: str) -> None:
    """A string is not a list of characters, a mapping is not a list of its keys."""
    with pytest.raises(InvalidSpec, match=r"\$\.args: expected array"):
        spec.parse(spec.runtime.Process, f'{{"cwd": "/", "args": {args}}}'.encode())


@pytest.mark.parametrize("document", ["[]", '"a"', "null", "1", "true"])
def test_a_document_is_an_object(document: str) -> None:
    with pytest.raises(InvalidSpec, match=r"\$: expected object"):
        spec.parse(spec.runtime.Spec, document.encode())


def test_the_list_of_problems_is_bounded() -> None:
    raw = b'{"cwd": "/", "args": [' + b",".join([b"1"] * 5000) + b"]}"
    with pytest.raises(InvalidSpec) as caught:
        spec.parse(spec.runtime.Process, raw)
    assert len(caught.value.problems) == 1001
    assert caught.value.problems[-1].message == "4000 more problems"
