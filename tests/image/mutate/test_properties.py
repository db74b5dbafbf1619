"""What holds for every image, whatever is in it."""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import TarError
from ociworks.image import diff, mutate, validate
from ociworks.image.mutate import Changes
from ociworks.image.types import Image, Layer
from ociworks.spec import FrozenDict, parse
from ociworks.spec.image import Config, History, ImageConfiguration, Manifest
from tests.image.mutate.images import with_config
from tests.image.mutate.trees import IMAGES, tree_of

WORDS = st.one_of(
    st.sampled_from(["a", "b"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8),
)
NAMES = st.sampled_from(["A", "B", "PATH", "X_1"])  # few, so that images have some in common
EMPTY_STEPS = st.lists(st.builds(History, created_by=WORDS, empty_layer=st.just(True)), max_size=3)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Images with settings, labels, steps without layers among the others, and members that nobody knows."""
    img = testing.random_image(
        draw(st.integers(0, 3)), size=64, seed=draw(st.integers(0, 9)), platform="linux/amd64"
    )
    config = Config(
        env=tuple(
            f"{name}={value}" for name, value in draw(st.dictionaries(NAMES, WORDS, max_size=3)).items()
        ),
        labels=FrozenDict(draw(st.dictionaries(WORDS, WORDS, max_size=3))),
        cmd=tuple(draw(st.lists(WORDS, max_size=2))),
        entrypoint=tuple(draw(st.lists(WORDS, max_size=2))),
        user=draw(st.sampled_from([None, "7", "root"])),
    )
    history: list[History] = [*draw(EMPTY_STEPS)]
    for step in img.config.history:
        history += [step, *draw(EMPTY_STEPS)]
    wanted = draw(st.sampled_from([tuple(history), ()]))
    extra = FrozenDict(
        {"x-" + name: value for name, value in draw(st.dictionaries(NAMES, WORDS, max_size=2)).items()}
    )
    return with_config(img, lambda old: evolve(old, config=config, history=wanted, extra=extra))


LAYERS = st.integers(10, 19).map(lambda seed: testing.random_image(1, size=64, seed=seed).layers[0])


@settings(max_examples=150)
@given(images(), st.lists(LAYERS, max_size=3))
def test_append_keeps_what_is_there(img: Image, layers: list[Layer]) -> None:
    new = mutate.append(img, *layers)
    validate.image(new).raise_if_failed()
    assert new.layers[: len(img.layers)] == img.layers
    assert new.config.history[: len(img.config.history)] == img.config.history
    assert (new.config.config, new.config.extra) == (img.config.config, img.config.extra)
    assert (new is img) == (not layers)


@settings(max_examples=150)
@given(images(), images(), st.lists(LAYERS, max_size=2), images())
def test_rebase_there_and_back(old: Image, new: Image, layers: list[Layer], other: Image) -> None:
    """Back on its old base an image has its own layers, history and settings again."""
    assert other.config.config is not None
    img = mutate.append(
        mutate.config(old, Changes(user="42", history=History(created_by="USER 42"))), *layers
    )
    there = mutate.rebase(img, old_base=old, new_base=new)
    validate.image(there).raise_if_failed()
    assert [each.digest for each in there.layers] == [
        *(each.digest for each in new.layers),
        *(each.digest for each in layers),
    ]
    back = mutate.rebase(there, old_base=new, new_base=old)
    assert [each.digest for each in back.layers] == [each.digest for each in img.layers]
    assert back.config.history == img.config.history
    assert back.config.config == img.config.config


@settings(max_examples=100)
@given(images())
def test_documents_say_what_their_values_say(img: Image) -> None:
    """No change by hand of a value gets lost on the way to bytes, and no member either."""
    new = mutate.annotate(mutate.config(img, Changes(labels={"a": "b"}, env={"A": "b"})), {"c": "d"})
    assert parse(ImageConfiguration, new.raw_config) == new.config
    assert parse(Manifest, new.raw_manifest) == new.manifest
    assert new.config.extra == img.config.extra
    assert new.descriptor.digest == new.digest


@settings(max_examples=100)
@given(images(), images())
def test_a_difference_is_seen_exactly_when_there_is_one(old: Image, new: Image) -> None:
    found = diff.images(old, new)
    assert found.same == (old.digest == new.digest)
    if not found.same:
        assert found.fields or found.layers.added or found.layers.removed
    assert all(line.isprintable() for line in str(found).split("\n"))
    assert {each.path for each in diff.images(new, old).fields} == {each.path for each in found.fields}


@settings(max_examples=50)
@given(IMAGES, IMAGES)
def test_squashing_what_was_appended_is_what_was_appended(base: Image, more: Image) -> None:
    img = mutate.append(base, *more.layers)
    try:
        tree = tree_of(img)
    except TarError:
        assume(False)
    squashed = mutate.squash(img, start=len(base.layers))
    assert len(squashed.layers) <= len(base.layers) + 1
    assert tree_of(squashed) == tree
    assert diff.images(img, squashed, times=True).files == ()
