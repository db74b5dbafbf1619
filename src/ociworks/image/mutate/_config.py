"""The configuration of an image: all of it, its run parameters, or a few fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from ociworks.errors import ImageConfigError, InvalidSpec, SpecError, quote
from ociworks.image import partial
from ociworks.image.mutate._build import rebuilt
from ociworks.image.mutate._history import complete
from ociworks.image.types import Image
from ociworks.spec import FrozenDict, Platform, validate
from ociworks.spec.image import Config, Healthcheck, History, ImageConfiguration

__all__ = ["Changes", "config", "merged"]


@frozen(kw_only=True)
class Changes:
    """A few fields of a configuration. None leaves a field as it is; an empty value removes it."""

    entrypoint: Sequence[str] | None = None
    """A new entrypoint drops the command, which was made for the old one, unless ``cmd`` is given (as Docker does)."""
    cmd: Sequence[str] | None = None
    env: Mapping[str, str | None] = FrozenDict()
    """Name → value, or None to remove it. New names come last, those that are there keep their place."""
    labels: Mapping[str, str | None] = FrozenDict()
    """Name → value, or None to remove it."""
    user: str | None = None
    working_dir: str | None = None
    exposed_ports: Sequence[str] | None = None
    """All of them: ``80/tcp``, ``53/udp`` …"""
    volumes: Sequence[str] | None = None
    """All of them, as absolute paths."""
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    author: str | None = None
    created: str | None = None
    """RFC 3339."""
    platform: Platform | str | None = None
    """What the image says that it is for; its layers stay as they are."""
    history: History | None = None
    """A step to add to the history, which then says that it made no layer."""


def config(img: Image, new: Config | ImageConfiguration | Changes) -> Image:
    """The image with another configuration; no layer is read.

    A `Config` replaces the parameters with which the image wants to be run, an `ImageConfiguration` everything (its
    diff IDs must be those of the layers), `Changes` a few fields. Raises :class:`~ociworks.errors.InvalidSpec` for
    values that the specification forbids and the image did not have before,
    :class:`~ociworks.errors.ImageConfigError` for other diff IDs, and :class:`~ociworks.errors.NotSupported` for an
    artifact.
    """
    old = img.config
    if isinstance(new, Changes):
        wanted = _changed(old, new)
    elif isinstance(new, ImageConfiguration):
        wanted = new
    else:
        wanted = evolve(old, config=new)
    if wanted.rootfs.diff_ids != old.rootfs.diff_ids:
        raise ImageConfigError(
            "the new configuration has the diff IDs of other layers; use append to add layers"
        )
    known = set(validate(old))
    if problems := [problem for problem in validate(wanted) if problem not in known]:
        raise InvalidSpec(problems, "the new configuration")
    return rebuilt(img, config=wanted)


def _changed(old: ImageConfiguration, new: Changes) -> ImageConfiguration:
    result = evolve(old, config=_run_parameters(old.config or Config(), new))
    if old.config is None and result.config == Config():
        result = evolve(result, config=None)
    if new.author is not None:
        result = evolve(result, author=new.author or None)
    if new.created is not None:
        result = evolve(result, created=new.created or None)
    if new.platform is not None:
        result = _for_platform(result, partial.wanted(new.platform))
    if new.history is not None:
        result = evolve(result, history=(*complete(result), evolve(new.history, empty_layer=True)))
    return result


def _for_platform(old: ImageConfiguration, platform: Platform) -> ImageConfiguration:
    return evolve(
        old,
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        os_version=platform.os_version,
        os_features=platform.os_features,
    )


def _run_parameters(old: Config, new: Changes) -> Config:
    result = evolve(old, env=_environment(old.env, new.env), labels=merged(old.labels, new.labels))
    if new.entrypoint is not None:
        result = evolve(result, entrypoint=_words(new.entrypoint, "entrypoint"), cmd=())
    if new.cmd is not None:
        result = evolve(result, cmd=_words(new.cmd, "cmd"))
    if new.exposed_ports is not None:
        result = evolve(result, exposed_ports=_words(new.exposed_ports, "exposed_ports"))
    if new.volumes is not None:
        result = evolve(result, volumes=_words(new.volumes, "volumes"))
    if new.healthcheck is not None:
        result = evolve(result, healthcheck=new.healthcheck)
    return evolve(
        result,
        user=_text(old.user, new.user),
        working_dir=_text(old.working_dir, new.working_dir),
        stop_signal=_text(old.stop_signal, new.stop_signal),
    )


def _text(old: str | None, new: str | None) -> str | None:
    return old if new is None else new or None


def _words(given: Sequence[str], field: str) -> tuple[str, ...]:
    """A tuple; a single string is a sequence of characters to Python, and never what was meant."""
    if isinstance(given, str):
        raise SpecError(f"{field}: expected a sequence of strings, got the string {quote(given)}")
    return tuple(given)


def merged(old: Mapping[str, str], new: Mapping[str, str | None]) -> Mapping[str, str]:
    """``old`` with the members of ``new``; those whose value is None are gone."""
    both: dict[str, str | None] = {**old, **new}
    return FrozenDict({name: value for name, value in both.items() if value is not None})


def _environment(old: Sequence[str], new: Mapping[str, str | None]) -> tuple[str, ...]:
    if any("=" in name or not name for name in new):
        raise SpecError("env: expected names of variables, got one that is empty or has an equals sign")
    names = [entry.partition("=")[0] for entry in old]
    kept = [
        entry if name not in new else f"{name}={new[name]}"
        for name, entry in zip(names, old, strict=True)
        if name not in new or new[name] is not None
    ]
    added = [f"{name}={value}" for name, value in new.items() if value is not None and name not in names]
    return (*kept, *added)
