"""Records as plain data and back. Pure; data that makes no sense raises ValueError."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Type, TypeVar

from reconciler.core.history import ChangeRecord, LastKnown, as_action
from reconciler.core.plain_data import from_plain, to_plain
from reconciler.core.records import Record, SourceRecord, Suspension

T = TypeVar("T")


def to_data(value: object) -> Dict[str, Any]:
    """Return a record as data, names in camelCase as in every other file of ours."""
    data: Dict[str, Any] = to_plain(value)
    return data


def to_record(data: Mapping[str, Any]) -> Record:
    """Return one object's record."""
    return _build(Record, data)


def to_source(data: Mapping[str, Any]) -> SourceRecord:
    """Return the record of the manifests."""
    return _build(SourceRecord, data)


def to_suspension(data: Mapping[str, Any]) -> Suspension:
    """Return a suspension."""
    return _build(Suspension, data)


def to_past(data: Mapping[str, Any]) -> ChangeRecord:
    """Return one entry of a machine's history."""
    past = _build(ChangeRecord, data)
    as_action(past)  # its words must be those of a plan
    return past


def to_last(data: Mapping[str, Any]) -> LastKnown:
    """Return a machine's last known definition."""
    return _build(LastKnown, data)


def _build(type_: Type[T], data: Mapping[str, Any]) -> T:
    value: T = from_plain(type_, data)
    return value
