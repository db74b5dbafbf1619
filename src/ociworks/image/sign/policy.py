"""A policy: which images may be used, decided before anything of them is (containers-policy.json(5)).

::

    policy = Policy.load()                                      # this user's, else the system's
    index = registry.index(ref)
    img = index.image("linux/arm64")
    policy.check(registry, ref, img, within=index).raise_if_failed()

The requirements of the most specific scope apply, all of them:

========================================  ==================================================================
scope of ``docker``, most specific first  example
========================================  ==================================================================
the reference                             ``registry.example/team/app:1``, ``registry.example/team/app@sha256:…``
the repository and its parents            ``registry.example/team/app``, ``registry.example/team``
the registry                              ``registry.example``, with its port if it has one
all registries of a domain                ``*.example``, without a port
the transport                             the empty scope
everything                                ``default``
========================================  ==================================================================

For ``oci`` and ``oci-archive`` the scopes are the path and its parents. An image that was chosen from an index
satisfies a requirement by a signature of its own, or by one of the very index that lists it; listed it must be, by
digest.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Self

from attrs import field, frozen

from ociworks.errors import LimitExceeded, NotSupported, VerificationFailed
from ociworks.image import partial
from ociworks.image.reference import Reference
from ociworks.image.sign import policyfile
from ociworks.image.sign.attachments import Source
from ociworks.image.sign.limits import DEFAULT_LIMITS, Limits
from ociworks.image.sign.policyfile import Scopes
from ociworks.image.sign.requirements import Outcome, Question, Requirement
from ociworks.image.sign.verifying import find
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict
from ociworks.spec.image import mediatypes

if TYPE_CHECKING:
    from ociworks.image._catalog import Catalog

__all__ = ["Decision", "Policy"]

_DEFAULT: Final = "default"


@frozen(kw_only=True)
class Decision:
    """The verdict of a policy about one image, and how each requirement came out."""

    image: Image | ImageIndex = field(repr=False)
    """What was decided about, exactly these bytes."""
    reference: Reference | None
    """Where it is, by digest."""
    scope: str
    """Whose requirements applied: ``docker:registry.example/team`` or ``default``."""
    outcomes: tuple[Outcome, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether there are requirements and all of them are satisfied."""
        return bool(self.outcomes) and all(outcome.accepted for outcome in self.outcomes)

    def __bool__(self) -> bool:
        return self.accepted

    def raise_if_failed(self) -> Self:
        """The decision itself if it accepts, otherwise :class:`~ociworks.errors.VerificationFailed`."""
        if not self.accepted:
            raise VerificationFailed(self)
        return self

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import decision

        return decision(self)

    def __str__(self) -> str:
        name = self.reference or self.image.digest
        verdict = "accepted" if self.accepted else "rejected"
        lines = "".join(f"\n  {outcome.requirement}: {outcome.message}" for outcome in self.outcomes)
        return f"{name}: {verdict} by the policy for {self.scope}{lines}"


