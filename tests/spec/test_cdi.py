"""CDI files as values, and their rules."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from ociworks import spec
from ociworks.errors import InvalidSpec
from ociworks.spec import cdi
from ociworks.spec.validate.cdi import minimum_version

EDITS = {
    "env": ["A=b"],
    "deviceNodes": [
        {
            "path": "/dev/gpu0",
            "hostPath": "/dev/host-gpu0",
            "type": "c",
            "major": 195,
            "minor": 0,
            "fileMode": 0o666,
            "permissions": "rw",
            "uid": 0,
            "gid": 44,
        }
    ],
    "netDevices": [{"hostInterfaceName": "ib0", "name": "eth1"}],
    "hooks": [
        {"hookName": "createContainer", "path": "/bin/hook", "args": ["hook"], "env": ["X="], "timeout": 5}
    ],
    "mounts": [
        {"hostPath": "/usr/lib/x.so", "containerPath": "/lib/x.so", "type": "none", "options": ["bind", "ro"]}
    ],
    "intelRdt": {
        "closID": "gpu",
        "l3CacheSchema": "L3:0=f",
        "schemata": ["MB:0=20"],
        "enableMonitoring": True,
    },
    "additionalGids": [44, 0],
}
FILE = {
    "cdiVersion": "1.1.0",
    "kind": "vendor.example.com/gpu.small",
    "annotations": {"a": "b"},
    "devices": [
        {"name": "gpu0", "annotations": {"c": "d"}, "containerEdits": EDITS},
        {"name": "0:1", "containerEdits": {"env": ["GPU=1"]}},
    ],
    "containerEdits": {"mounts": [{"hostPath": "tmpfs", "containerPath": "/t"}]},
}


def read(changes: dict[str, object]) -> cdi.Specification:
    """The file above with other members."""
    return spec.parse(cdi.Specification, json.dumps({**FILE, **changes}).encode())


def test_a_file_is_written_back_unchanged() -> None:
    """Every member of the specification has its attribute."""
    value = read({})
    assert json.loads(spec.to_json(value)) == FILE
    assert spec.validate(value) == []
    assert (value.vendor, value.class_) == ("vendor.example.com", "gpu.small")
    assert b'"extra"' not in spec.to_json(value)


def one(edits: Mapping[str, object], **members: object) -> dict[str, object]:
    """A file with one device."""
    return {"devices": [{"name": "x", "containerEdits": edits, **members}]}


AT = "$.devices[0].containerEdits"
NODE, HOOK, MOUNT = (
    {"path": "/dev/x"},
    {"hookName": "poststop", "path": "/h"},
    {"hostPath": "/a", "containerPath": "/b"},
)
NET = {"hostInterfaceName": "a", "name": "b"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cdiVersion": "9.0.0"}, "$.cdiVersion"),
        ({"cdiVersion": "1.0.0"}, "$.cdiVersion"),
        ({"kind": "gpu"}, "$.kind"),
        ({"kind": "/gpu"}, "$.kind"),
        ({"kind": "vendor.com/"}, "$.kind"),
        ({"kind": "vendor.com/foo/bar"}, "$.kind"),
        ({"kind": "vendor.com/gpu\n"}, "$.kind"),
        ({"kind": "../gpu"}, "$.kind"),
        ({"kind": "-v.com/gpu"}, "$.kind"),
        ({"kind": "v_x.com/gpu"}, "$.kind"),
        ({"kind": f"{'a.' * 127}com/gpu"}, "$.kind"),
        ({"kind": f"v.com/{'a' * 64}"}, "$.kind"),
        ({"devices": []}, "$.devices"),
        ({"devices": [{"name": "a", "containerEdits": {"env": ["A=b"]}}] * 2}, "$.devices[1].name"),
        (one({"env": ["A=b"]}, name="-x"), "$.devices[0].name"),
        (one({"env": ["A=b"]}, name="a/b"), "$.devices[0].name"),
        (one({"env": ["A=b"]}, name=""), "$.devices[0].name"),
        (one({}), AT),
        (one({"env": ["A"]}), f"{AT}.env[0]"),
        (one({"deviceNodes": [{"path": "dev/x"}]}), f"{AT}.deviceNodes[0].path"),
        (one({"deviceNodes": [{**NODE, "hostPath": "x"}]}), f"{AT}.deviceNodes[0].hostPath"),
        (one({"deviceNodes": [{**NODE, "type": "x"}]}), f"{AT}.deviceNodes[0].type"),
        (one({"deviceNodes": [{**NODE, "permissions": "rwx"}]}), f"{AT}.deviceNodes[0].permissions"),
        (one({"hooks": [{**HOOK, "hookName": "now"}]}), f"{AT}.hooks[0].hookName"),
        (one({"hooks": [{**HOOK, "path": "h"}]}), f"{AT}.hooks[0].path"),
        (one({"hooks": [{**HOOK, "timeout": 0}]}), f"{AT}.hooks[0].timeout"),
        (one({"hooks": [{**HOOK, "env": ["=x"]}]}), f"{AT}.hooks[0].env[0]"),
        (one({"mounts": [{**MOUNT, "hostPath": ""}]}), f"{AT}.mounts[0].hostPath"),
        (one({"mounts": [{**MOUNT, "containerPath": "b"}]}), f"{AT}.mounts[0].containerPath"),
        (one({"intelRdt": {"closID": "a/b"}}), f"{AT}.intelRdt.closID"),
        (one({"netDevices": [NET, {**NET, "name": "c"}]}), f"{AT}.netDevices"),
        (one({"netDevices": [{**NET, "name": "a/b"}]}), f"{AT}.netDevices[0].name"),
        ({"other": 1}, "$.other"),
        (one({"env": ["A=b"], "devices": []}), f"{AT}.devices"),
    ],
)
def test_rules(changes: dict[str, object], path: str) -> None:
    """Each broken rule is one problem that cites its section."""
    (problem,) = spec.validate(read(changes))
    assert problem.path == path
    assert problem.section.startswith("CDI")


@pytest.mark.parametrize(
    ("edits", "version"),
    [
        ({"env": ["A=b"]}, "0.3.0"),
        ({"mounts": [{**MOUNT, "type": "bind"}]}, "0.4.0"),
        ({"deviceNodes": [{**NODE, "hostPath": "/x"}]}, "0.5.0"),
        ({"additionalGids": [1]}, "0.7.0"),
        ({"intelRdt": {}}, "0.7.0"),
        ({"intelRdt": {"schemata": ["x"]}}, "1.1.0"),
        ({"netDevices": [NET]}, "1.1.0"),
    ],
)
def test_the_version_that_a_file_needs(edits: dict[str, object], version: str) -> None:
    """By the members in use (CDI, Released versions)."""
    plain: dict[str, object] = {"kind": "v.com/gpu", "annotations": {}, "containerEdits": None}
    assert minimum_version(read({**plain, **one(edits)})) == version
    assert minimum_version(read({**plain, **one({"env": ["A=b"]}), "containerEdits": edits})) == version


def test_the_version_that_names_and_annotations_need() -> None:
    """Digits first since 0.5.0, annotations and dots since 0.6.0."""
    plain: dict[str, object] = {"kind": "v.com/gpu", "annotations": {}, "containerEdits": None}
    env = {"env": ["A=b"]}
    assert minimum_version(read({**plain, **one(env, name="0")})) == "0.5.0"
    assert minimum_version(read({**plain, **one(env, annotations={"a": "b"})})) == "0.6.0"
    assert minimum_version(read({**plain, **one(env), "kind": "v.com/a.b"})) == "0.6.0"


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": None},
        {"devices": {}},
        {"cdiVersion": 1},
        one({"additionalGids": [-1]}),
        one({"env": "A=b"}),
    ],
)
def test_sp_04_shapes(changes: dict[str, object]) -> None:
    """Nothing is coerced."""
    if changes == {"devices": None}:
        assert [problem.path for problem in spec.validate(read(changes))] == ["$.devices"]
        return
    with pytest.raises(InvalidSpec):
        read(changes)
