"""`@frozen` is what `@dataclass(frozen=True)` is, for whoever uses the values."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, List, Mapping, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.frozen import frozen, regex, replace


@frozen
class Cheap:
    """A value."""

    name: str
    size: int = 1
    tags: Tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def doubled(self) -> int:
        """Twice the size."""
        return 2 * self.size


@dataclass(frozen=True)
class Dear:
    """The same, made by Python."""

    name: str
    size: int = 1
    tags: Tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@frozen
class Empty:
    """A value without fields."""


@frozen
class Other:
    """Has the same fields, and is another thing."""

    name: str
    size: int = 1
    tags: Tuple[str, ...] = ()


arguments = st.tuples(st.text(max_size=2), st.integers(0, 2), st.lists(st.text(), max_size=1))


@given(arguments, arguments)
def test_values_are_equal_hashed_and_shown_as_those_of_a_dataclass(
    one: Tuple[str, int, List[str]], other: Tuple[str, int, List[str]]
) -> None:
    cheap = [Cheap(name, size, tuple(tags), {"a": name}) for name, size, tags in (one, other)]
    dear = [Dear(name, size, tuple(tags), {"a": name}) for name, size, tags in (one, other)]
    assert (cheap[0] == cheap[1]) is (dear[0] == dear[1])
    assert (cheap[0] != cheap[1]) is (dear[0] != dear[1])
    assert [hash(value) for value in cheap] == [hash(value) for value in dear]
    assert repr(cheap[0]) == repr(dear[0]).replace("Dear", "Cheap")


def test_what_is_left_out_has_its_default_and_nothing_is_shared() -> None:
    first, second = Cheap("a"), Cheap(name="a")
    assert (first.size, first.tags, first.more) == (1, (), {})
    assert first.more is not second.more
    assert Cheap.size == 1


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), (("a", 1, (), {}, 5), {}), (("a",), {"colour": "red"})]
)
def test_wrong_arguments_are_refused(values: Tuple[Any, ...], named: Mapping[str, Any]) -> None:
    with pytest.raises(TypeError, match="__init__"):
        Cheap(*values, **named)


def test_nothing_can_be_set_or_deleted() -> None:
    value = Cheap("a")
    with pytest.raises(FrozenInstanceError, match="name"):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="colour"):
        value.colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError, match="name"):
        del value.name
    assert value == Cheap("a")


def test_only_fields_can_be_replaced() -> None:
    value = Cheap("a", more={"x": "y"})
    assert value.doubled == 2, "computed, and not a field"
    assert replace(value, size=4) == Cheap("a", 4)
    assert (replace(value, size=4).doubled, replace(value, size=4).more) == (8, {"x": "y"})
    assert replace(Dear("a"), size=2) == Dear("a", 2)
    with pytest.raises(TypeError, match="Cheap has no field colour"):
        replace(value, colour="red")  # type: ignore[call-arg]


def test_dataclasses_know_it() -> None:
    value = replace(Cheap("a", tags=("x",)), size=3)
    assert value == Cheap("a", 3, ("x",))
    assert is_dataclass(value)
    assert [one.name for one in fields(Cheap)] == ["name", "size", "tags", "more"]
    assert (value.doubled, replace(value, size=4).doubled) == (6, 8)
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301


def test_another_class_with_the_same_fields_is_another_value() -> None:
    assert Cheap("a") != Other("a")  # type: ignore[comparison-overlap]
    assert Cheap("a") != ("a", 1, ())  # type: ignore[comparison-overlap]


def test_a_value_without_fields_equals_its_like() -> None:
    assert (Empty(), hash(Empty()), repr(Empty())) == (Empty(), hash(()), "Empty()")


def test_type_checkers_need_a_library_that_is_not_loaded() -> None:
    code = "import sys, reconciler.core.plan; sys.exit('typing_extensions' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@frozen
class Frequent:
    """A value of which there are many."""

    name: str
    size: int = 1
    more: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


def test_the_hundredth_value_of_a_class_is_made_like_the_first() -> None:
    made = [Frequent("a", more={"number": str(number)}) for number in range(100)]
    assert set(made) == {Frequent(name="a", size=1)}
    assert [value.more["number"] for value in made] == [str(number) for number in range(100)]
    with pytest.raises(TypeError, match="__init__"):
        Frequent("a", 1, {}, "more")  # type: ignore[call-arg]
    assert Frequent("b").more == {}


@frozen
class Shown:
    """A value of which there is none yet."""

    name: str
    size: int = 1


def test_how_a_value_is_made_can_be_asked_for() -> None:
    assert str(inspect.signature(Shown)) == "(name: 'str', size: 'int' = 1)"
    assert Shown("a") == Shown("a", size=1)


def test_a_regular_expression_is_compiled_when_it_is_used() -> None:
    broken, good = regex("("), regex(r"(\w+)=(?P<value>\w*)", re.IGNORECASE)
    found = good.fullmatch("Key=x")
    assert found is not None
    assert (found[1], found["value"], good.pattern) == ("Key", "x", r"(\w+)=(?P<value>\w*)")
    assert good.sub("-", "a=b c=d") == "- -"
    with pytest.raises(re.error):
        broken.search("")
