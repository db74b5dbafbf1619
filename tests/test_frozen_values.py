"""Classes that are made without generating code are what attrs would make of them."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable

import attrs
import pytest

from ociworks._values import evolve, frozen


@frozen
class Point:
    """Positional, with a default."""

    x: int
    y: int = 0


@frozen(kw_only=True)
class Named(Point):
    """Inherits fields, and checks what it is given."""

    name: str

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise ValueError("expected a name")


@attrs.frozen
class AttrsPoint:
    """The same by attrs."""

    x: int
    y: int = 0


WRONG: list[Callable[[type[Point | AttrsPoint]], object]] = [
    lambda cls: cls(),  # type: ignore[call-arg]
    lambda cls: cls(1, 2, 3),  # type: ignore[call-arg]
    lambda cls: cls(1, x=1),  # type: ignore[misc]
    lambda cls: cls(1, z=1),  # type: ignore[call-arg]
]


@pytest.mark.parametrize("call", WRONG)
@pytest.mark.parametrize("cls", [Point, AttrsPoint])
def test_a_wrong_call_is_a_type_error(cls: type[Point | AttrsPoint], call: Callable[[type], object]) -> None:
    with pytest.raises(TypeError):
        call(cls)


def test_values_compare_hash_and_show_as_those_of_attrs() -> None:
    assert Point(1, y=2) == Point(1, 2) != Point(1)
    assert hash(Point(1)) == hash(Point(1, 0))
    assert repr(Point(1)) == "Point(x=1, y=0)" == repr(AttrsPoint(1)).removeprefix("Attrs")
    assert Point(1) != AttrsPoint(1)  # type: ignore[comparison-overlap]
    assert Point(1) != Named(x=1, name="a")


def test_nothing_can_be_changed() -> None:
    value = Point(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.x = 2  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del value.x
    with pytest.raises(AttributeError):
        Point.y  # noqa: B018 - as in attrs, the class has no default lying about


def test_fields_are_inherited_and_checks_are_done() -> None:
    assert Named(x=1, name="a") == evolve(Named(x=1, name="b"), name="a")
    with pytest.raises(ValueError, match="a name"):
        Named(x=1, name="")
    with pytest.raises(TypeError):
        Named(1, name="a")


def test_attrs_itself_knows_them() -> None:
    assert attrs.has(Named)
    assert [(field.name, field.kw_only) for field in attrs.fields(Named)] == [
        ("x", True),
        ("y", True),
        ("name", True),
    ]
    assert attrs.fields(Point).y.default == 0
    assert attrs.asdict(Point(1)) == {"x": 1, "y": 0}
    assert attrs.evolve(Point(1), y=3) == Point(1, 3)
    assert inspect.signature(Point) == inspect.signature(AttrsPoint)


def test_a_class_of_attrs_can_inherit_from_one() -> None:
    @attrs.frozen(kw_only=True)
    class Below(Point):
        z: int

    value = Below(x=1, z=3)
    assert attrs.astuple(value) == (1, 0, 3)
    assert evolve(value, z=4) == Below(x=1, z=4)


def test_they_can_be_matched_copied_and_pickled() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    for twin in (copy.copy(Point(1)), copy.deepcopy(Point(1)), pickle.loads(pickle.dumps(Point(1)))):
        assert twin == Point(1)


def test_making_and_using_them_does_not_load_attrs() -> None:
    code = (
        "import sys\n"
        "from ociworks._values import evolve, frozen\n"
        "@frozen\n"
        "class A:\n"
        "    x: 'int'\n"
        "assert evolve(A(1), x=2) == A(2) and hash(A(1)) and repr(A(1))\n"
        "sys.exit('attr' in sys.modules or 'typing' in sys.modules)"
    )
    program = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    assert subprocess.run([sys.executable, "-S", "-c", program], check=False).returncode == 0
