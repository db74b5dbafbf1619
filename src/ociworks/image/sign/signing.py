"""Signing: making signatures that cosign, skopeo, podman and notation verify, and attaching them to the image.

::

    sign(registry, "registry.example/app:1.4", PrivateKey.from_pem("cosign.key", password=…))
    sign(registry, ref, key, options=SignOptions(form="bundle"))
    attest(registry, ref, key, "https://spdx.dev/Document", sbom)

Signatures of others stay. Under cosign's tag all signatures share one manifest, so two signers at the same moment may
overwrite each other there (as with cosign itself); what was stored is read back, and the signature is added again when
it is not there. Bundles and notation's envelopes are manifests of their own, and have no such moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import evolve, field, frozen

from ociworks.errors import InvalidSignature, NotSupported, SignatureError
from ociworks.image.artifact import Blob, artifact
from ociworks.image.reference import Reference
from ociworks.image.sign import payload
from ociworks.image.sign._encoding import base64, to_base64
from ociworks.image.sign._material import SIGNATURE
from ociworks.image.sign.attachments import Attachments, Source, attachments_of
from ociworks.image.sign.evidence import BUNDLE_TYPE, signature_tag
from ociworks.image.sign.keys import Signer
from ociworks.image.sign.limits import DEFAULT_LIMITS, Limits
from ociworks.image.sign.reason import Form
from ociworks.image.sign.statement import PAYLOAD_TYPE, SIGN_PREDICATE, Statement, pae
from ociworks.image.sign.trust import frozen_texts
from ociworks.image.sign.verifying import find
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict, JSONValue, _json, to_json
from ociworks.spec.image import (
    EMPTY,
    Descriptor,
    ImageConfiguration,
    Manifest,
    RootFS,
    mediatypes,
    read_manifest,
)
from ociworks.spec.image.annotations import CREATED

__all__ = ["SignOptions", "attest", "sign", "sign_image"]

_ATTEMPTS: Final = 4


@frozen(kw_only=True)
class SignOptions:
    """How to sign."""

    form: Form = "cosign"
    """``cosign``: the tag that every verifier knows. ``bundle``: a sigstore bundle, found through the referrers.
    ``notation`` is made by :func:`ociworks.image.sign.sign_notation`."""
    identity: Reference | str | None = None
    """The name to sign the image as; None is the name it was found by, with its tag if it has one, else its digest.
    Bundles have none."""
    annotations: Mapping[str, str] = field(default=FrozenDict(), converter=frozen_texts)
    """Claims to sign beside the digest."""
    now: datetime | None = None
    """The time to note on the manifest of a bundle; nobody believes it."""
    limits: Limits = DEFAULT_LIMITS


def sign(
    source: Source, ref: Reference | str | Digest, signer: Signer, *, options: SignOptions | None = None
) -> Digest:
    """Sign the image or index that ``ref`` names now; gives its digest, which is what was signed.

    Of an index the index is signed, not its images. Raises what reading and writing ``source`` raises, and
    :class:`~ociworks.errors.SignatureError`.
    """
    image, reference = find(source, ref)
    return sign_image(source, image, signer, reference=reference, options=options)


def sign_image(
    source: Source,
    image: Image | ImageIndex,
    signer: Signer,
    *,
    reference: Reference | str | None = None,
    options: SignOptions | None = None,
) -> Digest:
    """The same for an image that was already read. ``reference`` says in which repository the signature is stored."""
    chosen = options or SignOptions()
    name = Reference.parse(reference) if isinstance(reference, str) else reference
    place = attachments_of(source, name)
    if chosen.form == "cosign":
        _sign_tagged(place, image, signer, name, chosen)
    elif chosen.form == "bundle":
        predicate: Mapping[str, JSONValue] = chosen.annotations
        _attach_statement(place, image, signer, _statement(image, SIGN_PREDICATE, predicate), chosen)
    else:
        raise NotSupported(
            f"sign() makes the forms cosign and bundle, not {chosen.form}; see sign_notation()"
        )
    return image.digest


def attest(
    source: Source,
    ref: Reference | str | Digest,
    signer: Signer,
    predicate_type: str,
    predicate: Mapping[str, JSONValue],
    *,
    options: SignOptions | None = None,
) -> Digest:
    """Sign an in-toto statement about the image and attach it as a bundle; gives the image's digest."""
    image, reference = find(source, ref)
    statement = _statement(image, predicate_type, predicate)
    _attach_statement(attachments_of(source, reference), image, signer, statement, options or SignOptions())
    return image.digest


