"""The JSON schemas of the specifications, beside the checkout or where ``OCIWORKS_SCHEMAS`` says, for another judge."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.source_tree import CHECKOUT

__all__ = ["SCHEMAS", "complaints", "needs_schemas"]

SCHEMAS = Path(os.environ.get("OCIWORKS_SCHEMAS") or CHECKOUT.parent / "shared" / "oci" / "schema")
needs_schemas = pytest.mark.skipif(
    not (SCHEMAS / "runtime" / "config-schema.json").exists(),
    reason=f"no schemas at {SCHEMAS}: set OCIWORKS_SCHEMAS to the directory of runtime/ and image/",
)


def complaints(file: str, document: object) -> list[str]:
    """What a schema of the runtime specification finds wrong with a document."""
    resources = [
        (path.name, Resource.from_contents(json.loads(path.read_bytes()), default_specification=DRAFT4))
        for path in (SCHEMAS / "runtime").glob("*.json")
    ]
    registry: Registry[Any] = Registry().with_resources(resources)
    validator = Draft4Validator({"$ref": file}, registry=registry)
    return [error.message for error in validator.iter_errors(document)]
