"""Records as plain data and back. Pure; data that is not valid raises ValueError."""

from __future__ import annotations

from dataclasses import asdict
from typing import (
    Any,
    Dict,
    List,
    Mapping,
    Tuple,
    Type,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from reconciler.core.conditions import Condition
from reconciler.core.history import (
    ChangeCause,
    ChangeRecord,
    FormerDomain,
    LastKnown,
    RecordedChange,
    as_action,
)
from reconciler.core.records import LastChange, Record, SourceRecord, Suspension

# All our floats are times, and these can be shown: the years 1 (in any zone) to 9999.
_EARLIEST, _LATEST = -62_000_000_000, 253_000_000_000

T = TypeVar("T")

_TYPES: Tuple[Any, ...] = (
    Record,
    SourceRecord,
    Suspension,
    LastChange,
    Condition,
    LastKnown,
    ChangeRecord,
    RecordedChange,
    FormerDomain,
    ChangeCause,
)
_HINTS: Mapping[Any, Mapping[str, Any]] = {one: get_type_hints(one) for one in _TYPES}


def to_data(value: object) -> Dict[str, Any]:
    """Return a record as data, names in camelCase as in every other file of ours."""
    return _camel(asdict(value))  # type: ignore[call-overload,no-any-return]


def to_record(data: Mapping[str, Any]) -> Record:
    """Return one object's record."""
    plain = dict(data)
    change = plain.get("lastChange")
    plain["lastChange"] = None if change is None else _build(LastChange, change)
    plain["conditions"] = tuple(_build(Condition, one) for one in _list(plain, "conditions"))
    return _build(Record, plain)


def to_source(data: Mapping[str, Any]) -> SourceRecord:
    """Return the record of the manifests."""
    plain = dict(data)
    for name in ("problems", "pruneHeld", "restartNeeded"):
        plain[name] = tuple(_list(plain, name))
    return _build(SourceRecord, plain)


def to_suspension(data: Mapping[str, Any]) -> Suspension:
    """Return a suspension."""
    return _build(Suspension, data)


def to_past(data: Mapping[str, Any]) -> ChangeRecord:
    """Return one entry of a machine's history."""
    plain = dict(data)
    former = plain.get("former")
    plain["former"] = None if former is None else _build(FormerDomain, former)
    plain["cause"] = _build(ChangeCause, plain.get("cause"))
    plain["changes"] = tuple(_build(RecordedChange, one) for one in _list(plain, "changes"))
    for name in ("steps", "notes", "kept"):
        plain[name] = tuple(_list(plain, name))
    past = _build(ChangeRecord, plain)
    as_action(past)  # its words must be those of a plan
    return past


def to_last(data: Mapping[str, Any]) -> LastKnown:
    """Return a machine's last known definition."""
    return _build(LastKnown, data)


def _list(data: Mapping[str, Any], name: str) -> List[Any]:
    found = data.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name}: {found!r} is no list")  # noqa: TRY004 - as all that is wrong
    return found


def _build(type_: Type[T], data: Any) -> T:
    """Make a value of what is known of it; what a newer version added is left out."""
    if not isinstance(data, dict):
        raise ValueError(f"{data!r} is no {type_.__name__}")  # noqa: TRY004
    hints = _HINTS[type_]
    found = {name: data[_camel_name(name)] for name in hints if _camel_name(name) in data}
    for name, value in found.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{_camel_name(name)}: {value!r} is not valid")
    try:
        return type_(**found)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that its field is declared with."""
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    if inner:
        return any(_fits(value, one) for one in inner)
    if hint is float:
        return _is_number(value) and _EARLIEST <= value <= _LATEST
    if hint is int:
        return _is_number(value) and isinstance(value, int)
    return isinstance(value, hint)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel_name(name): _camel(one) for name, one in value.items()}
    return [_camel(one) for one in value] if isinstance(value, (list, tuple)) else value


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest)
