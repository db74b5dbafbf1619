"""Rules for image configurations (image-spec 1.1.1, config.md)."""

from __future__ import annotations

import re

from ociworks.errors import Problem, SpecError, quote
from ociworks.spec.numbers import parse_uint
from ociworks.spec.signals import signal_number
from ociworks.spec.validate._common import check_env, check_time
from ociworks.spec.validate.image import check_annotations, check_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.image.config import Config, History, ImageConfiguration, RootFS

__all__ = ["RULES"]

_FILE = "image-spec config.md"
_MAX_ID: Final = 2**32 - 2
"""The last ID of a user or group; the one above means "do not change" to the kernel."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", re.ASCII)
# SCTP is not in the specification, but Docker takes it and images use it.
_PROTOCOLS: Final = ("tcp", "udp", "sctp")


def _configuration(value: ImageConfiguration, at: str) -> Iterator[Problem]:
    """Names are there; the steps that made a layer are as many as the layers; paths and user have their forms."""
    yield from check_time(value.created, f"{at}.created", f"{_FILE}, created")
    for name, text in (("architecture", value.architecture), ("os", value.os)):
        if not text:
            yield Problem(f"{at}.{name}", "expected a name, got ''", f"{_FILE}, {name}")
    steps = sum(not step.empty_layer for step in value.history)
    if value.history and steps != len(value.rootfs.diff_ids):
        message = f"{steps} entries made a layer, but there are {len(value.rootfs.diff_ids)} diff IDs"
        yield Problem(f"{at}.history", message, f"{_FILE}, history")
    if value.config is not None and value.os != "windows":
        yield from _posix(value.config, f"{at}.config")


def _posix(value: Config, at: str) -> Iterator[Problem]:
    """What the specification says for systems with absolute paths and numeric users."""
    if value.user:
        yield from _user(value.user, f"{at}.User")
    if value.working_dir and not value.working_dir.startswith("/"):
        message = f"expected an absolute path, got {quote(value.working_dir)}"
        yield Problem(f"{at}.WorkingDir", message, f"{_FILE}, config.WorkingDir")
    for volume in value.volumes:
        if not volume.startswith("/"):
            yield Problem(
                f"{at}.Volumes", f"expected absolute paths, got {quote(volume)}", f"{_FILE}, config.Volumes"
            )


def _user(text: str, at: str) -> Iterator[Problem]:
    """Both parts are numbers that the kernel can hold, or names; all digits is always a number."""
    parts = text.split(":")
    try:
        if len(parts) > 2:
            raise SpecError("more than one colon")
        for part in parts:
            _user_part(part)
    except SpecError as error:
        message = f"expected user or user:group, as names or numbers, got {quote(text)}: {error}"
        yield Problem(at, message, f"{_FILE}, config.User")


def _user_part(part: str) -> None:
    if part.isascii() and part.isdigit():
        parse_uint(part, _MAX_ID, "ID")
    elif _NAME.fullmatch(part) is None:
        raise SpecError(f"{quote(part)} is neither a name nor a number")


def _config(value: Config, at: str) -> Iterator[Problem]:
    """Environment, ports, command, labels and stop signal have their forms."""
    yield from check_env(value.env, f"{at}.Env", f"{_FILE}, config.Env")
    for port in value.exposed_ports:
        yield from _port(port, f"{at}.ExposedPorts")
    if value.entrypoint and not value.entrypoint[0]:
        yield Problem(f"{at}.Entrypoint[0]", "expected a program, got ''", f"{_FILE}, config.Entrypoint")
    yield from check_annotations(value.labels, f"{at}.Labels")
    if value.stop_signal:
        try:
            signal_number(value.stop_signal)
        except SpecError as error:
            yield Problem(f"{at}.StopSignal", str(error), f"{_FILE}, config.StopSignal")


def _port(text: str, at: str) -> Iterator[Problem]:
    number, slash, protocol = text.partition("/")
    try:
        if parse_uint(number, 65535) and (not slash or protocol in _PROTOCOLS):
            return
    except SpecError:
        pass
    message = f"expected a port such as 80, 80/tcp or 53/udp, got {quote(text)}"
    yield Problem(at, message, f"{_FILE}, config.ExposedPorts")


def _rootfs(value: RootFS, at: str) -> Iterator[Problem]:
    """The one type there is."""
    if value.type != "layers":
        yield Problem(f"{at}.type", f"expected layers, got {quote(value.type)}", f"{_FILE}, rootfs.type")
    for place, diff_id in enumerate(value.diff_ids):
        yield from check_digest(diff_id, f"{at}.diff_ids[{place}]")


def _history(value: History, at: str) -> Iterator[Problem]:
    """The time is one."""
    yield from check_time(value.created, f"{at}.created", f"{_FILE}, history.created")


RULES = {"Config": _config, "History": _history, "ImageConfiguration": _configuration, "RootFS": _rootfs}
