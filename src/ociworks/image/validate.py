"""Every problem of an image or index: documents, descriptors, and (unless ``fast``) the content of all layers.

::

    validate.image(img).raise_if_failed()
    for problem in validate.index(idx, fast=True).problems: …

=====================  ========================================================================================
what                   is compared with
=====================  ========================================================================================
manifest, index        the descriptor that names them; their own bytes, read anew; the rules of the specification
configuration          the manifest's descriptor; its own bytes; the rules; one diff ID and history step per layer
layers                 the manifest's descriptors and the configuration's diff IDs, in order
content of layers      digest and size as they travel, compression by media type, diff ID, a tar archive that can be
                       read to its end, whiteouts that are ones; and whether the layers can be unpacked together
entries of an index    the documents that they name: digest, size, media type, platform
=====================  ========================================================================================

Problems are found, not raised; what prevents looking (an unreachable registry) is raised. Paths begin with the
document: ``manifest.layers[0].digest``, ``config.history``, ``layers[2]``, ``index.manifests[1]…``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from ociworks.errors import (
    BlobNotFound,
    ContentError,
    ImageConfigError,
    InvalidImage,
    LayerError,
    LimitExceeded,
    NotFound,
    NotSupported,
    Problem,
    SpecError,
    quote,
)
from ociworks.image import _parallel, partial
from ociworks.image.tar import DEFAULT_LIMITS, Limits
from ociworks.image.types import Image, ImageIndex, Layer
from ociworks.spec import Model, parse
from ociworks.spec import validate as rules_of
from ociworks.spec.image import Descriptor, ImageConfiguration, mediatypes, read_manifest
from ociworks.spec.validate.image import pair

if TYPE_CHECKING:
    from ociworks.image.tar import TarEntry

__all__ = ["Report", "image", "index"]

_FOUND = (
    BlobNotFound,
    ContentError,
    ImageConfigError,
    LayerError,
    LimitExceeded,
    NotFound,
    NotSupported,
    SpecError,
)
"""What says something about the image; any other error says something about the way to it."""
_WORKERS = 4


@frozen
class Report:
    """What was found; empty when there is nothing to say."""

    what: str
    """The image or index."""
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def raise_if_failed(self) -> None:
        """Raise :class:`~ociworks.errors.InvalidImage`, which carries all problems, unless there is none."""
        if self.problems:
            raise InvalidImage(self.problems, self.what)

    def __str__(self) -> str:
        if self.ok:
            return f"{self.what}: no problems"
        return str(InvalidImage(self.problems, self.what))

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import problems

        return problems(self.what, self.problems)


def image(img: Image, *, fast: bool = False, limits: Limits = DEFAULT_LIMITS) -> Report:
    """Look at everything in an image; ``fast`` leaves the content of layers unread.

    Raises what reading the layers raises when they cannot be reached, such as
    :class:`~ociworks.errors.RegistryUnreachable`.
    """
    return Report(f"image {img.digest}", tuple(_image(img, "", fast=fast, limits=limits)))


def index(idx: ImageIndex, *, fast: bool = False, limits: Limits = DEFAULT_LIMITS) -> Report:
    """Look at an index and everything that it lists, nested indexes too; each document once.

    Raises what :func:`image` raises.
    """
    walk = _Walk(fast, limits)
    return Report(f"index {idx.digest}", tuple(walk.index(idx, "", 1)))


class _Walk:
    """One look at an index: what was seen already, and the bounds of nesting."""

    def __init__(self, fast: bool, limits: Limits) -> None:  # noqa: FBT001
        self._fast = fast
        self._limits = limits
        self._seen: set[str] = set()

    def index(self, idx: ImageIndex, at: str, depth: int) -> Iterator[Problem]:
        yield from _document(idx.raw_index, idx.descriptor, idx.index, f"{at}index")
        for place, entry in enumerate(idx.index.manifests):
            if str(entry.digest) not in self._seen:
                self._seen.add(str(entry.digest))
                yield from self._entry(idx, entry, f"{at}index.manifests[{place}]", depth)

    def _entry(self, idx: ImageIndex, entry: Descriptor, at: str, depth: int) -> Iterator[Problem]:
        if not mediatypes.is_manifest(entry.media_type) and not mediatypes.is_index(entry.media_type):
            return
        try:
            child = idx.child(entry)
        except _FOUND as error:
            yield Problem(at, str(error))
            return
        if not isinstance(child, ImageIndex):
            yield from _image(child, f"{at}.", fast=self._fast, limits=self._limits)
            yield from _entry_platform(entry, child, f"{at}.platform")
        elif depth == partial.MAX_DEPTH:
            yield Problem(at, f"indexes are nested deeper than {partial.MAX_DEPTH}")
        else:
            yield from self.index(child, f"{at}.", depth + 1)


def _document(raw: bytes, descriptor: Descriptor, value: Model, at: str) -> Iterator[Problem]:
    """Bytes against their descriptor, the value against the bytes, the value against the rules."""
    try:
        found = read_manifest(raw, descriptor=descriptor)
    except _FOUND as error:
        yield Problem(at, str(error))
        return
    if found.value != value:
        yield Problem(at, "the value is not what the bytes say")
    yield from _placed(rules_of(value), at)


def _image(img: Image, at: str, *, fast: bool, limits: Limits) -> Iterator[Problem]:
    yield from _document(img.raw_manifest, img.descriptor, img.manifest, f"{at}manifest")
    config, problems = _configuration(img)
    yield from _placed(problems, f"{at}config")
    if config is not None:
        yield from _placed(pair(img.manifest, config), f"{at}manifest")
    yield from _layers(img, config, at)
    if fast:
        return
    yield from _contents(img.layers, at, limits)


def _configuration(img: Image) -> tuple[ImageConfiguration | None, list[Problem]]:
    """The configuration (None: an artifact's, or one that is damaged) and what is wrong with it."""
    described = img.manifest.config
    try:
        described.verify(img.raw_config, "configuration")
        if not mediatypes.is_config(described.media_type):
            return None, []
        config = parse(ImageConfiguration, img.raw_config)
    except _FOUND as error:
        return None, [Problem("$", str(error))]
    changed = [] if config == img.config else [Problem("$", "the value is not what the bytes say")]
    return config, [*changed, *rules_of(config)]


def _layers(img: Image, config: ImageConfiguration | None, at: str) -> Iterator[Problem]:
    """The layers are those of the manifest, with the diff IDs of the configuration."""
    listed = img.manifest.layers
    if len(img.layers) != len(listed):
        yield Problem(f"{at}layers", f"expected {len(listed)} as in the manifest, got {len(img.layers)}")
    sizes: dict[str, Descriptor] = {}
    for place, (layer, entry) in enumerate(zip(img.layers, listed, strict=False)):
        here = f"{at}layers[{place}]"
        if layer.descriptor != entry or (layer.digest, layer.size, layer.media_type) != _core(entry):
            yield Problem(here, f"is not what the manifest lists, {entry.digest}")
        first = sizes.setdefault(str(entry.digest), entry)
        if _core(first) != _core(entry):
            yield Problem(here, f"{entry.digest} is listed before with another size or media type")
        if config is not None and place < len(config.rootfs.diff_ids):
            wanted = config.rootfs.diff_ids[place]
            if layer.diff_id != wanted:
                yield Problem(here, f"expected diff ID {wanted}, got {layer.diff_id}")


def _core(entry: Descriptor) -> tuple[object, int, str]:
    return entry.digest, entry.size, entry.media_type


def _entry_platform(entry: Descriptor, img: Image, at: str) -> Iterator[Problem]:
    if entry.platform is None or not mediatypes.is_config(img.manifest.config.media_type):
        return
    said, found = entry.platform.normalized(), img.config.platform.normalized()
    if said.os != "unknown" and (said.os, said.architecture) != (found.os, found.architecture):
        message = f"the index says {quote(str(said))}, the image's configuration {quote(str(found))}"
        yield Problem(at, message, "image-spec image-index.md, platform")


def _contents(layers: Sequence[Layer], at: str, limits: Limits) -> Iterator[Problem]:
    """Several layers at a time; what is found comes in their order, and then what keeps them from coming together."""
    found: dict[int, list[TarEntry] | Problem | None] = {}

    def look(place: int, _checkpoint: Callable[[], None]) -> None:
        found[place] = _content(layers[place], f"{at}layers[{place}]", limits)

    _parallel.each(range(len(layers)), look, _WORKERS)
    yield from (each for place in range(len(layers)) if isinstance(each := found[place], Problem))
    archives = [each for place in range(len(layers)) if isinstance(each := found[place], list)]
    if len(archives) == len(layers):
        yield from _together(archives, at, limits)


def _content(layer: Layer, at: str, limits: Limits) -> list[TarEntry] | Problem | None:
    """Read a layer to its end: the entries of a filesystem layer, or the problem of any layer."""
    try:
        if mediatypes.is_layer(layer.media_type):
            return _archive(layer, limits)
        with layer.open():
            return None
    except BlobNotFound as error:
        return Problem(at, str(error)) if mediatypes.is_distributable(layer.media_type) else None
    except _FOUND as error:
        return Problem(at, str(error))


def _archive(layer: Layer, limits: Limits) -> list[TarEntry]:
    """Read the archive to its end, which proves digest, size and diff ID; whiteouts must be ones."""
    from ociworks.image._archives import open_archive
    from ociworks.image.tar.whiteout import classify

    entries = []
    with open_archive(layer, limits) as archive:
        for entry in archive:
            classify(entry)
            entries.append(entry)
    return entries


def _together(archives: Sequence[Sequence[TarEntry]], at: str, limits: Limits) -> Iterator[Problem]:
    """What unpacking would refuse: links that lead nowhere, files where a directory is needed, too many entries."""
    from ociworks.image._merged import MergedTree

    tree = MergedTree(limits)
    for place, entries in enumerate(archives):
        tree.begin_layer(place)
        try:
            for position, entry in enumerate(entries):
                tree.apply(entry, position)
        except _FOUND as error:
            yield Problem(f"{at}layers[{place}]", f"cannot be unpacked on the layers below: {error}")
            return


def _placed(problems: Iterable[Problem], at: str) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(at + problem.path.removeprefix("$"), problem.message, problem.section)
