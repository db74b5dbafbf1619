"""The mark of a program: a limit that its descendants have, too."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from ociworks.cri.streaming._mark import bears, limits_of, new_mark
from ociworks.spec.runtime import Rlimit

NO_LIMIT = 2**64 - 1

needs_no_limit = pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_RTTIME) != (resource.RLIM_INFINITY,) * 2,
    reason="real-time processes are limited here (ulimit -R)",
)


@needs_no_limit
def test_marks_are_limits_that_limit_nothing() -> None:
    """Each program has another; what it may raise it may still raise."""
    mark = new_mark()
    assert limits_of(mark) == (Rlimit(type="RLIMIT_RTTIME", soft=mark, hard=NO_LIMIT),)
    assert 2**61 <= mark < 2**62
    assert new_mark() != mark


def test_limits_that_mean_something_stay() -> None:
    """Then there is no mark."""
    assert limits_of(0) == ()
    script = (
        "import resource; from ociworks.cri.streaming._mark import new_mark;"
        "resource.setrlimit(resource.RLIMIT_RTTIME, (10**9, 10**9)); print(new_mark())"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"0\n"


@needs_no_limit
def test_who_descends_bears_it() -> None:
    """Also in a session of its own, without the parent that it had."""
    mark = new_mark()
    begin = (
        f"import os, resource; resource.setrlimit(resource.RLIMIT_RTTIME, ({mark}, resource.RLIM_INFINITY));"
        "os.execvp('sh', ['sh', '-c', \"exec 3<&0; (setsid sh -c 'echo $$; exec >&-; read x <&3' &)\"])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", begin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout
        assert first.stdin
        pid = int(first.stdout.readline())
        assert bears(pid, mark)
        assert not bears(pid, mark + 1)
        assert not bears(pid, 0)
    assert not bears(2**22 + 1, mark)
