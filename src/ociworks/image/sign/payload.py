"""The simple-signing payload: what a cosign signature signs (containers-signature(5), JSON data format).

::

    {"critical": {"identity": {"docker-reference": "registry.example/app:1"},
                  "image": {"docker-manifest-digest": "sha256:…"},
                  "type": "cosign container image signature"},
     "optional": {"build": "7"}}

``critical`` must hold these three and nothing else: a member that a verifier does not know may be the one that matters.
The signature is over the bytes as received, and those very bytes are parsed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from attrs import frozen

from ociworks.errors import InvalidSignature, SpecError, quote
from ociworks.image.sign.reason import Reason
from ociworks.spec import Digest, FrozenDict, JSONValue, _json
from ociworks.spec.frozen import freeze, thaw

__all__ = ["MAX_PAYLOAD", "MEDIA_TYPE", "TYPE", "Payload", "frozen_object", "parse", "write"]

TYPE: Final = "cosign container image signature"
MEDIA_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
MAX_PAYLOAD: Final = 64 * 1024
"""Bytes of a payload at most."""
_CRITICAL: Final = {"identity", "image", "type"}


@frozen(kw_only=True)
class Payload:
    """What was signed: bytes, a name for them, and further claims."""

    digest: Digest
    """Of the manifest or index."""
    identity: str
    """The name that the signer gave it; nothing about it was checked yet."""
    optional: Mapping[str, JSONValue] = FrozenDict()


def write(payload: Payload) -> bytes:
    """The bytes to sign, as cosign writes them: compact, members in alphabetical order."""
    critical = {
        "identity": {"docker-reference": payload.identity},
        "image": {"docker-manifest-digest": str(payload.digest)},
        "type": TYPE,
    }
    return _json.dumps({"critical": critical, "optional": thaw(payload.optional) or None})


def parse(raw: bytes) -> Payload:
    """Read a payload whose signature was verified; raises ``InvalidSignature``."""
    try:
        top = _object(_json.loads(raw, max_size=MAX_PAYLOAD), "payload")
    except SpecError as error:
        raise _malformed(str(error)) from None
    optional = top.pop("optional", None)
    critical = _members(_members(top, "payload", {"critical"})["critical"], "critical", _CRITICAL)
    image = _members(critical["image"], "critical.image", {"docker-manifest-digest"})
    identity = _members(critical["identity"], "critical.identity", {"docker-reference"})
    if critical["type"] != TYPE:
        raise InvalidSignature(
            Reason.WRONG_TYPE, f"expected a payload of type {quote(TYPE)}, got {quote(str(critical['type']))}"
        )
    return Payload(
        digest=_digest(image["docker-manifest-digest"]),
        identity=_text(identity["docker-reference"], "docker-reference"),
        optional=_optional(optional),
    )


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _malformed(f"{what}: expected a JSON object")
    return value


def _members(value: object, what: str, names: set[str]) -> dict[str, object]:
    members = _object(value, what)
    if members.keys() != names:
        raise _malformed(f"{what}: expected the members {', '.join(sorted(names))} and no others")
    return members


def _digest(value: object) -> Digest:
    try:
        return Digest.parse(_text(value, "docker-manifest-digest"))
    except SpecError as error:
        raise _malformed(f"docker-manifest-digest: {error}") from None


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{what}: expected a string")
    return value


def _optional(value: object) -> Mapping[str, JSONValue]:
    return FrozenDict() if value is None else frozen_object(_object(value, "optional"))


def frozen_object(value: dict[str, object]) -> FrozenDict[str, JSONValue]:
    """Parsed JSON that nobody can change any more."""
    return cast("FrozenDict[str, JSONValue]", freeze(value))


def _malformed(message: str) -> InvalidSignature:
    return InvalidSignature(Reason.MALFORMED, f"simple signing: {message}")
