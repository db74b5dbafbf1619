"""Documents that use every member: read, judged by us and by the schemas, written back without loss."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.spec import runtime
from ociworks.spec._model import Model
from tests.spec.models import CLASSES, field_type, fields, inner, values
from tests.spec.runtime_documents import FEATURES, STATE, Document, documents

ALL: list[tuple[type[Model], Document]] = [
    *((runtime.Spec, document) for document in documents().values()),
    (runtime.State, STATE),
    (runtime.Features, FEATURES),
]
NAMES = [*documents(), "state", "features"]


@pytest.mark.parametrize(("cls", "document"), ALL, ids=NAMES)
def test_documents_are_read_and_written_without_loss(cls: type[Model], document: Document) -> None:
    """Value-equal, and byte-equal from the second time on. Nothing of them ends up among the unknown members."""
    value = spec.parse(cls, json.dumps(document).encode())
    assert list(_extras(value)) == []
    raw = spec.to_json(value)
    plain = json.loads(raw)
    assert {**plain, "process": None} == {**document, "process": None} or cls is not runtime.Spec
    if cls is not runtime.Spec:
        assert plain == document
    assert spec.parse(cls, raw) == value
    assert spec.to_json(spec.parse(cls, raw)) == raw


@pytest.mark.parametrize(("cls", "document"), ALL, ids=NAMES)
def test_documents_follow_every_rule(cls: type[Model], document: Document) -> None:
    assert spec.validate(spec.parse(cls, json.dumps(document).encode())) == []


def _extras(value: object) -> Iterator[object]:
    if isinstance(value, Model):
        yield from value.extra
        for item in vars(value).values():
            yield from _extras(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _extras(item)


def test_every_field_of_every_class_is_in_a_document() -> None:
    """So that the tests above speak for all of them."""
    seen: set[tuple[type[Model], str]] = set()
    for cls, document in ALL:
        _collect(cls, document, seen)
    runtime_classes = [cls for cls in CLASSES if cls.__module__.startswith("ociworks.spec.runtime.")]
    everything = {(cls, name) for cls in runtime_classes for name in fields(cls)}
    unused = {(cls.__name__, name) for cls, name in everything - seen}
    # Excluded by another member of the same object, or read by seccomp agents only.
    assert {item for item in unused if item[0] != "ContainerProcessState"} == {
        ("HyperV", "utilityVMPath"),
        ("Personality", "flags"),
        ("Windows", "hyperv"),
        ("WindowsNetwork", "networkNamespace"),
    }


def _collect(cls: type[Model], plain: object, seen: set[tuple[type[Model], str]]) -> None:
    assert isinstance(plain, dict)
    for name, item in plain.items():
        seen.add((cls, name))
        tp = field_type(cls, fields(cls)[name])
        parts = [tp, *map(inner, getattr(tp, "__args__", ()))]
        nested = next((part for part in parts if isinstance(part, type) and issubclass(part, Model)), None)
        if nested is None:
            continue
        items = [item] if tp is nested else item.values() if isinstance(item, dict) else item
        for part in items:
            _collect(nested, part, seen)


@given(data=st.data())
def test_any_value_survives_writing_and_reading(data: st.DataObject) -> None:
    """Unknown members at every level too."""
    cls = data.draw(st.sampled_from(CLASSES))
    value = data.draw(values(cls))
    raw = spec.to_json(value)
    again = spec.parse(cls, raw)
    assert again == value
    assert hash(again) == hash(value)
    assert spec.to_json(again) == raw
    assert spec.to_json(spec.parse(cls, spec.to_json(value, indent=2))) == raw


def test_members_are_written_in_the_order_of_the_specification() -> None:
    value = runtime.Process(args=("sh",), cwd="/", terminal=True, env=("A=b",))
    assert spec.to_json(value) == (
        b'{"terminal":true,"user":{"uid":0,"gid":0},"args":["sh"],"env":["A=b"],"cwd":"/"}'
    )


def test_false_and_zero_are_written() -> None:
    """Only what is absent or empty is left out."""
    memory = runtime.Memory(limit=0, disable_oom_killer=False)
    assert spec.to_json(memory) == b'{"limit":0,"disableOOMKiller":false}'
    assert spec.to_json(runtime.Syscall(names=(), action="")) == b'{"names":[],"action":""}'


def test_features_distinguish_nothing_from_not_saying() -> None:
    """features.md: null must not be confused with an empty value."""
    value = spec.parse(
        runtime.SeccompFeatures,
        b'{"enabled": null, "actions": [], "archs": null, "operators": ["SCMP_CMP_EQ"]}',
    )
    assert (value.enabled, value.actions, value.archs) == (None, (), None)
    assert spec.to_json(value) == b'{"actions":[],"operators":["SCMP_CMP_EQ"]}'


def test_unknown_members_are_kept_where_they_were() -> None:
    raw = b'{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"cwd":"/","new":[1,{"a":null}]},"x":{"y":1.5}}'
    value = spec.parse(runtime.Spec, raw)
    assert value.extra == {"x": {"y": 1.5}}
    assert spec.to_json(value) == raw


def test_an_unknown_member_cannot_stand_in_for_a_known_one() -> None:
    with pytest.raises(spec.SpecError, match="extra has 'cwd'"):
        spec.to_json(runtime.Process(cwd="/", extra={"cwd": "/other"}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1: "a"}])
def test_what_json_cannot_say_is_an_error(value: object) -> None:
    with pytest.raises(spec.SpecError):
        spec.to_json(runtime.Process(cwd="/", extra={"x": value}))  # type: ignore[dict-item]
