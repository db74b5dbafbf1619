"""A plan is a value: compared, edited, and then carried out as it stands."""

from __future__ import annotations

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.runtime.plan import Op, ops
from tests.runtime.boxes import changed


def test_places(runtime: Runtime, bundle: spec.Bundle) -> None:
    """By number, name and value; what is not there is one clear error."""
    plan = runtime.plan(bundle)
    last = len(plan.operations) - 1
    assert plan.index("execute") == plan.index(-1) == plan.index(plan.operations[-1]) == last
    assert plan.find("dev_link") == tuple(op for op in plan.operations if op.name == "dev_link")
    for place in ("no such", last + 1, -last - 2, ops.umask(0o777)):
        with pytest.raises(ValueError, match="the plan has"):
            plan.index(place)
    for both in ({}, {"before": 0, "after": 0}):
        with pytest.raises(ValueError, match="either before or after"):
            plan.insert(ops.umask(0), **both)


def test_edits(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Each gives another plan and leaves the first one alone; unknown operations are refused."""
    plan = runtime.plan(bundle)
    one, two = ops.hostname("one"), ops.hostname("two")
    edited = plan.insert(one, two, before="pivot").insert(ops.session(), after=-1)
    at = plan.index("pivot")
    assert edited.operations[at : at + 3] == (one, two, plan.operations[at])
    assert edited.operations[-1] == ops.session()
    assert plan.insert(one, after=0).operations[1] == one
    assert edited.remove(one).remove("hostname").remove(-1) == plan
    assert plan.replace("umask", one, two).find("hostname") == (one, two)
    with pytest.raises(errors.NotSupported, match="'make_coffee'"):
        plan.insert(Op("make_coffee"), before=0)


def test_a_difference(runtime: Runtime, bundle: spec.Bundle) -> None:
    """What only one of two plans does, by value; nothing for the same plan."""
    plan = runtime.plan(bundle)
    assert not plan.diff(plan)
    assert str(plan.diff(runtime.plan(bundle))) == ""
    named = runtime.plan(changed(bundle, hostname="box"))
    assert [(change.kind, change.what) for change in plan.diff(named).changes] == [
        ("added", "hostname 'box'")
    ]
    assert str(named.diff(plan)).startswith("-")
    filter_ = plan.find("seccomp")[0]
    program = filter_.args[0]
    assert isinstance(program, bytes)
    other = plan.replace("seccomp", attrs.evolve(filter_, args=(program[:-1] + b"\1", *filter_.args[1:])))
    assert [change.kind for change in plan.diff(other).changes] == ["removed", "added"]
    elsewhere = runtime.plan(bundle, "other").diff(plan)
    assert "+ container plan" in str(elsewhere)


def test_an_edited_plan_is_carried_out(runtime: Runtime, bundle: spec.Bundle) -> None:
    """What was inserted happens, what was removed does not."""
    named = runtime.plan(changed(bundle, hostname="before"), "edited")
    first = named.replace("hostname", ops.hostname("after")).replace("umask", ops.umask(0o077))
    script = [b"sh", b"-c", b"hostname; umask; cat /proc/self/status"]
    first = first.replace("execute", ops.execute(script, [b"PATH=/bin"], b"/bin")).remove("seccomp")
    with runtime.create_from(first, stdout=-1) as container:
        container.start()
        assert container.wait(timeout=60) == 0
        assert container.stdout is not None
        with open(container.stdout, "rb", closefd=False) as stream:
            text = stream.read().decode()
    assert text.startswith("after\n0077\n")
    assert "Seccomp:\t0\n" in text


def test_an_operation_that_fails_is_named(runtime: Runtime, bundle: spec.Bundle) -> None:
    """By its number in the edited plan; nothing is left."""
    plan = runtime.plan(bundle, "fails")
    at = plan.index("pivot")
    with pytest.raises(errors.CreateFailed, match=f"step {at}, bind") as caught:
        runtime.create_from(
            plan.insert(
                ops.bind("/no/such", "/tmp"),
                before="pivot",
            )
        )
    assert (caught.value.step, caught.value.errno) == ("bind", 2)
    assert runtime.list() == ()