# cosign's tag


def _sign_tagged(
    place: Attachments,
    image: Image | ImageIndex,
    signer: Signer,
    name: Reference | None,
    options: SignOptions,
) -> None:
    message = payload.write(
        payload.Payload(digest=image.digest, identity=_identity(name, options), optional=options.annotations)
    )
    signature = signer.sign(message)
    signer.public.verify(signature, message)
    described = Descriptor.of(message, payload.MEDIA_TYPE)
    layer = evolve(described, annotations=FrozenDict({SIGNATURE: to_base64(signature)}))
    for attempt in range(_ATTEMPTS + 1):
        found = _present(place, image.digest, options.limits)
        if any(_same(existing, layer, signer, message) for existing in found.layers):
            return
        if attempt == _ATTEMPTS:
            break
        manifest, config = _with_layer(found, layer)
        place.attach(
            to_json(manifest), {manifest.config: config, described: message}, signature_tag(image.digest)
        )
    raise SignatureError(
        f"the signature of {image.digest} does not stay: others write its tag {signature_tag(image.digest)}"
    )


def _identity(name: Reference | None, options: SignOptions) -> str:
    given = options.identity if options.identity is not None else name
    if given is None:
        raise SignatureError("expected a name to sign the image as: give SignOptions(identity=…)")
    found = Reference.parse(given) if isinstance(given, str) else given
    if found.tag is None:
        return str(found if found.digest is not None or options.identity is not None else f"{found}:latest")
    return f"{found.name}:{found.tag}"


def _present(place: Attachments, digest: Digest, limits: Limits) -> Manifest:
    raw = place.tagged(signature_tag(digest))
    if raw is None:
        return Manifest(media_type=mediatypes.OCI_MANIFEST, config=EMPTY, layers=())
    found = read_manifest(raw).value
    if not isinstance(found, Manifest):
        raise SignatureError(
            f"expected the manifest of signatures under {signature_tag(digest)}, found an index"
        )
    if len(found.layers) >= limits.max_signatures:
        raise SignatureError(
            f"{digest} has {len(found.layers)} signatures already; verifiers would refuse more"
        )
    return found


def _same(existing: Descriptor, layer: Descriptor, signer: Signer, message: bytes) -> bool:
    """Whether the signer signed these very words before."""
    if existing.digest != layer.digest:
        return False
    try:
        signer.public.verify(base64(existing.annotations.get(SIGNATURE, ""), SIGNATURE), message)
    except InvalidSignature:
        return False
    return True


def _with_layer(found: Manifest, layer: Descriptor) -> tuple[Manifest, bytes]:
    """The manifest with one more signature; the configuration lists the layers, as other signers expect."""
    layers = (*found.layers, layer)
    config = to_json(
        ImageConfiguration(
            architecture="", os="", rootfs=RootFS(diff_ids=tuple(each.digest for each in layers))
        )
    )
    return evolve(found, layers=layers, config=Descriptor.of(config, mediatypes.OCI_CONFIG)), config


# Bundles


def _statement(
    image: Image | ImageIndex, predicate_type: str, predicate: Mapping[str, JSONValue]
) -> Statement:
    return Statement(subjects=(image.digest,), predicate_type=predicate_type, predicate=FrozenDict(predicate))


def _attach_statement(
    place: Attachments,
    image: Image | ImageIndex,
    signer: Signer,
    statement: Statement,
    options: SignOptions,
) -> None:
    bundle = _bundle(signer, statement.write())
    annotations = {
        CREATED: (options.now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": statement.predicate_type,
    }
    made = artifact(
        BUNDLE_TYPE, [Blob.of(bundle, BUNDLE_TYPE)], subject=image.descriptor, annotations=annotations
    )
    place.attach(made.raw_manifest, {EMPTY: b"{}", made.manifest.layers[0]: bundle}, None)


def _bundle(signer: Signer, body: bytes) -> bytes:
    message = pae(PAYLOAD_TYPE, body)
    signature = signer.sign(message)
    signer.public.verify(signature, message)
    return _json.dumps(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signer.public.hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": to_base64(body),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": to_base64(signature)}],
            },
        }
    )
