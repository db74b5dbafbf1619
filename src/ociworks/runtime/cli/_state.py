"""``state`` and ``list``."""

from __future__ import annotations

import os
import sys

from ociworks.runtime import _facts, state
from ociworks.runtime.ids import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ociworks.runtime._facts import Value
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def main(call: Call) -> int:
    """Print one container's state, or all containers."""
    if call.command == "state":
        sys.stdout.write(_facts.dumps(_facts_of(call.root, call.record()), 2))
        return 0
    return _list(call)


def _facts_of(root: str, record: state.Record) -> dict[str, Value]:
    status = state.status(root, record)
    facts: dict[str, Value] = {
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": record.pid if status != "stopped" else 0,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    }
    if record.annotations:
        facts["annotations"] = record.annotations
    facts["owner"] = ""
    return facts


def _list(call: Call) -> int:
    form = call.flags.text("format", "table")
    if call.flags.flag("quiet"):
        for record in _records(call):
            sys.stdout.write(f"{record.id}\n")
        return 0
    if form not in ("table", "json"):
        raise ValueError("invalid format option")
    found = []
    for record in _records(call):
        facts = _facts_of(call.root, record)
        facts["owner"] = _name(record.owner)
        found.append(facts)
    if form == "json":
        sys.stdout.write(f"{_facts.dumps(found) if found else 'null'}\n")
    else:
        _table([[str(facts[column.lower()]) for column in _COLUMNS] for facts in found])
    return 0


def _records(call: Call) -> Iterator[state.Record]:
    """Every container that can be read; the others are told of, and left alone (SV-05)."""
    from ociworks.errors import ContainerError, ContainerNotFound

    try:
        names = sorted(os.listdir(call.root))
    except FileNotFoundError:
        if call.globals.given("root"):
            raise  # the default one is made with the first container
        return
    for name in names:
        if name.startswith("@"):
            continue
        try:
            yield state.load(call.root, check_id(name))
        except ContainerNotFound:
            continue
        except ContainerError as error:
            call.log.caution(f"container {name!a}: {error}")


def _name(uid: int) -> str:
    import pwd  # trusted: the owner on the host is meant

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _table(rows: Sequence[Sequence[str]]) -> None:
    lines = [_COLUMNS, *([ascii(cell)[1:-1] for cell in row] for row in rows)]
    widths = [max(12, *(len(line[column]) + 3 for line in lines)) for column in range(len(_COLUMNS) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        sys.stdout.write("".join(cells) + line[-1] + "\n")
