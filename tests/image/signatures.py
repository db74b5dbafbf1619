"""Signatures as an attacker would place them: any bytes in any place."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ociworks import testing
from ociworks.image import Image, sign
from ociworks.image.sign.evidence import BUNDLE_TYPE, NOTATION_TYPE, signature_tag
from ociworks.image.sign.statement import pae
from ociworks.spec import Digest, FrozenDict, to_json
from ociworks.spec.image import EMPTY, Descriptor, Manifest, mediatypes

__all__ = [
    "IMAGE",
    "NAME",
    "SIGNATURE",
    "SIMPLE",
    "Place",
    "b64",
    "bundle",
    "log_entry",
    "payload",
    "signature",
    "statement",
]

NAME = "registry.example/prod/app:1"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
IMAGE: Image = testing.random_image(1)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def payload(
    digest: object = IMAGE.digest, name: object = "registry.example/prod/app", **optional: object
) -> dict[str, Any]:
    return {
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": str(digest) if isinstance(digest, Digest) else digest},
            "type": "cosign container image signature",
        },
        "optional": optional or None,
    }


def signature(key: sign.PrivateKey, message: bytes, **annotations: str) -> dict[str, str]:
    """The annotations of a layer with this payload."""
    return {SIGNATURE: b64(key.sign(message)), **annotations}


class Place(sign.MemoryAttachments):
    """Attachments that hold whatever they are told to."""

    def layers(
        self, *layers: tuple[bytes, Mapping[str, str]], kind: str = SIMPLE, subject: Digest = IMAGE.digest
    ) -> Place:
        """A manifest under the signature tag."""
        described = [
            Descriptor(
                media_type=kind,
                digest=Digest.of(content),
                size=len(content),
                annotations=FrozenDict(annotations),
            )
            for content, annotations in layers
        ]
        manifest = Manifest(media_type=mediatypes.OCI_MANIFEST, config=EMPTY, layers=tuple(described))
        blobs = {entry: content for entry, (content, _) in zip(described, layers, strict=True)}
        self.attach(to_json(manifest), {**blobs, EMPTY: b"{}"}, signature_tag(subject))
        return self

    def signed(self, key: sign.PrivateKey, document: Mapping[str, Any] | bytes, **annotations: str) -> Place:
        """One signature that is genuine, over any document."""
        message = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.layers((message, signature(key, message, **annotations)))

    def refers(
        self,
        content: bytes,
        *,
        artifact_type: str = BUNDLE_TYPE,
        media_type: str = BUNDLE_TYPE,
        subject: Descriptor = IMAGE.descriptor,
    ) -> Place:
        """A referrer of one layer."""
        layer = Descriptor.of(content, media_type)
        manifest = Manifest(
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type=artifact_type,
            config=EMPTY,
            layers=(layer,),
            subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
        )
        self.attach(to_json(manifest), {layer: content, EMPTY: b"{}"}, None)
        return self

    def envelope(self, content: bytes) -> Place:
        """A referrer with an envelope of notation."""
        return self.refers(content, artifact_type=NOTATION_TYPE, media_type="application/jose+json")

    def verify(
        self, *trusted: sign.PublicKey | sign.Trust, name: str = NAME, **options: Any
    ) -> sign.Verification:
        return sign.verify_image(self, IMAGE, *trusted, reference=name, options=sign.VerifyOptions(**options))


def statement(digests: Sequence[Digest] = (IMAGE.digest,), **members: object) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {each.algorithm: each.encoded}} for each in digests],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
        **members,
    }


def bundle(
    key: sign.PrivateKey,
    document: Mapping[str, Any] | bytes,
    *,
    kind: str = "application/vnd.in-toto+json",
    material: Mapping[str, Any] | None = None,
    **members: object,
) -> bytes:
    """A bundle with a genuine signature over any document."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    value = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": material or {"publicKey": {"hint": "x"}},
        "dsseEnvelope": {
            "payload": b64(body),
            "payloadType": kind,
            "signatures": [{"sig": b64(key.sign(pae(kind, body)))}],
        },
        **members,
    }
    return json.dumps(value).encode()


def log_entry(
    log: sign.PrivateKey,
    message: bytes,
    signed: bytes,
    verifier: bytes,
    *,
    time: int = 1_900_000_000,
    kind: str = "hashedrekord",
) -> dict[str, Any]:
    """An entry of a transparency log with its promise: as cosign's annotation has it."""
    digest = {"algorithm": "sha256", "value": hashlib.sha256(message).hexdigest()}
    specs: dict[str, Any] = {
        "hashedrekord": {
            "data": {"hash": digest},
            "signature": {"content": b64(signed), "publicKey": {"content": b64(verifier)}},
        },
        "dsse": {
            "envelopeHash": digest,
            "payloadHash": digest,
            "signatures": [{"signature": b64(signed), "verifier": b64(verifier)}],
        },
    }
    body = json.dumps({"apiVersion": "0.0.1", "kind": kind, "spec": specs.get(kind, {})}).encode()
    entry = {
        "body": b64(body),
        "integratedTime": time,
        "logIndex": 7,
        "logID": log.public.fingerprint.encoded,
    }
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    return {"Payload": entry, "SignedEntryTimestamp": b64(log.sign(canonical))}
