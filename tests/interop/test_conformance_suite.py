"""Our registry under the specification's own suite (distribution-spec, ``conformance/``).

It is built elsewhere: ``OCI_CONFORMANCE`` is the path of the program, and without it this is not collected. Without it,
``tests/testing`` asks by section of the specification, and ``test_registry_peers`` compares with docker-registry.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ociworks import testing

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("kept", ["memory", "directory"])
def test_the_conformance_suite(kept: str, tmp_path: Path) -> None:
    directory = tmp_path / "registry" if kept == "directory" else None
    with testing.Registry(testing.RegistryOptions(directory=directory)) as registry:
        done = subprocess.run(
            [os.environ["OCI_CONFORMANCE"]],
            env={
                "OCI_REGISTRY": registry.host,
                "OCI_TLS": "disabled",
                "OCI_VERSION": "dev",
                "OCI_RESULTS_DIR": str(tmp_path / "results"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
    assert done.returncode == 0, done.stdout[-5000:]
