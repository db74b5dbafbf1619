"""Programs that do not do what a runtime does, beside a shim: an error that says so, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Detach, RuntimeBinary, cgroups
from ociworks.spec import Bundle
from tests.runtime.boxes import nothing_left, with_linux
from tests.runtime.shims import parent, until_ended

pytestmark = pytest.mark.root

_PROGRAM = """\
#!/bin/sh
# finds the verb and the pid file among the arguments
for word; do
    case "$word" in create) verb=create ;; delete) verb=delete ;; state) exit 1 ;; list) echo '[]'; exit 0 ;; esac
    [ "$before" = --pid-file ] && pid_file=$word
    before=$word
done
echo "$verb" >>{calls}
[ "$verb" = delete ] && exit 0
{create}
"""


def program(place: Path, create: str) -> str:
    """A program whose ``create`` is this script."""
    path = place / "program"
    with open(path, "x") as stream:
        stream.write(_PROGRAM.format(calls=place / "calls", create=create))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("create", "words", "undone"),
    [
        ("exit 0", "no pid file", True),
        ('echo 1 >"$pid_file"', "not its child", True),
        ('echo nonsense >"$pid_file"', "no pid file", True),
        ('echo 999999999 >"$pid_file"', "not its child", True),
        ("exec sleep 1000", "did not end in time", True),
        ("echo broken >&2; exit 4", "status 4", False),
        ("kill -SEGV $$", "status 245", False),
    ],
)
def test_a_creation_that_is_none(
    bundle: spec.Bundle, tmp_path: Path, create: str, words: str, undone: bool
) -> None:
    """Said with the reason; the program is asked to delete what it may have made, unless it says that it failed."""
    with (
        nothing_left(tmp_path / "state"),
        RuntimeBinary(program(tmp_path, create), tmp_path / "state") as runtime,
    ):
        options = Detach(log=tmp_path / "log", start_timeout=1.0 if "sleep" in create else 60.0)
        with pytest.raises(errors.CreateFailed, match=words):
            runtime.create("none", bundle, detach=options)
        assert ("delete" in (tmp_path / "calls").read_text()) is undone
        assert os.listdir(tmp_path / "state@shims") == []


CALLER = """
import sys
from ociworks import spec
from ociworks.runtime import Detach, RuntimeBinary
runtime = RuntimeBinary({program!r}, {root!r})
runtime.create("none", spec.Bundle.load({bundle!r}), detach=Detach())
"""


@contextmanager
def killed_meanwhile(place: Path, bundle: spec.Bundle, create: str) -> Iterator[int]:
    """A caller that was killed while its program ran, the script ``create``; the pid of that. The shim must end."""
    os.mkfifo(place / "fifo")
    made = program(place, f"echo $$ >{place}/fifo; {create}")
    script = CALLER.format(program=made, root=str(place / "state"), bundle=str(bundle.path))
    with nothing_left(place / "state"):
        with subprocess.Popen([sys.executable, "-c", script]) as caller:
            pid = int((place / "fifo").read_text())  # trusted: the program's own
            shim = parent(pid)
            caller.send_signal(signal.SIGKILL)
            caller.wait(60)
        yield pid
        until_ended(shim)
        until_ended(pid)
        assert (place / "calls").read_text().split() == ["create", "delete"]
        assert os.listdir(place / "state@shims") == []


def test_a_caller_that_is_killed_meanwhile(bundle: spec.Bundle, tmp_path: Path) -> None:
    """The program may complete the container, so that it can delete it; the shim ends without a trace."""
    os.mkfifo(tmp_path / "go on")
    create = f'read word <"{tmp_path}/go on"; sleep 1000 & echo $! >"$pid_file"'
    with killed_meanwhile(tmp_path, bundle, create):
        (tmp_path / "go on").write_text("now\n")


def test_a_program_that_goes_on_for_nobody(bundle: spec.Bundle, tmp_path: Path) -> None:
    """It is killed after a while, and the control groups are removed that it did not write down."""
    path = f"/{tmp_path.parent.name}-{tmp_path.name}/box"
    groups = cgroups.plan(cgroups.detect(), path, "", None, devices=False).directories
    boxed = with_linux(bundle, cgroups_path=path)
    Bundle.create(tmp_path / "boxed", boxed.spec)
    try:
        create = f"mkdir -p {' '.join(groups)}; echo $$ >{groups[0]}/cgroup.procs; exec sleep 1000"
        for group in groups:
            os.mkdir(os.path.dirname(group))
        with killed_meanwhile(tmp_path, Bundle.load(tmp_path / "boxed"), create):
            pass
        assert not [group for group in groups if os.path.exists(group)]
    finally:
        for group in groups:
            os.rmdir(os.path.dirname(group))
