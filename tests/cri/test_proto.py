"""The messages are those of the wire facts: every name, number, type and label."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.source_tree import CHECKOUT

FACTS = CHECKOUT.parent / "shared/cri/cri-v1-fields.tsv"
TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}
pytestmark = pytest.mark.skipif(
    not FACTS.exists(), reason="the facts of the wire do not lie beside this checkout"
)


def facts(kind: str) -> set[tuple[str, ...]]:
    with FACTS.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns = ("parent", "name", "number", "type", "label", "deprecated")
    return {tuple(row[column] or "" for column in columns) for row in rows if row["kind"] == kind}


def messages(found: Descriptor) -> Iterator[Descriptor]:
    yield found
    for inner in found.nested_types:
        if not inner.GetOptions().map_entry:
            yield from messages(inner)


def short(name: str) -> str:
    return name.removeprefix("runtime.v1.")


def type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (type_of(field.message_type.fields_by_name[name]) for name in ("key", "value"))
        return f"map<{key},{value}>"
    named = field.message_type or field.enum_type
    return TYPES[field.type] if named is None else short(named.full_name)


def label_of(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "map"
    return "repeated" if field.is_repeated else "singular"


def every_message() -> Iterator[Descriptor]:
    for found in api.DESCRIPTOR.message_types_by_name.values():
        yield from messages(found)


def test_every_field_is_there_with_its_number_and_type() -> None:
    ours = {
        (
            short(message.full_name),
            field.name,
            str(field.number),
            type_of(field),
            label_of(field),
            "yes" if field.GetOptions().deprecated else "",
        )
        for message in every_message()
        for field in message.fields
    }
    assert ours == facts("field")


def test_every_enum_value_is_there() -> None:
    enums: list[EnumDescriptor] = list(api.DESCRIPTOR.enum_types_by_name.values())
    enums += [inner for message in every_message() for inner in message.enum_types]
    ours = {
        (short(enum.full_name), value.name, str(value.number), "", "", "")
        for enum in enums
        for value in enum.values
    }
    assert ours == facts("enum")


def test_every_call_is_there() -> None:
    ours = set()
    for service in api.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            stream = "stream " if method.server_streaming else ""
            types = f"{method.input_type.name} -> {stream}{method.output_type.name}"
            ours.add((service.name, method.name, "", types, "", ""))
    assert ours == facts("rpc")
    assert len(ours) == 43


def test_the_facts_name_every_message() -> None:
    named = {fact[0] for fact in facts("field")} | {fact[1] or fact[0] for fact in facts("message")}
    assert {short(message.full_name) for message in every_message()} - named == set()


def test_the_package_is_the_one_that_clients_speak() -> None:
    assert api.DESCRIPTOR.package == "runtime.v1"
    assert Path(api.DESCRIPTOR.name).name == "runtime_v1.proto"
