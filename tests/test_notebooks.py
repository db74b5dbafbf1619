"""The notebooks run from the top to the end, show what they talk about, and are committed without outputs."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.interop.peers import busybox
from tests.source_tree import CHECKOUT

NOTEBOOKS = sorted((CHECKOUT / "examples").glob("*.ipynb"))
SHOWN = {
    "inspect-and-change": (
        ("text/html", "<b>Index</b>"),
        ("text/html", "linux/arm64"),
        ("text/html", "<svg"),
        ("text/html", "<b>Difference</b>"),
        ("text/html", "No problems"),
        ("text/plain", "['/etc/os-release', '/usr/lib/libssl.so.3']"),
        ("text/plain", "'1.5-arm64'"),
    ),
    "build-sign-push-verify": (
        ("text/html", "<b>Layer</b>"),
        ("text/html", "<b>Image</b>"),
        ("text/plain", "https://ci.example/runs/17"),
        ("text/html", "<b>Signed</b>"),
        ("text/html", "<b>Not trusted</b>"),
        ("text/html", "<b>Accepted</b>"),
        ("stream", "rejected by the policy for default"),
    ),
    "run-containers": (
        ("stream", "uid=0"),
        ("stream", "pivot"),
        ("text/plain", "-9"),
        ("stream", "oom_kill"),
        ("stream", "memory: at most 32 MiB"),
        ("stream", "ms  deleted"),
        ("text/plain", "()"),
    ),
}
"""What must be among the outputs: the kind, and a part of it."""


def name_of(path: Path) -> str:
    return path.stem


def test_there_are_expectations_for_each() -> None:
    """A notebook that shows nothing would pass otherwise."""
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_no_outputs_are_committed(path: Path) -> None:
    """Differences stay readable: no outputs, no counts, nothing about the machine where it was edited."""
    text = path.read_text("utf-8")
    document = json.loads(text)
    for cell in document["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert document["metadata"]["language_info"] == {"name": "python"}
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    assert text == json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """What a text cell refers to is in this checkout."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        for part in "".join(cell["source"]).split("](")[1:]:
            assert (path.parent / part.partition(")")[0]).exists(), part


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter in an empty home, with this interpreter as its only kernel."""
    kernels = tmp_path / "share/jupyter/kernels/python3"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernels.joinpath("kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
    )
    work = tmp_path / "work"
    work.mkdir()
    for name, place in {"JUPYTER_PATH": "share/jupyter", "HOME": "home", "OCIWORKS_STORE": "store"}.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error:::__main__")  # the cells; not what Jupyter itself is made of
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return work


def executed(path: Path, work: Path) -> list[dict[str, Any]]:
    """The outputs of all cells; a cell that raises fails the test with its traceback."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of nbclient, traitlets, zmq
        warnings.filterwarnings("ignore", category=ResourceWarning)
        import nbclient
        import nbformat

        notebook = nbformat.reads(path.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
        resources = {"metadata": {"path": str(work)}}
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_the_notebook_runs(path: Path, kernel: Path) -> None:
    """Nothing raises, nothing complains, and what the text promises is there to be seen."""
    if path.stem == "run-containers":
        busybox()
        if os.geteuid() != 0:
            pytest.skip("needs root: control groups")
    outputs = executed(path, kernel)
    shown = [(kind, data) for output in outputs for kind, data in output.get("data", {}).items()]
    shown += [("stream", output["text"]) for output in outputs if output["output_type"] == "stream"]
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    for kind, part in SHOWN[path.stem]:
        assert any(each == kind and part in data for each, data in shown), (kind, part, shown)
    assert os.listdir(kernel) == [], "a notebook left something behind"
