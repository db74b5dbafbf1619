"""Every error that ociworks raises, drawn as a tree.

::

    OciworksError
    ├── SpecError (ValueError)           a document or a value breaks a specification
    │   ├── InvalidJSON                  bytes that are not one bounded, strict JSON document
    │   ├── InvalidSpec                  well-formed JSON with problems; carries all of them
    │   ├── InvalidDigest                text that is not a digest
    │   ├── UnsupportedDigest            a digest whose algorithm is not verified here
    │   ├── InvalidPlatform              text that is not a platform
    │   ├── InvalidReference             text that is not an image reference
    │   └── InvalidLocation              text that does not say where an image is
    ├── ContentError                     bytes differ from what their descriptor promises
    │   ├── DigestMismatch
    │   ├── MediaTypeMismatch            the sources of a media type disagree, or the shape does not fit
    │   └── SizeMismatch
    ├── LimitExceeded                    a bound from a Limits object was reached
    ├── MissingDependency                a program, library or kernel feature is not there
    ├── NotSupported                     asked for something that ociworks or this host cannot do
    ├── ImageError                       images: stores, registries, layers
    │   ├── AuthFileError                a file of credentials cannot be read, or is not one
    │   ├── CredentialHelperError        a credential helper is missing, failed, or answered nonsense
    │   ├── HostsConfigError             a file of this host's registry configuration is wrong
    │   ├── RegistryBlocked              this host's configuration forbids the registry
    │   ├── ShortNameError               a name without registry that stands for none, or for several
    │   ├── BlobNotFound
    │   ├── ImageNotFound
    │   ├── ImageFileError               a file inside an image is not of the kind that was asked for
    │   │   └── ImageFileNotFound        there is none
    │   ├── BundleExists                 a bundle would replace something
    │   ├── LayoutError                  an OCI layout on disk is damaged or unsafe
    │   ├── ArchiveError                 an archive of images is damaged, unsafe, or not one
    │   ├── LayerError                   a layer cannot be read or unpacked safely
    │   │   ├── CompressionError
    │   │   └── TarError
    │   ├── ImageConfigError             an image configuration cannot become a container
    │   ├── InvalidImage                 an image with problems; carries all of them
    │   ├── NotBasedOn                   an image does not sit on the base that it should be lifted from
    │   ├── SignatureError               signatures: keys, evidence, trust
    │   │   ├── InvalidKey               a key or certificate that is none, or none that is accepted
    │   │   ├── InvalidSignature         evidence that does not hold
    │   │   ├── PolicyError              a file that says what to trust cannot be used
    │   │   └── VerificationFailed       what was required is not there; carries who signed and who did not
    │   └── RegistryError                a registry said no, or could not be asked
    │       ├── RegistryResponseError    it answered with an error status
    │       │   ├── Unauthorized
    │       │   ├── Forbidden
    │       │   ├── NotFound
    │       │   └── RateLimited
    │       ├── RegistryProtocolError    it answered against the specification, or unsafely
    │       └── RegistryUnreachable      it could not be reached, or not in time
    └── ContainerError                   containers
        ├── ContainerExists
        ├── ContainerNotFound
        ├── IllegalTransition            the lifecycle does not allow this now
        ├── CreateFailed                 a step of create, start or exec failed; names the step
        │   └── CommandNotFound          the program to execute is not in the container
        ├── CommandFailed                raised by ``check=True``; carries the completed run
        ├── ContainerTimeout             carries the output so far
        ├── ExitStatusUnknown            it ended, and who would have been told the status was killed
        ├── CheckpointFailed             criu could not dump or restore a container
        ├── LauncherError                the helper process ended or broke its protocol
        └── CgroupError                  a control group cannot be made, set or read

Messages say what was expected, what was found, where, and what to do next. Text that comes from outside
is escaped (:func:`quote`) before it enters a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ociworks.image.sign import Decision, Reason, Verification
    from ociworks.runtime import CompletedContainer

__all__ = [
    "ArchiveError",
    "AuthFileError",
    "BlobNotFound",
    "BundleExists",
    "CgroupError",
    "CheckpointFailed",
    "CommandFailed",
    "CommandNotFound",
    "CompressionError",
    "ContainerError",
    "ContainerExists",
    "ContainerNotFound",
    "ContainerTimeout",
    "ContentError",
    "CreateFailed",
    "CredentialHelperError",
    "DigestMismatch",
    "ExitStatusUnknown",
    "Forbidden",
    "HostsConfigError",
    "IllegalTransition",
    "ImageConfigError",
    "ImageError",
    "ImageFileError",
    "ImageFileNotFound",
    "ImageNotFound",
    "InvalidDigest",
    "InvalidImage",
    "InvalidJSON",
    "InvalidKey",
    "InvalidLocation",
    "InvalidPlatform",
    "InvalidReference",
    "InvalidSignature",
    "InvalidSpec",
    "LauncherError",
    "LayerError",
    "LayoutError",
    "LimitExceeded",
    "MediaTypeMismatch",
    "MissingDependency",
    "NotBasedOn",
    "NotFound",
    "NotSupported",
    "OciworksError",
    "PolicyError",
    "Problem",
    "RateLimited",
    "RegistryBlocked",
    "RegistryError",
    "RegistryProtocolError",
    "RegistryResponseError",
    "RegistryUnreachable",
    "ShortNameError",
    "SignatureError",
    "SizeMismatch",
    "SpecError",
    "TarError",
    "Unauthorized",
    "UnsupportedDigest",
    "VerificationFailed",
    "quote",
]


def quote(text: str | bytes, limit: int = 200) -> str:
    """Render untrusted text for a message: printable ASCII in quotes, all else escaped, cut at ``limit``."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    shown = ascii(text[:limit])
    return shown + "…" if len(text) > limit else shown


