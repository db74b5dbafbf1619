"""What every request must stand before anything looks into it: no NUL in text, nothing missing that must be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message

from ociworks.errors import InvalidRequest, quote

__all__ = ["check_text", "need", "subject"]

_SUBJECTS = ("pod_sandbox_id", "container_id")


def check_text(request: Message) -> None:
    """InvalidRequest, naming the field, when a text in the request holds a NUL."""
    if b"\0" not in request.SerializeToString():
        return
    for path, text in _texts(request, ""):
        if "\0" in text:
            raise InvalidRequest(f"{path}: expected text without NUL, got {quote(text)}")


def need(request: Message, *paths: str) -> None:
    """InvalidRequest unless each of these fields (``config.metadata``) is set, and not empty."""
    for path in paths:
        message = request
        for name in path.split("."):
            value = getattr(message, name)
            if not (message.HasField(name) if isinstance(value, Message) else value):
                raise InvalidRequest(f"{path}: expected a value, got none")
            if isinstance(value, Message):
                message = value


def subject(request: Message) -> str:
    """What a request is about, for a log: an ID, an image or a name; never a secret."""
    for name in _SUBJECTS:
        if value := getattr(request, name, ""):
            return quote(str(value))
    metadata = getattr(getattr(request, "config", None), "metadata", None)
    if metadata is not None:
        return quote(f"{getattr(metadata, 'namespace', '')}/{metadata.name}")
    return quote(str(getattr(getattr(request, "image", None), "image", "")))


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Message):
        for descriptor, inner in value.ListFields():
            yield from _texts(inner, f"{where}.{descriptor.name}" if where else descriptor.name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key, where)
            yield from _texts(inner, where)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for place, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{place}]")
