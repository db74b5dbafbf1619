"""No check can be switched off (SP-05), and nothing is loaded that is not needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ociworks import spec

HOSTILE = r"""
import sys
import attrs
from ociworks import spec
from ociworks.spec import runtime

if "disabled" in sys.argv:
    attrs.validators.set_disabled(True)

def outcome(work):
    try:
        return repr(work())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

parse = spec.parse
print(*map(outcome, [
    lambda: parse(runtime.Spec, b'{"ociVersion":"1.0.0","ociVersion":"1.0.0"}'),
    lambda: parse(runtime.Spec, b'[' * 1000),
    lambda: parse(runtime.Spec, b'"' + b'a' * (17 << 20) + b'"'),
    lambda: parse(runtime.Process, b'{"cwd": 1, "args": "sh", "noNewPrivileges": "false"}'),
    lambda: parse(runtime.User, b'{"uid": 4294967296, "gid": true}'),
    lambda: parse(runtime.User, b'{"uid": 18446744073709551616}'),
    lambda: parse(runtime.Process, b'{"cwd": "/\\u0000"}'),
    lambda: parse(spec.image.Descriptor, b'{"mediaType": "a/b", "digest": "sha256:../..", "size": -1, "Digest": 1}'),
    lambda: spec.Digest.parse("sha256:" + "A" * 64),
    lambda: spec.Platform.parse("linux/../etc"),
    lambda: spec.validate(runtime.Process(cwd="tmp", args=())),
    lambda: spec.validate(runtime.User(uid=-1)),
    lambda: setattr(runtime.User(), "uid", 0),
    lambda: spec.to_json(runtime.User(extra={"uid": 1})),
]), sep="\n")
"""


def _run(*arguments: str, code: str = HOSTILE) -> str:
    options = [argument for argument in arguments if argument.startswith("-")]
    words = [argument for argument in arguments if not argument.startswith("-")]
    command = [sys.executable, *options, "-c", code, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=os.environ)
    return done.stdout


@pytest.mark.parametrize("arguments", [("-O",), ("-OO",), ("disabled",), ("-O", "disabled")], ids=" ".join)
def test_sp_05_checks_cannot_be_switched_off(arguments: tuple[str, ...]) -> None:
    """Optimisation and disabled attrs validators give identical errors."""
    usual = _run()
    assert usual.count("\n") >= 14
    assert all(
        line.startswith(("Invalid", "SpecError", "Frozen", "[Problem", " ")) for line in usual.splitlines()
    )
    assert _run(*arguments) == usual


def _loaded(code: str) -> set[str]:
    listing = _run(code=f"import sys\n{code}\nprint(*sys.modules, sep='\\n')")
    return {name for name in listing.splitlines() if name.startswith("ociworks.spec.")}


def test_importing_spec_loads_no_class() -> None:
    assert _loaded("import ociworks.spec") == set()
    assert _loaded("import ociworks.spec.runtime") == {"ociworks.spec.runtime"}


def test_a_linux_configuration_loads_no_other_platform() -> None:
    """Neither when it is read nor when it is judged."""
    code = """
from ociworks import spec
value = spec.parse(spec.runtime.Spec, b'''{"ociVersion": "1.0.2", "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]}, "linux": {"namespaces": [{"type": "mount"}]}}''')
spec.to_json(value)
spec.validate(value)
"""
    others = {
        f"ociworks.spec.runtime.{name}" for name in ("windows", "vm", "solaris", "freebsd", "zos", "features")
    }
    assert _loaded(code) & (others | {"ociworks.spec.validate.platforms"}) == set()


def test_other_platforms_load_when_they_are_met() -> None:
    code = """
from ociworks import spec
spec.parse(spec.runtime.Spec, b'{"ociVersion": "1.0.2", "windows": {"layerFolders": ["a"]}}')
"""
    assert "ociworks.spec.runtime.windows" in _loaded(code)


def test_names_are_listed_before_they_are_loaded() -> None:
    for package in (spec, spec.runtime):
        assert set(dir(package)) >= set(package.__all__)
        assert sorted(package.__all__, key=str) == sorted(set(package.__all__), key=str)
        with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
            _ = package.Nonsense
