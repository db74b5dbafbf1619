"""RT-16, RT-17: terminals, standard streams and files that a hostile image has prepared places for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Console, Runtime
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, with_process


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host in which nothing may change."""
    place = tmp_path / "outside"
    place.mkdir()
    for name in ("precious", "console", "null", "hosts"):
        (place / name).write_text("precious\n")
    before = {path.name: (path.read_text(), path.stat().st_ctime_ns) for path in place.iterdir()}
    yield place
    assert {path.name: (path.read_text(), path.stat().st_ctime_ns) for path in place.iterdir()} == before


def read_all(console: Console) -> bytes:
    screen = b""
    while data := console.read():
        screen += data
    return screen


# --- RT-16 ------------------------------------------------------------------------------------------------------------


def _dev_of_the_image(bundle: spec.Bundle) -> spec.Bundle:
    """Without a file system of its own on /dev: what the image has there counts. A devpts is mounted in it."""
    mounts = tuple(item for item in bundle.spec.mounts if not item.destination.startswith("/dev"))
    devpts = next(item for item in bundle.spec.mounts if item.destination == "/dev/pts")
    return changed(bundle, mounts=(*mounts, devpts))


def _take(place: Path, kind: str, outside: Path) -> None:
    """Put something in the place of a device."""
    place.parent.mkdir(exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    place.unlink(missing_ok=True)
    match kind:
        case "link":
            place.symlink_to(outside / "console")
        case "climbing":
            place.symlink_to("../../../outside/precious")
        case "directory":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case _:
            place.write_text("of the image\n")


@pytest.mark.root
@pytest.mark.parametrize("own_dev", [True, False])
@pytest.mark.parametrize("name", ["console", "ptmx", "pts/0", "pts/ptmx", "null", "tty"])
def test_rt_16_a_terminal_whose_names_are_taken(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, name: str, *, own_dev: bool
) -> None:
    """A terminal is the container's own or the container is refused; nothing outside is opened, mounted or owned."""
    prepared = bundle if own_dev else _dev_of_the_image(bundle)
    if own_dev:
        prepared = changed(prepared, root=spec.runtime.Root(path="rootfs", readonly=True))
    script = "tty; stat -c '%t:%T' /dev/pts/0 /dev/console; echo said > /dev/console"
    prepared = with_process(prepared, terminal=True, args=("sh", "-c", script))
    for kind in ("link", "climbing", "directory", "fifo", "file"):
        _take(bundle.rootfs / "dev" / name, kind, outside)
        try:
            container = runtime.create("taken", prepared)
        except errors.CreateFailed:
            if own_dev:
                raise
            continue
        with container:
            assert container.console is not None
            container.start()
            lines = read_all(container.console).decode().split("\r\n")
            assert lines[:4] == ["/dev/pts/0", "88:0", "88:0", "said"]
            assert container.wait(timeout=60) == 0


def test_rt_16_an_exec_whose_multiplexer_is_fake(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A container that takes its devpts away gets no terminal of the host's, and no program."""
    free = changed(
        bundle,
        mounts=tuple(item for item in bundle.spec.mounts if item.destination != "/dev/pts"),
    )
    script = "mkdir -p /dev/pts; touch /dev/pts/ptmx; echo ready; sleep 1000"
    with runtime.create("fake", free, ["sh", "-c", script], stdout=-1) as container:
        container.start()
        assert container.stdout is not None
        assert os.read(container.stdout, 100) == b"ready\n"
        target = with_process(bundle, terminal=True, args=("true",)).spec.process
        assert target is not None
        for prepare in (
            "true",
            "rm /dev/pts/ptmx; ln -s ../null /dev/pts/ptmx",
            "rm /dev/pts/ptmx; mkfifo /dev/pts/ptmx",
        ):
            container.exec(["sh", "-c", prepare], timeout=60)
            with pytest.raises(errors.CreateFailed, match="open_terminal"):
                container.exec(target, timeout=60)


STREAMS = """
import os, sys
from pathlib import Path
from ociworks import spec
from ociworks.runtime import Runtime
closed, folder = [int(digit) for digit in sys.argv[1]], Path(sys.argv[2])
bundle = spec.Bundle.load(folder / "bundle")
result = os.open(folder / "result", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
for fd in closed:
    os.close(fd)
script = "for fd in 0 1 2; do readlink /proc/self/fd/$fd; done > /streams; ls /proc/self/fd | wc -l >> /streams"
with Runtime(folder / "root") as runtime:
    with runtime.scratch():
        with runtime.create("first", bundle, ["sh", "-c", "read line; echo $line"], stdin=-1, stdout=-1) as first:
            runtime.run(bundle, ["sh", "-c", script], timeout=60)
            first.start()
            assert first.stdin is not None and first.stdout is not None and min(first.stdin, first.stdout) > 2
            os.write(first.stdin, b"mine\\n")
            assert os.read(first.stdout, 100) == b"mine\\n"
            assert first.wait(60) == 0
os.write(result, (folder / "bundle/rootfs/streams").read_bytes())
"""


@pytest.mark.parametrize("closed", ["", "0", "1", "2", "01", "02", "12", "012"])
def test_rt_16_a_caller_without_standard_streams(bundle: spec.Bundle, tmp_path: Path, closed: str) -> None:
    """What is closed is the null device inside: never a channel of ours, or a pipe of another container."""
    bundle.save()
    subprocess.run(
        [sys.executable, "-c", STREAMS, closed, str(tmp_path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=120, check=True,
    )  # fmt: skip
    lines = (tmp_path / "result").read_text().splitlines()
    assert lines == ["/dev/null", "/streams", "/dev/null", "4"]


def test_rt_16_a_stream_that_is_a_file_of_the_host(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path
) -> None:
    """It keeps its owner and mode, whoever the container's user is."""
    user = spec.runtime.User(uid=1000, gid=1000) if os.geteuid() == 0 else spec.runtime.User(uid=0, gid=0)
    place = tmp_path / "log"
    with place.open("wb") as log:
        before = place.stat()
        with runtime.create(
            "file", with_process(bundle, user=user), ["echo", "said"], stdout=log
        ) as container:
            container.start()
            assert container.wait(timeout=60) == 0
    after = place.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert place.read_bytes() == b"said\n"


# --- RT-17 ------------------------------------------------------------------------------------------------------------

GIVEN = ("hosts", "resolv.conf", "hostname", "mtab", "secret")


def _given(bundle: spec.Bundle, tmp_path: Path) -> spec.Bundle:
    """Files that are prepared in a directory of ours and bound read-only into /etc, as every user of a runtime does."""
    prepared = tmp_path / "prepared"
    prepared.mkdir(exist_ok=True)
    mounts = []
    for name in GIVEN:
        (prepared / name).write_text(f"given {name}\n")
        source = str(prepared / name)
        mounts.append(Mount(destination=f"/etc/{name}", type="bind", source=source, options=("bind", "ro")))
    return changed(bundle, mounts=(*bundle.spec.mounts, *mounts))


def _hostile_etc(bundle: spec.Bundle, outside: Path, kind: str) -> None:
    etc = bundle.rootfs / "etc"
    if kind in ("absolute", "climbing"):
        (etc / "passwd").unlink()
        etc.rmdir()
        etc.symlink_to(outside if kind == "absolute" else "../../outside")
        return
    for name in GIVEN:
        match kind:
            case "links":
                (etc / name).symlink_to(outside / "precious")
            case "dangling":
                (etc / name).symlink_to(outside / "new")
            case "fifos":
                os.mkfifo(etc / name)
            case "directories":
                (etc / name).mkdir()
            case _:
                (etc / name).symlink_to(f"/proc/self/fd/{len(name)}")


@pytest.mark.parametrize(
    "kind", ["absolute", "climbing", "links", "dangling", "fifos", "directories", "magic"]
)
def test_rt_17_files_for_a_container_whose_places_are_taken(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, tmp_path: Path, kind: str
) -> None:
    """They appear inside, read-only, or the container is refused; nothing is written to what the image points at."""
    _hostile_etc(bundle, outside, kind)
    given = _given(bundle, tmp_path)
    script = "for name in /etc/*; do cat $name; echo written 2>/dev/null > $name || true; done; exit 0"
    try:
        done = runtime.run(given, ["sh", "-c", script], capture_output=True, timeout=60)
    except errors.CreateFailed:
        if kind not in ("directories", "magic"):
            raise
    else:
        assert {f"given {name}" for name in GIVEN} & set(done.stdout.decode().splitlines())
    for name in GIVEN:
        assert (tmp_path / "prepared" / name).read_text() == f"given {name}\n"


def test_rt_17_a_second_run_on_what_the_first_left(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, tmp_path: Path
) -> None:
    """A container that replaces its own files, and the directory in a volume, by links leads the next one nowhere."""
    volume = tmp_path / "volume"
    (volume / "conf").mkdir(parents=True)
    options = ("rbind",)
    shared = changed(
        bundle,
        mounts=(
            *bundle.spec.mounts,
            Mount(destination="/vol", type="bind", source=str(volume), options=options),
            Mount(destination="/vol/conf/app", type="bind", source="made", options=("bind", "ro")),
        ),
    )
    (bundle.path / "made").write_text("made by us\n")
    first = _given(shared, tmp_path)
    script = f"cat /vol/conf/app; rm -rf /vol/other; ln -s {outside} /vol/other; ln -s {outside}/hosts /vol/conf/new"
    assert runtime.run(first, ["sh", "-c", script], capture_output=True, timeout=60).stdout == b"made by us\n"
    moved = tuple(
        attrs.evolve(item, destination=item.destination.replace("conf/app", name))
        for name in ("other/hosts", "other/app", "conf/new")
        for item in shared.spec.mounts
        if item.destination == "/vol/conf/app"
    )
    second = changed(shared, mounts=(*shared.spec.mounts, *moved))
    script = "cat /vol/conf/app; cat /vol/conf/new; exit 0"
    said = runtime.run(second, ["sh", "-c", script], capture_output=True, timeout=60).stdout
    assert said == b"made by us\nmade by us\n"
