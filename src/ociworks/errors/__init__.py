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
    ├── PodError                         pods: requests to the Container Runtime Interface
    │   ├── InvalidRequest (ValueError)
    │   ├── PodNotFound (LookupError)
    │   ├── AlreadyReserved              another one has the name; carries its ID
    │   ├── PodStateError                its state does not allow this now
    │   ├── NetworkError                 pods cannot have a network, or not this one
    │   │   └── PluginFailed             carries the plugin, what it was asked, and the code of its answer
    │   ├── RegistryUnavailable          an image cannot be pulled now
    │   ├── SignatureValidationFailed    an image must not be used
    │   ├── TooMany                      a bound is reached
    │   ├── DeadlinePassed
    │   ├── ServerEnding                 the server ends meanwhile; the next one can be asked
    │   ├── StoreError                   what is recorded cannot be read or written
    │   ├── StreamError                  a client of the streaming server breaks its protocol or a bound
    │   └── ConfigError (ValueError)     the configuration of the server
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

Files: ``base`` is loaded at once, ``images``, ``containers`` and ``pods`` when one of their names is first used.
"""

from __future__ import annotations

from ociworks.errors.base import (
    ContentError,
    DigestMismatch,
    InvalidDigest,
    InvalidJSON,
    InvalidLocation,
    InvalidPlatform,
    InvalidReference,
    InvalidSpec,
    LimitExceeded,
    MediaTypeMismatch,
    MissingDependency,
    NotSupported,
    OciworksError,
    Problem,
    SizeMismatch,
    SpecError,
    UnsupportedDigest,
    quote,
)

TYPE_CHECKING = False  # not from typing: that import would be most of the cost of this package
if TYPE_CHECKING:
    from ociworks.errors.containers import (
        CgroupError,
        CheckpointFailed,
        CommandFailed,
        CommandNotFound,
        ContainerError,
        ContainerExists,
        ContainerNotFound,
        ContainerTimeout,
        CreateFailed,
        ExitStatusUnknown,
        IllegalTransition,
        LauncherError,
    )
    from ociworks.errors.images import (
        ArchiveError,
        AuthFileError,
        BlobNotFound,
        BundleExists,
        CompressionError,
        CredentialHelperError,
        Forbidden,
        HostsConfigError,
        ImageConfigError,
        ImageError,
        ImageFileError,
        ImageFileNotFound,
        ImageNotFound,
        InvalidImage,
        InvalidKey,
        InvalidSignature,
        LayerError,
        LayoutError,
        NotBasedOn,
        NotFound,
        PolicyError,
        RateLimited,
        RegistryBlocked,
        RegistryError,
        RegistryProtocolError,
        RegistryResponseError,
        RegistryUnreachable,
        ShortNameError,
        SignatureError,
        TarError,
        Unauthorized,
        VerificationFailed,
    )
    from ociworks.errors.pods import (
        AlreadyReserved,
        ConfigError,
        DeadlinePassed,
        InvalidRequest,
        NetworkError,
        PluginFailed,
        PodError,
        PodNotFound,
        PodStateError,
        RegistryUnavailable,
        ServerEnding,
        SignatureValidationFailed,
        StoreError,
        StreamError,
        TooMany,
    )

__all__ = [
    "AlreadyReserved",
    "ArchiveError",
    "AuthFileError",
    "BlobNotFound",
    "BundleExists",
    "CgroupError",
    "CheckpointFailed",
    "CommandFailed",
    "CommandNotFound",
    "CompressionError",
    "ConfigError",
    "ContainerError",
    "ContainerExists",
    "ContainerNotFound",
    "ContainerTimeout",
    "ContentError",
    "CreateFailed",
    "CredentialHelperError",
    "DeadlinePassed",
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
    "InvalidRequest",
    "InvalidSignature",
    "InvalidSpec",
    "LauncherError",
    "LayerError",
    "LayoutError",
    "LimitExceeded",
    "MediaTypeMismatch",
    "MissingDependency",
    "NetworkError",
    "NotBasedOn",
    "NotFound",
    "NotSupported",
    "OciworksError",
    "PluginFailed",
    "PodError",
    "PodNotFound",
    "PodStateError",
    "PolicyError",
    "Problem",
    "RateLimited",
    "RegistryBlocked",
    "RegistryError",
    "RegistryProtocolError",
    "RegistryResponseError",
    "RegistryUnavailable",
    "RegistryUnreachable",
    "ServerEnding",
    "ShortNameError",
    "SignatureError",
    "SignatureValidationFailed",
    "SizeMismatch",
    "SpecError",
    "StoreError",
    "StreamError",
    "TarError",
    "TooMany",
    "Unauthorized",
    "UnsupportedDigest",
    "VerificationFailed",
    "quote",
]


if not TYPE_CHECKING:  # a type checker shall find misspelt names, so it must not see this

    def __getattr__(name: str) -> object:
        """Load a public name of the runtime's, of images or of pods when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ociworks.errors import containers

        home = containers
        if name not in home.__all__:
            from ociworks.errors import images

            home = images
        if name not in home.__all__:
            from ociworks.errors import pods

            home = pods
        value = getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
