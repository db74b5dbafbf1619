"""The signal that asks a container to end: the request's, the image's, or SIGTERM."""

from __future__ import annotations

from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, SpecError, quote
from ociworks.spec.image import Config, ImageConfiguration
from ociworks.spec.signals import SIGNALS, signal_number

__all__ = ["signal_of", "stop_signal"]

_PREFIX: Final = "SIGNAL_"
_DEFAULT: Final = "SIGTERM"


def stop_signal(config: api.ContainerConfig, image: ImageConfiguration) -> str:
    """Its name. InvalidRequest for a number that names none; an image's is judged with the rest of the image."""
    if config.stop_signal != api.Signal.SIGNAL_RUNTIME_DEFAULT:
        return _name(config.stop_signal)
    return (image.config or Config()).stop_signal or _DEFAULT


def signal_of(name: str) -> int:
    """The interface's word for ``SIGRTMIN+3`` or ``15``; the default for what it has no word for."""
    try:
        number = signal_number(name or _DEFAULT)
    except SpecError:
        return api.Signal.SIGNAL_RUNTIME_DEFAULT
    plain = next(each for each, value in SIGNALS.items() if value == number)
    word = f"{_PREFIX}SIG{plain}".replace("+", "PLUS").replace("-", "MINUS")
    return api.Signal.Value(word)


def _name(value: int) -> str:
    try:
        word = api.Signal.Name(value)
    except ValueError:
        raise InvalidRequest(f"stop_signal: unknown value {quote(str(value))}") from None
    return word.removeprefix(_PREFIX).replace("PLUS", "+").replace("MINUS", "-")
