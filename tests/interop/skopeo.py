"""skopeo as a peer that obeys a policy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ociworks.image import sign
from tests.interop.peers import peer

__all__ = ["ACCEPT", "REJECT", "Skopeo"]

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


class Skopeo:
    """skopeo with the host of a registry, a policy, and a folder for what it needs and makes.

    ``lookup`` says where signatures are, as the value of ``default-docker`` in a file of registries.d. ``program`` is
    Debian's skopeo where it is not given.
    """

    def __init__(self, host: str, folder: Path, lookup: str, program: str | None = None) -> None:
        self.host, self.folder = host, folder
        self.program = program or peer("skopeo")
        self.policy = folder / "policy.json"
        self._registries = folder / "registries.d"
        self._registries.mkdir()
        (self._registries / "all.yaml").write_text(f"default-docker: {lookup}\n")
        self._count = 0

    def say(self, default: Any, **transports: Any) -> sign.Policy:
        """Write a policy; both are to obey it."""
        self.policy.write_text(json.dumps({"default": default, "transports": transports}))
        self.policy.chmod(0o644)
        return sign.Policy.load(self.policy)

    def copy(self, source: str, destination: str | None = None, *options: str, obey: bool = True) -> bool:
        """Whether the policy let it copy an image of the registry, to there or to a new folder."""
        self._count += 1
        to = f"docker://{destination}" if destination else f"dir:{self.folder}/copy-{self._count}"
        command = [self.program, *(["--policy", str(self.policy)] if obey else ["--insecure-policy"])]
        command += ["--registries.d", str(self._registries), "copy", "--src-tls-verify=false"]
        command += ["--dest-tls-verify=false", "--preserve-digests", *options, f"docker://{source}", to]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or "rejected" in done.stderr, done.stderr
        return done.returncode == 0
