"""Flags as Go's ``flag`` package reads them, because that is what clients write.

One or two dashes are the same; a value follows or comes after ``=``; a boolean takes one only after ``=``. Reading ends
at ``--`` and at the first argument that is no flag, but commands that reorder go on behind it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final, TypeAlias

    Flag: TypeAlias = tuple[str, str, str]
    """Kind (``bool``, ``text``, ``number``, ``texts``, ``numbers``, ``duration``), short name, help."""
    Flags: TypeAlias = Mapping[str, Flag]

__all__ = ["FALSE", "TRUE", "Help", "Options", "UsageError", "parse"]

TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST: Final = 1 << 63


class Help(Exception):
    """Help was asked for, of a command or of all (empty)."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


class UsageError(Exception):
    """The command line is wrong."""

    def __init__(self, command: str, text: str, title: str = "") -> None:
        super().__init__(text)
        self.command, self.text, self.title = command, text, title


class Options:
    """The flags that were given, by their long names."""

    def __init__(self, command: str, flags: Flags) -> None:
        self._command = command
        self._flags = flags
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Take one flag, whose value must be of its kind."""
        kind = self._flags[name][0]
        try:
            _CHECKS[kind](value)
        except ValueError:
            what = "boolean value" if kind == "bool" else "value"
            raise UsageError(
                self._command,
                f'invalid {what} "{value}" for {"" if kind == "bool" else "flag "}-{name}: parse error',
            ) from None
        self._values.setdefault(name, []).append(value)

    def given(self, name: str) -> bool:
        """Whether the flag is there."""
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self._values[name][-1] if name in self._values else default

    def texts(self, name: str) -> list[str]:
        """Every value of a flag."""
        return self._values.get(name, [])

    def flag(self, name: str) -> bool:
        """Whether a boolean is set."""
        return self.text(name, "false") in TRUE

    def number(self, name: str, default: int = 0) -> int:
        """The last value of a number."""
        return _number(self._values[name][-1]) if name in self._values else default

    def numbers(self, name: str) -> list[int]:
        """Every value of a number."""
        return [_number(value) for value in self.texts(name)]

    def seconds(self, name: str, default: float) -> float:
        """The last value of a duration."""
        return _duration(self._values[name][-1]) if name in self._values else default


def parse(
    command: str, flags: Flags, arguments: Sequence[str], *, reorder: bool = False
) -> tuple[Options, list[str]]:
    """The flags in ``arguments`` and what else is there. Raises UsageError, and Help for ``--help``."""
    options = Options(command, flags)
    names = {short: name for name, (_, short, _) in flags.items() if short} | {name: name for name in flags}
    pending, positional = list(arguments), []
    while pending:
        argument = pending.pop(0)
        if argument == "--":
            break
        if len(argument) < 2 or not argument.startswith("-"):
            if not reorder:
                pending.insert(0, argument)
                break
            positional.append(argument)
            continue
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if name in ("help", "h"):
            raise Help(command)
        if name not in names:
            raise UsageError(command, f"flag provided but not defined: -{name}")
        long = names[name]
        if not equals and flags[long][0] != "bool":
            if not pending:
                raise UsageError(command, f"flag needs an argument: -{name}")
            value = pending.pop(0)
        options.add(long, value if equals or flags[long][0] != "bool" else "true")
    return options, positional + pending


def _bool(text: str) -> None:
    if text not in TRUE + FALSE:
        raise ValueError(text)


def _number(text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise ValueError(text)
    value = int(text)  # trusted: digits only
    if not -_MOST <= value < _MOST:
        raise ValueError(text)
    return value


def _duration(text: str) -> float:
    """Seconds of a Go duration such as ``1m30s`` or ``500ms``."""
    total, rest = 0.0, text
    while rest:
        end = next((at for at, character in enumerate(rest) if character not in "0123456789."), len(rest))
        unit = next(
            (name for name in sorted(_UNITS, key=len, reverse=True) if rest[end:].startswith(name)), ""
        )
        if not unit or not end or end > 18:
            raise ValueError(text)
        total += float(rest[:end]) * _UNITS[unit]
        rest = rest[end + len(unit) :]
    if not text:
        raise ValueError(text)
    return total


_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "bool": _bool,
    "text": str,
    "texts": str,
    "number": _number,
    "numbers": _number,
    "duration": _duration,
}
