"""Users of a root filesystem: ``user[:group]`` to numbers (image-spec config.md, ``User``), by its own database.

The files belong to the image, so nothing about them is trusted: they are found inside the root filesystem, must be
regular files before they are opened for reading, and are read within bounds. The host's databases are never asked.

=================  =============================================================================
text               rule
=================  =============================================================================
digits             always a number, up to 2³¹−1, even when a user has that name
name               must fit the grammar of names, and be in ``/etc/passwd`` or ``/etc/group``
no group           the user's group by ``/etc/passwd``, 0 when it does not say; under the policy
                   ``merge`` also the groups that list the user in ``/etc/group``
with group         exactly this group
=================  =============================================================================
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from ociworks._linux.path import open_in_root
from ociworks.errors import ImageConfigError, LimitExceeded, SpecError, quote
from ociworks.spec.numbers import parse_uint
from ociworks.spec.runtime import User

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["GroupPolicy", "ResolvedUser", "lookup_user", "resolve_user"]

GroupPolicy = Literal["merge", "strict"]
"""Whether the image's ``/etc/group`` may add supplementary groups, or only the caller."""

_MAX_ID: Final = 2**31 - 1
_MAX_FILE: Final = 1 << 20
_MAX_LINE: Final = 8 * 1024
_MAX_GROUPS: Final = 65536
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@+-]{0,254}\$?", re.ASCII)
_USERS: Final = "/etc/passwd"
_GROUP: Final = "/etc/group"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@frozen(kw_only=True)
class ResolvedUser:
    """Who a process runs as, and where that user is at home when the image says so."""

    user: User
    home: str | None = None
    """An absolute path without control characters."""


@frozen(kw_only=True)
class _Account:
    """A line of the password file."""

    name: bytes
    uid: int
    gid: int
    home: str | None


def resolve_user(
    rootfd: int | None, text: str | None, *, groups: Sequence[int] = (), policy: GroupPolicy = "merge"
) -> User:
    """The user, group and supplementary groups of ``text`` in the root filesystem ``rootfd``; see the table above.

    ``additional_gids`` holds the primary group (a process that could shed it would slip past permissions that deny
    it), then ``groups``, then under ``merge`` the memberships; each once. None or empty is root. Without ``rootfd``
    only numbers can be resolved.

    Raises :class:`ociworks.errors.ImageConfigError` for text that is no user, an unknown name, or a database that is
    no regular file or is malformed where it matters, and :class:`ociworks.errors.LimitExceeded`.
    """
    return lookup_user(rootfd, text, groups=groups, policy=policy).user


def lookup_user(
    rootfd: int | None,
    text: str | None,
    *,
    groups: Sequence[int] = (),
    policy: GroupPolicy = "merge",
    primary: int | None = None,
) -> ResolvedUser:
    """Like :func:`resolve_user`, with the home directory.

    ``primary`` takes the place of the primary group and, unlike a group in ``text``, leaves the memberships.
    """
    user_text, group_text = _split(text or "0")
    number = _number(user_text)
    account = _find_account(rootfd, user_text, number)
    if account is None and number is None:
        raise ImageConfigError(
            f"user {quote(user_text)}: expected a name in the image's {_USERS}, found none"
        )
    uid = account.uid if number is None and account is not None else number or 0
    memberships: Iterable[int] = ()
    if group_text is not None:
        gid = _find_group(rootfd, group_text)
    else:
        gid = account.gid if account is not None else 0
        if account is not None and policy == "merge":
            memberships = _memberships(rootfd, account.name)
    if primary is not None:
        gid = _checked(primary)
    gids = dict.fromkeys((gid, *(_checked(group) for group in groups), *memberships))
    user = User(uid=uid, gid=gid, additional_gids=tuple(gids))
    return ResolvedUser(user=user, home=account.home if account is not None else None)


def _split(text: str) -> tuple[str, str | None]:
    user, colon, group = text.partition(":")
    for token in (user, group) if colon else (user,):
        if not (token.isascii() and token.isdigit()) and _NAME.fullmatch(token) is None:
            raise ImageConfigError(f"expected user[:group], each a name or a number, found {quote(text)}")
    return user, group if colon else None


def _number(token: str) -> int | None:
    """The number of a token of digits; an error when it is out of range, never a name."""
    if not token.isdigit():
        return None
    return _checked_text(token)


def _checked_text(token: str | bytes) -> int:
    try:
        return parse_uint(token, _MAX_ID, "user or group")
    except SpecError as error:
        raise ImageConfigError(str(error)) from error


def _checked(number: int) -> int:
    if not 0 <= number <= _MAX_ID:
        raise ImageConfigError(f"supplementary group: expected 0 to {_MAX_ID}, found {number}")
    return number


def _find_account(rootfd: int | None, token: str, number: int | None) -> _Account | None:
    """The first line of the password file with this name, or with this number."""
    for fields in _lines(rootfd, _USERS, 7):
        if number is None:
            if fields[0] == token.encode():
                return _account(fields)
        elif fields[2] == token.encode():
            return _account(fields)
    return None


def _account(fields: list[bytes]) -> _Account:
    return _Account(
        name=fields[0], uid=_checked_text(fields[2]), gid=_checked_text(fields[3]), home=_home(fields[5])
    )


def _home(field: bytes) -> str | None:
    """Home directories go into environments, and from there into line-oriented files."""
    text = field.decode("utf-8", "replace")
    return text if text.startswith("/") and text.isprintable() and "\ufffd" not in text else None


def _find_group(rootfd: int | None, token: str) -> int:
    number = _number(token)
    if number is not None:
        return number
    for fields in _lines(rootfd, _GROUP, 4):
        if fields[0] == token.encode():
            return _checked_text(fields[2])
    raise ImageConfigError(f"group {quote(token)}: expected a name in the image's {_GROUP}, found none")


def _memberships(rootfd: int | None, name: bytes) -> list[int]:
    """The groups that list the user. A malformed number there is an error: leaving it out could grant access."""
    found = [
        _checked_text(fields[2]) for fields in _lines(rootfd, _GROUP, 4) if name in fields[3].split(b",")
    ]
    if len(found) > _MAX_GROUPS:
        raise LimitExceeded("groups of a user", "groups", _MAX_GROUPS)
    return found


def _lines(rootfd: int | None, path: str, count: int) -> Iterator[list[bytes]]:
    """The lines of a database as ``count`` fields each; comments and lines of another shape are passed by."""
    for line in _read(rootfd, path).split(b"\n"):
        if len(line) > _MAX_LINE:
            raise LimitExceeded(f"bytes of a line in the image's {path}", "line", _MAX_LINE)
        fields = line.split(b":")
        if len(fields) == count and fields[0] and not fields[0].startswith((b"#", b"+", b"-")):
            yield fields


def _read(rootfd: int | None, path: str) -> bytes:
    """The whole file; empty when there is none. Never opened for reading before its type is known: that may block."""
    if rootfd is None:
        return b""
    try:
        handle = open_in_root(rootfd, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ImageConfigError(f"cannot look up the image's {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ImageConfigError(f"the image's {path} is not a regular file")
        with open(os.open(f"/proc/self/fd/{handle}", _READ), "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ImageConfigError(f"cannot read the image's {path}: {error.strerror}") from error
    finally:
        os.close(handle)
    if len(data) > _MAX_FILE:
        raise LimitExceeded(f"bytes of the image's {path}", "database", _MAX_FILE)
    return data
