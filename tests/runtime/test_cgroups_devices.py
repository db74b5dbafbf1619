"""Device rules: the fold, and the eBPF program against it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime.cgroups.devices_bpf import device_program
from ociworks.runtime.cgroups.rules import DeviceTable, reduce_rules
from ociworks.spec.runtime import DeviceRule

DENY_ALL = DeviceRule(allow=False, access="rwm")
NULL, FUSE = ("c", 1, 3), ("c", 10, 229)


def decide(table: DeviceTable, device: tuple[str, int, int], access: str) -> bool:
    """What a kernel's filter does with the table: one granting exception must cover everything that is asked for."""
    for key, letters in table.exceptions.items():
        if key[0] == device[0] and all(a in (None, b) for a, b in zip(key[1:], device[1:], strict=True)):
            if table.allow and set(access) & set(letters):
                return False
            if not table.allow and set(access) <= set(letters):
                return True
    return table.allow


def run(program: bytes, device: tuple[str, int, int], access: str) -> bool:
    """An interpreter for the few eBPF instructions that the program may have."""
    kind, major, minor = device
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = {0: {"b": 1, "c": 2}[kind] | bits << 16, 4: major, 8: minor}
    code = list(struct.iter_unpack("=BBhi", program))
    registers, at = [0] * 11, 0
    while True:
        op, both, offset, value = code[at]
        target, source, at = both & 15, both >> 4, at + 1
        if op == 0x61:
            registers[target] = context[offset]
        elif op == 0xBC:
            registers[target] = registers[source]
        elif op == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif op == 0x74:
            registers[target] >>= value
        elif op == 0xB7:
            registers[target] = value
        elif op == 0x95:
            return bool(registers[0])
        elif op == 0x56:
            at += offset if registers[target] != value & 0xFFFFFFFF else 0
        elif op in (0x55, 0x15):
            at += offset if (registers[target] == value) == (op == 0x15) else 0
        else:
            raise ValueError(hex(op))


def test_default_deny_with_the_usual_devices() -> None:
    for table in (reduce_rules(()), reduce_rules((DENY_ALL,))):
        assert decide(table, NULL, "rw")
        assert decide(table, ("c", 136, 5), "rwm")
        assert decide(table, FUSE, "m")  # making a node is no access
        assert not decide(table, FUSE, "r")
        assert not decide(table, ("b", 8, 0), "r")


def test_a_device_of_the_specification() -> None:
    table = reduce_rules((DENY_ALL, DeviceRule(allow=True, type="c", major=10, minor=229, access="rw")))
    assert decide(table, FUSE, "rw")
    assert not decide(table, ("c", 10, 230), "r")


def test_privileged_containers_may_use_everything() -> None:
    table = reduce_rules((DENY_ALL, DeviceRule(allow=True, access="rwm")))
    assert table.allow
    assert decide(table, ("b", 8, 0), "rwm")


@pytest.mark.parametrize(
    "rule",
    [
        DeviceRule(allow=True),
        DeviceRule(allow=True, access=""),
        DeviceRule(allow=True, access="rx"),
        DeviceRule(allow=True, access="rr"),
        DeviceRule(allow=True, access="r"),
        DeviceRule(allow=True, type="a", major=1, access="rwm"),
        DeviceRule(allow=True, type="p", access="r"),
        DeviceRule(allow=True, type="c", major=-2, access="r"),
        DeviceRule(allow=True, type="c", major=1 << 32, access="r"),
    ],
)
def test_rt_22_rules_that_say_too_little_or_something_impossible(rule: DeviceRule) -> None:
    with pytest.raises(CgroupError, match="devices"):
        reduce_rules((rule,))


def test_rt_22_an_exception_to_an_exception_is_refused_not_forgotten() -> None:
    wide = DeviceRule(allow=True, type="c", major=10, access="rw")
    narrow = DeviceRule(allow=False, type="c", major=10, minor=229, access="w")
    with pytest.raises(NotSupported):
        reduce_rules((wide, narrow))
    taken_back = reduce_rules((narrow, wide, DeviceRule(allow=False, type="c", access="w")))
    assert decide(taken_back, FUSE, "r")
    assert not decide(taken_back, FUSE, "w")


numbers = st.one_of(st.none(), st.sampled_from([0, 1, 2, (1 << 32) - 1]))
accesses = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda found: "".join(sorted(found)))
rules = st.lists(
    st.one_of(
        st.builds(
            DeviceRule,
            allow=st.booleans(),
            type=st.sampled_from("bc"),
            major=numbers,
            minor=numbers,
            access=accesses,
        ),
        st.builds(DeviceRule, allow=st.booleans(), access=st.just("rwm")),
    ),
    max_size=6,
)
devices = st.tuples(st.sampled_from("bc"), *[st.sampled_from([0, 1, 2, 3, (1 << 32) - 1])] * 2)


@given(rules, devices, accesses)
def test_the_program_does_what_the_table_says(
    given_rules: list[DeviceRule], device: tuple[str, int, int], access: str
) -> None:
    try:
        table = reduce_rules(given_rules)
    except NotSupported:
        assume(False)
        raise
    assert run(device_program(table), device, access) == decide(table, device, access)


@given(rules, devices, st.sampled_from("rw"))
def test_the_table_means_what_the_list_of_rules_means(
    given_rules: list[DeviceRule], device: tuple[str, int, int], access: str
) -> None:
    """For one kind of access: the last rule that matches decides."""
    try:
        table = reduce_rules(given_rules)
    except NotSupported:
        assume(False)
        raise
    expected = False
    for rule in given_rules:
        pairs = zip((rule.major, rule.minor), device[1:], strict=True)
        if (
            rule.type in (None, device[0])
            and access in (rule.access or "")
            and all(a in (None, b) for a, b in pairs)
        ):
            expected = rule.allow
    if device == ("c", 1, 3):
        expected = True  # the default devices come last
    assert decide(table, device, access) == expected
