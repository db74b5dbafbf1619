"""Files with credentials, and the password that may not show."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from ociworks.image.auth import DockerConfig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HIDDEN", "config", "encoded"]

HIDDEN = "hunter2-sentinel"


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def config(folder: Path, content: object, name: str = "config.json") -> DockerConfig:
    path = folder / name
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return DockerConfig.load(str(path))
