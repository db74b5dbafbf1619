"""Every JSON name is proved against the published schemas: none is missing, none is invented.

The schemas are not part of this repository: ``OCIWORKS_SCHEMAS`` names their directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, cast, get_args, get_origin

import pytest

from ociworks.spec import image, runtime
from ociworks.spec._model import Model, Range
from tests.spec.models import field_type, fields
from tests.spec.runtime_documents import FEATURES, STATE, Document, documents
from tests.spec.schemas import SCHEMAS, complaints, needs_schemas

pytestmark = needs_schemas

ROOTS: list[tuple[str, str, type[Model]]] = [
    ("runtime", "config-schema.json", runtime.Spec),
    ("runtime", "state-schema.json", runtime.State),
    ("runtime", "features-schema.json", runtime.Features),
    ("image", "image-manifest-schema.json", image.Manifest),
    ("image", "image-index-schema.json", image.Index),
    ("image", "config-schema.json", image.ImageConfiguration),
    ("image", "image-layout-schema.json", image.Layout),
    ("image", "content-descriptor.json", image.Descriptor),
]

PROSE_ONLY = {
    ("LinuxFeatures", "memoryPolicy"): "features-linux.md, MemoryPolicy",
    ("IntelRdtFeatures", "schemata"): "features-linux.md, Intel RDT",
    ("IntelRdtFeatures", "monitoring"): "features-linux.md, Intel RDT",
    ("Config", "Memory"): "image-spec config.md, reserved for Docker",
    ("Config", "MemorySwap"): "image-spec config.md, reserved for Docker",
    ("Config", "CpuShares"): "image-spec config.md, reserved for Docker",
    ("Config", "Healthcheck"): "image-spec config.md, reserved for Docker",
    ("Platform", "features"): "image-spec image-index.md, reserved",
}
"""Names that the prose of the specification has and its schema lacks."""

Schema = Mapping[str, object]


class _Walk:
    """Compares a class with a schema, and the classes of its fields with the schemas of its properties."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.missing: set[str] = set()
        self._known: dict[type[Model], set[str]] = {}
        self.mistyped: set[str] = set()
        self._visited: set[tuple[type[Model], str]] = set()

    def start(self, file: str, cls: type[Model]) -> None:
        self.compare(cls, self.flatten(_load(self.part, file), file), file)

    def flatten(self, schema: Schema, file: str) -> list[tuple[Schema, str]]:
        """The schema, with what it refers to and combines; each with the file that its references start from."""
        found = [(schema, file)]
        if "$ref" in schema:
            target, _, pointer = str(schema["$ref"]).partition("#")
            home = target.rpartition("/")[2] or file
            found += self.flatten(_at(_load(self.part, home), pointer), home)
        for combined in ("allOf", "anyOf", "oneOf"):
            for option in cast("list[Schema]", schema.get(combined, [])):
                found += self.flatten(option, file)
        return found

    def compare(self, cls: type[Model], schemas: list[tuple[Schema, str]], where: str) -> None:
        if (cls, where) in self._visited or len(self._visited) > 2000:
            return
        self._visited.add((cls, where))
        properties: dict[str, list[tuple[Schema, str]]] = {}
        for schema, file in schemas:
            for name, inside in cast("Mapping[str, Schema]", schema.get("properties", {})).items():
                properties.setdefault(name, []).extend(self.flatten(inside, file))
        self.missing |= {
            f"{where}: {cls.__name__} lacks {name}" for name in properties.keys() - fields(cls).keys()
        }
        self._known.setdefault(cls, set()).update(properties)
        required = {name for schema, _ in schemas for name in cast("list[str]", schema.get("required", []))}
        for name in properties.keys() & fields(cls).keys():
            field = fields(cls)[name]
            if field.required and name not in required:
                self.mistyped.add(f"{where}: {cls.__name__}.{field.attribute} is required by us alone")
            self.descend(field_type(cls, field), properties[name], f"{where}/{name}")

    def invented(self) -> set[tuple[str, str]]:
        """Names that no schema has in any place where their class is used."""
        return {
            (cls.__name__, name) for cls, known in self._known.items() for name in fields(cls).keys() - known
        }

    def descend(self, tp: object, schemas: list[tuple[Schema, str]], where: str) -> None:
        """Follow a field to the class in it."""
        kinds = {str(schema["type"]) for schema, _ in schemas if isinstance(schema.get("type"), str)}
        origin, arguments = get_origin(tp), get_args(tp)
        if isinstance(tp, type) and issubclass(tp, Model):
            self.expect(kinds, "object", where)
            self.compare(tp, schemas, where)
        elif origin is tuple:
            if self.expect(kinds, "array", where):
                self.descend(arguments[0], self.inside(schemas, "items"), f"{where}[]")
        elif origin is Mapping:
            self.expect(kinds, "object", where)
            if inside := self.inside(schemas, "additionalProperties"):
                self.descend(arguments[1], inside, f"{where}{{}}")
        elif origin is Annotated and isinstance(arguments[1], Range):
            self.expect(kinds, "integer", where)
        elif tp in (str, bool, int):
            self.expect(kinds, {str: "string", bool: "boolean", int: "integer"}[cast("type", tp)], where)

    def inside(self, schemas: list[tuple[Schema, str]], keyword: str) -> list[tuple[Schema, str]]:
        found = []
        for schema, file in schemas:
            if isinstance(item := schema.get(keyword), dict):
                found += self.flatten(item, file)
        return found

    def expect(self, kinds: set[str], kind: str, where: str) -> bool:
        if kinds and kind not in kinds:
            self.mistyped.add(f"{where}: we have {kind}, the schema has {sorted(kinds)}")
        return not kinds or kind in kinds


