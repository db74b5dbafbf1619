"""CR-09: annotations and device requests of a container, against the host and other pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.container.translate.annotations import OWN
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest
from tests.cri.requests import image, translated

HOSTILE = {
    "ociworks.io/x": "1",
    "allowed.evil": "1",
    "allowed/evil": "1",
    "Allowed": "1",
    "org.systemd.property.ExecStartPre": "'/bin/sh'",
    "run.oci.handler": "krun",
    "io.kubernetes.cri-o.Devices": "/dev/sda",
    "io.kubernetes.cri.sandbox-id": "another",
    "cdi.k8s.io/x": "vendor.example/gpu=0",
    "x\ny": "1",
}


def annotations_of(**settings: Any) -> dict[str, str]:
    return dict(translated(**settings).spec.annotations)


def test_cr_09_nothing_is_passed_on_by_default() -> None:
    """Of container and pod; what is there are this server's own facts."""
    pod = api.PodSandboxConfig(annotations=HOSTILE)
    found = annotations_of(annotations=HOSTILE, pod=pod)
    assert all(name.startswith(OWN) for name in found)
    assert found[f"{OWN}sandbox-id"] == "5" * 64


def test_cr_09_exactly_what_the_handler_allows() -> None:
    """No prefix, no other case, no suffix; and the server's own facts cannot be taken over."""
    handler = Handler(annotations=("allowed", f"{OWN}sandbox-id"))
    pod = api.PodSandboxConfig(annotations={**HOSTILE, "allowed": "pod"})
    found = annotations_of(annotations=HOSTILE, pod=pod, handler=handler)
    assert {name: value for name, value in found.items() if not name.startswith(OWN)} == {"allowed": "pod"}
    assert found[f"{OWN}sandbox-id"] == "5" * 64
    both = annotations_of(annotations={"allowed": "container"}, pod=pod, handler=handler)
    assert both["allowed"] == "container"


def test_cr_09_labels_of_the_image_are_no_orders() -> None:
    found = annotations_of(image=image(labels={"org.systemd.property.X": "1", "plain": "1"}))
    assert all(name.startswith(OWN) for name in found)


@pytest.fixture
def vendors(tmp_path: Path) -> CriConfig:
    """One device, described by the administrator."""
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.example/gpu",
        "containerEdits": {"env": ["VENDOR=yes"]},
        "devices": [
            {
                "name": "0",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}],
                    "mounts": [{"hostPath": "/srv/lib", "containerPath": "/usr/lib/gpu"}],
                },
            },
            {"name": "1", "containerEdits": {"env": ["ONE=yes"]}},
        ],
    }
    with open(tmp_path / "vendor.json", "x") as file:
        json.dump(document, file)
    return CriConfig(cdi_spec_dirs=(str(tmp_path), str(tmp_path / "missing")))


def test_cr_09_devices_that_are_described(vendors: CriConfig) -> None:
    """The edits of the file once, and those of each device."""
    names = [api.CDIDevice(name=f"vendor.example/gpu={number}") for number in "01"]
    made = translated(CDI_devices=names, server=vendors).spec
    assert made.process is not None
    assert made.process.env[-2:] == ("VENDOR=yes", "ONE=yes")
    assert made.linux is not None
    assert [device.path for device in made.linux.devices] == ["/dev/gpu0"]
    assert made.linux.resources is not None
    assert made.linux.resources.devices[-1].access == "rw"
    assert made.mounts[-1].options == ("rbind", "ro", "nosuid", "nodev")


@pytest.mark.parametrize(
    "names",
    [
        ["vendor.example/gpu=2"],
        ["other.example/gpu=0"],
        ["vendor.example/gpu=0", "vendor.example/gpu=0"],
        ["vendor.example/gpu"],
        ["vendor.example/gpu=0=1"],
        ["vendor.example/gpu=0\n"],
        ["../gpu=0"],
        [""],
    ],
)
def test_cr_09_devices_that_are_not(vendors: CriConfig, names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        translated(CDI_devices=[api.CDIDevice(name=name) for name in names], server=vendors)


YAML = """\
---
cdiVersion: 0.6.0
kind: vendor.example/nic
containerEdits:
  env: [VENDOR=yes]
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - {path: /dev/nic0, hostPath: /dev/null, permissions: rw, fileMode: 0644, major: 0x1}
"""


def test_cr_09_devices_that_are_described_in_yaml(vendors: CriConfig) -> None:
    """As in JSON, beside files of that."""
    (Path(vendors.cdi_spec_dirs[0]) / "nic.yaml").write_text(YAML)
    names = [api.CDIDevice(name=f"vendor.example/{name}=0") for name in ("nic", "gpu")]
    made = translated(CDI_devices=names, server=vendors).spec
    assert made.linux is not None
    assert [device.path for device in made.linux.devices] == ["/dev/nic0", "/dev/gpu0"]
    assert (made.linux.devices[0].file_mode, made.linux.devices[0].major) == (0o644, 1)


@pytest.mark.parametrize(
    "text",
    [
        YAML.replace("cdiVersion", "cdiVersion: 0.6.0\ncdiVersion"),
        YAML.replace("[VENDOR=yes]", "&a [*a, *a]"),
        YAML.replace("/dev/null", "!!python/object/apply:os.system [id]"),
        YAML + YAML,
        YAML.replace("[VENDOR=yes]", "[" * 100 + "]" * 100),
        YAML + " " * (1 << 20),
        YAML.replace("rw", "no"),
        "devices: [",
    ],
    ids=["twice", "cycle", "tag", "two", "deep", "long", "word", "broken"],
)
def test_cr_09_descriptions_that_are_no_plain_yaml(vendors: CriConfig, text: str) -> None:
    """The request is refused, and the file named."""
    (Path(vendors.cdi_spec_dirs[0]) / "nic.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=r"nic\.yaml"):
        translated(CDI_devices=[api.CDIDevice(name="vendor.example/nic=0")], server=vendors)


def test_cr_09_descriptions_that_others_may_write(vendors: CriConfig) -> None:
    """A file that is not the administrator's alone counts for nothing: the request is refused."""
    (Path(vendors.cdi_spec_dirs[0]) / "vendor.json").chmod(0o666)
    with pytest.raises(InvalidRequest):
        translated(CDI_devices=[api.CDIDevice(name="vendor.example/gpu=0")], server=vendors)
