"""Which security profile a request chooses, in its field of today and in the text that went before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["Profile", "chosen_profile"]

Kind = Literal["", "default", "unconfined", "localhost"]


@frozen(kw_only=True)
class Profile:
    """One choice; an empty kind for none."""

    kind: Kind = ""
    name: str = ""
    """Of a localhost profile; never empty then."""


def chosen_profile(
    what: str, given: api.SecurityProfile | None, text: str, words: Mapping[str, Profile]
) -> Profile:
    """The choice; ``text`` is the deprecated field's, ``words`` what it may say beside ``localhost/NAME``.

    Of two names the field's counts, as clients expect. InvalidRequest for an unknown type or word, a localhost profile
    without a name, and contradictions.
    """
    profile = _read(what, given) if given is not None else None
    deprecated = _read_text(what, text, words) if text else None
    if profile is not None and deprecated is not None and profile.kind != deprecated.kind:
        raise InvalidRequest(f"{what}: the field and its deprecated form say different things")
    found = profile or deprecated or Profile()
    if found.kind == "localhost" and not found.name:
        raise InvalidRequest(f"{what}: localhost_ref: expected the name of a profile, got none")
    return found


def _read_text(what: str, text: str, words: Mapping[str, Profile]) -> Profile:
    if text.startswith("localhost/"):
        return Profile(kind="localhost", name=text.removeprefix("localhost/"))
    if text not in words:
        raise InvalidRequest(f"{what}: unknown profile {quote(text)}")
    return words[text]


def _read(what: str, given: api.SecurityProfile) -> Profile:
    types = api.SecurityProfile.ProfileType
    if given.profile_type == types.Localhost:
        return Profile(kind="localhost", name=given.localhost_ref)
    if given.localhost_ref:
        raise InvalidRequest(f"{what}: localhost_ref: only a Localhost profile has a name")
    if given.profile_type == types.RuntimeDefault:
        return Profile(kind="default")
    if given.profile_type == types.Unconfined:
        return Profile(kind="unconfined")
    raise InvalidRequest(f"{what}: unknown profile type {given.profile_type}")
