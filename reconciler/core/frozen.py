"""`@frozen`: a frozen dataclass that costs little to define. Pure.

`@dataclass(frozen=True)` compiles six methods for each class, about half a millisecond. A short
command defines a hundred classes and makes values of a third of them, so that was most of its time.
Here five of the methods are shared by all classes, and the sixth, `__init__`, is compiled when the
first value is made. `fields` and `field` work as with any dataclass, and so does `replace`, of
which a quicker one is here. There is no
inheritance between values, and no `InitVar`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Type, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - for others to import

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Callable[[Any], Any]:
        """Say nothing: this is for type checkers."""
        return lambda function: function

    def replace(value: Any, **changes: Any) -> Any:
        """Return the value with other fields; a plan does so thousands of times."""
        cls = type(value)
        names = getattr(cls, "__names__", None)
        if names is None:
            return dataclasses.replace(value, **changes)
        made = object.__new__(cls)
        for name in names:
            _set(made, name, changes.pop(name) if name in changes else getattr(value, name))
        if changes:
            unknown = ", ".join(sorted(changes))
            raise TypeError(f"{cls.__qualname__} has no field {unknown}")
        return made


T = TypeVar("T")
_UNSET = object()
# Past our own refusal. To write into `__dict__` would make each value's dictionary, which Python
# does without as long as nobody asks for it: a third of the memory.
_set = object.__setattr__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Type[T]) -> Type[T]:
    """Make a frozen dataclass of the class."""
    dataclass(init=False, repr=False, eq=False)(cls)
    found: Any = cls
    found.__init__ = _compile_later(cls)
    found.__repr__ = _show
    found.__eq__ = _is_equal
    found.__hash__ = _hash
    found.__setattr__ = _refuse_to_set
    found.__delattr__ = _refuse_to_delete
    found.__names__ = tuple(member.name for member in fields(found))
    names = [member.name for member in fields(found) if member.compare]
    found.__compared__ = attrgetter(*names) if names else staticmethod(_nothing)
    return cls


def _compile_later(cls: Any) -> Callable[..., None]:
    def make(self: Any, *values: Any, **named: Any) -> None:
        cls.__init__ = _compile(cls)
        cls.__init__(self, *values, **named)

    return make


def _compile(cls: Any) -> Callable[..., None]:
    """Return `__init__`; what it cannot do by assignment, which is refused, it does by `_set`."""
    known: Dict[str, Any] = {"UNSET": _UNSET, "set_field": _set}
    parameters: List[str] = ["self"]
    lines: List[str] = ["pass"]
    for member in fields(cls):
        parameter = value = member.name
        if member.default is not MISSING:
            known[f"default_{member.name}"] = member.default
            parameter = f"{member.name}=default_{member.name}"
        elif member.default_factory is not MISSING:
            known[f"make_{member.name}"] = member.default_factory
            parameter = f"{member.name}=UNSET"
            value = f"make_{member.name}() if {member.name} is UNSET else {member.name}"
        parameters.append(parameter)
        lines.append(f"set_field(self, {member.name!r}, {value})")
    body = "\n    ".join(lines)
    exec(f"def __init__({', '.join(parameters)}):\n    {body}\n", known)  # noqa: S102 - ours alone
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {member.name: member.type for member in fields(cls)}
    return made


def _nothing(_value: Any) -> Any:
    return ()


def _show(self: Any) -> str:
    shown = (
        f"{member.name}={getattr(self, member.name)!r}" for member in fields(self) if member.repr
    )
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _is_equal(self: Any, other: object) -> Any:
    if self is other:
        return True
    if type(self) is not type(other):
        return NotImplemented
    return self.__compared__(self) == self.__compared__(other)


def _hash(self: Any) -> int:
    return hash(self.__compared__(self))


def _refuse_to_set(self: Any, name: str, value: object) -> None:  # noqa: ARG001 - Python's shape
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:  # noqa: ARG001 - Python's shape
    raise FrozenInstanceError(f"cannot delete field {name!r}")
