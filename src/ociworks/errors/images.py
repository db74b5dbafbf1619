"""Images: stores, registries, layers, signatures."""

from __future__ import annotations

from ociworks.errors.base import OciworksError, Problem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ociworks.image.sign import Decision, Reason, Verification

__all__ = [
    "ArchiveError",
    "AuthFileError",
    "BlobNotFound",
    "BundleExists",
    "CompressionError",
    "CredentialHelperError",
    "Forbidden",
    "HostsConfigError",
    "ImageConfigError",
    "ImageError",
    "ImageFileError",
    "ImageFileNotFound",
    "ImageNotFound",
    "InvalidImage",
    "InvalidKey",
    "InvalidSignature",
    "LayerError",
    "LayoutError",
    "NotBasedOn",
    "NotFound",
    "PolicyError",
    "RateLimited",
    "RegistryBlocked",
    "RegistryError",
    "RegistryProtocolError",
    "RegistryResponseError",
    "RegistryUnreachable",
    "ShortNameError",
    "SignatureError",
    "TarError",
    "Unauthorized",
    "VerificationFailed",
]


class ImageError(OciworksError):
    """The root of image errors."""


class AuthFileError(ImageError):
    """A file of credentials cannot be read, or is not one. Its content is never shown."""


class CredentialHelperError(ImageError):
    """A ``docker-credential-*`` program is missing, failed, took too long or answered nonsense.

    What it printed is never shown. No other source of credentials is asked instead.
    """


class HostsConfigError(ImageError):
    """A file of this host's registry configuration cannot be read, or says what it cannot say.

    ``file`` is its path, ``where`` the key or the line in it (empty: the file as a whole).
    """

    def __init__(self, file: str, where: str, message: str) -> None:
        self.file, self.where = file, where
        key = f"{quote(where)[1:-1]}: " if where else ""
        super().__init__(f"{quote(file)}: {key}{message}")


class RegistryBlocked(ImageError):
    """This host's configuration forbids the registry; ``rule`` is the prefix that says so."""

    def __init__(self, reference: str, rule: str) -> None:
        self.reference, self.rule = reference, rule
        super().__init__(
            f"{quote(reference)}: blocked by the registry {quote(rule)} in this host's registries.conf; "
            "use another registry or remove blocked = true"
        )


class ShortNameError(ImageError):
    """A name without registry cannot be resolved; ``candidates`` are what it could stand for."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        self.name, self.candidates = name, tuple(candidates)
        found = f"{', '.join(candidates)} are all possible" if candidates else "no registry is searched"
        super().__init__(
            f"short name {quote(name)}: expected one meaning, but {found}; write the name with its registry, "
            "or add an alias to registries.conf"
        )


class BlobNotFound(ImageError, KeyError):
    """The store or layout does not hold this blob."""

    __str__ = Exception.__str__


class ImageNotFound(ImageError, KeyError):
    """No image of this name, digest or platform."""

    __str__ = Exception.__str__


class ImageFileError(ImageError):
    """A file inside an image is not of the kind that was asked for."""


class ImageFileNotFound(ImageFileError, FileNotFoundError):
    """There is no such file inside the image."""


class BundleExists(ImageError):
    """There is something where a bundle should appear; nothing was changed."""


class LayoutError(ImageError):
    """An OCI layout on disk is damaged, or something in it is not what it must be."""


class ArchiveError(ImageError):
    """A file of images (oci-archive, docker-archive) is damaged, has something unsafe in it, or is not one."""


class LayerError(ImageError):
    """A layer cannot be read, or not safely."""


class CompressionError(LayerError):
    """Compressed bytes are truncated, corrupt, followed by junk, or not what the media type says."""


class TarError(LayerError):
    """A tar archive is damaged or has an entry that must not be unpacked; ``entry`` names it, escaped."""

    def __init__(self, message: str, entry: str = "") -> None:
        self.entry = entry
        super().__init__(f"entry {entry}: {message}" if entry else message)


class ImageConfigError(ImageError):
    """An image configuration cannot become a runtime configuration."""


class InvalidImage(ImageError):
    """An image or index has problems; ``problems`` holds all of them."""

    def __init__(self, problems: Sequence[Problem], what: str) -> None:
        self.problems = tuple(problems)
        self.what = what
        count = len(self.problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{what}: {count} problem{'' if count == 1 else 's'}{lines}")


class NotBasedOn(ImageError):
    """An image does not begin with the layers of that base, or is for another platform than the new one."""


class SignatureError(ImageError):
    """The root of errors about signatures."""


class InvalidKey(SignatureError):
    """A key or certificate that is none, is of a kind that is not accepted, or does not open with this password."""


class InvalidSignature(SignatureError):
    """A signature, its payload or its envelope does not hold; ``reason`` is the kind, for programs."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class PolicyError(SignatureError):
    """A file that says what to trust is missing, unsafe or wrong; nothing is accepted on its word."""


class VerificationFailed(SignatureError):
    """The signatures that were required are not there; ``result`` says who signed, who did not, and why."""

    def __init__(self, result: Verification | Decision) -> None:
        self.result = result
        super().__init__(str(result))


class RegistryError(ImageError):
    """The root of registry errors; ``url`` is redacted (no query, no user information)."""

    def __init__(self, message: str, *, url: str = "", temporary: bool = False) -> None:
        self.url = url
        self.temporary = temporary
        super().__init__(f"{message} ({url})" if url else message)


class RegistryResponseError(RegistryError):
    """The registry answered with an error; ``status`` is the HTTP status, ``codes`` the error codes in the body.

    ``retry_after`` is the pause in seconds that the registry asks for, None when it asks for none.
    """

    retry_after: float | None = None

    def __init__(
        self, message: str, *, status: int, codes: Sequence[str] = (), url: str = "", temporary: bool = False
    ) -> None:
        self.status = status
        self.codes = tuple(codes)
        super().__init__(message, url=url, temporary=temporary)


class Unauthorized(RegistryResponseError):
    """401: credentials are missing or wrong."""


class Forbidden(RegistryResponseError):
    """403: these credentials may not do this."""


class NotFound(RegistryResponseError):
    """404: no such repository, manifest or blob."""


class RateLimited(RegistryResponseError):
    """429: too many requests; ``limit`` of them are allowed and ``remaining`` are left, when the registry said so."""

    limit: int | None = None
    remaining: int | None = None


class RegistryProtocolError(RegistryError):
    """The answer breaks the distribution specification, or following it would be unsafe."""


class RegistryUnreachable(RegistryError):
    """No answer: name resolution, connection, TLS, or a deadline."""
