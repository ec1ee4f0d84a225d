"""`@frozen`, a frozen dataclass, and `regex`, a regular expression: both cost little to define.

`@dataclass(frozen=True)` compiles six methods for each class, about half a millisecond. A short
command defines two hundred classes and makes values of a third of them, mostly a few, so that was
most of its time. Here all classes share the methods; `__init__` is compiled for a class of which
many values are made. `fields` and `field` work as with any dataclass, and so does `replace`, of
which a quicker one is here. There is no inheritance between values, and no `InitVar`.

A command meets few of the hundred regular expressions that its modules define, and compiling them
takes longer than all else in those modules. `regex` compiles when it is first used.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Pattern, Tuple, Type, TypeVar

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
_FEW = 16  # values of a class: what these cost to make is what compiling costs
# Past our own refusal. To write into `__dict__` would make each value's dictionary, which Python
# does without as long as nobody asks for it: a third of the memory.
_set = object.__setattr__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Type[T]) -> Type[T]:
    """Make a frozen dataclass of the class."""
    found: Any = cls
    types: Mapping[str, Any] = found.__dict__.get("__annotations__", {})
    given = {name: found.__dict__[name] for name in types if name in found.__dict__}
    compared = [name for name in types if getattr(given.get(name), "compare", True)]
    for name, default in given.items():
        if isinstance(default, Field):
            _show_default(found, name, default)
    found.__names__ = tuple(types)
    found.__given__ = given
    found.__compared__ = attrgetter(*compared) if compared else staticmethod(_nothing)
    found.__dataclass_fields__ = _FIELDS
    found.__signature__ = _SIGNATURE
    found.__init__ = _compile_later(cls)
    found.__repr__ = _show
    found.__eq__ = _is_equal
    found.__hash__ = _hash
    found.__setattr__ = _refuse_to_set
    found.__delattr__ = _refuse_to_delete
    return cls


def find_metadata(cls: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what the declaration of each field says of it besides."""
    given = ((name, cls.__given__.get(name)) for name in cls.__names__)
    return {name: getattr(member, "metadata", {}) for name, member in given}


def _show_default(cls: Any, name: str, member: Field[Any]) -> None:
    if member.default is MISSING:
        delattr(cls, name)
    else:
        setattr(cls, name, member.default)


class _Fields:
    """What `dataclasses` knows of a class, made when somebody asks for it."""

    def __get__(self, _value: object, cls: Any) -> Mapping[str, Field[Any]]:
        """Ask Python what it would make of the class."""
        types = dict(cls.__dict__.get("__annotations__", {}))
        members = {**cls.__given__, "__annotations__": types, "__module__": cls.__module__}
        members["__doc__"] = cls.__doc__ or cls.__name__  # else Python writes one, which takes long
        like: Any = dataclass(init=False, repr=False, eq=False)(type(cls.__name__, (), members))
        made: Mapping[str, Field[Any]] = like.__dataclass_fields__
        cls.__dataclass_fields__ = made
        return made


class _Signature:
    """How a value is made, for who asks `inspect` or reads `help`."""

    def __get__(self, _value: object, cls: Any) -> Any:
        """Compile what has it."""
        import inspect  # noqa: PLC0415 - start-up time

        cls.__init__ = _compile(cls)
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)
        return cls.__signature__


_FIELDS, _SIGNATURE = _Fields(), _Signature()


def _compile_later(cls: Any) -> Callable[..., None]:
    left = _FEW

    def make(self: Any, *values: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0 or not _assign(self, values, named):
            cls.__init__ = _compile(cls)
            cls.__init__(self, *values, **named)

    return make


def _assign(self: Any, values: Tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Set the fields, if these are the arguments of `__init__`."""
    cls = type(self)
    names, given = cls.__names__, cls.__given__
    rest = names[len(values) :]
    used = 0
    for name, value in zip(names, values):
        _set(self, name, value)
    for name in rest:
        if name in named:
            used += 1
            value = named[name]
        else:
            value, make = _find_default(given.get(name, MISSING))
            if make is not MISSING:
                value = make()
            if value is MISSING:
                return False
        _set(self, name, value)
    return used == len(named) and len(values) <= len(names)


def _compile(cls: Any) -> Callable[..., None]:
    """Return `__init__`; what it cannot do by assignment, which is refused, it does by `_set`."""
    known: Dict[str, Any] = {"UNSET": _UNSET, "set_field": _set}
    parameters: List[str] = ["self"]
    lines: List[str] = ["pass"]
    for name in cls.__names__:
        parameter = value = name
        default, make = _find_default(cls.__given__.get(name, MISSING))
        if default is not MISSING:
            known[f"default_{name}"] = default
            parameter = f"{name}=default_{name}"
        elif make is not MISSING:
            known[f"make_{name}"] = make
            parameter = f"{name}=UNSET"
            value = f"make_{name}() if {name} is UNSET else {name}"
        parameters.append(parameter)
        lines.append(f"set_field(self, {name!r}, {value})")
    body = "\n    ".join(lines)
    exec(f"def __init__({', '.join(parameters)}):\n    {body}\n", known)  # noqa: S102 - ours alone
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = dict(cls.__dict__.get("__annotations__", {}))
    return made


def _find_default(given: Any) -> Tuple[Any, Any]:
    """Return a field's default, and what makes one; MISSING is neither."""
    if isinstance(given, Field):
        return given.default, given.default_factory
    return given, MISSING


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


class _Later:
    """A regular expression that is compiled when one of its methods is used."""

    def __init__(self, text: str, flags: int) -> None:
        """Compile nothing."""
        self._given = (text, flags)

    def __getattr__(self, name: str) -> Any:
        """Return what the compiled expression has by that name, and keep it."""
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)
        return found


def regex(text: str, flags: int = 0) -> Pattern[str]:
    """Return a regular expression that is compiled when it is first used."""
    later: Any = _Later(text, flags)
    made: Pattern[str] = later
    return made
