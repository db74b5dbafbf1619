"""The configuration of a server: a value, or a TOML file that is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociworks.cri.config import CriConfig, Handler, load
from ociworks.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_says_what_a_value_says(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        root = "/srv/cri"
        cgroup_driver = "systemd"
        default_handler = "runc"
        pod_logs = ["/var/log/pods", "/tmp/logs"]
        restrict_oom_score_adj = true

        [handlers.runc]
        program = "/usr/sbin/runc"
        annotations = ["example.org/a"]

        [registry_mirrors]
        "registry.k8s.io" = ["http://127.0.0.1:5000"]
        """,
    )
    assert load(path) == CriConfig(
        root="/srv/cri",
        cgroup_driver="systemd",
        default_handler="runc",
        pod_logs=("/var/log/pods", "/tmp/logs"),
        restrict_oom_score_adj=True,
        handlers={"runc": Handler(program="/usr/sbin/runc", annotations=("example.org/a",))},
        registry_mirrors={"registry.k8s.io": ("http://127.0.0.1:5000",)},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root = 1", "root: expected str, got int"),
        ('root = "var"', "root: expected an absolute path, got 'var'"),
        ('root = "/a/../b"', "root: expected an absolute path"),
        ("colour = 1", "colour: no such setting"),
        ("restrict_oom_score_adj = 1", "restrict_oom_score_adj: expected bool, got int"),
        ("stream_port = true", "stream_port: expected int, got bool"),
        ("stream_port = 65536", "stream_port: expected 0 to 65535"),
        ("stats_period = 0", "stats_period: expected 1 or more"),
        ('cgroup_driver = "cgroups"', "cgroup_driver: expected one of cgroupfs, systemd"),
        ('pod_logs = "/var"', "pod_logs: expected tuple, got str"),
        ("pod_logs = [1]", r"pod_logs\[0\]: expected str, got int"),
        ('[handlers.runc]\nprogram = "runc"', "program: expected an absolute path"),
        ("[handlers.runc]\ncolour = 1", "handlers.runc.colour: no such setting"),
        ('[handlers."../x"]', "handlers: expected names of letters"),
        ('default_handler = "kata"', "default_handler: 'kata' is not among the handlers"),
        ('stream_tls_cert = "/a"', "stream_tls_cert and stream_tls_key: expected both or none"),
        ("= 1", "expected TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"config.toml: .*{said}"):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")


def test_cr_01_streams_are_served_on_loopback_or_by_tls() -> None:
    """Beyond loopback there must be a certificate; a name instead of an address is not looked up."""
    assert CriConfig().stream_address == "127.0.0.1"
    for address in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigError, match="not loopback"):
            CriConfig(stream_address=address)
    with pytest.raises(ConfigError, match="an IP address"):
        CriConfig(stream_address="localhost")
    CriConfig(stream_address="192.0.2.1", stream_tls_cert="/c", stream_tls_key="/k")
