"""SP-06, SP-08 … SP-12 and SP-14: image configurations and user databases that ask for more than they may have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.errors import ImageConfigError, LimitExceeded, OciworksError, SpecError
from ociworks.image import RuntimeOptions, resolve_user, runtime_spec
from ociworks.image.bundle import is_reserved
from ociworks.image.users import lookup_user
from ociworks.spec.defaults import default_spec
from ociworks.spec.image import Config, ImageConfiguration, RootFS
from ociworks.spec.runtime import Process, Resources, Spec

REFUSED = (ImageConfigError, SpecError)
"""Some hostile documents do not even get past strict JSON."""

GOLDEN = Path(__file__).parent / "golden_default_spec.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    return tmp_path / "rootfs"


@pytest.fixture
def rootfd(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def write(root: Path, passwd: str | bytes = "", group: str | bytes = "") -> None:
    for name, text in (("passwd", passwd), ("group", group)):
        (root / "etc" / name).write_bytes(text.encode() if isinstance(text, str) else text)


def config(**values: object) -> ImageConfiguration:
    values.setdefault("Cmd", ["/bin/true"])
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": values,
    }
    return spec.parse(ImageConfiguration, json.dumps(document).encode())


def process(made: Spec) -> Process:
    assert made.process is not None
    return made.process


# --- SP-06 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "4294967296",
        "4294967295",
        "2147483648",
        "-1",
        "9" * 40,
        "0:4294967296",
        "1000:",
        ":0",
        ":",
        "1:2:3",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "٣",
        "007",
        "0x10",
        "1a",
        "a b",
        "root\n",
        "\0",
    ],
)
def test_sp_06_numeric_users(root: Path, rootfd: int, text: str) -> None:
    write(
        root,
        "1000:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n-1:x:0:0::/:\n007:x:0:0::/:\n1a:x:0:0::/:\n",
    )
    with pytest.raises(REFUSED):
        resolve_user(rootfd, text)
    with pytest.raises(REFUSED):
        runtime_spec(config(User=text), rootfd=rootfd)


def test_sp_06_digits_are_numbers(root: Path, rootfd: int) -> None:
    write(root, "1000:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n")
    assert (resolve_user(rootfd, "1000").uid, resolve_user(rootfd, "1000").gid) == (1000, 0)
    assert resolve_user(rootfd, "1").uid == 1
    assert resolve_user(None, "2147483647:2147483647").uid == 2**31 - 1


def test_sp_06_names(root: Path, rootfd: int) -> None:
    write(root, "app:x:1000:1001::/home/app:/bin/sh\n", "staff:x:50:\nvideo:x:44:other,app\n")
    assert resolve_user(rootfd, "app").additional_gids == (1001, 44)
    assert (resolve_user(rootfd, "app:staff").gid, resolve_user(rootfd, "app:staff").additional_gids) == (
        50,
        (50,),
    )
    assert resolve_user(rootfd, "1000:staff").uid == 1000
    assert resolve_user(rootfd, "1000").gid == 1001
    assert resolve_user(rootfd, "").uid == 0
    for unknown in ("nobody", "app:nobody"):
        with pytest.raises(ImageConfigError, match="found none"):
            resolve_user(rootfd, unknown)


@pytest.mark.parametrize(
    "line", ["app:x:4294967296:0::/:", "app:x:x:0::/:", "app:x:1::0:/:", "app:x:1:-1::/:"]
)
def test_sp_06_numbers_in_the_database(root: Path, rootfd: int, line: str) -> None:
    write(root, line + "\n")
    with pytest.raises(ImageConfigError):
        resolve_user(rootfd, "app")


# --- SP-08 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["A", "=value", "", "A=\0", "HOME=/\0x"])
def test_sp_08_environment(entry: str) -> None:
    with pytest.raises(REFUSED):
        runtime_spec(config(Env=[entry]))


@pytest.mark.parametrize("home", ["/\nroot:x:0:0::/:", "/\r", "/a\x1b[0m", "relative", ""])
def test_sp_08_home_from_the_database(root: Path, rootfd: int, home: str) -> None:
    """A line feed cannot be in a line; whatever else is odd does not become HOME."""
    write(root, f"app:x:1:1::{home}:/bin/sh\n")
    try:
        found = lookup_user(rootfd, "app").home
    except ImageConfigError:
        found = None
    assert found is None
    made = process(runtime_spec(config(User="1"), rootfd=rootfd))
    assert not [entry for entry in made.env if entry.startswith("HOME=")]


def test_sp_08_the_callers_value_wins_whatever_the_image_repeats() -> None:
    image = config(Env=["A=1", "A=2", "B=literal\\n", "C=line\nfeed", "PATH=/x"])
    made = process(runtime_spec(image, RuntimeOptions(env={"A": "caller"})))
    assert made.env == ("PATH=/x", "A=caller", "B=literal\\n", "C=line\nfeed")
    for name in ("", "A=B", "A\0"):
        with pytest.raises(ImageConfigError):
            runtime_spec(config(), RuntimeOptions(env={name: "x"}))


# --- SP-09 ----------------------------------------------------------------------------------------------


def test_sp_09_links_are_resolved_inside(root: Path, rootfd: int) -> None:
    write(root)
    (root / "etc" / "passwd").unlink()
    (root / "store").mkdir()
    (root / "store" / "passwd").write_text("app:x:7:8::/:/bin/sh\n")
    target = "/store/passwd"
    for number in range(35):
        (root / f"l{number}").symlink_to(target)
        target = f"/l{number}"
    (root / "etc" / "passwd").symlink_to(target)
    assert resolve_user(rootfd, "app").uid == 7


def test_sp_09_etc_as_the_root(tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    (root / "etc").symlink_to("/")
    (root / "passwd").write_text("app:x:7:8::/:/bin/sh\n")
    fd = os.open(root, os.O_RDONLY)
    try:
        assert resolve_user(fd, "app").uid == 7
        assert resolve_user(fd, "3").uid == 3
    finally:
        os.close(fd)


def test_sp_09_escapes_and_other_types(root: Path, rootfd: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("app:x:7:8::/:/bin/sh\n")
    path = root / "etc" / "passwd"
    hostile: list[Callable[[], None]] = [
        lambda: path.symlink_to(tmp_path / "secret"),
        lambda: path.symlink_to("../../secret"),
        lambda: os.mkfifo(path),
        lambda: os.mkdir(path),
        lambda: path.symlink_to("passwd"),
    ]
    for make in hostile:
        make()
        with pytest.raises(ImageConfigError):
            resolve_user(rootfd, "app")
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.root
def test_sp_09_devices(root: Path, rootfd: int) -> None:
    os.mknod(root / "etc" / "passwd", 0o020666, os.makedev(1, 5))
    with pytest.raises(ImageConfigError, match="regular file"):
        resolve_user(rootfd, "1")


def test_sp_09_sizes(root: Path, rootfd: int) -> None:
    write(root)
    with (root / "etc" / "passwd").open("r+b") as file:
        file.truncate(4 << 30)
    with pytest.raises(LimitExceeded):
        resolve_user(rootfd, "1")
    write(root, b"x" * 100_000 + b"\n")
    with pytest.raises(LimitExceeded):
        resolve_user(rootfd, "app")
    write(root, b"\n" * (1 << 20))
    with pytest.raises(ImageConfigError):
        resolve_user(rootfd, "app")


def test_sp_09_missing_files(rootfd: int) -> None:
    assert resolve_user(rootfd, "5").additional_gids == (0,)
    assert resolve_user(None, "5:6").gid == 6
    with pytest.raises(ImageConfigError):
        resolve_user(rootfd, "app")
    with pytest.raises(ImageConfigError):
        resolve_user(None, "app")


# --- SP-10 ----------------------------------------------------------------------------------------------

MEMBERS = "one:x:10:app\ntwo:x:20:app,other\nagain:x:10:app\nnot:x:30:other,apple\n"


def test_sp_10_policies(root: Path, rootfd: int) -> None:
    write(root, "app:x:1000:100::/:/bin/sh\n", MEMBERS)
    assert resolve_user(rootfd, "app").additional_gids == (100, 10, 20)
    assert resolve_user(rootfd, "app", policy="strict").additional_gids == (100,)
    assert resolve_user(rootfd, "app", groups=(5, 100, 5), policy="strict").additional_gids == (100, 5)
    assert resolve_user(rootfd, "app", groups=(5,)).additional_gids == (100, 5, 10, 20)
    assert resolve_user(rootfd, "app:100").additional_gids == (100,)
    assert resolve_user(rootfd, "1000").additional_gids == (100, 10, 20)


@pytest.mark.parametrize("gid", ["4294967296", "-1", "x", ""])
def test_sp_10_groups_out_of_range(root: Path, rootfd: int, gid: str) -> None:
    write(root, "app:x:1000:100::/:/bin/sh\n", f"bad:x:{gid}:app\n")
    with pytest.raises(ImageConfigError):
        resolve_user(rootfd, "app")
    with pytest.raises(ImageConfigError):
        resolve_user(rootfd, "app", groups=(2**32,), policy="strict")


def test_sp_10_unmapped_users_are_errors() -> None:
    for user in ("1", "0:5", "1000:1000"):
        with pytest.raises(ImageConfigError, match="mapping"):
            runtime_spec(config(User=user), RuntimeOptions(rootless=True))


# --- SP-11 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "/proc/self/fd/7",
        "/proc/1/cwd",
        "proc/self/fd/7",
        "//proc/self/cwd",
        "/x/../proc/self/fd/8",
        "/dev/fd/7",
        "/dev/fd",
        "a" * 5000,
        "/a\0b",
    ],
)
def test_sp_11_working_directories(text: str) -> None:
    with pytest.raises(REFUSED):
        runtime_spec(config(WorkingDir=text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "/"),
        ("../..", "/"),
        ("a/b", "/a/b"),
        ("/a/../b/", "/b"),
        ("//a//b", "/a/b"),
        ("/processes", "/processes"),
    ],
)
def test_sp_11_working_directories_are_made_absolute(text: str, expected: str) -> None:
    assert process(runtime_spec(config(WorkingDir=text))).cwd == expected


@pytest.mark.parametrize("value", ["sh", 1, [["sh"]], {"a": "b"}, [1], [None]])
def test_sp_11_entrypoints_of_other_types(value: object) -> None:
    with pytest.raises(OciworksError):
        runtime_spec(config(Entrypoint=value))


@pytest.mark.parametrize(
    "values", [{"Cmd": []}, {"Cmd": [""]}, {"Entrypoint": [""]}, {"Cmd": ["a\0b"]}, {"Cmd": None}]
)
def test_sp_11_no_program(values: dict[str, object]) -> None:
    with pytest.raises(REFUSED):
        runtime_spec(config(**values))


@pytest.mark.parametrize("signal", ["0", "-9", "65", "KILL\n", "SIGNOPE", "9 ", "sigkill", "9" * 50])
def test_sp_11_stop_signals(signal: str) -> None:
    with pytest.raises(ImageConfigError):
        runtime_spec(config(StopSignal=signal))


def test_sp_11_counts_and_sizes() -> None:
    rootfs = RootFS(diff_ids=())
    many = tuple(str(number) for number in range(1_000_000))
    for hostile in (
        Config(cmd=("x",), exposed_ports=many),
        Config(cmd=("x",), volumes=many),
        Config(cmd=("x",), env=tuple(f"{text}=" for text in many)),
        Config(cmd=("x",), env=("A=" + "x" * (10 << 20),)),
        Config(cmd=("x",), env=tuple(f"A{number}=" + "x" * 100_000 for number in range(30))),
        Config(cmd=("x", "y" * 200_000)),
    ):
        with pytest.raises((LimitExceeded, ImageConfigError)):
            runtime_spec(ImageConfiguration(architecture="amd64", os="linux", rootfs=rootfs, config=hostile))


# --- SP-12 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "ociworks",
        "ociworks.log",
        "io.ociworks/x",
        "org.systemd.property.DeviceAllow",
        "run.oci.keep_original_groups",
        "io.kubernetes.cri.container-type",
        "IO.Kubernetes.Cri.x",
        "cdi.k8s.io/vendor",
        "io.containerd.runc",
        "io.podman.annotations.x",
    ],
)
def test_sp_12_reserved_labels_are_dropped(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = runtime_spec(config(Labels={name: "evil", "app.version": "1"}))
    assert name not in made.annotations
    assert made.annotations["app.version"] == "1"
    assert "reserved" in caplog.text


def test_sp_12_the_boundary_is_exact() -> None:
    for name in (
        "ociworksfan.x",
        "run.ocio",
        "org.systemd.propertyx",
        "my.io.kubernetes",
        "io.kubernetesx/y",
    ):
        assert not is_reserved(name)


def test_sp_12_sizes() -> None:
    for labels in ({"a": "x" * (1 << 20)}, {str(number): "" for number in range(100_000)}):
        with pytest.raises((LimitExceeded, SpecError)):
            runtime_spec(config(Labels=labels))


def test_sp_12_labels_change_nothing_else() -> None:
    plain, labelled = (
        runtime_spec(config()),
        runtime_spec(config(Labels={"app": "1", "ociworks.privileged": "true"})),
    )
    assert (plain.linux, plain.process, plain.mounts) == (labelled.linux, labelled.process, labelled.mounts)


# --- SP-13, SP-14 ---------------------------------------------------------------------------------------


def test_sp_13_nothing_of_one_container_in_the_next() -> None:
    secret = RuntimeOptions(env={"TOKEN": "s3cret"}, annotations={"k": "s3cret"}, hostname="s3cret")
    runtime_spec(config(Env=["X=s3cret"]), secret)
    assert b"s3cret" not in spec.to_json(runtime_spec(config()))


@pytest.mark.parametrize("rootless", [False, True])
def test_sp_14_the_default_profile(rootless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden file is the profile. Weakening it means editing that file, which a reviewer sees."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    made = json.loads(spec.to_json(default_spec(rootless=rootless)))
    seccomp = made["linux"].pop("seccomp")
    assert made == json.loads(GOLDEN.read_text())["rootless" if rootless else "root"]
    assert seccomp["defaultAction"] == "SCMP_ACT_ERRNO"
    assert spec.validate(default_spec(rootless=rootless)) == []


def test_sp_14_an_images_container_has_it() -> None:
    made, base = runtime_spec(config()), default_spec()
    assert made.linux == base.linux
    assert made.mounts == base.mounts
    for mine, default in ((process(made), process(base)),):
        assert (mine.capabilities, mine.no_new_privileges) == (
            default.capabilities,
            default.no_new_privileges,
        )
        assert mine.rlimits == default.rlimits


def test_sp_14_resources_keep_the_device_rules() -> None:
    base, made = default_spec(), runtime_spec(config(), RuntimeOptions(resources=Resources()))
    assert base.linux is not None
    assert made.linux is not None
    assert made.linux.resources == base.linux.resources
