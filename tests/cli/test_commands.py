"""The table of commands, and the exit statuses that scripts rely on."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from ociworks import errors
from ociworks.cli._commands import COMMANDS, load
from ociworks.cli._status import status_of


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_each_command_describes_itself(name: str) -> None:
    """Every command of the table has a module, arguments, a description, and help for each of its options."""
    command = argparse.ArgumentParser(prog=name)
    load(name).arguments(command)
    assert command.description
    assert command.format_help()


def test_only_the_command_that_is_asked_for_is_loaded() -> None:
    """A command that is not used costs nothing."""
    code = (
        "import sys\nfrom ociworks.cli import main\ntry: main(['pull', '--help'])\nexcept SystemExit: pass\n"
    )
    code += "print('ociworks.cli._pull' in sys.modules, 'ociworks.cli._run' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True False"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ImageNotFound("x"), 3),
        (errors.NotFound("x", status=404), 3),
        (errors.Unauthorized("x", status=401), 4),
        (errors.Forbidden("x", status=403), 4),
        (errors.RegistryUnreachable("x"), 5),
        (errors.RateLimited("x", status=429), 5),
        (errors.DigestMismatch("x", "a", "b", 0), 6),
        (errors.TarError("x"), 6),
        (errors.InvalidReference("x"), 1),
        (OSError(2, "x"), 1),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    """A script can tell what kind of failure it was."""
    assert status_of(error) == status
