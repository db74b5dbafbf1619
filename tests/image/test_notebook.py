"""Values in notebooks: plain HTML and SVG, nothing from elsewhere, and nothing that an image says is markup."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from attrs import evolve

from ociworks import spec, testing
from ociworks.image import diff, mutate, partial, remote, sign, validate
from ociworks.image.mutate import Changes
from ociworks.image.types import Image
from ociworks.image.units import human_size
from ociworks.spec import FrozenDict, notebook, to_json
from ociworks.spec.image import EMPTY, History, Manifest, mediatypes
from ociworks.spec.runtime import Process, Spec
from tests.image.mutate.images import NoBlobs, with_config

HOSTILE = (
    "</code></title></svg><script>alert(1)</script><img src=//evil onerror='x'>\x1b[2J\u202e\u200b\"&amp;"
)

ALLOWED = {
    "b": {"style"},
    "code": set(),
    "details": {"open"},
    "div": {"style"},
    "rect": {"x", "y", "width", "height", "fill"},
    "span": {"style"},
    "summary": set(),
    "svg": {"xmlns", "viewbox", "width", "height", "role", "aria-label", "style"},
    "table": {"style"},
    "tbody": set(),
    "td": {"style"},
    "th": {"style"},
    "thead": set(),
    "title": set(),
    "tr": set(),
}


class Reader(HTMLParser):
    """Reads as a browser does; complains about everything that we do not write ourselves, and collects the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.said = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attrs} <= ALLOWED[tag], (tag, attrs)
        for name, value in attrs:
            assert "url(" not in (value or ""), value
            assert "//" not in (value or "") or name == "xmlns"
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)


def read(html: str) -> str:
    """The text of sound HTML."""
    assert html.isprintable(), "a control or bidi character reached the page"
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.said


def html_of(value: object) -> str:
    shown = getattr(value, "_repr_html_")()  # noqa: B009 - protocols do not promise it
    assert isinstance(shown, str)
    return shown


def hostile_image() -> Image:
    img = mutate.append(testing.random_image(2), testing.random_image(1, seed=5).layers[0])
    img = mutate.config(img, Changes(labels={HOSTILE: HOSTILE}, env={HOSTILE.replace("=", ""): HOSTILE}))
    img = mutate.annotate(img, {HOSTILE: HOSTILE})
    return with_config(
        img,
        lambda config: evolve(
            config,
            created=HOSTILE,
            architecture=HOSTILE,
            history=tuple(History(created_by=HOSTILE) for _ in range(3)),
            extra=FrozenDict({HOSTILE: FrozenDict({HOSTILE: (HOSTILE, FrozenDict({HOSTILE: HOSTILE}))})}),
        ),
    )


def test_an_image() -> None:
    img = testing.random_image(layers=3, platform="linux/arm64")
    said = read(html_of(img))
    assert img.digest.encoded[:12] in said
    assert "linux/arm64" in said
    assert html_of(img).count("<rect") == 3
    assert "ociworks.testing" in said


def test_an_index_a_layer_and_a_difference() -> None:
    idx = testing.random_index()
    assert "linux/arm64" in read(html_of(idx))
    assert "linux/arm64" in read(html_of(mutate.annotate(idx, {"a": "b"})))
    img = testing.random_image()
    assert mediatypes.OCI_LAYER_GZIP in read(html_of(img.layers[0]))
    new = mutate.append(mutate.config(img, Changes(user="7")), img.layers[0])
    said = read(html_of(diff.images(img, new)))
    assert "config.config.User" in said
    assert "Same image" in read(html_of(diff.images(img, img)))