@final
class Problem:
    """One thing wrong with a value: where (a JSON path such as ``$.process.args[1]``), what, by which section."""

    __slots__ = ("message", "path", "section")

    def __init__(self, path: str, message: str, section: str = "") -> None:
        self.path = path
        self.message = message
        self.section = section

    def __repr__(self) -> str:
        return f"Problem({self.path!r}, {self.message!r}, {self.section!r})"

    def __str__(self) -> str:
        tail = f" ({self.section})" if self.section else ""
        return f"{self.path}: {self.message}{tail}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        return (self.path, self.message, self.section) == (other.path, other.message, other.section)

    def __hash__(self) -> int:
        return hash((self.path, self.message, self.section))


class OciworksError(Exception):
    """The root of every error that ociworks raises on purpose."""


class SpecError(OciworksError, ValueError):
    """A document or value does not follow its specification."""


class InvalidJSON(SpecError):
    """The bytes are not one JSON document within the bounds (size, depth, numbers, strict UTF-8, no duplicates)."""


class InvalidSpec(SpecError):
    """A document has problems; ``problems`` holds all of them, in document order."""

    def __init__(self, problems: Sequence[Problem], what: str = "") -> None:
        self.problems = tuple(problems)
        self.what = what
        count = len(self.problems)
        head = f"{what}: " if what else ""
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{head}{count} problem{'' if count == 1 else 's'}{lines}")


class InvalidDigest(SpecError):
    """Text that is not ``algorithm:encoded`` (image-spec descriptor.md, Digests)."""


class UnsupportedDigest(SpecError):
    """A digest whose algorithm ociworks does not verify; only sha256, sha384 and sha512 are."""


class InvalidPlatform(SpecError):
    """Text that is not ``os[/architecture[/variant]]``."""


class InvalidReference(SpecError):
    """Text that is not an image reference (distribution-spec, Pull)."""


class InvalidLocation(SpecError):
    """Text that does not say where an image is (``docker://…``, ``oci:DIR:TAG``, ``docker-archive:FILE`` …)."""


class ContentError(OciworksError):
    """Bytes differ from what their descriptor promises."""


class DigestMismatch(ContentError):
    """The bytes have another digest than expected. ``what`` names the object, ``size`` the bytes read."""

    def __init__(self, what: str, expected: str, found: str, size: int) -> None:
        self.what, self.expected, self.found, self.size = what, expected, found, size
        super().__init__(f"{what}: expected {expected}, got {found} after {size} bytes")


class SizeMismatch(ContentError):
    """There are fewer or more bytes than the descriptor's size."""

    def __init__(self, what: str, expected: int, found: int) -> None:
        self.what, self.expected, self.found = what, expected, found
        more = "at least " if found > expected else ""
        super().__init__(f"{what}: expected {expected} bytes, got {more}{found}")


class MediaTypeMismatch(ContentError):
    """Content-Type, descriptor and ``mediaType`` disagree, or the bytes do not have the shape of their type."""


class LimitExceeded(OciworksError):
    """A bound was reached. ``limit`` is the name of the bound in its Limits object, ``maximum`` its value."""

    def __init__(self, what: str, limit: str, maximum: int) -> None:
        self.what, self.limit, self.maximum = what, limit, maximum
        super().__init__(f"{what}: more than {maximum} ({limit}); raise this limit if the content is trusted")


class MissingDependency(OciworksError):
    """A program, library or kernel feature is missing; the message says how to get it."""


class NotSupported(OciworksError):
    """Something that ociworks or this host cannot do was asked for; nothing has been created."""


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


class ContainerError(OciworksError):
    """The root of container errors."""


class ContainerExists(ContainerError):
    """A container of this ID exists already."""


class ContainerNotFound(ContainerError, KeyError):
    """No container of this ID."""

    __str__ = Exception.__str__


class IllegalTransition(ContainerError):
    """The lifecycle does not allow this operation in the container's present state."""


class CreateFailed(ContainerError):
    """A step failed. ``step`` names it, ``errno`` is the kernel's number (0: none), ``path`` where it matters."""

    def __init__(self, message: str, *, step: str, errno: int = 0, path: str = "") -> None:
        self.step, self.errno, self.path = step, errno, path
        super().__init__(message)


class CommandNotFound(CreateFailed):
    """The program to execute is missing or not executable in the container."""


class CommandFailed(ContainerError):
    """A run with ``check=True`` ended with another status than 0; ``completed`` is the run."""

    def __init__(self, completed: CompletedContainer) -> None:
        self.completed = completed
        super().__init__(f"{completed.args!r} returned exit status {completed.returncode}")


class ContainerTimeout(ContainerError, TimeoutError):
    """The container did not end within ``timeout`` seconds and was killed; output so far is kept."""

    def __init__(self, message: str, *, timeout: float, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.timeout, self.stdout, self.stderr = timeout, stdout, stderr
        super().__init__(message)

    __str__ = Exception.__str__


class ExitStatusUnknown(ContainerError):
    """A detached container has ended, but its shim was killed before it could write down how."""


class CheckpointFailed(ContainerError):
    """A container could not be dumped or restored; ``log`` is the path of criu's log, where there is one."""

    def __init__(self, message: str, *, log: str) -> None:
        self.log = log
        super().__init__(message)


class LauncherError(ContainerError):
    """The helper process ended unexpectedly or broke its protocol."""


class CgroupError(ContainerError):
    """A control group cannot be made, set or read."""
