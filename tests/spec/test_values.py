"""Values are frozen, comparable and shareable; documents keep their bytes."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Mapping
from types import MappingProxyType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.spec import Document, FrozenDict
from ociworks.spec._model import Model
from ociworks.spec.runtime import Linux, Mount, Process, Root, Spec, User
from tests.spec.models import CLASSES, values


@given(data=st.data())
def test_any_value_can_be_pickled_copied_and_hashed(data: st.DataObject) -> None:
    value = data.draw(values(data.draw(st.sampled_from(CLASSES))))
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_classes_are_frozen_and_keyword_only(cls: type[Model]) -> None:
    assert all(field.kw_only for field in attrs.fields(cls))
    assert attrs.fields(cls).extra.default == FrozenDict()
    with pytest.raises(TypeError):
        cls("positional")  # type: ignore[call-arg, arg-type]
    value = object.__new__(cls)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.extra = {}  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del value.extra


def test_lists_and_dicts_that_are_passed_are_frozen() -> None:
    """Even where the type checker was not asked, a later change of the argument changes nothing."""
    args, sysctl = ["sh"], {"net.a": "1"}
    proxied = Linux(sysctl=MappingProxyType(sysctl))
    process = Process(cwd="/", args=args, extra={"x": [{"y": [1]}]})  # type: ignore[arg-type, dict-item]
    linux = Linux(sysctl=sysctl)
    args.append("-c")
    sysctl["net.b"] = "2"
    assert process.args == ("sh",)
    assert process.extra == {"x": (FrozenDict({"y": (1,)}),)}
    assert linux.sysctl == proxied.sysctl == {"net.a": "1"}
    assert isinstance(linux.sysctl, FrozenDict)
    hash((process, linux, proxied))


def test_equality_is_of_class_and_contents() -> None:
    assert Mount(destination="/a") == Mount(destination="/a")
    assert Mount(destination="/a") != Mount(destination="/b")
    assert Mount(destination="/a") != Root(path="/a")
    assert Root(path="/a") != "/a"


def test_repr_shows_what_is_set() -> None:
    value = Spec(root=Root(path="rootfs"), linux=Linux(masked_paths=("/a",)))
    assert (
        repr(value)
        == "Spec(oci_version='1.3.0', root=Root(path='rootfs'), linux=Linux(masked_paths=('/a',)))"
    )


def test_frozen_dict_reads_like_a_dict() -> None:
    value = FrozenDict({"b": 1, "a": 2})
    assert isinstance(value, Mapping)
    assert list(value) == ["b", "a"]
    assert value == {"a": 2, "b": 1}
    assert value == FrozenDict([("a", 2), ("b", 1)])
    assert value != {"a": 2}
    assert value != [("a", 2)]
    assert hash(value) == hash(FrozenDict({"a": 2, "b": 1}))
    assert value | {"c": 3} == {"a": 2, "b": 1, "c": 3}
    assert "a" in value
    assert "c" not in value
    assert copy.copy(value) is value
    assert eval(repr(value)) == value


def test_frozen_dict_is_frozen() -> None:
    source = {"a": 1}
    value = FrozenDict(source)
    source["a"] = 2
    assert value["a"] == 1
    with pytest.raises(TypeError):
        value["a"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError, match="read-only"):
        value._data = {}
    with pytest.raises(AttributeError, match="read-only"):
        del value._data


def test_sp_13_nothing_of_one_value_is_in_the_next() -> None:
    """Defaults are immutable: what A was given, B, made later from the same template, does not have."""
    template = Spec(root=Root(path="rootfs"), process=Process(cwd="/", args=("sh",)))
    before = spec.to_json(template)
    first = attrs.evolve(
        template,
        annotations={"owner": "A-secret"},
        mounts=(*template.mounts, Mount(destination="/A-secret")),
        process=attrs.evolve(Process(cwd="/", args=("sh",)), env=("TOKEN=A-secret",)),
    )
    assert b"A-secret" in spec.to_json(first)
    second = attrs.evolve(template, hostname="b")
    for untouched in (second, template, Spec(), Process(cwd="/"), User()):
        assert b"A-secret" not in spec.to_json(untouched)
    assert spec.to_json(template) == before


def test_sp_13_parsing_in_threads_and_after_failures_shares_nothing() -> None:
    """The tables behind parsing are shared; no value goes through them."""
    good = b'{"ociVersion":"1.0.0","annotations":{"n":"%d"},"process":{"cwd":"/","env":["N=%d"]},"x":[%d]}'
    bad = b'{"ociVersion":"1.0.0","annotations":{"secret":"A"},"process":{"env":["SECRET=A"],"cwd":1}}'
    failures: list[object] = []

    def work(number: int) -> None:
        for _ in range(50):
            with pytest.raises(spec.InvalidSpec):
                spec.parse(Spec, bad)
            value = spec.parse(Spec, good % (number, number, number))
            wanted = ({"n": str(number)}, (f"N={number}",), {"x": (number,)})
            process = value.process
            if process is None or (value.annotations, process.env, value.extra) != wanted:
                failures.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_document_keeps_the_bytes_until_the_value_changes() -> None:
    raw = b' { "path" : "rootfs", "new": 1 } \n'
    document = Document.load(Root, raw)
    assert (document.raw, document.size) == (raw, len(raw))
    assert document.digest == spec.Digest.of(raw)
    assert document.replace(Root(path="rootfs", extra={"new": 1})) is document
    changed = document.replace(attrs.evolve(document.value, readonly=True))
    assert changed.raw == b'{"path":"rootfs","readonly":true,"new":1}'
    assert changed.digest == spec.Digest.of(changed.raw)
    assert Document.of(changed.value) == changed


def test_document_takes_its_bytes_away_from_the_caller() -> None:
    buffer = bytearray(b'{"path":"a"}')
    document = Document.load(Root, bytes(buffer))
    buffer[:] = b"x" * len(buffer)
    assert document.raw == b'{"path":"a"}'


def test_document_refuses_what_parse_refuses() -> None:
    with pytest.raises(spec.InvalidSpec):
        Document.load(Root, b"{}")
    with pytest.raises(spec.InvalidJSON):
        Document.load(Root, b'{"path":"a"}', max_size=5)