def test_verdicts_about_signatures() -> None:
    """Who signed, who did not and why; names and messages of strangers are text."""
    img = testing.random_image()
    good = sign.Signed(form="cosign", where="layer 0", signer=HOSTILE, key=sign.PrivateKey.generate().public)
    bad = sign.Rejected(
        form="cosign", where=HOSTILE, reason=sign.Reason.BAD_SIGNATURE, message=HOSTILE, signer=HOSTILE
    )
    found = sign.Verification(image=img, valid=(good,), rejected=(bad,), unmet=())
    said = read(html_of(found))
    assert said.startswith(f"Signed {img.digest}")
    assert said.count("<script>") == 3
    assert "Not trusted" in read(html_of(evolve(found, valid=(), unmet=(HOSTILE,))))

    policy = sign.Policy.parse(b'{"default": [{"type": "reject"}]}')
    with testing.Registry() as registry, remote.Client() as client:
        client.push(img, f"{registry.host}/app:1")
        decision = policy.check(client, f"{registry.host}/app:1")
    assert read(html_of(decision)).startswith("Rejected")


def test_values_of_specifications() -> None:
    """Every value shows itself, of images and of runtimes."""
    img = testing.random_image()
    for value in (img.manifest, img.config, testing.random_index().index, img.descriptor):
        assert type(value).__name__ in read(html_of(value))
    shown = read(html_of(Spec(oci_version="1.2.0", process=Process(cwd="/", args=("sh", "-c", "true")))))
    assert "args" in shown
    assert "true" in shown


def test_cl_04_names_from_images_are_text_in_notebooks() -> None:
    """Labels, names, history, platform, annotations, unknown members: all of it is shown, none of it is obeyed."""
    img = hostile_image()
    clean = mutate.config(testing.random_image(2), Changes(labels={"x": "y"}))
    idx = mutate.index(
        [mutate.Entry(content=img, platform=img.config.platform, annotations={HOSTILE: HOSTILE})]
    )
    shown = [img, idx, diff.images(clean, img), diff.images(img, clean), img.manifest, img.config, idx.index]
    for value in shown:
        said = read(html_of(value))
        assert "\\x1b[2J\\u202e\\u200b" in said
        assert "alert(1)" in said


def test_what_was_found() -> None:
    report = validate.image(hostile_image(), fast=True)
    assert not report.ok
    assert "problem" in read(html_of(report))
    assert "No problems" in read(html_of(validate.image(testing.random_image())))


def test_artifacts() -> None:
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST, artifact_type="application/x", config=EMPTY, layers=()
    )
    assert "application/x" in read(html_of(partial.image(to_json(manifest), b"{}", NoBlobs())))


def test_long_and_deep_values_are_cut() -> None:
    """A page must stay one that a browser can show, whatever an image says."""
    deep: spec.JSONValue = "x"
    for _ in range(40):
        deep = FrozenDict({"a": deep})
    img = with_config(
        testing.random_image(1),
        lambda config: evolve(
            config, extra=FrozenDict({"deep": deep, "wide": ("y" * 100_000,), "many": tuple(range(10_000))})
        ),
    )
    shown = html_of(img)
    read(shown)
    assert len(shown) < 100_000
    many = mutate.annotate(testing.random_image(1), {f"key{number}": "v" for number in range(2000)})
    assert "and 1500 more" in read(html_of(many))


def test_sizes_of_layers_fill_the_picture() -> None:
    img = testing.image_from_layers([{"big": bytes(range(256)) * 400}, {"small": b"x"}], compression="none")
    widths = [float(found) for found in re.findall(r'<rect [^>]*width="([0-9.]+)"', html_of(img))]
    assert widths[0] > 10 * widths[1] > 0
    assert sum(widths) < 640


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (999 * 1024, "999 KiB"),
        (1000 * 1024, "1.0 MiB"),
        (240 << 20, "240 MiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_human_sizes(size: int, shown: str) -> None:
    assert human_size(size) == shown


def test_text_is_never_markup() -> None:
    assert notebook.text("<&>\"'") == "&lt;&amp;&gt;&quot;&#x27;"
    assert notebook.text("grüße 日本") == "grüße 日本"
    assert notebook.text("a" * 10, 3) == "aaa…"
    assert notebook.text("\ud800") == "\\ud800"


def test_nothing_of_it_is_loaded_before_it_is_shown() -> None:
    code = (
        "import sys; from ociworks import testing; testing.random_image(); "
        "print([name for name in sys.modules if 'notebook' in name or 'IPython' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
