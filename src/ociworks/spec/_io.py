"""`parse` and `to_json`: bytes to values and back."""

from __future__ import annotations

from ociworks.errors import SpecError
from ociworks.spec import _convert, _json
from ociworks.spec._model import Model

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    from typing import TypeVar

    M = TypeVar("M", bound=Model)

__all__ = ["parse", "parse_yaml", "to_json"]


def parse(cls: type[M], raw: bytes, *, max_size: int = _json.MAX_SIZE) -> M:
    """Read a ``cls`` from JSON of at most ``max_size`` bytes.

    Raises `InvalidJSON` for bytes that are not one strict JSON document, and `InvalidSpec`, which lists every
    problem with its JSON path, for JSON of another shape. Unknown members are kept in ``extra`` at every level.
    """
    return _convert.read(cls, _json.loads(raw, max_size=max_size))


def parse_yaml(cls: type[M], raw: bytes, *, max_size: int = _json.MAX_SIZE) -> M:
    """Read a ``cls`` from one YAML document that says what JSON could say, under the same bounds.

    Raises `SpecError` for other YAML (with anchors, tags, a key twice, words that readers disagree about),
    `InvalidSpec` as `parse` does, and `MissingDependency` without PyYAML.
    """
    from ociworks.spec import _yaml

    return _convert.read(cls, _yaml.loads(raw, max_size=max_size))


def to_json(value: Model, *, indent: int | None = None) -> bytes:
    """Write a value as UTF-8 JSON, compact or with ``indent`` spaces per level, members in the order of the spec.

    Raises `SpecError` when the value holds what JSON cannot say, for example NaN or a lone surrogate.
    """
    try:
        return _json.dumps(_convert.write(value), indent=indent)
    except (TypeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"cannot write {type(value).__name__} as JSON: {error}") from None
