"""``update``."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import attrs

from ociworks.errors import SpecError
from ociworks.runtime.cli import _files
from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._flags import Options
from ociworks.spec import parse
from ociworks.spec.numbers import parse_uint
from ociworks.spec.runtime import CPU, BlockIO, Memory, Pids, Resources

__all__ = ["main", "memory_size", "resources_of"]

_SIZE: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,3}))? ?([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_MAXIMUM: Final = 1 << 63
_KEPT: Final = ("idle", "burst", "disable_oom_killer", "use_hierarchy", "check_before_update", "extra")
_Part = TypeVar("_Part", Memory, CPU, BlockIO)


def main(call: Call) -> int:
    """Change limits. Most zeros change nothing, and devices stay as they are: clients send whole documents."""
    path = call.flags.text("resources")
    if path:
        resources = parse(Resources, _files.read_document(path), max_size=_files.MAX_DOCUMENT)
    else:
        resources = resources_of(call.flags)
    cache, bandwidth = call.flags.text("l3-cache-schema"), call.flags.text("mem-bw-schema")
    if cache or bandwidth:
        from ociworks.runtime._schemata import check

        check(cache, bandwidth)
    if any(call.flags.text(name) for name in ("kernel-memory", "kernel-memory-tcp")):
        call.log.caution("Kernel memory settings are ignored and will be removed")
    container = call.container()
    container.update(_meant(resources))
    if cache or bandwidth:
        container.update_rdt(l3_cache_schema=cache, mem_bw_schema=bandwidth)
    return 0


def resources_of(flags: Options) -> Resources:
    """What the flags ask for."""

    def number(name: str, least: int = 0) -> int | None:
        return _number(name, flags.text(name), least) if flags.text(name) else None

    def size(name: str) -> int | None:
        return memory_size(name, flags.text(name)) if flags.text(name) else None

    weight = flags.number("blkio-weight")
    if not 0 <= weight <= 1000:
        raise SpecError(f"--blkio-weight: expected 10 to 1000, got {weight}")
    return Resources(
        memory=Memory(limit=size("memory"), reservation=size("memory-reservation"), swap=size("memory-swap")),
        cpu=CPU(
            shares=number("cpu-share"),
            quota=number("cpu-quota", -1),
            burst=number("cpu-burst"),
            period=number("cpu-period"),
            realtime_runtime=number("cpu-rt-runtime", -1),
            realtime_period=number("cpu-rt-period"),
            cpus=flags.text("cpuset-cpus") or None,
            mems=flags.text("cpuset-mems") or None,
            idle=number("cpu-idle"),
        ),
        pids=Pids(limit=flags.number("pids-limit")) if flags.given("pids-limit") else None,
        block_io=BlockIO(weight=weight),
    )


def memory_size(name: str, text: str) -> int:
    """Bytes of ``64m``, ``1.5g``, ``4096``; -1 is unlimited. Raises SpecError."""
    if text == "-1":
        return -1
    match = _SIZE.fullmatch(text)
    if match is None:
        raise SpecError(f"invalid value for {name}: expected bytes such as 64m, got {text[:100]!a}")
    unit: int = 1 << 10 * " kmgtp".index(match[3].lower() or " ")
    fraction = match[2] or "0"
    whole, rest = (
        parse_uint(match[1].lstrip("0") or "0", _MAXIMUM),
        parse_uint(fraction.lstrip("0") or "0", 999),
    )
    value: int = whole * unit + rest * unit // 10 ** len(fraction)
    if value >= _MAXIMUM:
        raise SpecError(f"invalid value for {name}: larger than the kernel counts")
    return value


def _number(name: str, text: str, least: int) -> int:
    digits = text.removeprefix("-") if least < 0 else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise SpecError(f"invalid value for {name}: expected a number, got {text[:100]!a}")
    value: int = int(text)  # trusted: digits only
    return max(value, least)


def _meant(resources: Resources) -> Resources:
    """Without devices, empty parts and the zeros that mean "as it is" to runc; those of ``_KEPT`` are values."""
    return attrs.evolve(
        resources,
        devices=(),
        memory=_without_zeros(resources.memory),
        cpu=_without_zeros(resources.cpu),
        block_io=_without_zeros(resources.block_io),
    )


def _without_zeros(part: _Part | None) -> _Part | None:
    if part is None:
        return None
    zeros = {
        field.name: None
        for field in attrs.fields(type(part))
        if field.name not in _KEPT and getattr(part, field.name) in (0, "")
    }
    part = attrs.evolve(part, **zeros)  # type: ignore[arg-type] # each of these members may be None
    empty = all(getattr(part, field.name) in (None, (), {}) for field in attrs.fields(type(part)))
    return None if empty else part
