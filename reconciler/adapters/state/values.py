"""Records as plain data and back. Pure; data that makes no sense raises ValueError."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Dict, Mapping, Type, TypeVar

from reconciler.core.loop.record import LastChange, Record, SourceRecord, Suspension
from reconciler.core.status import Condition

T = TypeVar("T", Record, SourceRecord, Suspension, LastChange, Condition)


def to_data(value: object) -> Dict[str, Any]:
    """Return a record as data, names in camelCase as in every other file of ours."""
    return _camel(asdict(value))  # type: ignore[call-overload,no-any-return]


def to_record(data: Mapping[str, Any]) -> Record:
    """Return one object's record."""
    plain = dict(data)
    change = plain.get("lastChange")
    plain["lastChange"] = _build(LastChange, change) if change else None
    plain["conditions"] = tuple(_build(Condition, one) for one in plain.get("conditions", ()))
    return _build(Record, plain)


def to_source(data: Mapping[str, Any]) -> SourceRecord:
    """Return the record of the manifests."""
    plain = dict(data)
    for name in ("problems", "pruneHeld"):
        plain[name] = tuple(str(one) for one in plain.get(name, ()))
    return _build(SourceRecord, plain)


def to_suspension(data: Mapping[str, Any]) -> Suspension:
    """Return a suspension."""
    return _build(Suspension, data)


def _build(type_: Type[T], data: Mapping[str, Any]) -> T:
    """Make a value of what is known of it; what a newer version added is left out."""
    known = {_camel_name(one.name): one.name for one in fields(type_)}
    try:
        return type_(**{known[name]: value for name, value in data.items() if name in known})
    except TypeError as error:
        raise ValueError(str(error)) from error


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel_name(name): _camel(one) for name, one in value.items()}
    return [_camel(one) for one in value] if isinstance(value, (list, tuple)) else value


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest)
