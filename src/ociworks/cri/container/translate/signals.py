"""The signal that asks a container to end: the request's, the image's, or SIGTERM."""

from __future__ import annotations

import logging
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, SpecError, quote
from ociworks.spec.image import Config, ImageConfiguration
from ociworks.spec.signals import SIGNALS, signal_number

__all__ = ["signal_of", "stop_signal"]

_log = logging.getLogger(__name__)

_PREFIX: Final = "SIGNAL_"
_DEFAULT: Final = "SIGTERM"


def stop_signal(config: api.ContainerConfig, image: ImageConfiguration) -> str:
    """Its name. InvalidRequest for a number that names none; what an image says wrongly is passed by."""
    if config.stop_signal != api.Signal.SIGNAL_RUNTIME_DEFAULT:
        return _name(config.stop_signal)
    text = (image.config or Config()).stop_signal
    if not text:
        return _DEFAULT
    try:
        signal_number(text)
    except SpecError as error:
        _log.warning("StopSignal of the image: %s: SIGTERM is used", error)
        return _DEFAULT
    return text


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
