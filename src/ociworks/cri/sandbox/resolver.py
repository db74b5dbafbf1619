"""``/etc/resolv.conf`` and ``/etc/hosts``, written line by line from validated words (resolv.conf(5), hosts(5))."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["hosts_file", "resolver_file"]

MAX_SERVERS: Final = 3
MAX_SEARCHES: Final = 32
MAX_SEARCH_TEXT: Final = 2048
MAX_OPTIONS: Final = 64
_DOMAIN: Final = re.compile(r"\.|(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?)+", re.ASCII)
_OPTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?::[A-Za-z0-9._-]+)?", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_MAX_WORD: Final = 253


def resolver_file(config: api.DNSConfig) -> bytes:
    """The file for a configuration; empty when that says nothing, which means: as the host has it.

    InvalidRequest for more than 3 servers, 32 domains (2048 characters) or 64 options, and for words that are none.
    """
    _count("servers", config.servers, MAX_SERVERS)
    _count("searches", config.searches, MAX_SEARCHES)
    _count("options", config.options, MAX_OPTIONS)
    if sum(len(domain) + 1 for domain in config.searches) > MAX_SEARCH_TEXT:
        raise InvalidRequest(f"config.dns_config.searches: expected at most {MAX_SEARCH_TEXT} characters")
    lines = []
    if config.searches:
        lines.append(" ".join(["search", *_words("searches", config.searches, _DOMAIN)]))
    lines += [f"nameserver {_server(place, server)}" for place, server in enumerate(config.servers)]
    if config.options:
        lines.append(" ".join(["options", *_words("options", config.options, _OPTION)]))
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def hosts_file(addresses: Iterable[str], hostname: str) -> bytes:
    """The file for a pod with a network of its own. Addresses are the plugins', and validated again."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "fe00::\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    if hostname:
        lines += [f"{ipaddress.ip_address(address)}\t{hostname}" for address in addresses]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _count(field: str, values: Sequence[str], most: int) -> None:
    if len(values) > most:
        raise InvalidRequest(f"config.dns_config.{field}: expected at most {most}, got {len(values)}")


def _words(field: str, values: Sequence[str], grammar: re.Pattern[str]) -> list[str]:
    for place, value in enumerate(values):
        if len(value) > _MAX_WORD or grammar.fullmatch(value) is None:
            raise InvalidRequest(
                f"config.dns_config.{field}[{place}]: expected one word of the resolver's grammar, got {quote(value)}"
            )
    return list(values)


def _server(place: int, text: str) -> str:
    address, percent, zone = text.partition("%")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    if parsed is None or (percent and (parsed.version != 6 or _ZONE.fullmatch(zone) is None)):
        raise InvalidRequest(f"config.dns_config.servers[{place}]: expected an IP address, got {quote(text)}")
    return text
