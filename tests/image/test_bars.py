"""Progress for the eye: in a notebook's output, on a terminal, in a log; several threads may report at once."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.image import Progress, bars, layout
from ociworks.image import progress as image_progress
from ociworks.spec import Digest
from tests.image.test_notebook import ALLOWED, read

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def event(phase: image_progress.Phase, done: int, digest: Digest = ONE, total: int = 4096) -> Progress:
    return Progress(what="pull", phase=phase, digest=digest, done=done, total=total)


class Page:
    """An output of a notebook, and a clock that moves when it is told to."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.now = 0.0

    def __call__(self, html: str, plain: str, /) -> None:
        self.shown.append((html, plain))

    def clock(self) -> float:
        return self.now


def test_a_page_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALLOWED, "div", {"style"})
    page = Page()
    with bars._notebook(page, page.clock) as show:
        show(event("start", 0))
        page.now = 1
        show(event("transfer", 1024))
        page.now = 2
        show(event("skip", 0, TWO))
        show(event("done", 4096))
    texts = [read(html) for html, _ in page.shown]
    assert "1.0 KiB of 4.0 KiB" in texts[1]
    assert f"pull sha256:{ONE.encoded[:12]}" in texts[1]
    assert page.shown[-1][1] == "2 of 2 blobs, 4.0 KiB of 4.0 KiB, 1 of them already there"


def test_a_page_is_not_written_for_every_event() -> None:
    """A pull of gigabytes sends thousands of events; a browser takes a few."""
    page = Page()
    with bars._notebook(page, page.clock) as show:
        for done in range(1000):
            page.now += 0.001
            show(event("transfer", done))
    assert 5 < len(page.shown) < 15


def test_many_blobs_are_counted() -> None:
    page = Page()
    with bars._notebook(page, page.clock) as show:
        for number in range(100):
            show(event("start", 0, Digest.of(str(number).encode())))
    assert page.shown[-1][0].count("<code>") == 12
    assert page.shown[-1][1] == "0 of 100 blobs, 0 B of 400 KiB"


def test_nothing_happened_nothing_is_shown() -> None:
    page = Page()
    with bars._notebook(page, page.clock):
        pass
    assert page.shown == []


def test_several_threads() -> None:
    page = Page()
    with bars._notebook(page, page.clock) as show, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: show(event("done", 0, Digest.of(str(number).encode()), 1)), range(200)))
    assert page.shown[-1][1] == "200 of 200 blobs, 200 B of 200 B"


def test_elsewhere_the_log_says_it(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library does not print."""
    with caplog.at_level(logging.INFO), image_progress.bars() as show:
        show(event("start", 0))
        show(event("done", 4096))
        show(event("skip", 0, TWO))
    assert [record.getMessage() for record in caplog.records] == [
        f"pull sha256:{ONE.encoded[:12]}: 4096 bytes",
        f"pull sha256:{TWO.encoded[:12]}: already there",
    ]
    assert capsys.readouterr() == ("", "")


def test_a_real_transfer(tmp_path: Path) -> None:
    page = Page()
    with (
        layout.open(tmp_path / "store", create=True) as store,
        bars._notebook(page, page.clock) as show,
    ):
        store.put(testing.random_image(layers=3), progress=show)
        store.put(testing.random_image(layers=3), progress=show)
    assert "already there" in page.shown[-1][1]


def test_outside_of_notebooks_nothing_is_imported() -> None:
    code = (
        "import sys; from ociworks.image import progress\n"
        "with progress.bars(): pass\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('IPython', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CELL = """
from ociworks import testing
from ociworks.image import layout, progress
with layout.open({path!r}, create=True) as store, progress.bars() as show:
    img = store.put(testing.random_image(layers=3), progress=show)
img
"""


EXECUTE = """
import json, sys
import nbclient, nbformat
notebook = nbformat.v4.new_notebook()
notebook.cells = [nbformat.v4.new_code_cell(sys.argv[1])]
nbclient.NotebookClient(notebook, kernel_name="here", timeout=60).execute()
print(json.dumps([[output.output_type, output.data] for output in notebook.cells[0].outputs]))
"""


def test_in_a_real_kernel(tmp_path: Path) -> None:
    """Jupyter's own kernel: one output that changed in place, from worker threads, and the image as HTML."""
    for module in ("ipykernel", "nbclient"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    kernel = tmp_path / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "here", "language": "python"})
    )
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, CELL.format(path=str(tmp_path / "store"))],
        env={**os.environ, "JUPYTER_PATH": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (changing, shown), (kind, value) = json.loads(done.stdout)
    assert (changing, kind) == ("display_data", "execute_result")
    assert "5 of 5 blobs" in shown["text/plain"]
    assert "<svg" in value["text/html"]