@frozen
class Policy:
    """The requirements by transport and scope. Immutable; the files that it names are read at each check."""

    default: tuple[Requirement, ...]
    transports: Mapping[str, Scopes] = FrozenDict()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """From a file; None is ``~/.config/containers/policy.json``, else ``/etc/containers/policy.json``.

        Raises :class:`~ociworks.errors.PolicyError` when it is missing, wrong, or can be written by others.
        """
        return cls.parse(policyfile.read(policyfile.default_path() if path is None else path))

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From the content of a file; raises :class:`~ociworks.errors.PolicyError`."""
        return cls(*policyfile.parse(raw))

    def requirements(self, transport: str, scopes: Iterator[str]) -> tuple[str, tuple[Requirement, ...]]:
        """The first scope that the transport has, and its requirements; else the transport's, else the default."""
        found = self.transports.get(transport, FrozenDict())
        for scope in scopes:
            if scope in found:
                return f"{transport}:{scope}", found[scope]
        return (f"{transport}:", found[""]) if "" in found else (_DEFAULT, self.default)

    def check(
        self,
        source: Source,
        ref: Reference | str | Digest,
        image: Image | ImageIndex | None = None,
        *,
        within: ImageIndex | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Decision:
        """Decide about an image of a registry, layout or archive.

        ``image`` is what was read of ``ref`` (None: it is read now, and is in the decision); ``within`` the index that
        it was chosen from. Raises what reading raises, :class:`~ociworks.errors.LimitExceeded`, and
        :class:`~ociworks.errors.PolicyError` when a file that the policy names cannot be used.
        """
        reference = _named(source, ref)
        chosen = find(source, ref)[0] if image is None else image
        scope, needed = self._applying(source, reference)
        candidates: list[Image | ImageIndex] = [chosen]
        if within is not None and within.digest != chosen.digest and _lists(within, chosen.digest):
            candidates.append(within)
        outcomes = [
            _ask(each, [_question(source, candidate, reference, limits) for candidate in candidates])
            for each in needed
        ]
        return Decision(
            image=chosen,
            reference=None if reference is None else reference.at(chosen.digest),
            scope=scope,
            outcomes=tuple(outcomes),
        )

    def _applying(self, source: Source, reference: Reference | None) -> tuple[str, tuple[Requirement, ...]]:
        from ociworks.image._catalog import Catalog

        if isinstance(source, Catalog):
            return self.requirements(*_in_files(source))
        if reference is None:
            raise NotSupported(
                "expected a reference: the policy for images in registries goes by their names"
            )
        return self.requirements("docker", _names(reference))


def _question(
    source: Source, image: Image | ImageIndex, reference: Reference | None, limits: Limits
) -> Question:
    return Question(source=source, image=image, reference=reference, limits=limits)


def _ask(requirement: Requirement, questions: list[Question]) -> Outcome:
    """The first candidate that satisfies it; otherwise what the chosen image itself lacks."""
    first = requirement.ask(questions[0])
    if first.accepted:
        return first
    others = (requirement.ask(question) for question in questions[1:])
    return next((outcome for outcome in others if outcome.accepted), first)


def _named(source: Source, ref: Reference | str | Digest) -> Reference | None:
    """The name that scopes and identities go by. The tags of layouts are no such names."""
    from ociworks.image._catalog import Catalog

    if isinstance(ref, Reference):
        return ref
    return None if isinstance(ref, Digest) or isinstance(source, Catalog) else Reference.parse(ref)


def _in_files(source: Catalog) -> tuple[str, Iterator[str]]:
    """Transport and scopes of a layout or archive; a docker-archive has only the scope of its transport."""
    from ociworks.image.archive import Archive

    if not isinstance(source, Archive):
        return "oci", _directories(source.path)
    return f"{source.format}-archive", _directories(source.path) if source.format == "oci" else iter(())


def _names(reference: Reference) -> Iterator[str]:
    name = reference.name
    yield f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag or 'latest'}"
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    yield name
    labels = name.partition(":")[0].split(".")
    for start in range(1, len(labels)):
        yield "*." + ".".join(labels[start:])


def _directories(path: str) -> Iterator[str]:
    here = os.path.realpath(path)
    while here != "/":
        yield here
        here = os.path.dirname(here)


def _lists(index: ImageIndex, digest: Digest) -> bool:
    """Whether an index, or one nested in it, lists this digest; within the bounds of choosing an image."""
    waiting = deque([(index, 1)])
    seen = {index.digest}
    visited = 0
    while waiting:
        here, depth = waiting.popleft()
        visited += len(here.index.manifests)
        if visited > partial.MAX_VISITED:
            raise LimitExceeded(f"index {index.digest}", "max_visited", partial.MAX_VISITED)
        for entry in here.index.manifests:
            if entry.digest == digest:
                return True
            if (
                mediatypes.is_index(entry.media_type)
                and entry.digest not in seen
                and depth < partial.MAX_DEPTH
            ):
                seen.add(entry.digest)
                child = here.child(entry)
                if isinstance(child, ImageIndex):
                    waiting.append((child, depth + 1))
    return False
