"""An image with busybox, for the clients of a runtime."""

from __future__ import annotations

from pathlib import Path

from ociworks import testing
from ociworks.image import Image
from ociworks.spec.image import Config
from tests.interop.peers import busybox

__all__ = ["image"]

APPLETS = "cat echo false grep head id ls ps sh sleep stat stty tail touch true tty wc".split()
PASSWD = b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"


def image() -> Image:
    """Busybox, an ``/etc/passwd`` with root and ``user``, and the directories that a root filesystem has."""
    files: dict[str, bytes | testing.File] = {f"{name}/": b"" for name in ("dev", "proc", "sys", "run")}
    files["bin/busybox"] = testing.File(Path(busybox()).read_bytes(), 0o755)
    files.update({f"bin/{name}": testing.File(link="busybox") for name in APPLETS})
    files["tmp/"] = testing.File(mode=0o1777)
    files["etc/passwd"] = PASSWD
    return testing.image_from_files(files, config=Config(env=("PATH=/bin",), cmd=("/bin/sh",)))