def _load(part: str, file: str) -> Schema:
    schema: Schema = json.loads((SCHEMAS / part / file).read_bytes())
    return schema


def _at(schema: Schema, pointer: str) -> Schema:
    for step in filter(None, pointer.split("/")):
        schema = cast("Schema", schema[step])
    return schema


def _walked(part: str) -> _Walk:
    walk = _Walk(part)
    for home, file, cls in ROOTS:
        if home == part:
            walk.start(file, cls)
    return walk


@pytest.mark.parametrize("part", ["runtime", "image"])
def test_every_property_of_the_schemas_has_a_field(part: str) -> None:
    assert _walked(part).missing == set()


@pytest.mark.parametrize("part", ["runtime", "image"])
def test_no_json_name_is_invented(part: str) -> None:
    """Apart from what the prose alone says, with the section that says it."""
    assert _walked(part).invented() - PROSE_ONLY.keys() == set()


@pytest.mark.parametrize("part", ["runtime", "image"])
def test_types_are_those_of_the_schemas(part: str) -> None:
    """One exception: config-windows.md and its example have an array of affinities, the schema one object."""
    known = {"config-schema.json/windows/resources/cpu/affinity: we have array, the schema has ['object']"}
    assert _walked(part).mistyped - known == set()


def test_every_definition_is_reached() -> None:
    """Objects that only a definition describes are compared too: the walk must not stop early."""
    named = {name for file in SCHEMAS.glob("*/*.json") for name in _properties(json.loads(file.read_bytes()))}
    ours = {name for *_, cls in ROOTS for name in _names(cls, set())}
    assert named - ours == set()


def _properties(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        inside = schema.get("properties")
        if isinstance(inside, dict):
            yield from inside
        for item in schema.values():
            yield from _properties(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from _properties(item)


def _names(tp: object, seen: set[object]) -> Iterator[str]:
    if isinstance(tp, type) and issubclass(tp, Model):
        if tp not in seen:
            seen.add(tp)
            for name, field in fields(tp).items():
                yield name
                yield from _names(field_type(tp, field), seen)
    else:
        for argument in get_args(tp):
            yield from _names(argument, seen)


@pytest.mark.parametrize(
    ("file", "document"),
    [
        *(("config-schema.json", document) for name, document in documents().items() if name != "windows"),
        ("state-schema.json", STATE),
        ("features-schema.json", FEATURES),
    ],
)
def test_our_documents_are_valid_by_the_schemas(file: str, document: Document) -> None:
    """Another validator judges what our rules accept (Windows: see the exception above)."""
    assert complaints(file, document) == []
